"""Conformal mathematics: ranks that promise coverage, and errors turned into corrections.

Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), for the rank;
Romano, Patterson and Candes, arXiv 1905.03222, for scores of quantiles; Barber, Candes, Ramdas and
Tibshirani, arXiv 2202.13415, for weights where scores are not exchangeable. There the score to
come has the largest weight, which guarantees a level; here it has that of the others, which meets
the level on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RECENCY = 0.97
"""Weight of a back-test relative to the next later one: half after 23."""
_OCTAVES = 1.0
"""Standard deviation, in octaves of steps ahead, of the weights around a step."""


def conformal_quantiles(
    scores: ArrayLike,
    levels: Sequence[float],
    weights: ArrayLike | None = None,
    *,
    new: ArrayLike = 1.0,
    method: Literal["higher", "linear"] = "higher",
) -> Array:
    """Quantiles of what the next score will be, from those seen so far.

    Parameters
    ----------
    scores
        `[..., M]` scores; NaN = unknown.
    levels
        Q levels in (0, 1).
    weights
        `[..., M]` non-negative weights; one each if left out. A score of weight 0 is no score.
    new
        `[...]` weight of the score to come, beside those of the scores. Scores that vary together
        say less than their number: a larger one makes up for it.
    method
        "higher": the smallest score s with a total weight of `level * (total + new)` at or below
        it; without weights the `ceil((n + 1) level)`-th smallest. The next of exchangeable scores
        lies at or below it with a probability of `level` at least. "linear": between two scores,
        so that this probability is that of the level where scores do not tie, and the new weight
        is shared by both tails.

    Returns
    -------
    ndarray
        `[..., Q]`; the lowest or highest score where a level lies beyond them, NaN without any
        score.

    Examples
    --------
    >>> conformal_quantiles(np.arange(1.0, 100.0), [0.8, 0.975]).tolist()
    [80.0, 98.0]
    >>> conformal_quantiles([1.0, 2.0, 3.0], [0.5, 0.6], method="linear").tolist()
    [2.0, 2.4]
    """
    s = np.asarray(scores, dtype=np.float64)
    w = np.ones_like(s) if weights is None else np.broadcast_to(weights, s.shape)
    s = np.where(np.asarray(w) > 0, s, np.nan)
    order, ordered = _sorted(s)
    one = _by_rank if method == "higher" else _between
    answer: Array = one(
        ordered, _weights(s, w, order), np.asarray(levels), np.asarray(new, dtype=np.float64)
    )
    return answer


def _sorted(scores: Array) -> tuple[NDArray[np.intp], Array]:
    """Order `[..., M]` of the scores, and the scores in it; unknown ones come last."""
    known = np.where(np.isfinite(scores), scores, np.inf)
    order = np.argsort(known, axis=-1, kind="stable")
    return order, np.take_along_axis(known, order, axis=-1)


def _weights(scores: Array, weights: Array, order: NDArray[np.intp]) -> Array:
    """Weights in that order; none for unknown scores."""
    return np.take_along_axis(np.where(np.isfinite(scores), weights, 0.0), order, axis=-1)


def _by_rank(ordered: Array, weights: Array, levels: Array, new: Array) -> Array:
    """The first score that gathers enough weight, `[..., Q]`."""
    below = weights.cumsum(axis=-1)
    wanted = levels * (below[..., -1:] + new[..., None])
    rank = (below[..., None, :] < wanted[..., None] * (1 - 1e-12)).sum(axis=-1)
    last = np.maximum((weights > 0).sum(axis=-1, keepdims=True) - 1, 0)
    found: Array = np.take_along_axis(ordered, np.minimum(rank, last), axis=-1)
    return np.where(np.isfinite(found), found, np.nan)


def _between(ordered: Array, weights: Array, levels: Array, new: Array) -> Array:
    """Interpolated quantiles `[..., Q]`; half of the new weight lies beyond either end."""
    total = weights.sum(axis=-1, keepdims=True)
    middle = weights.cumsum(axis=-1) - weights / 2 + new[..., None] / 2
    middle /= np.maximum(total + new[..., None], 1e-300)
    last = np.maximum((np.isfinite(ordered)).sum(axis=-1, keepdims=True) - 1, 0)
    right = np.minimum((middle[..., None, :] < levels[:, None]).sum(axis=-1), last)
    left = np.maximum(right - 1, 0)
    low, high = (np.take_along_axis(middle, at, axis=-1) for at in (left, right))
    share = (levels - low) / np.where(high > low, high - low, 1.0)
    a, b = (np.take_along_axis(ordered, at, axis=-1) for at in (left, right))
    with np.errstate(invalid="ignore"):
        found: Array = a + share.clip(0, 1) * (b - a)
    answer: Array = np.where(np.isfinite(found), found, np.nan)
    return answer


def centres(horizon: int) -> Array:
    """Steps ahead `[S]` that corrections are measured at: 1, 2, 4, ... and the horizon."""
    doublings = int(np.ceil(np.log2(horizon))) + 1
    steps: Array = np.minimum(2.0 ** np.arange(doublings), horizon)
    return steps


def between_centres(corrections: Array, horizon: int) -> Array:
    """Corrections `[..., H, Q]` of every step from those of the centres, `[..., S, Q]`.

    Linear in the logarithm of the step.
    """
    place = np.interp(
        np.log2(np.arange(1, horizon + 1)),
        np.log2(centres(horizon)),
        np.arange(corrections.shape[-2]),
    )
    left = np.floor(place).astype(np.intp)
    right = np.minimum(left + 1, corrections.shape[-2] - 1)
    share: Array = (place - left)[:, None]
    answer: Array = (1 - share) * corrections[..., left, :] + share * corrections[..., right, :]
    return answer


def corrections(
    scores: Array,
    levels: Sequence[float],
    horizon: int,
    independent: Array,
    discrete: NDArray[np.bool_],
    ages: Array,
) -> Array:
    """Corrections of each quantile level, in the unit of the scores.

    Level by level the correction is the weighted conformal quantile of the signed scores
    (`conformal_quantiles`, "linear"): of all windows, weighted by recency, and of all steps,
    weighted by their distance from the step in octaves (steps twice as far count for 0.6).
    The score to come weighs as much as they do, `sum(w^2) / sum(w)`: then the M scores of weight
    w correct a level as `sum(w)^2 / sum(w^2)` scores of weight one would (Kish). Scores of one
    window vary together; how much is measured by the spread between windows of their means, or of
    their shares below the deciles .1 and .9 if that is less (a design effect), and the weight of
    the score to come is multiplied by it. What moves all levels alike, the correction of the
    median, is shrunk by the share of its square that its standard error explains (James and
    Stein), unless values are discrete, when a small move decides on which side of a value a
    quantile lies.

    Parameters
    ----------
    scores
        `[N, K, B, Q]` score `(value - quantile) / spread` of K windows and B steps; NaN = unknown.
    levels
        Q increasing levels, with .1, .5 and .9.
    horizon
        Steps ahead that corrections are wanted for, at most B.
    independent
        `[N]` number of windows, counted as if they did not overlap.
    discrete
        `[N]` whether the values are.
    ages
        `[K]` how many windows are later than each in its series.

    Returns
    -------
    ndarray
        `[N, S, Q]` at `centres(horizon)`; 0 for series without any score.
    """
    n_series, n_windows, n_steps, n_levels = scores.shape
    recency = RECENCY**ages
    flat = np.moveaxis(scores, 3, 1).reshape(n_series, n_levels, n_windows * n_steps)
    order, ordered = _sorted(flat)
    wanted = np.asarray(levels, dtype=np.float64)
    median = int(np.searchsorted(wanted, 0.5))
    steps = np.log2(np.arange(1, n_steps + 1))
    known = np.isfinite(scores[..., median])
    overlap = np.maximum(known.mean(axis=2).sum(axis=1) / np.maximum(independent, 1e-9), 1.0)
    apart = known.any(axis=2).sum(axis=1) / overlap
    answer = np.zeros((n_series, len(centres(horizon)), n_levels))
    for at, centre in enumerate(centres(horizon)):
        near = np.exp(-0.5 * ((steps - np.log2(centre)) / _OCTAVES) ** 2)
        weights = _weights(flat, (recency[:, None] * near).ravel()[None, None], order)
        design = _design_effect(scores, wanted, near)
        new = design * overlap * _typical(weights[:, median])
        found = np.stack(
            [
                _between(ordered[:, q], weights[:, q], wanted[q : q + 1], new)[:, 0]
                for q in range(n_levels)
            ],
            axis=-1,
        )
        kept = np.where(discrete, 1.0, _credible(scores[..., median], near, found, apart))
        answer[:, at] = found - (1 - kept)[:, None] * found[:, median : median + 1]
    return np.where(np.isfinite(answer), answer, 0.0)


def _typical(weights: Array) -> Array:
    """Mean `[N]` of the weights `[N, M]`, weighted by themselves; 0 without any."""
    total = weights.sum(axis=1)
    typical: Array = (weights**2).sum(axis=1) / np.where(total > 0, total, 1.0)
    return typical


def _window_means(values: Array, weights: Array) -> Array:
    """Means `[N, K]` over the known steps of `[N, K, B]`; NaN where none is known."""
    known = np.isfinite(values)
    total = (np.where(known, values, 0.0) * weights).sum(axis=2)
    amount = (known * weights).sum(axis=2)
    return np.where(amount > 0, total / np.where(amount > 0, amount, 1.0), np.nan)


def _variance(means: Array) -> Array:
    """Variance `[N]` of the known ones of K numbers; 0 for fewer than two."""
    known = np.isfinite(means)
    count = known.sum(axis=1)
    filled = np.where(known, means, 0.0)
    centred = np.where(known, means - (filled.sum(1) / np.maximum(count, 1))[:, None], 0.0)
    variance: Array = (centred**2).sum(axis=1) / np.maximum(count - 1, 1)
    return variance


def _scores_per_window(known: NDArray[np.bool_], near: Array) -> Array:
    """How many scores of equal weight those of a window are worth, `[N]`; at least 1.

    So that the variance of the mean of a window, were its scores independent, is on average over
    windows that of one score divided by it.
    """
    amount, square = ((known * w).sum(axis=2) for w in (near, near**2))
    some = amount > 0
    share = np.where(some, square / np.where(some, amount, 1.0) ** 2, 0.0).sum(axis=1)
    worth: Array = some.sum(axis=1) / np.where(share > 0, share, 1.0)
    return np.maximum(worth, 1.0)


def _design_effect(scores: Array, levels: Array, near: Array) -> Array:
    """How many scores of a window are worth one of another, `[N]`: from 1 to all there are.

    The smaller of two estimates, from shares below the deciles and from the scores themselves:
    where values tie, forecasts that move a little move many shares.
    """
    median = int(np.searchsorted(levels, 0.5))
    s = scores[..., median]
    flat = np.where(np.isfinite(s), s, np.nan).reshape(len(s), -1)
    most = _scores_per_window(np.isfinite(s), near)
    effect = np.zeros(len(s))
    for level in (0.1, 0.9):
        edge = conformal_quantiles(flat, [level], method="linear", new=0.0)[:, :, None]
        below = np.where(np.isfinite(s), (s <= edge).astype(np.float64), np.nan)
        effect += _variance(_window_means(below, near)) / (level * (1 - level)) * most / 2
    variance = _variance(s.reshape(len(s), -1))
    whole = _variance(_window_means(s, near)) / np.where(variance > 0, variance, 1.0) * most
    return np.clip(np.minimum(effect, whole), 1.0, most)


def _credible(scores: Array, near: Array, found: Array, apart: Array) -> Array:
    """Share `[N]` of the median's correction that is more than chance, of so many windows."""
    median = found[:, found.shape[1] // 2]
    error = _variance(_window_means(scores, near)) / np.maximum(apart, 1.0)
    square = np.maximum(np.where(np.isfinite(median), median, 0.0) ** 2, 1e-300)
    share: Array = (1 - error / square).clip(0.0, 1.0)
    return share
