"""A gluonts `Predictor` around a model, so that GIFT-Eval's own runner takes it.

Needs gluonts (`pip install "tsfm-zeroshot[train]"`). Entries of a gluonts dataset are dictionaries
with `start` (a pandas Period), a one-dimensional `target` with NaN for missing values, and
`item_id`. `dataset_entries` makes them from arrays for every frequency: gluonts' own
`PandasDataset` fails on month, quarter and year ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tsfm.evaluation.metrics import DECILES
from tsfm.evaluation.seasons import calendar_season, parse_frequency

try:
    from gluonts.dataset.util import forecast_start
    from gluonts.model.forecast import QuantileForecast
    from gluonts.model.predictor import Predictor
except ImportError as error:
    raise ImportError(
        'tsfm.adapters.gluonts needs gluonts 0.16 or later: pip install "tsfm-zeroshot[train]"'
    ) from error

if TYPE_CHECKING:
    from tsfm.evaluation.protocol import ForecastModel

_SETTINGS = "tsfm-predictor.json"
_MODEL = "model"


class TSFMPredictor(Predictor):  # type: ignore[misc]
    """Forecasts of a model as gluonts `QuantileForecast` objects.

    Parameters
    ----------
    model
        A `TSFM`, or anything with its `forecast` method.
    prediction_length
        Steps to forecast.
    quantile_levels
        Levels of the forecasts; gluonts interpolates others and extrapolates tails. Include 0.5.
    mode
        Inference mode of the model, "fast" or "best".
    season_length
        Season told to the model; "auto" reads it from the frequency of each entry, None tells
        nothing.
    batch_size
        Handed to the model.
    chunk_size
        Entries read from the dataset and forecast together.

    Notes
    -----
    The forecasts hold quantiles only; `forecast.mean` is the median, as gluonts does for quantile
    forecasts.

    Examples
    --------
    >>> import numpy as np
    >>> from tsfm.evaluation.baselines import Baseline
    >>> dataset = dataset_entries([np.array([1.0, 2.0, 3.0])], "ME", start="2024-01-31")
    >>> forecast = next(TSFMPredictor(Baseline("naive"), prediction_length=2).predict(dataset))
    >>> str(forecast.start_date), forecast.quantile(0.5)
    ('2024-04', array([3., 3.]))
    """

    def __init__(
        self,
        model: ForecastModel,
        prediction_length: int,
        *,
        quantile_levels: Sequence[float] = DECILES,
        mode: Literal["fast", "best"] = "fast",
        season_length: int | Literal["auto"] | None = "auto",
        batch_size: int | Literal["auto"] = "auto",
        chunk_size: int = 1024,
    ) -> None:
        if prediction_length < 1:
            raise ValueError(f"prediction_length must be at least 1, got {prediction_length}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        super().__init__(prediction_length=prediction_length)
        self.model = model
        self.quantile_levels = tuple(quantile_levels)
        self.mode: Literal["fast", "best"] = mode
        self.season_length: int | Literal["auto"] | None = season_length
        self.batch_size: int | Literal["auto"] = batch_size
        self.chunk_size = chunk_size

    def predict(
        self, dataset: Iterable[dict[str, Any]], num_samples: int | None = None
    ) -> Iterator[QuantileForecast]:
        """Forecast every entry, in order.

        Parameters
        ----------
        dataset
            gluonts entries with `start`, one-dimensional `target` and optionally `item_id` and
            `info`.
        num_samples
            Some gluonts callers pass it; a quantile forecast draws no samples.

        Yields
        ------
        gluonts.model.forecast.QuantileForecast
            Keys are the quantile levels; arrays are `[Q, prediction_length]`.

        Raises
        ------
        ValueError
            If a target is not one-dimensional.
        """
        entries = iter(dataset)
        keys = [str(level) for level in self.quantile_levels]
        while chunk := list(islice(entries, self.chunk_size)):
            quantiles = self.model.forecast(
                [_target(entry) for entry in chunk],
                self.prediction_length,
                self.quantile_levels,
                mode=self.mode,
                season_lengths=[self._season(entry) for entry in chunk],
                batch_size=self.batch_size,
            ).quantiles  # [N, H, Q]
            for entry, rows in zip(chunk, quantiles, strict=True):
                yield QuantileForecast(
                    forecast_arrays=np.asarray(rows).T,
                    forecast_keys=keys,
                    start_date=forecast_start(entry),
                    item_id=entry.get("item_id"),
                    info=entry.get("info"),
                )

    def _season(self, entry: dict[str, Any]) -> int | None:
        if self.season_length != "auto":
            return self.season_length
        return calendar_season(entry["start"].freqstr)

    def serialize(self, path: Path) -> None:
        """Write model and settings into an existing folder, for `Predictor.deserialize`.

        Raises
        ------
        TypeError
            If the model has no `save_pretrained`.
        """
        save = getattr(self.model, "save_pretrained", None)
        if save is None:
            raise TypeError(
                f"a {type(self.model).__name__} cannot be saved: it has no save_pretrained"
            )
        super().serialize(path)
        save(path / _MODEL)
        settings = {
            "prediction_length": self.prediction_length,
            "quantile_levels": list(self.quantile_levels),
            "mode": self.mode,
            "season_length": self.season_length,
            "batch_size": self.batch_size,
            "chunk_size": self.chunk_size,
        }
        (path / _SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", "utf-8")

    @classmethod
    def deserialize(cls, path: Path, device: str = "auto") -> TSFMPredictor:
        """Read a predictor that `serialize` wrote.

        Parameters
        ----------
        path
            The folder.
        device
            Torch device of the model.
        """
        import tsfm

        settings = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
        model = tsfm.TSFM.from_pretrained(str(path / _MODEL), device=device)
        return cls(model, **settings)


def _target(entry: dict[str, Any]) -> NDArray[np.float64]:
    target = np.asarray(entry["target"], dtype=np.float64)
    if target.ndim != 1:
        raise ValueError(
            f"entry {entry.get('item_id')!r} has a target of shape {target.shape}; only "
            "univariate series are forecast, so make one entry per row "
            "(GIFT-Eval: Dataset(..., to_univariate=True))"
        )
    return target


def period_frequency(freq: str) -> str:
    """Spelling of a frequency that pandas Periods accept, for example "M" for "ME" and "MS".

    Examples
    --------
    >>> period_frequency("ME"), period_frequency("15T"), period_frequency("YE-DEC")
    ('M', '15min', 'Y-DEC')
    """
    multiple, unit = parse_frequency(freq)
    _, dash, anchor = freq.partition("-")
    return f"{multiple if multiple > 1 else ''}{unit}{dash}{anchor}"


def dataset_entries(
    series: Sequence[NDArray[np.floating]],
    freq: str,
    *,
    start: str | pd.Timestamp | Sequence[str | pd.Timestamp] = "2000-01-01",
    item_ids: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Make a gluonts dataset from arrays, for any frequency of seconds to years.

    Parameters
    ----------
    series
        N arrays `[T_n]`, NaN = missing.
    freq
        Frequency of all of them, in older or newer pandas spelling.
    start
        Time of the first value: one for all or one each.
    item_ids
        Names; "0", "1", ... if left out.

    Returns
    -------
    list of dict
        Entries with `item_id`, `start` and `target`.

    Examples
    --------
    >>> import numpy as np
    >>> dataset_entries([np.array([1.0, 2.0])], "QE", start="2024-03-31")[0]["start"]
    Period('2024Q1', 'Q-DEC')
    """
    starts = [start] * len(series) if isinstance(start, str | pd.Timestamp) else list(start)
    names = [str(k) for k in range(len(series))] if item_ids is None else list(item_ids)
    if not len(series) == len(starts) == len(names):
        raise ValueError(
            f"{len(series)} series came with {len(starts)} starts and {len(names)} item_ids"
        )
    spelled = period_frequency(freq)
    return [
        {"item_id": name, "start": pd.Period(first, freq=spelled), "target": np.asarray(values)}
        for name, first, values in zip(names, starts, series, strict=True)
    ]
