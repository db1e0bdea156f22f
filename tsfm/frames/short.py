"""Frequencies of series too short to show their own: the panel around them decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsfm.frames.anchor import anchored
from tsfm.frames.calendar import Int64
from tsfm.frames.errors import DataError, FrequencyWarning, some, warn, word
from tsfm.frames.frequency import MONTHLY, Frequency
from tsfm.frames.read import Records, plain
from tsfm.frames.runs import Runs, local
from tsfm.frames.timeaxis import TimeAxis

# Series with fewer rows than this may show the wrong frequency and are compared with the others.
_FEW_ROWS = 8


def agree(frequencies: list[Frequency], runs: Runs, axis: TimeAxis) -> list[Frequency]:
    """Series of few rows take the frequency that most longer ones share, if their rows fill it.

    Two rows, a Friday and a Monday, are a step of three days on their own, but business days
    beside others of that kind.
    """
    few = runs.lengths < _FEW_ROWS
    families = [_family(freq) for freq, short in zip(frequencies, few, strict=True) if not short]
    if not few.any() or not families:
        return frequencies
    common = max(dict.fromkeys(families), key=families.count)
    if 2 * families.count(common) <= len(families):
        return frequencies
    shared = next(
        f for f, short in zip(frequencies, few, strict=True) if not short and _family(f) == common
    )
    result = list(frequencies)
    doubtful = [i for i in np.flatnonzero(few).tolist() if _family(frequencies[i]) != common]
    for i in doubtful:
        part = runs.take(np.asarray([i]))
        candidate = anchored(part, axis, shared)[0]
        ticks = local(part, axis, np.asarray([candidate.wall])).ticks
        steps, on_grid = candidate.steps_between(np.full_like(ticks, ticks[0]), ticks)
        if on_grid.all() and steps[-1] + 1 <= 2 * len(ticks):
            result[i] = candidate
    return result


def for_short(
    found: list[Frequency | None], short: Int64, records: Records, default: Frequency | None
) -> Frequency:
    """The frequency assumed for series of one row."""
    known = [freq for freq in found if freq is not None]
    if not known:
        kept = None if default is None else _for_axis(default, records.axis)
        if kept is not None:
            return kept
        if records.axis.kind != "datetime":
            return Frequency("index", records.axis.multiple, unit=records.axis.unit)
        raise DataError(
            f"Series {records.label(int(short[0]))} has a single timestamp, so its frequency "
            "cannot be inferred, and "
            "no other series shows one. Pass freq=, e.g. freq='h', 'D' or 'ME'."
        )
    families = [_family(freq) for freq in known]
    best = max(dict.fromkeys(families), key=families.count)
    chosen = known[families.index(best)]
    if len(set(families)) > 1:
        names = [plain(records.ids[int(item)]) for item in short]
        warn(
            f"Series {some(names)} {word(names, 'has', 'have')} a single timestamp; assumed "
            f"{chosen.alias!r}, the frequency of {families.count(best)} of the {len(known)} other "
            "series. Pass freq= to choose.",
            FrequencyWarning,
        )
    return chosen


def _for_axis(freq: Frequency, axis: TimeAxis) -> Frequency | None:
    """A frequency learnt from other data, if it makes sense on this axis."""
    if axis.kind != "datetime":
        return freq if freq.kind == "index" and freq.unit == axis.unit else None
    if freq.kind == "index":
        return None
    moved = freq.in_unit(axis.unit)
    return moved if moved is None or axis.tz is not None else replace(moved, wall=False)


def _family(freq: Frequency) -> tuple[str, int]:
    return ("monthly" if freq.kind in MONTHLY else freq.kind, freq.step)
