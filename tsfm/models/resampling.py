"""The "best" mode: several views of a context, weighted by how each would have done lately.

A small network sees a bounded number of steps and knows some sampling rates better than others.
Averaging neighbouring steps shows it more of the past; interpolating shows it a short series at a
rate it knows; a shorter context drops a past that no longer matters. Which view helps is decided
for every series from its own past alone: each view forecasts the last stretches of the history,
and the views' forecasts are averaged with weights that fall with their pinball loss there.

Back-tests are most of the work, and a ranking needs less care than a forecast: the network reads
the series there without its mirror image, at half the cost. So it does in the end for views with
little weight. All views share its passes, and series of one length are handled as one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from tsfm.models.jobs import Array, Block, Job, Runner
from tsfm.models.quantiles import pinball
from tsfm.models.views import MENUS, Menus, reach, views_of

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM

_MARGIN = 0.03
"""Relative loss by which the plain view is favoured."""
_SMALLEST_WEIGHT = 0.05
"""Views with less weight are not worth a forecast."""
_WORTH_A_MIRROR = 0.15
"""Views with less weight are not worth the forecast of their mirror image."""
_AT_ONCE = 8_000_000
"""Numbers that the back-tests of some series answer with, at most."""


@dataclass(frozen=True)
class Trial:
    """How views are tried; the defaults are those of `mode="best"`.

    Parameters
    ----------
    menus
        Views beside the plain one.
    windows
        Stretches of the past that every view forecasts.
    mirrored
        Whether their forecasts are averaged with those of the mirror image, at twice the cost.
    sharpness
        How fast a view's weight falls with its relative loss.
    """

    menus: Menus = MENUS
    windows: int = 4
    mirrored: bool = False
    sharpness: float = 8.0

    def window(self, length: int, horizon: int, longest: int) -> int:
        """Steps of a stretch: the horizon, unless that leaves too little history before them."""
        return min(horizon, length // (self.windows + 3), longest)


TRIAL = Trial()


def resampled_quantiles(
    model: TSFM,
    contexts: Sequence[Array],
    horizon: int,
    batch_size: int | Literal["auto"],
    progress: bool,
    seasons: Sequence[int],
    trial: Trial = TRIAL,
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
    trial
        Which views are tried, and how.
    """
    answer = np.zeros((len(contexts), horizon, model.n_levels))
    runner = Runner(model, batch_size, progress)
    size = max(1, _AT_ONCE // (trial.menus.size * trial.windows * horizon * model.n_levels))
    for begin in range(0, len(contexts), size):
        by_length: dict[int, list[int]] = {}
        for i in range(begin, min(begin + size, len(contexts))):
            by_length.setdefault(len(contexts[i]), []).append(i)
        blocks = [
            _block(numbers, contexts, seasons, horizon, model, trial)
            for numbers in by_length.values()
        ]
        _fill(answer, runner, blocks, trial)
    return answer


def _block(
    numbers: list[int],
    contexts: Sequence[Array],
    seasons: Sequence[int],
    horizon: int,
    model: TSFM,
    trial: Trial,
) -> Block:
    """The series with these numbers, which are equally long, and how they are tried."""
    length, longest = len(contexts[numbers[0]]), model.max_context
    window = trial.window(length, horizon, model.config.max_horizon)
    steps = reach(length, horizon, longest, trial.menus) + trial.windows * window
    return Block(
        np.array(numbers),
        np.stack([contexts[i][-steps:] for i in numbers]),
        [seasons[i] for i in numbers],
        views_of(length, horizon, longest, trial.menus),
        window,
    )


def _fill(answer: Array, runner: Runner, blocks: Sequence[Block], trial: Trial) -> None:
    """Write the weighted quantiles of the blocks into `answer` [N, H, Q], which holds zeros."""
    horizon, longest = answer.shape[1], runner.model.max_context
    tables = _back_tests(runner, blocks, trial)
    weights = [_without_the_smallest(view_weights(table, trial.sharpness)) for table in tables]
    for mirrored in (True, False):
        shares: dict[Job, Array] = {}
        for block, weight in zip(blocks, weights, strict=True):
            for view, share in zip(block.views, weight.T, strict=True):
                heavy = share >= _WORTH_A_MIRROR * view.upsample  # that many times the cost
                rows = np.flatnonzero((share > 0) & (heavy == mirrored))
                if len(rows):
                    shares[Job.of(block, view, 0, horizon, rows, longest)] = share[rows]
        for jobs, found in runner.run(shares, mirrored):
            numbers = np.concatenate([job.numbers for job in jobs])
            share = np.concatenate([shares[job] for job in jobs])
            answer[numbers] += share[:, None, None] * found


def _without_the_smallest(weights: Array) -> Array:
    """Weights [n, V] of which the smallest have become nothing."""
    least = np.minimum(_SMALLEST_WEIGHT, weights.max(-1, keepdims=True))
    kept = np.where(weights >= least, weights, 0)
    normalised: Array = kept / kept.sum(-1, keepdims=True)
    return normalised


def _back_tests(runner: Runner, blocks: Sequence[Block], trial: Trial) -> list[Array]:
    """Losses of the views of each block on the last stretches of its past, [n, V, windows]."""
    longest = runner.model.max_context
    levels = np.array(runner.model.config.head.quantile_levels)
    tables = [np.full((len(b.values), len(b.views), trial.windows), np.nan) for b in blocks]
    places: dict[Job, Array] = {}
    for block, table in zip(blocks, tables, strict=True):
        size = block.window
        if not size or len(block.views) == 1:
            continue
        for v, view in enumerate(block.views):
            # a view of nothing but a gap has no answer, and so no say
            rows = np.flatnonzero(np.isfinite(view.show(block.values, longest)).any(1))
            for k in range(trial.windows):
                job = Job.of(block, view, size * (k + 1), size, rows, longest)
                places[job] = table[:, v, k]
    for jobs, answers in runner.run(places, trial.mirrored):
        losses = _losses(np.concatenate([job.truth for job in jobs]), answers, levels)
        begin = 0
        for job in jobs:
            places[job][job.rows] = losses[begin : begin + len(job.rows)]
            begin += len(job.rows)
    return tables


def _losses(truth: Array, answers: Array, levels: Array) -> Array:
    """Mean pinball loss of each answer over observed steps; NaN where there are none."""
    seen = np.isfinite(truth)
    error = np.where(seen, truth, 0)[..., None] - answers
    total = np.where(seen, pinball(error, levels).mean(-1), 0).sum(1)
    mean: Array = total / np.where(seen.any(1), seen.sum(1), np.nan)
    return mean


def view_weights(losses: ArrayLike, sharpness: float = TRIAL.sharpness) -> Array:
    """Weights of the views from their back-test losses, the plain view first.

    Windows in which the plain view has no loss (nothing was observed there) are left out; views
    without a loss in one of the others get no weight. Without any window the plain view gets all.

    Parameters
    ----------
    losses
        [..., views, windows], NaN for none.
    sharpness
        How fast a weight falls with the relative loss.

    Returns
    -------
    ndarray
        [..., views], the sum of each series' weights is one.
    """
    windows: Array = np.asarray(losses, dtype=np.float64)
    usable = np.isfinite(windows[..., :1, :])
    count = usable.sum(-1)  # [..., 1]
    table = np.where(usable, windows, 0).sum(-1) / np.maximum(count, 1)
    with np.errstate(over="ignore"):
        excess = table / np.maximum(table[..., :1], np.finfo(float).tiny) - 1
    excess[..., 0] -= _MARGIN
    known = np.isfinite(excess)
    known[..., 1:] &= count > 0
    weights = np.exp(-sharpness * (excess - np.nanmin(excess, -1, keepdims=True)))
    weights = np.where(known, weights, 0)
    normalised: Array = weights / weights.sum(-1, keepdims=True)
    return normalised
