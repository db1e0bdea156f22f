"""What the files of a corpus look like."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FORMAT_VERSION = 1
META, INDEX_FILE, STRATA_FILE = "corpus.json", "index.arrow", "strata.arrow"
EXCLUDED_FILE = "excluded.jsonl"
BATCH = 65_536
"""Rows of every record batch of index and strata but the last: row i is in batch i // BATCH."""

INDEX = {
    "shard": "int32",
    "offset": "int64",
    "length": "int64",
    "center": "float64",
    "scale": "float64",
    "missing": "float32",
    "season_length": "int32",
    "source": "int32",
    "start": "timestamp[s]",
    "frequency": "string",
    "item_id": "string",
    "hash": "binary",
}
"""Columns of the index: file and place of a series' values, its length in steps; value =
center + scale * stored; share of missing values; usual season (0: unknown); number of its file in
`corpus.json`; first time stamp; pandas alias of the step; id; BLAKE2b-128 of the stored values."""


@dataclass(frozen=True)
class Series:
    """A series on its way into a corpus.

    Parameters
    ----------
    item_id
        Name, as text.
    values
        [length] float64 at equal steps, NaN = missing.
    frequency
        pandas alias of the step; "" when unknown.
    season_length
        Steps in its usual season; 0 when unknown.
    start
        First time stamp in seconds since 1970 UTC; None when unknown.
    """

    item_id: str
    values: Float64
    frequency: str = ""
    season_length: int = 0
    start: int | None = None


@dataclass(frozen=True)
class Source:
    """A file (or frame) that a corpus was built from.

    Parameters
    ----------
    name
        Path as it was given, or what stands for it.
    kind
        "csv", "parquet", "tsf", "records" or "frame".
    n_series, n_values
        What it brought.
    n_excluded, n_skipped
        Series the leakage guard kept out, and series that could not be read.
    """

    name: str
    kind: str
    n_series: int = 0
    n_values: int = 0
    n_excluded: int = 0
    n_skipped: int = 0


@dataclass(frozen=True)
class Meta:
    """Contents of `corpus.json`.

    Parameters
    ----------
    n_series, n_values, n_missing
        Series, steps, and steps without a value.
    shards
        Names of the files with the values.
    fingerprint
        Hash of the hashes of all series in order: equal for corpora with equal values.
    sources
        What it was built from.
    guard
        Settings and evaluation sets of the leakage guard; empty without one.
    """

    n_series: int
    n_values: int
    n_missing: int
    shards: tuple[str, ...]
    fingerprint: str
    sources: tuple[Source, ...] = ()
    guard: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def arrow() -> Any:
    """The module `pyarrow`, or an error that says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise ImportError(
            "Corpora on disk need pyarrow: pip install pyarrow, or the extra `train` or `parquet`."
        ) from None
    return pyarrow


def index_schema() -> pa.Schema:
    """Arrow schema of `index.arrow`."""
    pa = arrow()
    kinds = {
        "timestamp[s]": pa.timestamp("s"),
        "string": pa.large_string(),
        "binary": pa.binary(16),
    }
    return pa.schema([(name, kinds.get(t) or getattr(pa, t)()) for name, t in INDEX.items()])


def shard_schema() -> pa.Schema:
    """Arrow schema of a shard: the id and the values of each series."""
    pa = arrow()
    return pa.schema([("item_id", pa.large_string()), ("target", pa.large_list(pa.float32()))])


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read_meta(folder: Path) -> Meta:
    """Read `corpus.json`.

    Raises
    ------
    FileNotFoundError
        If the folder is no corpus, or one whose build did not end.
    ValueError
        If it was written by a later version.
    """
    path = folder / META
    if not path.is_file():
        hint = (
            f" A build of it did not end ({part_of(folder)} is left over): run it again."
            if part_of(folder).exists()
            else " Build one with `tsfm corpus build FILE... --out DIR`."
        )
        raise FileNotFoundError(f"{folder} is no corpus: it has no {META}.{hint}")
    values = json.loads(path.read_text(encoding="utf-8"))
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format {version}, this version reads {FORMAT_VERSION}; update tsfm, "
            "or build the corpus again."
        )
    sources = tuple(Source(**source) for source in values.pop("sources"))
    return Meta(sources=sources, shards=tuple(values.pop("shards")), **values)


def training_lengths(lengths: Int64, validation_share: float) -> Int64:
    """Steps of series that training may see; what follows them is for validation.

    Examples
    --------
    >>> training_lengths(np.array([100, 7]), 0.1).tolist()
    [90, 6]
    """
    return np.floor(lengths * (1 - validation_share) + 1e-9).astype(np.int64)


def part_of(folder: Path) -> Path:
    """Folder in which a corpus grows until it is complete."""
    return folder.with_name(folder.name + ".part")
