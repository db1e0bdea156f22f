"""From anomalous steps to segments: with the whole series in view, or as steps come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

_NEVER = 2**62


def segments_of(flags: Bool, min_segment: int = 1, merge_gap: int = 0) -> Int64:
    """Number of the segment of each step, -1 outside of all.

    Runs of anomalous steps with at most `merge_gap` steps between them are one segment, which the
    steps between belong to as well; segments of fewer than `min_segment` steps are dropped.

    Parameters
    ----------
    flags
        [L] whether a step is anomalous.

    Examples
    --------
    >>> flags = np.array([1, 0, 1, 0, 0, 0, 1], dtype=bool)
    >>> segments_of(flags).tolist()
    [0, -1, 1, -1, -1, -1, 2]
    >>> segments_of(flags, min_segment=2, merge_gap=1).tolist()
    [0, 0, 0, -1, -1, -1, -1]
    """
    numbers = np.full(len(flags), -1, dtype=np.int64)
    marked = np.flatnonzero(flags)
    if not len(marked):
        return numbers
    breaks = np.flatnonzero(np.diff(marked) > merge_gap + 1)
    starts = marked[np.concatenate([[0], breaks + 1])]
    ends = marked[np.concatenate([breaks, [len(marked) - 1]])]
    long = ends - starts + 1 >= min_segment
    for number, (start, end) in enumerate(zip(starts[long], ends[long], strict=True)):
        numbers[start : end + 1] = number
    return numbers


def members(numbers: Int64) -> list[Int64]:
    """The steps of each segment, in order, from the numbers of the steps.

    Examples
    --------
    >>> [steps.tolist() for steps in members(np.array([-1, 4, 4, -1, 5]))]
    [[1, 2], [4]]
    """
    marked = np.flatnonzero(numbers >= 0)
    if not len(marked):
        return []
    return np.split(marked, np.flatnonzero(np.diff(numbers[marked])) + 1)


@dataclass
class Alarm:
    """The same without what is to come, and without going back on what was said.

    A run of anomalous steps belongs to a segment from its `min_segment`-th step on; steps between
    runs never do, but a run that begins at most `merge_gap` steps after the last one goes on with
    its segment.

    Parameters
    ----------
    run
        Anomalous steps up to now without a break.
    quiet
        Steps since the last one of a segment.
    number
        Of the latest segment; -1 before the first.

    Examples
    --------
    >>> alarm = Alarm()
    >>> alarm.advance(np.array([True, True, False]), 2, 0).tolist()
    [-1, 0, -1]
    >>> alarm.advance(np.array([True, True, True]), 2, 2).tolist()
    [-1, 0, 0]
    """

    run: int = 0
    quiet: int = _NEVER
    number: int = -1

    def advance(self, flags: Bool, min_segment: int = 1, merge_gap: int = 0) -> Int64:
        """Number of the segment of each further step, -1 outside of all."""
        numbers = np.full(len(flags), -1, dtype=np.int64)
        for step, flag in enumerate(flags.tolist()):
            self.run = self.run + 1 if flag else 0
            if self.run < min_segment or not flag:
                self.quiet = min(self.quiet + 1, _NEVER)
                continue
            # the first steps of a run count as quiet until it is long enough
            if self.quiet - min(self.quiet, min_segment - 1) > merge_gap:
                self.number += 1
            self.quiet = 0
            numbers[step] = self.number
        return numbers
