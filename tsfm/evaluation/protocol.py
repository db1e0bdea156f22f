"""How a configuration is scored: cut the last windows of every series, forecast them, measure.

A `Task` holds the windows of one configuration. Contexts are views into the series, so a hundred
windows of a long series cost no memory, and all windows of all series go to the model in one call,
which batches them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tsfm.evaluation.baselines import Baseline
from tsfm.evaluation.metrics import (
    DECILES,
    FloatArray,
    coverage,
    mase,
    seasonal_errors,
    weighted_quantile_loss,
)
from tsfm.evaluation.seasons import calendar_season, metric_season

Engine = Literal["fast", "gluonts"]


class Quantiles(Protocol):
    """A forecast: whatever carries `quantiles` [N, H, Q]."""

    @property
    def quantiles(self) -> FloatArray:
        """Quantiles `[N, H, Q]`."""
        ...


class ForecastModel(Protocol):
    """Anything with the `forecast` method of a `TSFM`, such as a `Baseline`."""

    def forecast(
        self,
        series: Sequence[NDArray[np.floating]],
        prediction_length: int,
        quantile_levels: Sequence[float] = DECILES,
        *,
        mode: Literal["fast", "best"] = "fast",
        season_lengths: Sequence[int | None] | None = None,
        batch_size: int | Literal["auto"] = "auto",
    ) -> Quantiles:
        """Forecast N series; quantiles are `[N, H, Q]`."""
        ...


@dataclass(frozen=True)
class Series:
    """One univariate series of a benchmark.

    Parameters
    ----------
    item_id
        Its name, for error messages.
    start
        Time of the first value.
    values
        `[T]` float64, NaN = missing.
    """

    item_id: str
    start: pd.Timestamp
    values: FloatArray

    @classmethod
    def of(
        cls, item_id: str, start: object, values: Sequence[float] | NDArray[np.floating]
    ) -> Series:
        """Copy the values to float64 and turn infinities into NaN."""
        array = np.array(values, dtype=np.float64)
        array[~np.isfinite(array)] = np.nan
        return cls(str(item_id), pd.Timestamp(start), array)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Task:
    """The windows of one configuration; build it with `Task.cut`.

    Parameters
    ----------
    name
        Name of the configuration, such as "ett1/15T/short".
    freq
        Frequency of its series.
    prediction_length
        Steps per window, H.
    windows
        Non-overlapping windows cut from the end of every series, W.
    season_length
        Lag of the seasonal error and season of the seasonal-naive baseline.
    panel
        The S series.
    """

    name: str
    freq: str
    prediction_length: int
    windows: int
    season_length: int
    panel: tuple[Series, ...]

    @classmethod
    def cut(
        cls,
        name: str,
        panel: Sequence[Series],
        *,
        freq: str,
        prediction_length: int,
        windows: int,
    ) -> Task:
        """Check that every series has room for the windows, and derive the season.

        Raises
        ------
        ValueError
            Naming the first series that is too short.
        """
        need = prediction_length * windows + 1
        for series in panel:
            if len(series.values) < need:
                raise ValueError(
                    f"{name}: series {series.item_id!r} has {len(series.values)} values, but "
                    f"{windows} windows of {prediction_length} steps need at least {need}; "
                    "use fewer windows or drop the series"
                )
        return cls(name, freq, prediction_length, windows, metric_season(freq), tuple(panel))

    def split(self, max_windows: int | None = None) -> Windows:
        """Cut the windows, series by series and oldest first.

        Parameters
        ----------
        max_windows
            Keep at most this many, evenly spaced; None keeps all.
        """
        H = self.prediction_length
        contexts: list[FloatArray] = []
        labels: list[FloatArray] = []
        scales: list[FloatArray] = []
        owners: list[str] = []
        for series in self.panel:
            ends = len(series.values) - H * np.arange(self.windows, 0, -1)
            scales.append(seasonal_errors(series.values, ends, self.season_length))
            contexts += [series.values[:end] for end in ends]
            labels += [series.values[end : end + H] for end in ends]
            owners += [series.item_id] * self.windows
        scale = np.concatenate(scales)
        keep = np.arange(len(contexts))
        if max_windows is not None and len(keep) > max_windows:
            keep = np.unique(np.linspace(0, len(keep) - 1, max_windows).round().astype(int))
        return Windows(
            contexts=tuple(contexts[k] for k in keep),
            labels=np.stack([labels[k] for k in keep]),
            scale=scale[keep],
            owners=tuple(owners[k] for k in keep),
        )


@dataclass(frozen=True)
class Windows:
    """The N windows of a task: contexts (views), labels `[N, H]`, seasonal errors `[N]`, ids."""

    contexts: tuple[FloatArray, ...]
    labels: FloatArray
    scale: FloatArray
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """What one model achieved on one configuration.

    Parameters
    ----------
    mase, crps
        The two metrics; lower is better.
    coverage
        Share of labels between q0.1 and q0.9; 0.8 is calibrated.
    seconds
        Wall clock of the forecasts alone.
    """

    mase: float
    crps: float
    coverage: float
    seconds: float


def score(
    model: ForecastModel,
    task: Task,
    windows: Windows,
    *,
    mode: Literal["fast", "best"] = "fast",
    batch_size: int | Literal["auto"] = "auto",
    season_hints: bool = True,
) -> Score:
    """Forecast all windows of a task in one call and measure them.

    Parameters
    ----------
    model
        A `TSFM`, a `Baseline`, or anything with that `forecast` method.
    task, windows
        The configuration and its windows (`task.split()`).
    mode, batch_size
        Handed to the model.
    season_hints
        Tell the model the calendar season of the frequency (`calendar_season`). Baselines use the
        metric's season.

    Raises
    ------
    ValueError
        If the model answers with the wrong shape or with values that are not finite.
    """
    started = time.perf_counter()
    quantiles = forecast_windows(
        model, task, windows, mode=mode, batch_size=batch_size, season_hints=season_hints
    )
    seconds = time.perf_counter() - started
    return Score(
        mase=mase(windows.labels, quantiles[..., DECILES.index(0.5)], windows.scale),
        crps=weighted_quantile_loss(windows.labels, quantiles, DECILES),
        coverage=coverage(windows.labels, quantiles[..., 0], quantiles[..., -1]),
        seconds=seconds,
    )


def forecast_windows(
    model: ForecastModel,
    task: Task,
    windows: Windows,
    *,
    mode: Literal["fast", "best"] = "fast",
    batch_size: int | Literal["auto"] = "auto",
    season_hints: bool = True,
) -> FloatArray:
    """Decile forecasts `[N, H, 9]` of the windows, checked to be finite: see `score`."""
    N, H = len(windows.contexts), task.prediction_length
    hint = season_hint(model, task, season_hints)
    answer = model.forecast(
        list(windows.contexts),
        H,
        DECILES,
        mode=mode,
        season_lengths=[hint] * N,
        batch_size=batch_size,
    )
    quantiles = np.asarray(answer.quantiles, dtype=np.float64)
    if quantiles.shape != (N, H, len(DECILES)):
        raise ValueError(
            f"{task.name}: the model answered with shape {quantiles.shape}, "
            f"expected {(N, H, len(DECILES))}"
        )
    bad = ~np.isfinite(quantiles).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"{task.name}: the forecast of {int(bad.sum())} of {N} windows is not finite, "
            f"first that of series {windows.owners[int(bad.argmax())]!r}"
        )
    return quantiles


def season_hint(model: ForecastModel, task: Task, allowed: bool = True) -> int | None:
    """Season told to a model: the metric's to a baseline, the calendar's to others if allowed."""
    if isinstance(model, Baseline):
        return task.season_length
    return calendar_season(task.freq) if allowed else None
