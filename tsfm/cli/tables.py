"""Tables of the command line: CSV and Parquet in, CSV, Parquet or text out."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CSV = {".csv", ".tsv", ".txt", ".gz"}
PARQUET = {".parquet", ".pq"}

_DAY_OR_MONTH_FIRST = re.compile(r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{2,4}")


def read_table(
    path: Path,
    *,
    id_col: str | None = None,
    timestamp_col: str | None = None,
    date_format: str | None = None,
    timezone: str | None = None,
) -> pd.DataFrame:
    r"""Read a CSV or Parquet file and turn its text timestamps into time stamps.

    Parameters
    ----------
    path
        A `.csv`, `.tsv`, `.csv.gz` or `.parquet` file; `-` reads CSV from standard input.
    id_col
        Column of the ids; by default those with a conventional name. In a CSV file ids that
        numbers would not give back as they are written ("007") stay text.
    timestamp_col
        Column to parse, "none" for no column. By default every text column that reads as dates.
    date_format
        `strptime` format, for dates such as 31/01/2026 that could be read in two ways.
    timezone
        Name of a zone: naive times are taken to be local times there, others are converted to it.

    Returns
    -------
    pandas.DataFrame
        The table. Offsets in the text are kept: one offset becomes a fixed-offset time zone;
        several (summer and winter time) become UTC unless `timezone` names the zone.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, its kind is unknown, a cell of a timestamp column is no date, or
        its dates could have the day or the month first.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text("day,y\n2026-01-01,3\n2026-01-02,4\n")
    ...     read_table(file).dtypes["day"].kind
    'M'
    """
    frame = _load(path, id_col)
    if timestamp_col == "none":
        return frame
    if timestamp_col is not None and timestamp_col not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        raise ValueError(f"{path} has no column {timestamp_col!r}; its columns are: {names}")
    wanted = [timestamp_col] if timestamp_col is not None else _not_ids(frame, id_col)
    for name in wanted:
        if _is_text(frame[name]) and (name == timestamp_col or _looks_like_dates(frame[name])):
            frame[name] = _parse_dates(frame[name], date_format, keep_utc=timezone is not None)
        if timezone is not None and frame[name].dtype.kind == "M":
            frame[name] = _move_to_zone(frame[name], timezone)
    return frame


def need_writable(path: Path) -> None:
    """Make the folder of a file to be written, before the work that fills it.

    Raises
    ------
    OSError
        If the path is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from None
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path} cannot be written: no permission in {path.parent}")


def check_out(out: Path | None) -> None:
    """Refuse an `out` that `write_table` could not write, before the work is done.

    Raises
    ------
    ValueError, ImportError, OSError
        If its kind is unknown, Parquet support is missing, or it cannot be written.
    """
    if out is None or str(out) == "-":
        return
    if not out.is_dir() and _kind(out) == "parquet":
        _need_pyarrow(out)
    need_writable(out)


def write_table(frame: pd.DataFrame, out: Path | None) -> None:
    """Write `frame` to a CSV or Parquet file, or to standard output when `out` is None.

    On a terminal the table is aligned and shortened to its first and last rows; a pipe gets
    plain CSV.
    """
    if out is None or str(out) == "-":
        if out is None and sys.stdout.isatty():
            text = frame.to_string(index=False, max_rows=60, float_format=_short) + "\n"
        else:
            text = frame.to_csv(index=False, float_format="%.8g")
        sys.stdout.write(text)
        return
    check_out(out)
    if _kind(out) == "parquet":
        frame.to_parquet(out, index=False)
    else:
        separator = "\t" if ".tsv" in out.suffixes else ","
        frame.to_csv(out, index=False, float_format="%.8g", sep=separator)


def _short(value: float) -> str:
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return "parquet"
    if suffix in CSV:
        return "csv"
    known = ", ".join(sorted(CSV | PARQUET))
    raise ValueError(f"{path}: cannot tell the file's kind from {suffix!r}; known are {known}")


def _need_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError(
            f"{path}: Parquet files need pyarrow; install it with "
            "`pip install pyarrow`, or use a CSV file"
        ) from None


