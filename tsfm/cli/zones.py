"""Zones of the times in text files: offsets as they are written, local times moved to a zone."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from tsfm.cli.dates import DateOptions

_HALF = r"(?:\s*[ap]\.?m\b\.?)"
_CLOCK = rf"\d:\d{{2}}(?::\d{{2}}(?:[.,]\d+)?)?{_HALF}?|\d{_HALF}|\d\s*h\b"
_OFFSET = re.compile(
    rf"^(.*(?:{_CLOCK}|\dT\d{{2}}(?:\d{{2}}){{0,2}}(?:[.,]\d+)?))\s*"
    r"((?:UTC|GMT)?\s*[+-](?:0\d|1[0-4])(?::?[0-5]\d)?|(?:UTC|GMT)\s*[+-]\d|Z|UTC|GMT)$",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN = (
    r"\d{1,4}[-/.]\d{1,2}(?:[-/.]\d{1,4})?(?:(?:T|,?\s+)\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?|\d+"
)
"""Numbers and signs that leave no room for an offset or a word."""

_WORDS = {
    *("AM", "PM", "T", "UTC", "GMT", "Z", "AD", "OF", "AT", "ON", "AND", "ST", "ND", "RD", "TH"),
    *("H", "M", "S", "MIN", "SEC", "HOUR", "HOURS"),
    *("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "TUES", "THUR", "THURS"),
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "SEPT", "OCT", "NOV", "DEC"),
    *("MARCH", "APRIL", "JUNE", "JULY"),
}
"""Words of up to five capital letters that can follow a clock and name no zone."""


def split_offsets(texts: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Split times into what stands before the offset from UTC and the offset, missing if none."""
    offsets = pd.Series(None, index=texts.index, dtype=object)
    odd = ~texts.str.fullmatch(_PLAIN).to_numpy(dtype=bool)
    if not odd.any():
        return texts, offsets
    parts = texts[odd].str.extract(_OFFSET)
    found = parts[1].notna()
    bodies = texts.copy()
    bodies[odd] = parts[0].where(found, texts[odd]).to_numpy()
    offsets[odd] = parts[1].where(found, None).to_numpy()
    return bodies, offsets


def _shapes(texts: pd.Series[Any]) -> list[tuple[int, str]]:
    """Row and text of one of each shape, those that differ in their digits being of one shape."""
    odd = texts[~texts.str.fullmatch(_PLAIN).to_numpy(dtype=bool)]
    one = odd[~odd.str.replace(r"\d", "0", regex=True).duplicated()]
    return list(zip(one.index.tolist(), one.tolist(), strict=True))


def refuse_zone_letters(bodies: pd.Series[Any], options: DateOptions) -> None:
    """Refuse letters such as EST behind a clock, which pandas would leave out.

    Raises
    ------
    ValueError
        For the first such cell.
    """
    for row, text in _shapes(bodies):
        clock = re.search(_CLOCK, text, re.IGNORECASE)
        words = [] if clock is None else re.findall(r"\b[A-Z]{1,5}\b", text[clock.end() :])
        letters = next((word for word in words if word not in _WORDS), None)
        if letters is not None:
            raise ValueError(
                f"column {bodies.name!r}, {options.place(row)}: {text!r} names its zone by "
                f"letters, {letters!r}, which can mean several; write the offset from UTC "
                "instead, such as +01:00, or take the letters away and name the zone with "
                "--timezone"
            )


def refuse_offsets_within(
    bodies: pd.Series[Any], cells: pd.Series[Any], options: DateOptions
) -> None:
    """Refuse dates that still have an offset when the one at their end is taken away.

    Raises
    ------
    ValueError
        For the first such cell.
    """
    for row, text in _shapes(bodies):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            time = pd.to_datetime(text, errors="coerce")
        if isinstance(time, pd.Timestamp) and time.tzinfo is not None:
            raise ValueError(
                f"column {bodies.name!r}, {options.place(row)}: {cells[row]!r} has an offset "
                "from UTC that is not at its end; write the offset at the end, such as +01:00, "
                "or give the format with --date-format and %z for the offset"
            )


def with_offsets(
    naive: pd.Series[Any], offsets: pd.Series[Any], cells: pd.Series[Any], options: DateOptions
) -> pd.Series[Any]:
    """Times as they are written: without an offset naive, with a single one in that zone.

    Raises
    ------
    ValueError
        If only some cells have an offset.
    """
    bare = offsets.isna().to_numpy()
    if bare.all():
        return naive
    if bare.any():
        row, other = int(bare.argmax()), int((~bare).argmax())
        raise ValueError(
            f"column {cells.name!r}, {options.place(cells.index[row])}: {cells.iloc[row]!r} has "
            f"no offset from UTC, but {cells.iloc[other]!r} has one; write all times with their "
            "offset"
        )
    minutes = offsets.map({text: _minutes(text) for text in offsets.unique()})
    utc = (naive - pd.to_timedelta(minutes, unit="min")).dt.tz_localize("UTC")
    different = minutes.unique()
    if options.timezone is None and len(different) == 1:
        zone = dt.timezone(dt.timedelta(minutes=int(different[0])))
        same: pd.Series[Any] = utc.dt.tz_convert(zone)
        return same
    if options.timezone is None:
        warn_of_offsets(cells.name)
    return utc


