"""The forecaster's surprise: how unlikely each value was, given what came before.

A second, complementary score of anomalies. A detector looks at a stretch as a whole; a forecaster
knows what the past implies for the next steps, and is surprised by what breaks with it, once: what
lasts soon belongs to the past. `AnomalyDetector` does not use it by itself; `combined` joins the
two where that is wanted.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsfm.loading import ForecastModel

Array = NDArray[np.float64]

LEVELS = (0.005, 0.02, *(round(0.05 * k, 2) for k in range(1, 20)), 0.98, 0.995)
"""Quantile levels that a value's position is read from; beyond them tails are exponential."""

HIGHEST = 20.0
"""Largest surprise: one in 10 to the 20th."""

_AT_ONCE = 64


def surprise(
    model: ForecastModel,
    values: ArrayLike,
    *,
    context_length: int = 512,
    stride: int = 8,
    first: int = 32,
) -> Array:
    """Scores every step by its position in a forecast made before it.

    Forecasts of `stride` steps are made from every `stride`-th step on, so that a step is foreseen
    from 1 to `stride` steps ahead; the score is causal. `-log10(2 min(F, 1 - F))`, where F is the
    probability that the forecast gave to values below: 0 at the median, 2 where one value in a
    hundred lies as far out. Where there is no value or no forecast it is NaN.

    Parameters
    ----------
    model
        A forecaster, such as `tsfm.TSFM.from_pretrained()`.
    values
        [L] one series, NaN = missing.
    context_length
        Steps that each forecast is made from, at most.
    stride
        Steps between forecasts. 1 is the most exact and the slowest.
    first
        Steps before the first forecast.

    Returns
    -------
    ndarray
        [L].

    Raises
    ------
    ValueError
        The series is not of one dimension, or an argument is below 1.

    Examples
    --------
    >>> from tsfm.evaluation.baselines import Baseline
    >>> rng = np.random.default_rng(0)
    >>> series = rng.normal(size=200)
    >>> series[150] = 9.0
    >>> found = surprise(Baseline("naive"), series, stride=1)
    >>> np.flatnonzero(found > 3).tolist()  # up, and down again
    [150, 151]
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"surprise takes one series [L], got an array of shape {series.shape}.")
    if min(context_length, stride, first) < 1:
        raise ValueError("context_length, stride and first must be at least 1.")
    series = np.where(np.isfinite(series), series, np.nan)
    scores = np.full(len(series), np.nan)
    origins = [
        at
        for at in range(first, len(series), stride)
        if np.isfinite(series[max(0, at - context_length) : at]).any()
    ]
    for begin in range(0, len(origins), _AT_ONCE):
        chosen = origins[begin : begin + _AT_ONCE]
        contexts = [series[max(0, at - context_length) : at] for at in chosen]
        # the number of series at a time is ours to choose; the mode is the cheap one
        answer = model.forecast(
            contexts,
            stride,
            LEVELS,
            mode="fast",
            season_lengths=[None] * len(chosen),
            batch_size="auto",
        )
        for at, quantiles in zip(chosen, np.asarray(answer.quantiles), strict=True):
            actual = series[at : at + stride]
            scores[at : at + stride] = _unlikeliness(actual, quantiles[: len(actual)])
    return scores


def _unlikeliness(actual: Array, quantiles: Array) -> Array:
    """`-log10` of the two-sided tail probability of values [H] under quantiles [H, Q]."""
    scores = np.full(len(actual), np.nan)
    for step, (value, curve) in enumerate(zip(actual, quantiles, strict=True)):
        if np.isfinite(value) and np.isfinite(curve).all():
            scores[step] = _one(float(value), curve)
    return scores


def _one(value: float, curve: Array) -> float:
    levels = np.asarray(LEVELS)
    outside = max(curve[0] - value, value - curve[-1])
    if outside > 0:
        edge, inner = (curve[0], curve[1]) if value < curve[0] else (curve[-1], curve[-2])
        per_decade = abs(inner - edge) / np.log10(levels[1] / levels[0])
        floor = 1e-3 * abs(curve[-1] - curve[0])
        decades = outside / max(per_decade, floor, np.finfo(np.float64).tiny)
        return float(min(decades - np.log10(2 * levels[0]), HIGHEST))
    above = int(np.searchsorted(curve, value, side="left"))  # first quantile not below
    below = int(np.searchsorted(curve, value, side="right")) - 1  # last one not above
    if above > below:  # between two quantiles
        share = (value - curve[below]) / (curve[above] - curve[below])
        at = levels[below] + share * (levels[above] - levels[below])
        return float(-np.log10(2 * min(at, 1 - at)))
    return float(-np.log10(2 * min(levels[below], 1 - levels[above], 0.5)))


def combined(
    detector: ArrayLike, surprises: ArrayLike, *, method: Literal["rank", "sum"] = "rank"
) -> Array:
    """Joins the scores of a detector with surprises, step by step.

    Parameters
    ----------
    detector
        [L] log odds.
    surprises
        [L] as `surprise` returns them. Where they are missing the detector's score stands alone.
    method
        "rank": the mean of both ranks within the series, from 0 to 1; not comparable with other
        series. "sum": both as -log10 of a probability, added up, of log odds that of no anomaly,
        `log10(1 + exp(score))`; comparable with other series.

    Returns
    -------
    ndarray
        [L], high where anomalous; not log odds, so that thresholds of a calibration do not apply.

    Raises
    ------
    ValueError
        Shapes differ, or there is no such method.

    Examples
    --------
    >>> combined([0.0, 1.0, 5.0], [0.1, 3.0, 0.2]).tolist()
    [0.0, 0.75, 0.75]
    """
    first, second = (np.asarray(x, dtype=np.float64) for x in (detector, surprises))
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"Scores {first.shape} and surprises {second.shape} must have the same shape [L]."
        )
    if method == "rank":
        one, two = _ranks(first), _ranks(second)
        return np.where(np.isnan(two), one, (one + two) / 2)
    if method == "sum":
        with np.errstate(invalid="ignore"):
            total: Array = np.logaddexp(0, first) / np.log(10) + np.nan_to_num(second)
        return total
    raise ValueError(f"method={method!r} must be 'rank' or 'sum'.")


def _ranks(scores: Array) -> Array:
    """Ranks from 0 to 1, ties at their mean; NaN stays NaN."""
    known = np.isfinite(scores)
    ranks = np.full(len(scores), np.nan)
    ordered = np.sort(scores[known])
    low = np.searchsorted(ordered, scores[known], side="left")
    high = np.searchsorted(ordered, scores[known], side="right")
    ranks[known] = (low + high - 1) / 2 / max(1, len(ordered) - 1)
    return ranks
