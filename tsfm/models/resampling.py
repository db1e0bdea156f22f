"""The "best" mode: several views of a context, weighted by how each would have done lately.

A small network sees a bounded number of steps and knows some sampling rates better than others.
Averaging neighbouring steps shows it more of the past; interpolating shows it a short series at a
rate it knows; a shorter context drops a past that no longer matters. Which view helps is decided
for every series from its own past alone: each view forecasts the last stretches of the history,
and the views' forecasts are averaged with weights that fall with their pinball loss there.

Back-tests are most of the work, and a ranking needs less care than a forecast: the network reads
the series there without its mirror image, at half the cost. All views share its passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.models.batching import merged
from tsfm.models.quantiles import pinball
from tsfm.models.views import MENU, Menu, View, views_of

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM

Array = NDArray[np.float64]

_MARGIN = 0.03
"""Relative loss by which the plain view is favoured."""
_SMALLEST_WEIGHT = 0.03
"""Views with less weight are not worth a forecast."""
_AT_ONCE = 8_000_000
"""Numbers that the back-tests of some series answer with, at most."""


@dataclass(frozen=True)
class Trial:
    """How views are tried; the defaults are those of `mode="best"`.

    Parameters
    ----------
    menu
        Views beside the plain one.
    windows
        Stretches of the past that every view forecasts.
    mirrored
        Whether their forecasts are averaged with those of the mirror image, at twice the cost.
    sharpness
        How fast a view's weight falls with its relative loss.
    """

    menu: Menu = MENU
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
    size = max(1, _AT_ONCE // (trial.menu.size * trial.windows * horizon * model.n_levels))
    for begin in range(0, len(contexts), size):
        part = slice(begin, begin + size)
        complete = [bool(np.isfinite(x).all()) for x in contexts[part]]
        runner = _Runner(model, contexts[part], seasons[part], complete, batch_size, progress)
        answer[part] = _mixed(runner, horizon, trial)
    return answer


@dataclass(frozen=True)
class _Job:
    """Forecast `steps` steps of a series in a view, from `cut` steps before its end."""

    series: int
    view: View
    cut: int
    steps: int


def _mixed(runner: _Runner, horizon: int, trial: Trial) -> Array:
    """Weighted quantiles over views, [n, H, Q]."""
    longest = runner.model.max_context
    views: list[list[View]] = []
    for i, x in enumerate(runner.contexts):
        some = views_of(len(x), horizon, longest, trial.menu)
        # a view of nothing but a gap has no answer, and so no say
        views.append([v for v in some if runner.shown(_Job(i, v, 0, horizon)) is not None])
    finals: list[_Job] = []
    shares: list[float] = []
    for i, table in enumerate(_back_tests(runner, views, horizon, trial)):
        weights = view_weights(table, trial.sharpness)
        weights = np.where(weights >= _SMALLEST_WEIGHT, weights, 0)
        kept = np.flatnonzero(weights)
        finals += [_Job(i, views[i][v], 0, horizon) for v in kept]
        shares += (weights[kept] / weights.sum()).tolist()
    mixed = np.zeros((len(views), horizon, runner.model.n_levels))
    for numbers, answers in runner.run(finals, mirrored=True):
        for number, answer in zip(numbers, answers, strict=True):
            mixed[finals[number].series] += shares[number] * answer
    return mixed


def _back_tests(
    runner: _Runner, views: Sequence[Sequence[View]], horizon: int, trial: Trial
) -> list[Array]:
    """Losses of each series' views on the last stretches of its past, [V, windows] each."""
    tables = [np.full((len(some), trial.windows), np.nan) for some in views]
    jobs: list[_Job] = []
    places: list[tuple[int, int, int]] = []
    for i, (x, some) in enumerate(zip(runner.contexts, views, strict=True)):
        size = trial.window(len(x), horizon, runner.model.config.max_horizon)
        if not size or len(some) == 1:
            continue
        for k in range(trial.windows):
            jobs += [_Job(i, view, size * (k + 1), size) for view in some]
            places += [(i, v, k) for v in range(len(some))]
    for numbers, answers in runner.run(jobs, trial.mirrored):
        found = runner.losses([jobs[number] for number in numbers], answers)
        for number, loss in zip(numbers, found, strict=True):
            i, v, k = places[number]
            tables[i][v, k] = loss
    return tables


