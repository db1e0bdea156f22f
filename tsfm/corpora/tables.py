"""CSV and Parquet tables as chunks of a DataFrame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from tsfm.corpora.options import TableOptions
from tsfm.corpora.records import TARGETS
from tsfm.datasets.stored.layout import arrow
from tsfm.frames import DataError
from tsfm.frames.layout import AUTO, ID_NAMES, TIMESTAMP_NAMES

CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET = (".parquet", ".pq")

_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Cells that pandas reads as missing, which must be said again to except the ids."""
_PROBED = 1000
"""Rows that show whether a table holds series."""
_DEFLATED = 8
"""About how much larger text is than its gzip file."""


def table_chunks(path: Path, options: TableOptions) -> tuple[Iterator[pd.DataFrame], int]:
    """The rows of a table in pieces, and about how many bytes its values take in memory.

    Parameters
    ----------
    path
        CSV or Parquet file.
    options
        Sizes and readers; a CSV file up to `whole_bytes` is one piece.
    """
    if is_parquet(path):
        return _parquet_chunks(path, options)
    size = path.stat().st_size * (_DEFLATED if path.suffix == ".gz" else 1)
    if size <= options.whole_bytes and options.read is not None:
        return iter([options.read(path)]), 0
    return _csv_chunks(path, options), size


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return path.suffix.lower() in PARQUET


def holds_records(path: Path) -> bool:
    """Whether a Parquet file has a whole series in each row: a list in `target` or `values`."""
    arrow()
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    field = next((name for name in TARGETS if name in schema.names), None)
    return field is not None and hasattr(schema.field(field).type, "value_type")


def without_series(path: Path, options: TableOptions) -> bool:
    """Whether a table surely holds no series: nothing in it reads as a time, or as numbers.

    Dates in any style count, so that a table of series that needs other options is not taken for
    one without series.

    Parameters
    ----------
    path
        CSV or Parquet file.
    options
        A time column that they name, or say is not needed, is one.
    """
    try:
        frame = _first_rows(path)
    except pd.errors.EmptyDataError:
        return True
    except (pd.errors.ParserError, UnicodeDecodeError):
        return False  # whatever it is: reading it says what is wrong
    if any(";" in str(name) for name in frame.columns):
        return False
    named = (*TIMESTAMP_NAMES, options.timestamp_col)
    timed = [c for c in frame.columns if c in named or _reads_as_time(frame[c])]
    indexed = _reads_as_time(frame.index.to_series())
    numbers = [c for c in frame.columns if c not in timed and _reads_as_number(frame[c])]
    return not (timed or indexed or options.timestamp_col is None) or not numbers


def _first_rows(path: Path) -> pd.DataFrame:
    if not is_parquet(path):
        separator = "\t" if ".tsv" in path.suffixes else ","
        return pd.read_csv(path, sep=separator, nrows=_PROBED, index_col=False)
    pa = arrow()
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batches = list(islice(file.iter_batches(batch_size=_PROBED), 1))
        frame: pd.DataFrame = pa.Table.from_batches(batches, file.schema_arrow).to_pandas()
    return frame


def _reads_as_time(column: pd.Series[Any]) -> bool:
    if column.dtype.kind == "M" or isinstance(column.dtype, pd.PeriodDtype):
        return True
    whole = column.dtype.kind in "iu"  # such as 20260131 and 202601
    text = column.astype(str) if whole else column[column.map(lambda cell: isinstance(cell, str))]
    if column.dtype.kind in "fcb" or text.empty:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = [
            pd.to_datetime(text, errors="coerce", format=style, utc=True)
            for style in (("%Y%m%d", "%Y%m") if whole else ("mixed",))
        ]
    return any(times.notna().mean() > 0.5 for times in parsed)


def _reads_as_number(column: pd.Series[Any]) -> bool:
    scalar = column[column.map(pd.api.types.is_scalar)]
    return bool(pd.to_numeric(scalar, errors="coerce").notna().any())


def _parquet_chunks(path: Path, options: TableOptions) -> tuple[Iterator[pd.DataFrame], int]:
    pa = arrow()
    import pyarrow.parquet as pq

    meta = pq.read_metadata(path)
    n_columns = max(1, meta.num_columns)
    rows = max(1, options.chunk_cells // n_columns)

    def chunks() -> Iterator[pd.DataFrame]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                frame = pa.Table.from_batches([batch]).to_pandas()
                yield frame if options.dates is None else options.dates(frame)

    return chunks(), int(meta.num_rows) * 8 * (n_columns + 1)


def _csv_chunks(path: Path, options: TableOptions) -> Iterator[pd.DataFrame]:
    separator = "\t" if ".tsv" in path.suffixes else ","
    settings: dict[str, Any] = {"sep": separator, "index_col": False, "low_memory": False}
    try:
        columns = [str(name) for name in pd.read_csv(path, nrows=0, **settings).columns]
        ids = [name for name in columns if name in _id_columns(options)]
        settings["dtype"] = dict.fromkeys(ids, str)
        settings["keep_default_na"] = False
        settings["na_values"] = {c: [""] if c in ids else list(_MISSING) for c in columns}
        rows = max(1, options.chunk_cells // max(1, len(columns)))
        with pd.read_csv(path, chunksize=rows, **settings) as reader:
            for chunk in reader:
                yield chunk if options.dates is None else options.dates(chunk)
    except pd.errors.EmptyDataError:
        raise DataError("it is empty; it needs a header line and at least one row") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"it does not read as CSV: {error}") from None


def _id_columns(options: TableOptions) -> tuple[Any, ...]:
    return ID_NAMES if options.id_col == AUTO else (options.id_col,)
