"""Frequency inference: the step of every series of a panel at once.

The step is the most common gap between a series' consecutive rows (the smallest of equally common
ones), so gaps do not disturb it. Gaps of 28 days and more are read on the calendar (months,
quarters, years, on a day of the month, the month end or the first or last weekday); daily rows
that skip every weekend are business days. In a time zone, steps below a day are counted in UTC,
days and longer on the local clock.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames import calendar as cal
from tsfm.frames.anchor import anchored, month_anchor
from tsfm.frames.calendar import Bool, Int64
from tsfm.frames.errors import DataError
from tsfm.frames.frequency import KINDS, Frequency, Kind, parse_frequency
from tsfm.frames.read import Records
from tsfm.frames.runs import Runs, gaps_of, local, modal_steps
from tsfm.frames.short import agree, for_short
from tsfm.frames.timeaxis import TimeAxis

Freq = str | int | pd.offsets.BaseOffset | None
"""A frequency as users write it."""

# Irregular rows go on their finest common grid if that has at most this many times the rows.
_MAX_FILL = 4

_USUAL_STEPS = (
    ("s", 1),
    ("min", 60),
    ("15min", 900),
    ("h", 3_600),
    ("D", cal.SECONDS_PER_DAY),
    ("W", 7 * cal.SECONDS_PER_DAY),
    ("MS", 30 * cal.SECONDS_PER_DAY),
)


def given_frequency(freq: Freq, axis: TimeAxis) -> Frequency | None:
    """The caller's `freq` for this time axis, `None` when it is to be inferred.

    Raises
    ------
    ValueError
        The frequency is unknown or does not fit the axis.
    """
    if freq is None:
        return None
    if axis.kind == "integer":
        if isinstance(freq, bool) or not isinstance(freq, int | np.integer) or freq < 1:
            raise ValueError(
                f"freq={freq!r}: the time column holds integers, so freq must be a positive "
                "integer."
            )
        return Frequency("index", int(freq))
    if not isinstance(freq, str | pd.offsets.BaseOffset):
        raise ValueError(
            f"freq={freq!r} must be a string such as 'h', 'D' or 'ME', or a pandas offset."
        )
    if axis.kind == "datetime":
        parsed = parse_frequency(freq, axis.unit)
        return parsed if axis.tz is not None else replace(parsed, wall=False)
    wanted, base = parse_frequency(freq, "ns"), parse_frequency(axis.unit, "ns")
    if wanted.kind != base.kind or wanted.step % base.step:
        raise ValueError(
            f"freq={freq!r} contradicts the Periods of the time column ({axis.dtype})."
        )
    return Frequency("index", wanted.step // base.step, unit=axis.unit)


def infer(
    runs: Runs, records: Records, given: Frequency | None, default: Frequency | None
) -> list[Frequency]:
    """Frequency of every item.

    Parameters
    ----------
    runs
        Sorted distinct ticks (UTC where there is a zone).
    records
        For names and the time axis.
    given
        The caller's frequency; holds for every item.
    default
        Frequency for a series too short to show its own when the panel has no other (that of
        `fit`).

    Raises
    ------
    DataError
        An item has one row and nothing tells its frequency, or its rows fit no grid.
    """
    axis = records.axis
    items = np.arange(len(runs.starts) - 1)
    if given is not None:
        return anchored(runs, axis, given)
    short = runs.lengths == 1
    found: list[Frequency | None] = [None] * len(items)
    if not short.all():
        seen = items[~short]
        part = runs.take(seen)
        inferred = agree(_infer_long(part, seen, records), part, axis)
        for item, freq in zip(seen, inferred, strict=True):
            found[int(item)] = freq
    if short.any():
        frequency = for_short(found, items[short], records, default)
        for item, freq in zip(
            items[short], anchored(runs.take(items[short]), axis, frequency), strict=True
        ):
            found[int(item)] = freq
    return [freq for freq in found if freq is not None]


def _infer_long(runs: Runs, items: Int64, records: Records) -> list[Frequency]:
    axis = records.axis
    low, step = modal_steps(runs)
    n = len(items)
    kind, anchor, wall = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, bool)
    if axis.kind != "datetime":
        kind[:] = KINDS.index("index")
        step = _regular_steps(runs, step, items, records)
        unit = axis.unit
        return _intern(kind, step, anchor, wall, unit)
    day = cal.ticks_per_day(axis.unit)
    if axis.tz is not None:
        wall = _on_local_clock(runs, axis, step >= 23 * day // 24)
        if wall.any():
            runs = local(runs, axis, wall)
            low, step = modal_steps(runs)
    monthly = np.flatnonzero(low >= 28 * day)
    if len(monthly):
        some_runs = runs.take(monthly)
        found, day_of = month_anchor(some_runs, axis.unit)
        yes = found >= 0
        kind[monthly[yes]] = found[yes]
        anchor[monthly[yes]] = day_of[yes]
        months = Runs(cal.month_of(some_runs.ticks // day), some_runs.starts)
        step[monthly[yes]] = modal_steps(months)[1][yes]
    daily = np.flatnonzero(step == day)
    if len(daily):
        business = daily[_skips_weekends(runs.take(daily), day)]
        kind[business] = KINDS.index("bday")
        step[business] = 1
    fixed = np.flatnonzero(kind == KINDS.index("tick"))
    step[fixed] = _regular_steps(runs.take(fixed), step[fixed], items[fixed], records, wall[fixed])
    return _intern(kind, step, anchor, wall, axis.unit)


def _intern(kind: Int64, step: Int64, anchor: Int64, wall: Bool, unit: str) -> list[Frequency]:
    table, member = np.unique(
        np.stack([kind, step, anchor, wall.astype(np.int64)]), axis=1, return_inverse=True
    )
    made = [Frequency(KINDS[k], int(s), int(a), unit, bool(w)) for k, s, a, w in table.T.tolist()]
    return [made[m] for m in member.reshape(-1).tolist()]


def _regular_steps(
    runs: Runs, step: Int64, items: Int64, records: Records, wall: Bool | None = None
) -> Int64:
    """The modal step, or the finest common one if the rows nearly fill that grid."""
    if not len(step):
        return step
    gaps, starts = gaps_of(runs)
    member = np.repeat(np.arange(len(step)), runs.lengths - 1)
    off = np.logical_or.reduceat(gaps % step[member] != 0, starts)
    if not off.any():
        return step
    common = np.gcd.reduceat(gaps, starts)
    span = np.add.reduceat(gaps, starts)
    sparse = off & (span // common + 1 > _MAX_FILL * runs.lengths)
    if sparse.any():
        _refuse_irregular(runs, step, int(sparse.argmax()), items, records, wall)
    return np.where(off, common, step)


def _refuse_irregular(
    runs: Runs, step: Int64, which: int, items: Int64, records: Records, wall: Bool | None
) -> None:
    ticks = runs.ticks[runs.starts[which] : runs.starts[which + 1]]
    off = (ticks - ticks[0]) % step[which] != 0
    first = ticks[off][:1]
    if wall is not None and wall[which]:
        first = records.axis.from_wall(first)
    kind: Kind = "tick" if records.axis.kind == "datetime" else "index"
    alias = Frequency(kind, int(step[which]), unit=records.axis.unit).alias
    remedy = "Number the steps evenly first."
    if kind == "tick":
        if alias.endswith(("ns", "us")):
            nanos = 1_000_000_000 // cal.TICKS_PER_SECOND[records.axis.unit]
            alias = str(pd.Timedelta(int(step[which]) * nanos))
        seconds = float(np.median(np.diff(ticks))) / cal.TICKS_PER_SECOND[records.axis.unit]
        usual = min(_USUAL_STEPS, key=lambda pair: abs(math.log(pair[1] / seconds)))[0]
        remedy = f"Resample first, e.g. {records.resample_hint(usual)}."
    raise DataError(
        f"Series {records.label(int(items[which]))} is irregular: its most common step is "
        f"{alias}, but {int(off.sum())} of {len(ticks)} timestamps are off that grid (first: "
        f"{records.axis.show(int(first[0]))}). {remedy}"
    )


def _on_local_clock(runs: Runs, axis: TimeAxis, long: Bool) -> Bool:
    """Which runs go by the local clock: a day or more, unless only UTC keeps the hour."""
    if not long.any():
        return long
    items = np.flatnonzero(long)
    part = runs.take(items)
    day = cal.ticks_per_day(axis.unit)
    utc_constant = _constant(part.ticks % day, part.starts)
    wall_constant = _constant(axis.to_wall(part.ticks) % day, part.starts)
    result = np.zeros(len(long), dtype=bool)
    result[items] = wall_constant | ~utc_constant
    return result


def _constant(values: Int64, starts: Int64) -> Bool:
    low, high = np.minimum.reduceat(values, starts[:-1]), np.maximum.reduceat(values, starts[:-1])
    return np.asarray(low == high)


def _skips_weekends(runs: Runs, day: int) -> npt.NDArray[np.bool_]:
    """Whether rows at daily steps cross a weekend and never fall on one."""
    days = runs.ticks // day
    first = runs.starts[:-1]
    never = np.logical_and.reduceat(cal.weekday(days) < 5, first)
    last = runs.starts[1:] - 1
    crosses = cal.weekday(days[first]) + days[last] - days[first] > 4
    result: Bool = never & crosses
    return result
