"""The step of a series: how far apart its rows are, and what comes after the last one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from tsfm.frames import calendar as cal
from tsfm.frames.calendar import Bool, Int64
from tsfm.frames.errors import DataError

Kind = Literal["tick", "index", "month", "bmonth_end", "bmonth_start", "bday"]
KINDS: tuple[Kind, ...] = ("tick", "index", "month", "bmonth_end", "bmonth_start", "bday")
MONTHLY: frozenset[Kind] = frozenset({"month", "bmonth_end", "bmonth_start"})

# Spellings that newer pandas rejects but that every tutorial still shows.
_LEGACY = {
    "H": "h",
    "T": "min",
    "S": "s",
    "L": "ms",
    "U": "us",
    "M": "ME",
    "Q": "QE",
    "A": "YE",
    "Y": "YE",
}


@dataclass(frozen=True)
class Frequency:
    """A regular step in time.

    Parameters
    ----------
    kind
        "tick": a fixed duration; "month": whole months on day `anchor`; "bmonth_end",
        "bmonth_start": whole months on the last or first weekday; "bday": Monday to Friday;
        "index": integers and Periods.
    step
        Length of one step: ticks, months, weekdays or integers.
    anchor
        Day of the month (31 = month end); 0 where it has no meaning.
    unit
        Resolution of the ticks ("s", "ms", "us", "ns"); for Periods the pandas alias of one
        ordinal; "" for integers.
    wall
        The arithmetic runs on the local clock (days and longer in a time zone), not on UTC.
    """

    kind: Kind
    step: int
    anchor: int = 0
    unit: str = ""
    wall: bool = False

    def advance(self, origin: Int64, steps: Int64) -> Int64:
        """Ticks that lie `steps` after `origin`; the two arrays broadcast.

        Raises
        ------
        DataError
            The result does not fit the resolution of the timestamps (ns ends in the year 2262).
        """
        if self.kind in ("tick", "index"):
            _check_range(
                float(np.max(origin, initial=0))
                + float(self.step) * float(np.max(steps, initial=0))
            )
            return origin + self.step * steps
        per_day = cal.ticks_per_day(self.unit)
        days, time = np.divmod(origin, per_day)
        if self.kind == "bday":
            moved = cal.add_business_days(np.asarray(days), self.step * steps)
        else:
            months = cal.month_of(np.asarray(days)) + self.step * steps
            moved = self._month_day(months)
        _check_range(float(np.max(moved, initial=0)) * per_day)
        return moved * per_day + time

    def steps_between(self, origin: Int64, ticks: Int64) -> tuple[Int64, Bool]:
        """Whole steps from `origin` to `ticks` (same shape), and which ticks lie on the grid."""
        if self.kind in ("tick", "index"):
            gap = ticks - origin
            steps = (gap + self.step // 2) // self.step
            return steps, steps * self.step == gap
        per_day = cal.ticks_per_day(self.unit)
        days, time = np.divmod(ticks, per_day)
        day0, time0 = np.divmod(origin, per_day)
        if self.kind == "bday":
            raw = cal.count_business_days(day0, days)
            on_grid = cal.weekday(days) < 5
        else:
            months = cal.month_of(days)
            raw = months - cal.month_of(day0)
            on_grid = days == self._month_day(months)
        steps = raw // self.step
        return steps, on_grid & (time == time0) & (steps * self.step == raw)

    def in_unit(self, unit: str) -> Frequency | None:
        """The same step in ticks of another resolution; `None` where that is too coarse."""
        if self.kind != "tick" or unit == self.unit:
            return replace(self, unit=unit)
        ticks = self.step * cal.TICKS_PER_SECOND[unit]
        step, rest = divmod(ticks, cal.TICKS_PER_SECOND[self.unit])
        return None if rest or not step else replace(self, step=step, unit=unit)

    def _month_day(self, months: Int64) -> Int64:
        if self.kind == "bmonth_end":
            return cal.last_business_day(months)
        if self.kind == "bmonth_start":
            return cal.first_business_day(months)
        return cal.anchored_day(months, self.anchor)

    @property
    def season_length(self) -> int | None:
        """Steps in the usual season; `None` when there is no whole number of them.

        Seconds: an hour; minutes and hours: a day; days: a week; weeks: 52; months and quarters:
        a year; weekdays: 5. Years, integers and odd steps (5 hours): `None`.
        """
        if self.kind in MONTHLY:
            return _cycle(12, self.step)
        if self.kind == "bday":
            return _cycle(5, self.step)
        if self.kind == "index":
            base = _period_base(self.unit) if self.unit else None
            return (
                None if base is None else replace(base, step=base.step * self.step).season_length
            )
        seconds, rest = divmod(self.step, cal.TICKS_PER_SECOND[self.unit])
        if rest or not seconds:
            return None
        if seconds % (7 * cal.SECONDS_PER_DAY) == 0:
            return _cycle(52, seconds // (7 * cal.SECONDS_PER_DAY))
        if seconds % cal.SECONDS_PER_DAY == 0:
            return _cycle(7, seconds // cal.SECONDS_PER_DAY)
        return _cycle(cal.SECONDS_PER_DAY if seconds >= 60 else 3_600, seconds)

    @property
    def alias(self) -> str:
        """Short name as in pandas: "h", "15min", "D", "W", "MS", "ME", "B"; "5" for integers."""
        if self.kind == "tick":
            return _tick_alias(self.step, self.unit)
        if self.kind == "bday":
            return _times(self.step, "B")
        if self.kind == "index":
            return _times(self.step, self.unit) if self.unit else str(self.step)
        count, letter = next(
            (self.step // n, c) for n, c in ((12, "Y"), (3, "Q"), (1, "M")) if self.step % n == 0
        )
        if self.kind != "month":
            return _times(count, f"B{letter}{'E' if self.kind == 'bmonth_end' else 'S'}")
        ending = {1: "S", 31: "E"}.get(self.anchor, f" on day {self.anchor}")
        return _times(count, letter + ending)


def parse_frequency(freq: str | pd.offsets.BaseOffset, unit: str) -> Frequency:
    """Reads a pandas frequency (string or offset).

    Parameters
    ----------
    freq
        "15min", "h", "D", "W-SUN", "MS", "ME", "QE", "YE", "B", "BME", ... and the older "H",
        "T", "M", "Q", "A".
    unit
        Resolution of the ticks the frequency will be used with.

    Raises
    ------
    ValueError
        The frequency is unknown, not positive, finer than the timestamps, or of a kind that is
        not supported.
    """
    offset = _offset(freq)
    count = int(offset.n)
    if count < 1:
        raise ValueError(f"freq={freq!r} must be positive.")
    o = pd.offsets
    day = cal.ticks_per_day(unit)
    if isinstance(offset, o.Day):
        return Frequency("tick", count * day, unit=unit, wall=True)
    if isinstance(offset, o.Week):
        return Frequency("tick", 7 * count * day, unit=unit, wall=True)
    if isinstance(offset, o.Tick):
        step, rest = divmod(int(offset.nanos) * cal.TICKS_PER_SECOND[unit], 1_000_000_000)
        if rest or not step:
            raise ValueError(
                f"freq={freq!r} is finer than the resolution of the timestamps ({unit})."
            )
        return Frequency("tick", step, unit=unit)
    if type(offset) is o.BusinessDay:
        return Frequency("bday", count, unit=unit, wall=True)
    for months, classes in _MONTH_CLASSES:
        for kind, anchor, cls in zip(_MONTH_KINDS, (31, 1, 0, 0), classes, strict=True):
            if isinstance(offset, cls):
                return Frequency(kind, months * count, anchor, unit, wall=True)
    raise ValueError(
        f"freq={freq!r} is not supported. Use a fixed step ('15min', 'h', 'D', 'W'), months, "
        "quarters or years "
        "('MS', 'ME', 'QE', 'YE', 'BME') or weekdays ('B')."
    )


_MONTH_KINDS: tuple[Kind, ...] = ("month", "month", "bmonth_end", "bmonth_start")
_MONTH_CLASSES: tuple[tuple[int, tuple[type[Any], ...]], ...] = (
    (
        1,
        (pd.offsets.MonthEnd, pd.offsets.MonthBegin, pd.offsets.BMonthEnd, pd.offsets.BMonthBegin),
    ),
    (
        3,
        (
            pd.offsets.QuarterEnd,
            pd.offsets.QuarterBegin,
            pd.offsets.BQuarterEnd,
            pd.offsets.BQuarterBegin,
        ),
    ),
    (12, (pd.offsets.YearEnd, pd.offsets.YearBegin, pd.offsets.BYearEnd, pd.offsets.BYearBegin)),
)


def _offset(freq: str | pd.offsets.BaseOffset) -> Any:
    if not isinstance(freq, str):
        return freq
    digits = len(freq) - len(freq.lstrip("0123456789"))
    stem, dash, anchor = freq[digits:].partition("-")
    spelling = freq[:digits] + _LEGACY.get(stem, stem) + dash + anchor
    try:
        return to_offset(spelling)
    except ValueError as error:
        raise ValueError(
            f"freq={freq!r} is not a frequency pandas knows, such as 'h', 'D', 'W' or 'ME'."
        ) from error


@lru_cache(maxsize=64)
def _period_base(alias: str) -> Frequency | None:
    try:
        return parse_frequency(alias, "ns")
    except ValueError:
        return None


def _cycle(cycle: int, step: int) -> int | None:
    return cycle // step if cycle % step == 0 and cycle > step else None


def _times(count: int, name: str) -> str:
    return name if count == 1 else f"{count}{name}"


def _tick_alias(step: int, unit: str) -> str:
    nanos = step * (1_000_000_000 // cal.TICKS_PER_SECOND[unit])
    for name, size in (("W", 604_800), ("D", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if nanos % (size * 1_000_000_000) == 0:
            return _times(nanos // (size * 1_000_000_000), name)
    for name, size in (("ms", 1_000_000), ("us", 1_000)):
        if nanos % size == 0:
            return _times(nanos // size, name)
    return _times(nanos, "ns")


def _check_range(latest: float) -> None:
    if abs(latest) >= 2.0**63:
        raise DataError(
            "The forecast runs past the last date these timestamps can hold (nanoseconds end in "
            "2262). "
            "Use a coarser resolution, e.g. df[col].astype('datetime64[s]'), or a shorter "
            "prediction_length."
        )
