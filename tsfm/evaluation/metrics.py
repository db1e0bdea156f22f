"""Forecast metrics as plain functions of arrays: MASE, weighted quantile loss (CRPS) and coverage.

They follow GIFT-Eval to the letter, which computes them with `gluonts.ev` over a whole
configuration: missing labels are masked, windows whose seasonal error is zero or unknown drop out
of MASE, and the quantile loss is normalised by the absolute sum of all labels.
`tests/evaluation/test_metrics.py` holds them to `gluonts.ev`.

Shapes: N windows, H steps, Q quantile levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsfm.models.quantiles import pinball

FloatArray = NDArray[np.float64]

DECILES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The nine quantile levels that GIFT-Eval scores."""


def seasonal_errors(
    series: NDArray[np.floating], ends: Sequence[int] | NDArray[np.integer], season_length: int
) -> FloatArray:
    """Mean absolute seasonal difference of several prefixes of one series, in one pass.

    Parameters
    ----------
    series
        Values `[T]`; NaN and infinities are missing, and a difference that touches one is left
        out.
    ends
        Lengths of the prefixes; entry k describes `series[:ends[k]]`.
    season_length
        Lag of the difference. A prefix shorter than it falls back to lag 1, as in gluonts.

    Returns
    -------
    numpy.ndarray
        `[len(ends)]`, in the unit of the series; NaN where a prefix has no complete pair.

    Examples
    --------
    >>> import numpy as np
    >>> seasonal_errors(np.array([1.0, 2.0, 4.0, 8.0]), [3, 4], season_length=1)
    array([1.5       , 2.33333333])
    """
    if season_length < 1:
        raise ValueError(f"season_length must be at least 1, got {season_length}")
    values = np.asarray(series, dtype=np.float64)
    stops = np.asarray(ends, dtype=np.int64)
    lags = np.where(stops < season_length, 1, season_length)
    out = np.full(stops.shape, np.nan)
    for lag in np.unique(lags):
        with np.errstate(invalid="ignore"):  # inf - inf
            gaps = np.abs(values[lag:] - values[:-lag])
        seen = np.isfinite(gaps)
        total = np.concatenate([[0.0], np.cumsum(np.where(seen, gaps, 0.0))])
        count = np.concatenate([[0], np.cumsum(seen)])
        chosen = lags == lag
        last = np.maximum(stops[chosen] - lag, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[chosen] = total[last] / count[last]
    return out


def seasonal_error(series: NDArray[np.floating], season_length: int) -> float:
    """Mean absolute seasonal difference of a whole series: see `seasonal_errors`.

    Examples
    --------
    >>> import numpy as np
    >>> seasonal_error(np.array([1.0, 5.0, 2.0, 7.0]), season_length=2)
    1.5
    """
    return float(seasonal_errors(series, [len(series)], season_length)[0])


def mase(label: FloatArray, median: FloatArray, scale: FloatArray) -> float:
    """Mean absolute scaled error over all windows and steps.

    Parameters
    ----------
    label
        What happened, `[N, H]`; NaN and infinities are masked.
    median
        The 0.5 quantile forecast, `[N, H]`.
    scale
        Seasonal error of each window's context, `[N]` (`seasonal_error`).

    Returns
    -------
    float
        Mean of `|label - median| / scale` over the steps that count; NaN if none does.

    Notes
    -----
    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy". Windows with a
    scale of zero or NaN are left out: gluonts masks the division by zero.

    Examples
    --------
    >>> import numpy as np
    >>> mase(np.array([[1.0, 3.0]]), np.array([[2.0, 2.0]]), np.array([0.5]))
    2.0
    """
    usable = np.isfinite(scale) & (scale > np.finfo(np.float64).tiny)
    counted = np.isfinite(label) & usable[:, None]  # [N, H]
    if not counted.any():
        return float("nan")
    errors = np.abs(label - median)
    scaled = errors / np.where(usable, scale, 1.0)[:, None]
    return float(scaled[counted].mean())


def quantile_losses(
    label: FloatArray, quantiles: FloatArray, levels: Sequence[float]
) -> FloatArray:
    """Twice the pinball loss of each step and level.

    Parameters
    ----------
    label
        What happened, `[N, H]`.
    quantiles
        Forecast, `[N, H, Q]`.
    levels
        The Q levels, each inside (0, 1).

    Returns
    -------
    numpy.ndarray
        `[N, H, Q]`, in the unit of the label; NaN where the label is missing. At level 0.5 this is
        the absolute error.

    Examples
    --------
    >>> import numpy as np
    >>> quantile_losses(np.array([[1.0]]), np.array([[[0.0, 3.0]]]), [0.1, 0.5])
    array([[[0.2, 2. ]]])
    """
    if quantiles.shape != (*label.shape, len(levels)):
        raise ValueError(
            f"quantiles have shape {quantiles.shape}, expected {(*label.shape, len(levels))}: "
            "[windows, steps, levels]"
        )
    actual = np.where(np.isfinite(label), label, np.nan)[..., None]  # [N, H, 1]
    error = actual - quantiles
    with np.errstate(invalid="ignore"):  # inf - inf
        losses = 2.0 * pinball(error, np.asarray(levels))
    return np.asarray(np.where(np.isinf(error), np.inf, losses))


def weighted_quantile_loss(
    label: FloatArray, quantiles: FloatArray, levels: Sequence[float]
) -> float:
    """Quantile loss over all levels, divided by the absolute labels: GIFT-Eval's "CRPS".

    Parameters
    ----------
    label
        What happened, `[N, H]`; NaN and infinities are masked.
    quantiles
        Forecast, `[N, H, Q]`.
    levels
        The Q levels.

    Returns
    -------
    float
        Unit-free loss; NaN if the labels are all missing or all zero, or a forecast of one that is
        not is NaN.

    Notes
    -----
    Twice the pinball loss, averaged over evenly spaced levels, approaches the continuous ranked
    probability score (Gneiting and Ranjan, 2011).

    Examples
    --------
    >>> import numpy as np
    >>> weighted_quantile_loss(np.array([[1.0, 3.0]]), np.array([[[2.0], [2.0]]]), [0.5])
    0.5
    """
    losses = quantile_losses(label, quantiles, levels)
    seen = np.isfinite(label)
    scale = float(np.abs(label[seen]).sum())
    if scale == 0.0:
        return float("nan")
    return float(losses[seen].sum() / (scale * len(levels)))


def coverage(label: FloatArray, lower: FloatArray, upper: FloatArray) -> float:
    """Share of the labels that fall inside a prediction interval, ends included.

    Parameters
    ----------
    label, lower, upper
        `[N, H]` each; missing labels are masked.

    Returns
    -------
    float
        Between 0 and 1; NaN if every label is missing. An interval from q0.1 to q0.9 should give
        0.8.

    Examples
    --------
    >>> import numpy as np
    >>> coverage(np.array([[1.0, 9.0]]), np.zeros((1, 2)), np.full((1, 2), 5.0))
    0.5
    """
    seen = np.isfinite(label)
    if not seen.any():
        return float("nan")
    inside = (label >= lower) & (label <= upper)
    return float(inside[seen].mean())


def geometric_mean(values: Sequence[float] | FloatArray) -> float:
    """Geometric mean of positive numbers; NaN entries are an error of the caller and stay NaN.

    Examples
    --------
    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(array).mean()))
