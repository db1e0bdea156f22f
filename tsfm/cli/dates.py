"""Dates of text files: which columns hold them, how they are written, and in which zone."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from tsfm.frames.layout import ID_NAMES, TIMESTAMP_NAMES

_NUMERIC = re.compile(
    r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d{2})(?:(?:,\s*|\s+|T)(\S.*?))?\s*$"
)
_CLOCK = r"\s*\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp][Mm])?\s*"
_OFFSET = (
    r"(?:\d:\d{2}(?::\d{2}(?:[.,]\d+)?)?|\dT\d{2}(?:\d{2}){0,2})\s*(?:[AaPp][Mm])?\s*"
    r"(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)\s*$"
)
_COMPACT = {8: "%Y%m%d", 6: "%Y%m"}
_LOOK_AT = 20


@dataclass(frozen=True)
class DateOptions:
    """What the command line says about the dates of a file.

    Parameters
    ----------
    timestamp_col
        The only column with dates; found by default.
    date_format
        `strptime` format of the dates.
    timezone
        Name of the zone to move them to.
    lines
        Whether rows are lines of a file, so that errors can name these.
    """

    timestamp_col: str | None = None
    date_format: str | None = None
    timezone: str | None = None
    lines: bool = True

    def place(self, row: int) -> str:
        """A row as the person finds it: the header is line 1 of a text file."""
        return f"line {row + 2} of the file" if self.lines else f"row {row}"


def parse_columns(frame: pd.DataFrame, id_col: str | None, options: DateOptions) -> pd.DataFrame:
    """Turn the columns of `frame` that hold dates into time stamps, in the zone asked for.

    Raises
    ------
    ValueError
        If the format or zone is unknown, a cell of a time column is no date or has two readings.
    """
    if options.date_format is not None:
        _check_format(options.date_format)
    zone = None if options.timezone is None else _zone(options.timezone)
    ids = {*ID_NAMES, id_col}
    wanted = [options.timestamp_col]
    if options.timestamp_col is None:
        wanted = [name for name in frame.columns if name not in ids]
    group = id_col if id_col in frame.columns else None
    if id_col is None:
        group = next((name for name in ID_NAMES if name in frame.columns), None)
    for name in wanted:
        if name not in frame.columns:  # a level of the index of a Parquet file
            continue
        frame[name] = _parse_if_dates(frame[name], options)
        if zone is not None and frame[name].dtype.kind == "M":
            keys = None if group is None else frame[group]
            frame[name] = _move_to_zone(frame[name], zone, keys, options)
    return frame


def _is_text(column: pd.Series[Any]) -> bool:
    """Whether a column holds text (or mixed objects)."""
    return column.dtype == object or str(column.dtype) in {"str", "string"}


def _check_format(date_format: str) -> None:
    message = f"--date-format {date_format!r} is no format of dates"
    remedy = "write it with codes, such as %d/%m/%Y or %Y-%m-%d %H:%M"
    if "%" not in date_format:
        raise ValueError(f"{message}; {remedy}")
    try:
        pd.to_datetime(pd.Series(["x"]), format=date_format, errors="coerce")
    except ValueError as error:
        raise ValueError(f"{message} ({error}); {remedy}") from None


def _parse_if_dates(column: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    name = column.name
    if column.isna().all():
        return column
    given = name == options.timestamp_col
    conventional = str(name).lower() in (*TIMESTAMP_NAMES, "date", "datetime", "time")
    if _is_text(column):
        certain = given or name in TIMESTAMP_NAMES
        if certain or _looks_like_dates(column, every=not conventional):
            return _parse_text(column, options)
    elif (given or conventional) and column.dtype.kind in "iuf":
        return _parse_integers(column, options)
    return column


def _parse_integers(column: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    """20240131 and 202401 in a column of whole numbers are written dates."""
    present = column.dropna()
    if present.empty or (present % 1 != 0).any():
        return column
    texts = column.astype("Int64").astype("string").astype(object)
    if options.date_format is not None:
        return _parse_text(texts, options)
    if present.nunique() < 2 or _compact_format(texts) is None:
        return column
    return _parse_text(texts, options)


def _compact_format(column: pd.Series[Any]) -> str | None:
    """`%Y%m%d` or `%Y%m` if most cells have its digits and are dates from 1800 to 2200."""
    present = column.dropna().astype(str).str.strip()
    for width, form in _COMPACT.items():
        digits = present.str.fullmatch(rf"\d{{{width}}}")
        if not digits.mean() > 0.5:
            continue
        dates = _to_datetime(present.where(digits), form)
        if (dates.dt.year.between(1800, 2200)).mean() > 0.5:
            return form
    return None


def _looks_like_dates(column: pd.Series[Any], *, every: bool) -> bool:
    """Whether the first few texts (or, by its name a time, one) have digits and read as dates."""
    sample = column.dropna().head(_LOOK_AT)
    texts = [t for t in sample if isinstance(t, str)]
    if not texts or len(texts) < len(sample):
        return False
    dated = [
        len(t) >= 6 and sum(c.isdigit() for c in t) >= 4 and not re.fullmatch(_CLOCK, t)
        for t in texts
    ]
    if not (all(dated) if every else any(dated)):
        return False
    parsed = _to_datetime(sample[dated], "mixed")
    return bool(parsed.notna().mean() >= 0.5)


def _parse_text(column: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    """Text to datetimes; the first cell that is no date is named in the error."""
    written = column
    compact = _compact_format(column) if options.date_format is None else None
    form = options.date_format or compact
    if form is None:
        _refuse_words_among_numbers(column, options)
        written = _year_first(column, options)
        if not _all_parse(written, None):
            form = "ISO8601" if _all_parse(written, "ISO8601") else None
    utc = _to_datetime(written, form)
    bad = (utc.isna() & column.notna()).to_numpy()
    if form is None:
        bad |= column.astype(str).str.fullmatch(_CLOCK).to_numpy(dtype=bool)
    if bad.any():
        raise _no_date(column, int(bad.argmax()), options, compact=compact is not None)
    return _with_offsets(column, utc, options)


def _no_date(
    column: pd.Series[Any], row: int, options: DateOptions, *, compact: bool = False
) -> ValueError:
    cell = f"column {column.name!r}, {options.place(row)}: {column.iloc[row]!r} is no date"
    if options.date_format is not None:
        form = options.date_format
        return ValueError(f"{cell} of the format {form!r}; correct it, or --date-format")
    others = " like the others" if row else ""
    if compact:
        return ValueError(f"{cell}{others}; correct it")
    return ValueError(
        f"{cell}{others}; correct it, or give the format with --date-format, such as "
        "--date-format '%d/%m/%Y'"
    )


def _refuse_words_among_numbers(column: pd.Series[Any], options: DateOptions) -> None:
    """Steps counted in whole numbers with a word among them: the word is what is wrong."""
    numbers = column.astype(str).str.fullmatch(r"\s*-?\d+\s*") | column.isna()
    if numbers.mean() > 0.5 and not numbers.all():
        row = int((~numbers).to_numpy().argmax())
        raise ValueError(
            f"column {column.name!r}, {options.place(row)}: {column.iloc[row]!r} is no whole "
            "number like the others; correct it"
        )


def _year_first(column: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    """31/01/2026 as 2026-01-31, if the whole column can be read in one way only."""
    texts = column.astype(str)
    parts = texts.str.extract(_NUMERIC)
    numeric = parts[0].notna().to_numpy()
    if not numeric[column.notna().to_numpy()].mean() > 0.5:
        return column
    bad = ~numeric & column.notna().to_numpy()
    if bad.any():
        raise _no_date(column, int(bad.argmax()), options)
    first, second = (parts[i][numeric].astype(int) for i in (0, 1))
    day_first = first.max() > 12
    if not day_first and second.max() <= 12 and (first != second).any():
        text = column[numeric][first != second].iloc[0]
        raise ValueError(
            f"column {column.name!r}: {text!r} can be two dates, and no other cell tells day from "
            "month; say which with --date-format %d/%m/%Y or --date-format %m/%d/%Y"
        )
    day, month = (parts[0], parts[1]) if day_first else (parts[1], parts[0])
    short = parts[2].str.len() == 2
    century = np.where(parts[2].fillna("0").astype(int) < 69, "20", "19")
    year = parts[2].where(~short, pd.Series(century, index=column.index) + parts[2])
    clock = (" " + parts[3]).fillna("")
    dates: pd.Series[Any] = year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + clock
    return dates.astype(object).where(column.notna(), None)


def _with_offsets(
    column: pd.Series[Any], utc: pd.Series[Any], options: DateOptions
) -> pd.Series[Any]:
    """Times as they are written: without an offset naive, with a single one in that zone."""
    found = column.astype(str).str.extract(_OFFSET)[0]
    if found.isna().all():
        naive: pd.Series[Any] = utc.dt.tz_localize(None)
        return naive
    bare = (found.isna() & column.notna()).to_numpy()
    if bare.any():
        row, other = int(bare.argmax()), int(found.notna().to_numpy().argmax())
        raise ValueError(
            f"column {column.name!r}, {options.place(row)}: {column.iloc[row]!r} has no offset "
            f"from UTC, but {column.iloc[other]!r} has one; write all times with their offset"
        )
    offsets = found.replace({"Z": "+00:00", "UTC": "+00:00", "GMT": "+00:00"}).dropna()
    minutes = {_minutes(text) for text in offsets.unique()}
    if options.timezone is not None:
        return utc
    if len(minutes) > 1:
        warnings.warn(
            f"column {column.name!r} has several offsets; times are answered in UTC; name their "
            "zone with --timezone",
            UserWarning,
            stacklevel=2,
        )
        return utc
    same: pd.Series[Any] = utc.dt.tz_convert(dt.timezone(dt.timedelta(minutes=minutes.pop())))
    return same


def _minutes(offset: str) -> int:
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return int(offset[0] + "1") * (60 * int(digits[:2]) + int(digits[2:]))


def _to_datetime(column: pd.Series[Any], form: str | None) -> pd.Series[Any]:
    """Datetimes in UTC, missing where a cell is no date; pandas keeps its guesses to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed: pd.Series[Any] = pd.to_datetime(column, errors="coerce", utc=True, format=form)
    return parsed


