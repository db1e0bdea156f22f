"""Calendar arithmetic on integer ticks, vectorised and free of pandas.

A *tick* is an `int64` count of one `unit` ("s", "ms", "us" or "ns") since 1970-01-01, a *day* a
count of days, a *month* a count of months since January 1970. All functions take and return
arrays of any shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
SECONDS_PER_DAY = 86_400


def ticks_per_day(unit: str) -> int:
    """Ticks in one day of 24 hours."""
    return SECONDS_PER_DAY * TICKS_PER_SECOND[unit]


def month_of(days: Int64) -> Int64:
    """Month of each day."""
    return days.view("M8[D]").astype("M8[M]").view(np.int64)


def first_day(months: Int64) -> Int64:
    """First day of each month."""
    return months.view("M8[M]").astype("M8[D]").view(np.int64)


def days_in_month(months: Int64) -> Int64:
    """Number of days in each month."""
    return first_day(months + 1) - first_day(months)


def day_of_month(days: Int64) -> Int64:
    """Day of the month, 1 to 31."""
    return days - first_day(month_of(days)) + 1


def weekday(days: Int64) -> Int64:
    """Day of the week, Monday = 0 (1970-01-01 was a Thursday)."""
    return np.asarray((days + 3) % 7)


def last_business_day(months: Int64) -> Int64:
    """Last weekday (Monday to Friday) of each month."""
    last = first_day(months + 1) - 1
    return last - np.maximum(weekday(last) - 4, 0)


def first_business_day(months: Int64) -> Int64:
    """First weekday (Monday to Friday) of each month."""
    first = first_day(months)
    day = weekday(first)
    return first + np.where(day > 4, 7 - day, 0)


def anchored_day(months: Int64, anchor: int) -> Int64:
    """Day `anchor` of each month, the last one where the month is shorter (31 = month end)."""
    return first_day(months) + np.minimum(anchor, days_in_month(months)) - 1


def written_format(numbers: Int64) -> str | None:
    """Format of integers that are all written dates of 1800 to 2200, such as 20240131 or 202401.

    Returns
    -------
    str or None
        "%Y%m%d" or "%Y%m"; `None` for other integers, and where all are the same one.
    """
    if not numbers.size:
        return None
    low, high = int(numbers.min()), int(numbers.max())
    for form, per_month in (("%Y%m%d", 100), ("%Y%m", 1)):
        per_year = 100 * per_month
        if low == high or low // per_year < 1800 or high // per_year > 2200:
            continue
        year_month, day = np.divmod(numbers, per_month) if per_month > 1 else (numbers, 1)
        year, month = np.divmod(year_month, 100)
        length = days_in_month(12 * (year - 1970) + month - 1)
        if bool(np.all((month >= 1) & (month <= 12) & (day >= 1) & (day <= length))):
            return form
    return None


def add_business_days(days: Int64, steps: Int64) -> Int64:
    """Days moved forward by `steps` weekdays; `days` must be weekdays."""
    return np.busday_offset(days.view("M8[D]"), steps, roll="forward").view(np.int64)


def count_business_days(start: Int64, stop: Int64) -> Int64:
    """Weekdays from `start` (included) to `stop` (excluded)."""
    return np.asarray(np.busday_count(start.view("M8[D]"), stop.view("M8[D]")), dtype=np.int64)
