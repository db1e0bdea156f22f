"""Naive and seasonal naive, with the intervals the published rows used.

Both repeat the past and widen like a random walk: the quantile at step h is `mean + z_q * sigma *
sqrt(k_h)`, where `k_h` counts how many (seasonal) steps lie between the forecast and the value it
repeats, and sigma is the root mean square of the in-sample (seasonal) differences. This is what
`statsforecast` computes and GIFT-Eval publishes; Hyndman and Athanasopoulos, "Forecasting:
Principles and Practice" (3rd ed.), section 5.5.

A `Baseline` has the same `forecast` method as a `TSFM`, so whatever scores or wraps one (the
evaluation here, the gluonts adapter) takes the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.evaluation.metrics import DECILES, FloatArray

BaselineName = Literal["seasonal-naive", "naive"]
BASELINES: tuple[str, ...] = ("seasonal-naive", "naive")


def fill_forward(series: NDArray[np.floating]) -> FloatArray:
    """Replace each missing value by the last one seen, and leading ones by the first that comes.

    Parameters
    ----------
    series
        Values `[T]`; NaN and infinities are missing. All missing gives zeros.

    Returns
    -------
    numpy.ndarray
        `[T]` float64 without gaps; a new array.

    Examples
    --------
    >>> import numpy as np
    >>> fill_forward(np.array([np.nan, 2.0, np.nan, 3.0]))
    array([2., 2., 2., 3.])
    """
    values = np.array(series, dtype=np.float64)
    seen = np.isfinite(values)
    if seen.all():
        return values
    if not seen.any():
        return np.zeros_like(values)
    source = np.where(seen, np.arange(len(values)), 0)
    np.maximum.accumulate(source, out=source)
    source[: int(seen.argmax())] = int(seen.argmax())
    return np.asarray(values[source])


def repeat_season(
    context: NDArray[np.floating],
    prediction_length: int,
    season_length: int,
    quantile_levels: Sequence[float] = DECILES,
) -> FloatArray:
    """Forecast one series by repeating its last season; a season of 1 is the naive forecast.

    Parameters
    ----------
    context
        The past, `[T]` with T >= 1; gaps are filled forward first.
    prediction_length
        Number of steps H.
    season_length
        Steps of a season m; a context shorter than m falls back to 1.
    quantile_levels
        The Q levels.

    Returns
    -------
    numpy.ndarray
        Quantiles `[H, Q]` in the unit of the series.

    Examples
    --------
    >>> import numpy as np
    >>> repeat_season(np.array([1.0, 2.0, 1.0, 2.0]), 3, 2, quantile_levels=[0.1, 0.5])
    array([[1., 1.],
           [2., 2.],
           [1., 1.]])
    """
    if len(context) == 0:
        raise ValueError("the context is empty: a naive forecast needs at least one value")
    past = fill_forward(context)
    season = season_length if len(past) >= season_length else 1
    steps = np.arange(prediction_length)
    mean = past[len(past) - season + steps % season]  # [H]
    differences = past[season:] - past[:-season]
    pairs = len(past) - season
    sigma = float(np.sqrt(np.square(differences).sum() / pairs)) if pairs > 0 else 0.0
    spread = sigma * np.sqrt(steps // season + 1)  # [H]
    z = np.array([NormalDist().inv_cdf(level) for level in quantile_levels])  # [Q]
    return np.asarray(mean[:, None] + spread[:, None] * z)


@dataclass(frozen=True)
class BaselineForecast:
    """What a baseline answers: quantiles `[N, H, Q]` in the series' units, and their levels."""

    quantiles: FloatArray
    levels: tuple[float, ...]

    @property
    def median(self) -> FloatArray:
        """The 0.5 quantile `[N, H]`; ValueError if it was not asked for."""
        return np.asarray(self.quantiles[..., self.levels.index(0.5)])


@dataclass(frozen=True)
class Baseline:
    """A naive forecaster with the `forecast` method of a `TSFM`.

    Parameters
    ----------
    name
        "seasonal-naive" or "naive".
    season_length
        Season of every series in steps; overridden by `season_lengths` of `forecast`, ignored by
        "naive".

    Examples
    --------
    >>> import numpy as np
    >>> Baseline("naive").forecast([np.array([1.0, 4.0])], 2, (0.5,)).quantiles[0, :, 0]
    array([4., 4.])
    """

    name: BaselineName
    season_length: int = 1

    def __post_init__(self) -> None:
        if self.name not in BASELINES:
            raise ValueError(
                f"baseline {self.name!r} does not exist; use one of {', '.join(BASELINES)}"
            )
        if self.season_length < 1:
            raise ValueError(f"season_length must be at least 1, got {self.season_length}")

    def forecast(
        self,
        series: Sequence[NDArray[np.floating]],
        prediction_length: int,
        quantile_levels: Sequence[float] = DECILES,
        *,
        mode: str = "fast",
        season_lengths: Sequence[int | None] | None = None,
        batch_size: str | int = "auto",
    ) -> BaselineForecast:
        """Forecast each series on its own.

        Parameters
        ----------
        series
            N arrays `[T_n]`, NaN = missing, each with at least one entry.
        prediction_length
            Number of steps H.
        quantile_levels
            The Q levels.
        mode, batch_size
            Accepted for the sake of a common interface; a baseline has one mode and no batches.
        season_lengths
            Season of each series; None (whole or single) means `season_length` of this baseline.

        Returns
        -------
        BaselineForecast
            Quantiles `[N, H, Q]`.
        """
        hints = [None] * len(series) if season_lengths is None else list(season_lengths)
        if len(hints) != len(series):
            raise ValueError(f"{len(series)} series came with {len(hints)} season_lengths")
        seasons = [1 if self.name == "naive" else hint or self.season_length for hint in hints]
        levels = tuple(quantile_levels)
        quantiles = np.empty((len(series), prediction_length, len(levels)))
        for i, (context, season) in enumerate(zip(series, seasons, strict=True)):
            quantiles[i] = repeat_season(context, prediction_length, season, levels)
        return BaselineForecast(quantiles, levels)