def warn_of_offsets(name: object) -> None:
    """Say that times of several offsets are answered in UTC."""
    warnings.warn(
        f"column {name!r} has several offsets; times are answered in UTC; name their zone with "
        "--timezone",
        UserWarning,
        stacklevel=2,
    )


def _minutes(offset: str) -> int:
    number = re.sub(r"[A-Za-z\s:]", "", offset)
    if not number:
        return 0
    digits = number[1:].zfill(2).ljust(4, "0")
    return int(number[0] + "1") * (60 * int(digits[:2]) + int(digits[2:]))


def find_zone(name: str) -> ZoneInfo:
    """Zone of a name such as Europe/Berlin.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}; use a name such as Europe/Berlin or UTC"
        ) from None


def move_to_zone(
    column: pd.Series[Any], zone: ZoneInfo, keys: pd.Series[Any] | None, options: DateOptions
) -> pd.Series[Any]:
    """Times with an offset are converted; bare ones are local, each series in its own order.

    Raises
    ------
    ValueError
        If a local time does not exist, or it occurs twice and the order of the rows of its series
        does not tell which of the two it is.
    """
    if column.dt.tz is not None:
        converted: pd.Series[Any] = column.dt.tz_convert(zone)
        return converted
    local = pd.DatetimeIndex(column)
    first, second = _readings(local, zone)
    known = np.asarray(first.notna())
    never = np.flatnonzero(~known & local.notna())
    if len(never):
        raise _clock_change(column, int(never[0]), "that does not exist", zone, options)
    twice = np.flatnonzero((first != second) & known)
    if len(twice):
        codes = np.zeros(len(column), dtype=np.intp) if keys is None else pd.factorize(keys)[0]
        later, untold = _told_by_order(local.asi8, codes, twice)
        if untold is not None:
            raise _clock_change(column, untold, "that occurs twice", zone, options)
        first = first.where(~later, second)
    moved = first.tz_localize("UTC").tz_convert(zone)
    return pd.Series(moved, index=column.index, name=column.name)


def _readings(
    local: pd.DatetimeIndex, zone: ZoneInfo
) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """First and last time in UTC that shows as each local time; the same but where clocks change.

    `tz_localize` would answer the same, forty times as slowly for a `ZoneInfo`; the name of the
    zone instead would be quick, and forget summer time from 2038 on.
    """

    def shown(utc: pd.DatetimeIndex) -> pd.DatetimeIndex:
        return utc.tz_localize("UTC").tz_convert(zone).tz_localize(None)

    ticks = local.asi8
    day = int(np.timedelta64(1, "D") / np.timedelta64(1, local.unit))
    inner = np.abs(ticks.astype(np.float64)) < 2.0**63 - 2 * day  # neither missing nor at the end
    readings = []
    for step in (-day, day):
        near = pd.DatetimeIndex((ticks + step * inner).view(f"M8[{local.unit}]"))
        utc = local - (shown(near) - near)
        readings.append(utc.where(shown(utc) == local).to_numpy())
    return pd.DatetimeIndex(np.fmin(*readings)), pd.DatetimeIndex(np.fmax(*readings))


def _told_by_order(
    local: npt.NDArray[np.int64], codes: npt.NDArray[np.intp], twice: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.bool_], int | None]:
    """Which rows are second readings: within a run of a series, those after its one step back.

    Parameters
    ----------
    local
        Local times `[rows]`.
    codes
        Number of the series of each row `[rows]`.
    twice
        Rows whose time occurs twice.

    Returns
    -------
    Whether each row is the second reading `[rows]`, and the first row whose run has not exactly
    one step back, `None` if all have.
    """
    order = np.argsort(codes, kind="stable")
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    spots = np.sort(place[twice])
    rows = order[spots]
    joined = (np.diff(spots) == 1) & (np.diff(codes[rows]) == 0)
    run = np.concatenate([[0], np.cumsum(~joined)])
    back = np.concatenate([[False], joined & (np.diff(local[rows]) <= 0)])
    steps = np.bincount(run, weights=back)
    untold = rows[steps[run] != 1]
    later = np.zeros(len(local), dtype=bool)
    total = np.cumsum(back)
    begin = np.concatenate([[True], ~joined])
    later[rows] = total - total[begin][run] > 0
    return later, int(untold.min()) if len(untold) else None


def _clock_change(
    column: pd.Series[Any], row: int, what: str, zone: ZoneInfo, options: DateOptions
) -> ValueError:
    time = column.iloc[row].isoformat(sep=" ", timespec="minutes")
    example = column.iloc[row].tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    return ValueError(
        f"column {column.name!r}, {options.place(row)}: {time} is a local time {what} in "
        f"{zone.key}, where the clocks change; write the times of this column with their offset, "
        f"such as {example.isoformat(timespec='minutes')}"
    )
