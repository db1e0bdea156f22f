"""Rows of many series in one array, and what can be said of all series at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsfm.frames import calendar as cal
from tsfm.frames.calendar import Bool, Int64
from tsfm.frames.timeaxis import TimeAxis


@dataclass(frozen=True)
class Runs:
    """Sorted distinct rows, a run per item: `ticks` `[rows]`, `starts` `[items + 1]`."""

    ticks: Int64
    starts: Int64

    @property
    def lengths(self) -> Int64:
        """Rows of each item."""
        return np.diff(self.starts)

    @property
    def item(self) -> Int64:
        """`[rows]` item of each row."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def take(self, items: Int64) -> Runs:
        """The runs of some items, given in ascending order."""
        if len(items) == len(self.starts) - 1:  # items are in order: all of them
            return self
        lengths = self.lengths[items]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.starts[items] - starts[:-1], lengths) + np.arange(starts[-1])
        return Runs(self.ticks[rows], starts)


def local(runs: Runs, axis: TimeAxis, wall: Bool) -> Runs:
    """The runs with the ticks of some items moved to the local clock.

    Where summer time skips the time of day of a series (midnight, in Chile), the row stands at the
    first local time that exists; it is put back to the time of day that the series keeps.
    """
    if axis.tz is None or not wall.any():
        return runs
    rows = np.repeat(wall, runs.lengths)
    ticks = runs.ticks.copy()
    ticks[rows] = axis.to_wall(runs.ticks[rows])
    time = ticks % cal.ticks_per_day(axis.unit)
    usual = np.repeat(np.minimum.reduceat(time, runs.starts[:-1]), runs.lengths)
    late = np.flatnonzero(rows & (time != usual))
    if len(late):
        skipped = ticks[late] - time[late] + usual[late]
        put_back = axis.to_wall(axis.from_wall(skipped)) == ticks[late]
        ticks[late[put_back]] = skipped[put_back]
    return Runs(ticks, runs.starts)


def modal_steps(runs: Runs) -> tuple[Int64, Int64]:
    """Smallest and most common gap of each run (all runs have two rows or more)."""
    gaps, starts = gaps_of(runs)
    low = np.minimum.reduceat(gaps, starts)
    mode = low.copy()
    odd = low != np.maximum.reduceat(gaps, starts)
    if odd.any():
        member = np.repeat(np.arange(len(starts)), runs.lengths - 1)
        pick = odd[member]
        member, gaps = member[pick], gaps[pick]
        order = np.lexsort((gaps, member))
        member, gaps = member[order], gaps[order]
        edge = np.flatnonzero((np.diff(member) != 0) | (np.diff(gaps) != 0)) + 1
        first = np.concatenate([[0], edge])
        count = np.diff(np.concatenate([first, [len(gaps)]]))
        member, gaps = member[first], gaps[first]
        order = np.lexsort((gaps, -count, member))
        member, gaps = member[order], gaps[order]
        best = np.concatenate([[True], np.diff(member) != 0])
        mode[member[best]] = gaps[best]
    return low, mode


def gaps_of(runs: Runs) -> tuple[Int64, Int64]:
    """Gaps within the runs, and where each run's gaps start."""
    gaps = np.diff(runs.ticks)
    inside = np.ones(len(gaps), dtype=bool)
    inside[runs.starts[1:-1] - 1] = False
    return gaps[inside], runs.starts[:-1] - np.arange(len(runs.starts) - 1)