def _load(path: Path, id_col: str | None) -> pd.DataFrame:
    import pandas as pd

    if str(path) != "-" and not path.is_file():
        where = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {where}; give a CSV or Parquet file")
    if str(path) != "-" and _kind(path) == "parquet":
        _need_pyarrow(path)
        return pd.read_parquet(path)
    ids = _id_names(id_col)
    try:
        frame = pd.read_csv(
            sys.stdin if str(path) == "-" else path,
            sep="\t" if ".tsv" in path.suffixes else ",",
            dtype=dict.fromkeys(ids, str),
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty; it needs a header line and at least one row") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} does not read as CSV: {error}") from None
    if any(";" in str(name) for name in frame.columns):
        raise ValueError(
            f"{path} seems to be separated by semicolons; save it with commas between the columns "
            "and points in the numbers, or read it in Python with pd.read_csv(..., sep=';')"
        )
    for name in ids & set(frame.columns):
        frame[name] = _numbers_if_exact(frame[name])
    return frame


def _id_names(id_col: str | None) -> set[str]:
    """Names a column of ids can have here: the conventional ones and the one that was given."""
    from tsfm.frames.layout import ID_NAMES

    return {*ID_NAMES} if id_col is None else {*ID_NAMES, id_col}


def _not_ids(frame: pd.DataFrame, id_col: str | None) -> list[str]:
    return [name for name in frame.columns if name not in _id_names(id_col)]


def _numbers_if_exact(column: pd.Series) -> pd.Series:
    """Ids as integers where these read like the text; "007" stays text."""
    if not column.notna().all() or not column.str.fullmatch(r"-?[1-9]\d{0,17}|0").all():
        return column
    numbers: pd.Series = column.astype("int64")
    return numbers


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or str(column.dtype) in {"str", "string"}


def _looks_like_dates(column: pd.Series) -> bool:
    """Whether the first few texts have digits, are long enough for a date, and parse as one."""
    import pandas as pd

    sample = column.dropna().head(20)
    texts = [t for t in sample if isinstance(t, str)]
    if not texts or len(texts) < len(sample):
        return False
    if any(len(t) < 6 or sum(c.isdigit() for c in t) < 4 for t in texts):
        return False
    parsed = pd.to_datetime(sample, errors="coerce", utc=True, format="mixed")
    return bool(parsed.notna().mean() >= 0.5)


def _parse_dates(column: pd.Series, date_format: str | None, *, keep_utc: bool) -> pd.Series:
    """Text to datetimes; the first cell that is no date is named in the error."""
    import pandas as pd

    form = date_format
    if form is None:
        _refuse_two_readings(column)
    if form is None and not _all_parse(column, None):
        form = "ISO8601" if _all_parse(column, "ISO8601") else None
    utc = pd.to_datetime(column, errors="coerce", utc=True, format=form)
    bad = utc.isna() & column.notna()
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise ValueError(
            f"column {column.name!r}, line {row + 2} of the file: {column.iloc[row]!r} is no date"
            + (f" of the format {date_format!r}" if date_format else " like the ones before it")
            + "; correct it, or give the format with --date-format '%d/%m/%Y'"
        )
    offsets = column.dropna().astype(str).str.extract(r"\d{2}:?\d{2}.*?(Z|[+-]\d{2}:?\d{2})\s*$")
    if offsets[0].isna().all():
        return utc.dt.tz_localize(None)
    if keep_utc or offsets[0].nunique() > 1:
        return utc
    return pd.to_datetime(column, format=form)


def _refuse_two_readings(column: pd.Series) -> None:
    """Dates such as 01/02/2026, none of which tells day from month, are never guessed."""
    parts = column.dropna().astype(str).str.extract(_DAY_OR_MONTH_FIRST)
    if parts.empty or parts.isna().any(axis=None):
        return
    first, second = parts[0].astype(int), parts[1].astype(int)
    if first.max() <= 12 and second.max() <= 12 and (first != second).any():
        text = column.dropna()[(first != second)].iloc[0]
        raise ValueError(
            f"column {column.name!r}: {text!r} can be two dates, and no other cell tells day from "
            "month; say which with --date-format %d/%m/%Y or --date-format %m/%d/%Y"
        )


def _all_parse(column: pd.Series, form: str | None) -> bool:
    import pandas as pd

    parsed = pd.to_datetime(column, errors="coerce", utc=True, format=form)
    return not bool((parsed.isna() & column.notna()).any())


def _move_to_zone(column: pd.Series, timezone: str) -> pd.Series:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(
            f"unknown time zone {timezone!r}; use a name such as Europe/Berlin or UTC"
        ) from None
    if column.dt.tz is not None:
        converted: pd.Series = column.dt.tz_convert(zone)
        return converted
    try:
        local: pd.Series = column.dt.tz_localize(zone)
        return local
    except Exception as error:
        raise ValueError(
            f"column {column.name!r} has local times that {timezone} has twice or not at all when "
            f"the clocks change ({error}); write them with their offset, or leave --timezone out"
        ) from None
