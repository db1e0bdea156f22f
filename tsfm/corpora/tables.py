"""CSV and Parquet tables as chunks of a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tsfm.corpora.options import TableOptions
from tsfm.datasets.stored.layout import arrow
from tsfm.frames import DataError
from tsfm.frames.layout import AUTO, ID_NAMES

CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET = (".parquet", ".pq")

_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Cells that pandas reads as missing, which must be said again to except the ids."""
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
    """Whether a Parquet file has a whole series in each row: a list in the column `target`."""
    arrow()
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    return "target" in schema.names and hasattr(schema.field("target").type, "value_type")


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