@dataclass(frozen=True)
class _Runner:
    """A model and the series that it is to forecast, in views; `complete` ones have no gaps."""

    model: TSFM
    contexts: Sequence[Array]
    seasons: Sequence[int]
    complete: Sequence[bool]
    batch_size: int | Literal["auto"]
    progress: bool

    def run(self, jobs: Sequence[_Job], mirrored: bool) -> Iterator[tuple[list[int], Array]]:
        """Answers [n, steps, Q] with the numbers of their jobs, of one view and length at a time.

        Jobs share a call of the model, whatever their view, where they want as many patches.
        Those whose view shows nothing but a gap have no answer.
        """
        for points, groups in self._calls(jobs, mirrored).items():
            shown = [
                (number, past)
                for group in groups.values()
                for number in group
                if (past := self.shown(jobs[number])) is not None
            ]
            if not shown:
                continue
            cycles = [jobs[n].view.season(self.seasons[jobs[n].series]) for n, _ in shown]
            found = self.model.quantiles(
                [past for _, past in shown],
                points,
                self.batch_size,
                self.progress,
                cycles,
                mirrored,
            )
            row = {number: i for i, (number, _) in enumerate(shown)}
            for (view, steps), group in groups.items():
                numbers = [number for number in group if number in row]
                if numbers:
                    rows = [row[number] for number in numbers]
                    yield numbers, view.back(found[rows], steps)

    def _calls(
        self, jobs: Sequence[_Job], mirrored: bool
    ) -> dict[int, dict[tuple[View, int], list[int]]]:
        """Numbers of the jobs by points to forecast, and then by view and steps."""
        config = self.model.config
        patch = config.tokenizer.patch_length
        spans = [-(-job.view.horizon(job.steps) // patch) for job in jobs]
        # a forecast is the beginning of any longer one: few jobs share a call with longer ones
        one_pass = -(-config.max_horizon // patch)
        short = [n for n, wanted in enumerate(spans) if wanted <= one_pass]
        for n, wanted in zip(short, merged([spans[n] for n in short], 1, mirrored), strict=True):
            spans[n] = wanted
        calls: dict[int, dict[tuple[View, int], list[int]]] = {}
        for number, (job, wanted) in enumerate(zip(jobs, spans, strict=True)):
            group = calls.setdefault(wanted, {})
            group.setdefault((job.view, job.steps), []).append(number)
        return {
            max(view.horizon(steps) for view, steps in group): group for group in calls.values()
        }

    def shown(self, job: _Job) -> Array | None:
        """What the view of a job shows; None where that is nothing but a gap."""
        x = self.contexts[job.series]
        past = job.view.show(x[: len(x) - job.cut], self.model.max_context)
        return past if self.complete[job.series] or np.isfinite(past).any() else None

    def losses(self, jobs: Sequence[_Job], answers: Array) -> Array:
        """Mean pinball loss of each answer over observed steps; NaN where there are none."""
        levels = np.array(self.model.config.head.quantile_levels)
        truth = np.stack([self.contexts[job.series][-job.cut :][: job.steps] for job in jobs])
        seen = np.isfinite(truth)
        error = np.where(seen, truth, 0)[..., None] - answers
        total = np.where(seen, pinball(error, levels).mean(-1), 0).sum(1)
        mean: Array = total / np.where(seen.any(1), seen.sum(1), np.nan)
        return mean


def view_weights(
    losses: Iterable[Sequence[float]] | Array, sharpness: float = TRIAL.sharpness
) -> Array:
    """Weights of the views from their back-test losses, the plain view first.

    Windows in which the plain view has no loss (nothing was observed there) are left out; views
    without a loss in one of the others get no weight. Without any window the plain view gets all.

    Parameters
    ----------
    losses
        One sequence of losses per view, one loss per window.
    sharpness
        How fast a weight falls with the relative loss.
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
    weights = np.exp(-sharpness * (excess - np.nanmin(excess)))
    weights = np.where(np.isfinite(excess), weights, 0)
    normalised: Array = weights / weights.sum()
    return normalised
