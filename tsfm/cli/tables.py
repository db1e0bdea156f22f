"""Tables of the command line: CSV and Parquet in, CSV, Parquet or text out."""

from __future__ import annotations

import gzip
import io
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd

from tsfm.cli.dates import TIME_NAMES, DateOptions, parse_columns
from tsfm.cli.errors import SHIFTED
from tsfm.frames.layout import ID_NAMES, TARGET_NAMES

CSV = {".csv", ".tsv", ".txt", ".gz"}
PARQUET = {".parquet", ".pq"}

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATUM = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
    r"|\d{1,4}[/.-]\d{1,2}(?:[/.-]\d{1,4})?(?:[ T]\d.*)?"
    r"|\d{4}[ -]?q[1-4]"
    rf"|(?:{_MONTHS})[a-z]*\.?[ -]\d{{2,4}}",
    re.IGNORECASE,
)
"""A cell that no one names a column: a number or a date."""


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
        numbers would not give back as they are written ("007", "NA") stay text.
    timestamp_col
        Column to parse, "none" for no column. By default every text column that reads as dates,
        and whole numbers such as 20260131 or 202601 in a column named as time.
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
        If there is no such file or column, its kind is unknown, it has no header line, a cell of
        a timestamp column is no date, or its dates could have the day or the month first.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text("day,y\n2026-01-01,3\n2026-01-02,4\n")
    ...     read_table(file).dtypes["day"].kind
    'M'
    """
    SHIFTED.set(False)
    given = [name for name in (id_col, timestamp_col) if name is not None and name != "none"]
    frame = _load(path, id_col, {*given})
    need_columns(frame, path, given)
    if timestamp_col == "none":
        return frame
    options = DateOptions(
        timestamp_col, date_format, timezone, lines=in_lines(path), shifted=SHIFTED.get()
    )
    return parse_columns(frame, id_col, options)


def in_lines(path: Path) -> bool:
    """Whether the rows of a file are lines of text: CSV, not Parquet."""
    return str(path) == "-" or _kind(path) == "csv"


def need_columns(frame: pd.DataFrame, path: Path, names: Iterable[str | None]) -> None:
    """Refuse names that are no columns of the table.

    Raises
    ------
    ValueError
        For the first one that is none; the message lists those there are.
    """
    for name in names:
        if name not in frame.columns and name not in frame.index.names:
            known = ", ".join(map(str, frame.columns))
            raise ValueError(f"{_title(path)} has no column {name!r}; its columns are: {known}")


def need_writable(path: Path, option: str = "--out") -> None:
    """Make the folder of a file to be written, before the work that fills it.

    Raises
    ------
    OSError
        If the path is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{option} {path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.exists()
        with path.open("ab"):
            pass
        if not known:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, option, error) from None


def _unwritable(path: Path, option: str, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        reason = f"no file can be made in {path.parent}"
    return OSError(f"{option} {path} cannot be written: {reason}")


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
    try:
        if _kind(out) == "parquet":
            frame.to_parquet(out, index=False)
        else:
            separator = "\t" if ".tsv" in out.suffixes else ","
            frame.to_csv(out, index=False, float_format="%.8g", sep=separator)
    except OSError as error:
        raise _unwritable(out, "--out", error) from None


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


def _title(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _load(path: Path, id_col: str | None, given: set[str]) -> pd.DataFrame:
    if str(path) != "-" and not path.is_file():
        where = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {where}; give a CSV or Parquet file")
    if in_lines(path):
        return _load_csv(path, {*ID_NAMES} if id_col is None else {*ID_NAMES, id_col}, given)
    _need_pyarrow(path)
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} does not read as Parquet: {error}") from None


def _load_csv(path: Path, ids: set[str], given: set[str]) -> pd.DataFrame:
    content = sys.stdin.buffer.read() if str(path) == "-" else None
    separator = "\t" if ".tsv" in path.suffixes else ","

    def _read(**options: Any) -> pd.DataFrame:
        source = path if content is None else io.BytesIO(content)
        table: pd.DataFrame = pd.read_csv(source, sep=separator, low_memory=False, **options)
        return table

    title = _title(path)
    try:
        header = _read(header=None, nrows=1, dtype=str).iloc[0]
        _need_commas(header, title)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = _read(converters=dict.fromkeys(ids, _id_as_written), index_col=False)
    except pd.errors.EmptyDataError:
        raise ValueError(
            f"{title} is empty; it needs a header line and at least one row"
        ) from None
    except UnicodeDecodeError as error:
        position = _first_byte_not_utf8(path, content, error.start)
        raise ValueError(
            f"{title} is not UTF-8 text (byte {position}); save it as UTF-8"
        ) from None
    except pd.errors.ParserWarning:
        raise ValueError(
            f"{title} does not read as CSV: its rows have more cells than its first line has "
            "names; name every column there, or take the cells that are too many away"
        ) from None
    except (pd.errors.ParserError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{title} does not read as CSV: {error}") from None
    _need_header(header, title, separator, given)
    SHIFTED.set(_count_lines(path, content) != len(frame) + 1)
    for name in ids & set(frame.columns):
        frame[name] = _numbers_if_exact(frame[name])
    return frame


def _need_commas(header: pd.Series[Any], title: str) -> None:
    if any(";" in str(name) for name in header):
        raise ValueError(
            f"{title} seems to be separated by semicolons; save it with commas between the "
            "columns and points in the numbers, or read it in Python with pd.read_csv(..., "
            "sep=';')"
        )


def _need_header(header: pd.Series[Any], title: str, separator: str, given: set[str]) -> None:
    """A file that begins with its first row would lose it as the names of the columns."""
    first = header.iloc[0]
    if not isinstance(first, str) or not _DATUM.fullmatch(first.strip()):
        return
    named = {*ID_NAMES, *TIME_NAMES, *(name for name in TARGET_NAMES if len(name) > 1)}
    cells = {str(cell) for cell in header}
    if cells & given or {cell.strip().lower() for cell in cells} & named:
        return  # "y" alone can be the cell of a row
    line = separator.join("" if pd.isna(cell) else str(cell) for cell in header)
    line = line if len(line) <= 60 else line[:60] + "..."
    raise ValueError(
        f"{title} has no header line: its first line is {line!r}; add one, such as "
        "timestamp,target"
    )


def _count_lines(path: Path, content: bytes | None) -> int:
    """Lines of a text file, without blank ones at its end."""
    total = pending = 0
    with _open(path, content) as source:
        while part := source.read(1 << 24):
            text = part.rstrip(b"\r\n ")
            lines = text.count(b"\n")
            if text:
                total, pending = total + pending + lines, 0
            pending += part.count(b"\n") - lines
    return total + 1


def _open(path: Path, content: bytes | None) -> IO[bytes]:
    if content is not None:
        return io.BytesIO(content)
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    return path.open("rb")


def _first_byte_not_utf8(path: Path, content: bytes | None, start: int) -> int:
    """Place in the whole file; pandas counts from the beginning of a part of it."""
    if content is None:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return start


def _id_as_written(text: str) -> str | None:
    """An id of a file: only an empty cell is missing, "NA" and "nan" are names."""
    return text or None


def _numbers_if_exact(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as integers where these read like the text; "007" stays text."""
    if not column.notna().all() or not column.str.fullmatch(r"-?[1-9]\d{0,17}|0").all():
        return column
    numbers: pd.Series[Any] = column.astype("int64")
    return numbers
