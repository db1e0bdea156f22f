"""The "best" mode: several views of a context, weighted by how each would have done lately.

A small network sees a bounded number of steps and knows some sampling rates better than others.
Averaging neighbouring steps shows it more of the past; interpolating shows it a short series at a
rate it knows; a shorter context drops a past that no longer matters. Which view helps is decided
for every series from its own past alone: each view forecasts the last stretches of the history,
and the views' forecasts are averaged with weights that fall with their pinball loss there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.models.quantiles import pinball

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM

Array = NDArray[np.float64]

_POOLINGS = (2, 3, 4, 6, 8, 12)
_SHORTEST_POOLED = 32
_CONTEXTS = (0.75, 0.5, 0.25, 0.125)
_SHORTEST_CONTEXT = 24
_LONGEST_UPSAMPLED = 256
_WINDOWS = 4
_SHARPNESS = 12.0
"""How fast a view's weight falls with its relative loss."""
_MARGIN = 0.03
"""Relative loss by which the plain view is favoured."""
_SMALLEST_WEIGHT = 0.03
"""Views with less weight are not worth a forecast."""


@dataclass(frozen=True)
class View:
    """One way of showing a context to the network.

    Parameters
    ----------
    pool
        Steps averaged into one.
    upsample
        Interpolated points per step.
    context
        Keep only this share of what the network could see.
    """

    pool: int = 1
    upsample: int = 1
    context: float = 1.0

    def show(self, x: Array, longest: int) -> Array:
        """The context as this view shows it: `longest` points at most, half that pooled."""
        if self.pool > 1:
            return pool_mean(x, self.pool)[-max(1, longest // 2) :]
        if self.upsample > 1:
            return interpolate(x, self.upsample)[-longest:]
        return x[-max(1, int(min(len(x), longest) * self.context)) :]

    def season(self, steps: int) -> int:
        """A season of so many steps in points of this view; 0 when it is no whole number."""
        return 0 if steps % self.pool else steps // self.pool * self.upsample

    def horizon(self, steps: int) -> int:
        """Points to forecast in this view to cover a number of steps."""
        return -(-steps // self.pool) * self.upsample

    def back(self, quantiles: Array, steps: int) -> Array:
        """Forecast points [h, Q] of this view as a forecast of the original steps [steps, Q]."""
        if self.upsample > 1:
            return quantiles[self.upsample - 1 :: self.upsample][:steps]
        if self.pool == 1:
            return quantiles[:steps]
        centre = (np.arange(steps) - (self.pool - 1) / 2) / self.pool
        centre = centre.clip(0, self.horizon(steps) - 1)
        left = np.floor(centre).astype(np.int64)
        right = np.minimum(left + 1, self.horizon(steps) - 1)
        share = (centre - left)[:, None]
        blended: Array = (1 - share) * quantiles[left] + share * quantiles[right]
        return blended


PLAIN = View()


def views_of(length: int, horizon: int, longest: int) -> list[View]:
    """Views worth trying for a context of `length` steps, the plain one first.

    Parameters
    ----------
    length, horizon
        Steps of history and of forecast.
    longest
        Steps the network can see.
    """
    views = [PLAIN]
    views += [View(pool=k) for k in _POOLINGS if length >= _SHORTEST_POOLED * k and horizon >= k]
    if length <= _LONGEST_UPSAMPLED:
        views += [View(upsample=u) for u in (2, 4) if length * u <= longest]
    views += [View(context=c) for c in _CONTEXTS if min(length, longest) * c >= _SHORTEST_CONTEXT]
    return views


def resampled_quantiles(
    model: TSFM,
    contexts: Sequence[Array],
    horizon: int,
    batch_size: int | Literal["auto"],
    progress: bool,
    seasons: Sequence[int],
) -> Array:
    """Weighted quantiles over views, [N, H, Q] at the trained levels.

    Parameters
    ----------
    model
        Any model with `quantiles`.
    contexts
        Histories, NaN = missing.
    horizon
        Steps to forecast.
    batch_size, progress
        As in `TSFM.forecast`.
    seasons
        Season length of each series in steps, 0 where none is known.
    """
    longest = model.max_context
    views = [views_of(len(x), horizon, longest) for x in contexts]
    back_tests = []
    for i, (x, some) in enumerate(zip(contexts, views, strict=True)):
        size = min(horizon, len(x) // (_WINDOWS + 3), model.config.max_horizon)
        cuts = range(size, size * _WINDOWS + 1, size) if size else ()
        back_tests += [_Job(i, view, cut, size) for view in some for cut in cuts]
    levels = np.array(model.config.head.quantile_levels)
    losses: dict[tuple[int, View], list[float]] = {}
    answers = _run(model, contexts, back_tests, seasons, batch_size, progress)
    for job, answer in zip(back_tests, answers, strict=True):
        truth = contexts[job.series][-job.cut :][: job.steps]
        losses.setdefault((job.series, job.view), []).append(_mean_loss(truth, answer, levels))
    shares: dict[_Job, float] = {}
    for i, (x, some) in enumerate(zip(contexts, views, strict=True)):
        # a view of nothing but a gap has no answer, and so no say
        usable = [view for view in some if np.isfinite(view.show(x, longest)).any()]
        weights = view_weights([losses.get((i, view), [np.nan]) for view in usable])
        weights = np.where(weights >= _SMALLEST_WEIGHT, weights, 0)
        weights /= weights.sum()
        shares |= {_Job(i, v, 0, horizon): w for v, w in zip(usable, weights, strict=True) if w}
    mixed = np.zeros((len(contexts), horizon, len(levels)))
    finals = _run(model, contexts, list(shares), seasons, batch_size, progress)
    for (job, share), answer in zip(shares.items(), finals, strict=True):
        mixed[job.series] += share * answer
    return mixed


@dataclass(frozen=True)
class _Job:
    """Forecast `steps` steps of a series in a view, from `cut` steps before its end."""

    series: int
    view: View
    cut: int
    steps: int


def _run(
    model: TSFM,
    contexts: Sequence[Array],
    jobs: list[_Job],
    seasons: Sequence[int],
    batch_size: int | Literal["auto"],
    progress: bool,
) -> list[Array]:
    """Answers [steps, Q] of all jobs, batched over series by view."""
    answers: list[Array] = [np.empty(0)] * len(jobs)
    by_view: dict[View, list[int]] = {}
    for index, job in enumerate(jobs):
        by_view.setdefault(job.view, []).append(index)
    for view, members in by_view.items():
        shown: list[Array] = []
        kept: list[int] = []
        for index in members:
            job = jobs[index]
            x = contexts[job.series]
            past = view.show(x[: len(x) - job.cut], model.max_context)
            if np.isfinite(past).any():
                shown.append(past)
                kept.append(index)
            else:
                answers[index] = np.full((job.steps, model.n_levels), np.nan)
        if not shown:
            continue
        steps = max(jobs[index].steps for index in kept)
        cycles = [view.season(seasons[jobs[index].series]) for index in kept]
        quantiles = model.quantiles(shown, view.horizon(steps), batch_size, progress, cycles)
        for index, one in zip(kept, quantiles, strict=True):
            answers[index] = view.back(one, jobs[index].steps)
    return answers


def view_weights(losses: Iterable[Sequence[float]]) -> Array:
    """Weights of the views from their back-test losses, the plain view first.

    Windows in which the plain view has no loss (nothing was observed there) are left out; views
    without a loss in one of the others get no weight. Without any window the plain view gets all.

    Parameters
    ----------
    losses
        One sequence of losses per view, one loss per window.
    """
    windows = np.array([list(one) for one in losses])
    usable = np.isfinite(windows[0])
    if not usable.any():
        plain: Array = np.eye(len(windows))[0]
        return plain
    table: Array = windows[:, usable].mean(1)
    with np.errstate(over="ignore"):
        excess = table / max(table[0], np.finfo(float).tiny) - 1
    excess[0] -= _MARGIN
    weights = np.exp(-_SHARPNESS * (excess - np.nanmin(excess)))
    weights = np.where(np.isfinite(excess), weights, 0)
    normalised: Array = weights / weights.sum()
    return normalised


def reach(length: int, horizon: int, longest: int) -> int:
    """Steps of a history of `length` that its views can draw on when one pass sees `longest`."""
    pools = [view.pool for view in views_of(length, horizon, longest)]
    return min(length, max(longest, max(pools) * (longest // 2)))


def pool_mean(x: Array, k: int) -> Array:
    """Means of blocks of `k` steps ending at the last one; NaN where a block has no value."""
    usable = x[len(x) % k :].reshape(-1, k)
    present = np.isfinite(usable)
    count = present.sum(1)
    total = np.where(present, usable, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interpolate(x: Array, u: int) -> Array:
    """`u` points per step, linear between neighbours; a gap stays a gap."""
    position: Array = np.arange(1 - u, (len(x) - 1) * u + 1) / u
    position = position.clip(0, None)
    left = np.floor(position).astype(np.int64)
    right = np.minimum(left + 1, len(x) - 1)
    share = position - left
    blended: Array = np.where(share == 0, x[left], (1 - share) * x[left] + share * x[right])
    return blended


def _mean_loss(truth: Array, quantiles: Array, levels: Array) -> float:
    """Mean pinball loss over observed steps; NaN when there are none."""
    seen = np.isfinite(truth)
    if not seen.any():
        return float("nan")
    error = truth[seen, None] - quantiles[: len(truth)][seen]
    return float(pinball(error, levels).mean())
