"""Dates of text files: which columns hold them, how they are written, and in which zone."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.cli.dayorder import year_first
from tsfm.cli.errors import place
from tsfm.cli.zones import (
    find_zone,
    move_to_zone,
    refuse_offsets_within,
    refuse_zone_letters,
    split_offsets,
    warn_of_offsets,
    with_offsets,
)
from tsfm.frames.layout import ID_NAMES, TIMESTAMP_NAMES

TIME_NAMES = (*TIMESTAMP_NAMES, "date", "datetime", "time")
"""Names, in small letters, of columns that are looked at for dates even if they hold numbers."""

_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp][Mm])?"
_DOTTED = r"\d+(?:\.\d+){3,}.*|\d+\.\d+\.\d"
"""Addresses and versions such as 10.0.0.12 and 2024.1.3."""

_WIDTHS = {"Y": 4, "j": 3, **dict.fromkeys("ymdHIMS", 2)}
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
    shifted
        Whether the file has other lines, too, so that rows must be counted instead.
    """

    timestamp_col: str | None = None
    date_format: str | None = None
    timezone: str | None = None
    lines: bool = True
    shifted: bool = False

    def place(self, row: int) -> str:
        """A row as the person finds it: the header is line 1 of a text file."""
        return place(row, lines=self.lines, shifted=self.shifted)


def parse_columns(frame: pd.DataFrame, id_col: str | None, options: DateOptions) -> pd.DataFrame:
    """Turn the columns of `frame` that hold dates into time stamps, in the zone asked for.

    Raises
    ------
    ValueError
        If the format or zone is unknown, a cell of a time column is no date or has two readings.
    """
    if options.date_format is not None:
        _check_format(options.date_format)
    zone = None if options.timezone is None else find_zone(options.timezone)
    ids = {*ID_NAMES, id_col}
    wanted = [options.timestamp_col]
    if options.timestamp_col is None:
        wanted = [name for name in frame.columns if name not in ids]
    group = id_col if id_col in frame.columns else None
    if id_col is None:
        group = next((name for name in ID_NAMES if name in frame.columns), None)
    refused: ValueError | None = None
    fits = False
    for name in wanted:
        if name not in frame.columns:  # a level of the index of a Parquet file
            continue
        before = frame[name].dtype.kind
        try:
            frame[name] = _parse_if_dates(frame[name], options)
        except ValueError as error:
            if options.date_format is None or name in (options.timestamp_col, *TIMESTAMP_NAMES):
                raise
            refused = refused or error  # the format may be that of another column
            continue
        fits |= frame[name].dtype.kind == "M" != before
        if zone is not None and frame[name].dtype.kind == "M":
            keys = None if group is None else frame[group]
            frame[name] = move_to_zone(frame[name], zone, keys, options)
    if refused is not None and not fits:
        raise refused
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
    conventional = str(name).lower() in TIME_NAMES
    if _is_text(column):
        certain = given or name in TIMESTAMP_NAMES
        if certain or _looks_like_dates(column, every=not conventional):
            codes, cells = _distinct(column)
            return _spread(_parse(cells, cells.astype(str).str.strip(), options), codes, column)
    elif (given or conventional) and column.dtype.kind in "iuf":
        return _parse_integers(column, options)
    return column


def _distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.intp], pd.Series[Any]]:
    """Number of each row's cell (-1: missing), and the cells, labelled by their first rows."""
    try:
        codes, values = pd.factorize(column)
    except TypeError:  # lists in a Parquet file
        codes, values = pd.factorize(column.astype(str))
    rows = np.empty(len(values), dtype=np.intp)
    present = (codes >= 0).nonzero()[0][::-1]
    rows[codes[present]] = present  # from the end: the first row of each cell stays
    return codes, pd.Series(values, index=rows, name=column.name)


def _spread(
    parsed: pd.Series[Any], codes: npt.NDArray[np.intp], column: pd.Series[Any]
) -> pd.Series[Any]:
    """Give each row of `column` what its cell was parsed to."""
    taken = parsed.array.take(codes, allow_fill=True)
    return pd.Series(taken, index=column.index, name=column.name)


