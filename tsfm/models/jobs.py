"""Forecasts of many series in many views, in few calls of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.models.batching import merged
from tsfm.models.views import View

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Kind = tuple[View, int]
"""View and steps of a job."""


@dataclass(frozen=True)
class Block:
    """Series of one length, which are handled as one array.

    Parameters
    ----------
    numbers
        [n] which of the caller's series they are.
    values
        [n, L] the ends of their histories.
    seasons
        Season length of each in steps, 0 where none is known.
    views
        Views worth trying, the plain one first.
    window
        Steps of a stretch that the views are tried on.
    """

    numbers: Counts
    values: Array
    seasons: list[int]
    views: list[View]
    window: int


@dataclass(frozen=True, eq=False)
class Job:
    """Forecast `steps` steps of some series of a block in a view, from `cut` before their end.

    Parameters
    ----------
    block, view, cut, steps
        As above.
    rows
        [n] which series of the block.
    past
        [n, points] what the view shows of them.
    """

    block: Block
    view: View
    cut: int
    steps: int
    rows: Counts
    past: Array

    @classmethod
    def of(cls, block: Block, view: View, cut: int, steps: int, rows: Counts, longest: int) -> Job:
        """The job without rows of which the view, of `longest` points, shows nothing but a gap."""
        past = view.show(block.values[rows, : block.values.shape[1] - cut], longest)
        seen = np.isfinite(past).any(1)
        return cls(block, view, cut, steps, rows[seen], past[seen])

    @property
    def seasons(self) -> list[int]:
        """Of the rows, in points of the view."""
        return [self.view.season(self.block.seasons[row]) for row in self.rows]

    @property
    def numbers(self) -> Counts:
        """[n] which of the caller's series they are."""
        return self.block.numbers[self.rows]

    @property
    def truth(self) -> Array:
        """[n, steps] what followed."""
        return self.block.values[self.rows, -self.cut :][:, : self.steps]


@dataclass(frozen=True)
class Runner:
    """A model that does jobs.

    Parameters
    ----------
    model
        Any model with `quantiles`.
    batch_size, progress
        As in `TSFM.forecast`.
    """

    model: TSFM
    batch_size: int | Literal["auto"]
    progress: bool

    def run(self, jobs: Iterable[Job], mirrored: bool) -> Iterator[tuple[list[Job], Array]]:
        """Jobs of one view and as many steps, and the answers to them all [n, steps, Q].

        Jobs share a call of the model, whatever their view, where they want as many patches.

        Parameters
        ----------
        jobs
            What is to be done, in any order.
        mirrored
            Whether forecasts are averaged with those of the mirror image, at twice the cost.
        """
        for call in self._calls(jobs, mirrored):
            together = [job for group in call.values() for job in group]
            found = self.model.quantiles(
                [past for job in together for past in job.past],
                max(view.horizon(steps) for view, steps in call),
                self.batch_size,
                self.progress,
                [season for job in together for season in job.seasons],
                mirrored,
            )
            begin = 0
            for (view, steps), group in call.items():
                end = begin + sum(len(job.rows) for job in group)
                yield group, view.back(found[begin:end], steps)
                begin = end

    def _calls(self, jobs: Iterable[Job], mirrored: bool) -> Iterable[dict[Kind, list[Job]]]:
        """The jobs of each call, those of one kind together."""
        config = self.model.config
        patch = config.tokenizer.patch_length
        groups: dict[Kind, list[Job]] = {}
        for job in jobs:
            if len(job.rows):
                groups.setdefault((job.view, job.steps), []).append(job)
        spans = {(view, steps): -(-view.horizon(steps) // patch) for view, steps in groups}
        # a forecast is the beginning of any longer one: few rows share a call with longer ones
        one_pass = -(-config.max_horizon // patch)
        rows: Counter[int] = Counter()
        for kind, group in groups.items():
            if spans[kind] <= one_pass:
                rows[spans[kind]] += sum(len(job.rows) for job in group)
        final = merged(rows, 1, mirrored)
        calls: dict[int, dict[Kind, list[Job]]] = {}
        for kind, group in groups.items():
            calls.setdefault(final.get(spans[kind], spans[kind]), {})[kind] = group
        return calls.values()
