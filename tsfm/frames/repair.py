"""Rows as they came -> regular grids: sort, resolve duplicates, insert what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsfm.frames.calendar import Bool, Int64
from tsfm.frames.duplicates import without_duplicates
from tsfm.frames.errors import DataError, GapWarning, warn
from tsfm.frames.frequency import Frequency
from tsfm.frames.infer import infer
from tsfm.frames.read import Float64, Records
from tsfm.frames.runs import Runs, local

MAX_INSERTED = (
    100  # times the rows of a series: beyond this a timestamp is more likely wrong than missing
)
FREE_INSERTED = 10_000


@dataclass(frozen=True)
class Grid:
    """Regular series, one after another.

    Parameters
    ----------
    flats
        Per target column the values `[total]`, NaN where a row was missing.
    offsets
        `[items + 1]` where each item begins.
    start, last
        `[items]` first and last tick on the clock of the item's frequency.
    frequencies
        `[items]`.
    """

    flats: tuple[Float64, ...]
    offsets: Int64
    start: Int64
    last: Int64
    frequencies: list[Frequency]


def regularise(
    records: Records,
    given: Frequency | None,
    default: Frequency | None,
    on_gaps: str,
    on_duplicates: str,
) -> Grid:
    """Puts every item on the regular grid of its frequency.

    Raises
    ------
    DataError
        Duplicates or gaps that are to be refused, rows off the grid, or so many missing rows that
        a timestamp must be wrong.
    """
    codes, ticks, targets = _sorted(records)
    codes, ticks, targets = without_duplicates(codes, ticks, targets, records, on_duplicates)
    n_items = int(codes[-1]) + 1
    starts = np.searchsorted(codes, np.arange(n_items + 1))
    runs = Runs(ticks, starts)
    frequencies = infer(runs, records, given, default)
    runs = local(runs, records.axis, np.asarray([f.wall for f in frequencies]))
    steps, first = _steps(runs, frequencies, records)
    lengths = steps[starts[1:] - 1] + 1
    _check_gaps(lengths, runs, records, on_gaps)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    last = _advance(frequencies, first, lengths - 1)
    total = int(offsets[-1])
    if total == len(ticks):
        return Grid(tuple(values.copy() for values in targets), offsets, first, last, frequencies)
    place = steps + np.repeat(offsets[:-1], runs.lengths)
    flats = []
    for values in targets:
        flat = np.full(total, np.nan)
        flat[place] = values
        flats.append(flat)
    return Grid(tuple(flats), offsets, first, last, frequencies)


def _sorted(records: Records) -> tuple[Int64, Int64, tuple[Float64, ...]]:
    """Rows by item, then time; rows at one time keep their order."""
    codes, ticks = records.codes, records.ticks
    same = codes[1:] == codes[:-1]
    if bool(np.all((codes[1:] > codes[:-1]) | (same & (ticks[1:] >= ticks[:-1])))):
        return codes, ticks, records.targets
    order = _order(codes, ticks)
    return codes[order], ticks[order], tuple(values[order] for values in records.targets)


def _order(codes: Int64, ticks: Int64) -> Int64:
    """Stable order by code, then tick: a radix sort on 16-bit digits."""
    low, high = int(ticks.min()), int(ticks.max())
    if high - low >= 2**62:
        return np.lexsort((ticks, codes))
    offset = ticks - low
    offset //= max(int(np.gcd.reduce(offset)), 1)
    order = np.arange(len(codes))
    for key in (offset, codes):
        largest = int(key.max())
        for shift in range(0, max(largest.bit_length(), 1), 16):
            digit = ((key >> shift) & 0xFFFF).astype(np.uint16)
            order = order[np.argsort(digit[order], kind="stable")]
    return order


def _steps(runs: Runs, frequencies: list[Frequency], records: Records) -> tuple[Int64, Int64]:
    """Position of each row on the grid of its item, and the grid's first tick `[items]`."""
    first = runs.ticks[runs.starts[:-1]]
    steps = np.empty(len(runs.ticks), dtype=np.int64)
    for freq, items in groups(frequencies):
        everything = len(items) == len(frequencies)
        part = runs if everything else runs.take(items)
        origin = np.repeat(first[items], part.lengths)
        found, on_grid = freq.steps_between(origin, part.ticks)
        if not on_grid.all():
            _refuse_off_grid(freq, part, on_grid, items, records)
        if everything:
            return found, first
        rows = np.repeat(runs.starts[items] - part.starts[:-1], part.lengths) + np.arange(
            len(part.ticks)
        )
        steps[rows] = found
    return steps, first


def _refuse_off_grid(
    freq: Frequency, part: Runs, on_grid: Bool, items: Int64, records: Records
) -> None:
    row = int((~on_grid).argmax())
    item = int(part.item[row])
    count = int(np.sum(part.item[~on_grid] == item))
    tick = part.ticks[row : row + 1]
    if freq.wall and records.axis.tz is not None:
        tick = records.axis.from_wall(tick)
    remedy = "Choose another freq=."
    if records.axis.kind == "datetime":
        alias = freq.alias if " " not in freq.alias else "MS"
        remedy = f"Resample first, e.g. {records.resample_hint(alias)}, or choose another freq=."
    raise DataError(
        f"Series {records.label(int(items[item]))}: {count} of {int(part.lengths[item])} "
        f"timestamps are not on its {freq.alias!r} grid, the first is "
        f"{records.axis.show(int(tick[0]))}. {remedy}"
    )


def _advance(frequencies: list[Frequency], origin: Int64, steps: Int64) -> Int64:
    result = np.empty_like(origin)
    for freq, items in groups(frequencies):
        result[items] = freq.advance(origin[items], steps[items])
    return result


def groups(frequencies: list[Frequency]) -> list[tuple[Frequency, Int64]]:
    """Items of each distinct frequency."""
    members: dict[Frequency, list[int]] = {}
    for i, freq in enumerate(frequencies):
        members.setdefault(freq, []).append(i)
    return [(freq, np.asarray(items, dtype=np.int64)) for freq, items in members.items()]


def _check_gaps(lengths: Int64, runs: Runs, records: Records, on_gaps: str) -> None:
    inserted = lengths - runs.lengths
    total = int(inserted.sum())
    if not total:
        return
    worst = int(inserted.argmax())
    label = records.label(worst)
    share = f"{int((inserted > 0).sum())} of {len(lengths)} series"
    if on_gaps == "raise":
        raise DataError(
            f"{total} missing row(s) in {share}, most in series {label} "
            f"({int(inserted[worst])}). Add these rows, or pass "
            "on_gaps='insert' to treat them as missing values."
        )
    absurd = np.flatnonzero(inserted > MAX_INSERTED * runs.lengths + FREE_INSERTED)
    if len(absurd):
        item = int(absurd[0])
        ticks = runs.ticks[runs.starts[item] : runs.starts[item + 1]]
        at = int(np.diff(ticks).argmax())
        raise DataError(
            f"Series {records.label(item)} has {len(ticks)} rows, but {int(inserted[item])} more "
            "would have to be inserted "
            f"to make it regular. Its longest gap follows {records.axis.show(int(ticks[at]))}. "
            "Check that timestamp, or "
            "pass a coarser freq=."
        )
    warn(
        f"Inserted {total} missing row(s) as missing values in {share} (most in series {label}: "
        f"{int(inserted[worst])}). Pass on_gaps='raise' to refuse gaps.",
        GapWarning,
    )
