"""Where in the month the rows of a series stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsfm.frames import calendar as cal
from tsfm.frames.calendar import Int64
from tsfm.frames.frequency import KINDS, Frequency
from tsfm.frames.runs import Runs, local
from tsfm.frames.timeaxis import TimeAxis


def anchored(runs: Runs, axis: TimeAxis, freq: Frequency) -> list[Frequency]:
    """One frequency for all runs, with each run's own day of the month."""
    n = len(runs.starts) - 1
    if freq.kind != "month":
        return [freq] * n
    ticks = local(runs, axis, np.full(n, freq.wall)).ticks
    found, day_of = month_anchor(Runs(ticks, runs.starts), freq.unit)
    # A lone 30 April may be "day 30" or "month end": where the wanted anchor fits, it wins.
    days = ticks // cal.ticks_per_day(freq.unit)
    fits = np.logical_and.reduceat(
        days == cal.anchored_day(cal.month_of(days), freq.anchor), runs.starts[:-1]
    )
    own = found == KINDS.index("month")
    anchors = np.where(fits | ~own, freq.anchor, day_of).tolist()
    made = {a: replace(freq, anchor=a) for a in set(anchors)}
    return [made[a] for a in anchors]


def month_anchor(runs: Runs, unit: str) -> tuple[Int64, Int64]:
    """Kind (index into `KINDS`, -1 = not on the calendar) and day of the month of each run."""
    days = runs.ticks // cal.ticks_per_day(unit)
    months = cal.month_of(days)
    day, length = cal.day_of_month(days), cal.days_in_month(months)
    first = runs.starts[:-1]
    member = runs.item
    anchor = np.where(
        np.logical_and.reduceat(day == length, first), 31, np.maximum.reduceat(day, first)
    )
    regular = np.logical_and.reduceat(day == np.minimum(anchor[member], length), first)
    kind = np.where(regular, KINDS.index("month"), -1)
    other = np.flatnonzero(~regular)
    if len(other):
        part = Runs(days, runs.starts).take(other)
        months, first = cal.month_of(part.ticks), part.starts[:-1]
        last_business = np.logical_and.reduceat(part.ticks == cal.last_business_day(months), first)
        first_business = np.logical_and.reduceat(
            part.ticks == cal.first_business_day(months), first
        )
        names = [KINDS.index("bmonth_end"), KINDS.index("bmonth_start")]
        kind[other] = np.select([last_business, first_business], names, -1)
    return kind, np.where(regular, anchor, 0)