def _parse_integers(column: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    """20240131 and 202401 in a column of whole numbers are written dates."""
    codes, numbers = _distinct(column)
    exact = 1e15 if column.dtype.kind == "f" else 2.0**63
    if not (numbers.abs() < exact).all() or (numbers % 1 != 0).any():
        return column
    texts = numbers.astype("int64").astype(str)
    if options.date_format is not None:
        texts = texts.str.zfill(_fixed_width(options.date_format))
    elif len(texts) < 2 or _compact_format(texts) is None:
        return column
    return _spread(_parse(texts, texts, options), codes, column)


def _fixed_width(date_format: str) -> int:
    """Number of characters of a date in a format of digits only, else 0.

    Examples
    --------
    >>> _fixed_width("%d%m%Y"), _fixed_width("%d %b")
    (8, 0)
    """
    codes = re.findall(r"%(.)", date_format)
    if "".join(f"%{code}" for code in codes) != date_format or not _WIDTHS.keys() >= {*codes}:
        return 0
    return sum(_WIDTHS[code] for code in codes)


def _compact_format(texts: pd.Series[Any]) -> str | None:
    """`%Y%m%d` if most texts are such dates from 1800 to 2200, `%Y%m` if all whole numbers are.

    A wrong day among many is a mistake, but numbers of six digits may be anything that is counted.
    """
    for width, form, least in ((8, "%Y%m%d", 0.5), (6, "%Y%m", 1.0)):
        digits = texts.str.fullmatch(rf"\d{{{width}}}")
        if not digits.mean() > 0.5:
            continue
        numbers = digits if width == 8 else texts.str.fullmatch(r"-?\d+")
        years = _to_datetime(texts[numbers].where(digits), form).dt.year
        share = years.between(1800, 2200).sum() / (len(texts) if width == 8 else numbers.sum())
        if share >= least and share > 0.5:
            return form
    return None


def _looks_like_dates(column: pd.Series[Any], *, every: bool) -> bool:
    """Whether the first few texts (or, by its name a time, one) have digits and read as dates."""
    sample = column.dropna().head(_LOOK_AT)
    if sample.empty or not all(isinstance(text, str) for text in sample):
        return False
    texts = sample.str.strip()
    dated = [
        len(t) >= 6
        and sum(c.isdigit() for c in t) >= 4
        and not re.fullmatch(_CLOCK, t)
        and not re.fullmatch(_DOTTED, t)
        for t in texts
    ]
    if not (all(dated) if every else any(dated)):
        return False
    parsed = _to_datetime(texts[dated], "mixed")
    return bool(parsed.notna().mean() >= 0.5)


def _parse(cells: pd.Series[Any], texts: pd.Series[Any], options: DateOptions) -> pd.Series[Any]:
    """Distinct cells to datetimes; the first one that is no date is named in the error."""
    form = options.date_format
    if form is not None and re.search("%[zZ]", form):
        return _parse_with_zone(cells, texts, options)
    compact = _compact_format(texts) if form is None else None
    form = form or compact
    bodies, offsets = split_offsets(texts)
    if form is not None:
        naive = _to_datetime(texts, form)
        bad = naive.isna()
    else:
        _refuse_words_among_numbers(cells, texts, options)
        refuse_zone_letters(bodies, options)
        written = year_first(bodies, texts)
        naive = _to_datetime(written, None)
        if naive.isna().any() and not (iso := _to_datetime(written, "ISO8601")).isna().any():
            naive = iso
        bad = naive.isna() | bodies.str.fullmatch(_CLOCK)
    if bad.any():
        raise _no_date(cells, int(bad.to_numpy().argmax()), options, compact=compact is not None)
    if form is None:
        refuse_offsets_within(written, cells, options)
    return with_offsets(naive.dt.tz_localize(None), offsets, cells, options)


def _parse_with_zone(
    cells: pd.Series[Any], texts: pd.Series[Any], options: DateOptions
) -> pd.Series[Any]:
    """Times whose format says where their offset stands."""
    utc = _to_datetime(texts, options.date_format)
    bad = utc.isna().to_numpy()
    if bad.any():
        raise _no_date(cells, int(bad.argmax()), options)
    if options.timezone is not None:
        return utc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own: pd.Series[Any] = pd.to_datetime(texts, format=options.date_format)
    except ValueError:  # several offsets, in pandas 3
        own = pd.Series(dtype=object)
    if own.dtype.kind == "M":
        return own
    warn_of_offsets(cells.name)
    return utc


def _no_date(
    cells: pd.Series[Any], at: int, options: DateOptions, *, compact: bool = False
) -> ValueError:
    row = cells.index[at]
    cell = f"column {cells.name!r}, {options.place(row)}: {cells.iloc[at]!r} is no date"
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


def _refuse_words_among_numbers(
    cells: pd.Series[Any], texts: pd.Series[Any], options: DateOptions
) -> None:
    """Steps counted in whole numbers with a word among them: the word is what is wrong."""
    numbers = texts.str.fullmatch(r"-?\d+").to_numpy(dtype=bool)
    if numbers.mean() > 0.5 and not numbers.all():
        at = int((~numbers).argmax())
        raise ValueError(
            f"column {cells.name!r}, {options.place(cells.index[at])}: {cells.iloc[at]!r} is no "
            "whole number like the others; correct it"
        )


def _to_datetime(column: pd.Series[Any], form: str | None) -> pd.Series[Any]:
    """Datetimes in UTC, missing where a cell is no date; pandas keeps its guesses to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed: pd.Series[Any] = pd.to_datetime(column, errors="coerce", utc=True, format=form)
    return parsed