def _all_parse(column: pd.Series[Any], form: str | None) -> bool:
    return not bool((_to_datetime(column, form).isna() & column.notna()).any())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}; use a name such as Europe/Berlin or UTC"
        ) from None


def _move_to_zone(
    column: pd.Series[Any], zone: ZoneInfo, keys: pd.Series[Any] | None, options: DateOptions
) -> pd.Series[Any]:
    """Times with an offset are converted; bare ones are local, each series in its own order."""
    if column.dt.tz is not None:
        converted: pd.Series[Any] = column.dt.tz_convert(zone)
        return converted
    first = np.ones(len(column), dtype=bool)
    never = column.dt.tz_localize(zone, ambiguous=first, nonexistent="NaT").isna()
    never &= column.notna()
    if never.any():
        raise _clock_change(column, never, "that does not exist", zone, options)
    twice = column.dt.tz_localize(zone, ambiguous="NaT").isna() & column.notna()
    local: pd.Series[Any] = column.dt.tz_localize(zone, ambiguous=first).copy()
    if not twice.any():
        return local
    series = pd.Series(0, index=column.index) if keys is None else keys
    codes = pd.factorize(series)[0]
    for code in np.unique(codes[twice.to_numpy()]):
        rows = codes == code
        try:
            local[rows] = column[rows].dt.tz_localize(zone, ambiguous="infer").array
        except Exception:  # its class differs between the releases of pandas
            what = "that occurs twice"
            raise _clock_change(column, twice & rows, what, zone, options) from None
    return local


def _clock_change(
    column: pd.Series[Any], where: pd.Series[Any], what: str, zone: ZoneInfo, options: DateOptions
) -> ValueError:
    row = int(where.to_numpy().argmax())
    time = column.iloc[row].isoformat(sep=" ", timespec="minutes")
    example = column.iloc[row].tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    return ValueError(
        f"column {column.name!r}, {options.place(row)}: {time} is a local time {what} in "
        f"{zone.key}, where the clocks change; write the times of this column with their offset, "
        f"such as {example.isoformat(timespec='minutes')}"
    )
