"""Write a corpus: series in, shards and index out, all of it or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tsfm.datasets.stored.layout import (
    BATCH,
    EXCLUDED_FILE,
    INDEX,
    INDEX_FILE,
    META,
    Float64,
    Meta,
    Series,
    Source,
    arrow,
    index_schema,
    part_of,
    shard_schema,
    write_text,
)

_LARGEST = 1e30
"""Magnitude beyond which (and below its inverse) values are stored in another unit."""


class CorpusWriter:
    """Writes a corpus as a context manager; the folder appears, whole, when it ends.

    Values are collected and written shard by shard into `out` + ".part", which becomes `out` at
    the end. An error removes it; what a killed build leaves there is removed by the next one.

    Parameters
    ----------
    out
        Folder of the corpus.
    shard_values
        Steps per shard (a longer series has a shard of its own); memory of the writer is about
        eight bytes times this.
    overwrite
        Whether to replace a corpus that is there already.

    Raises
    ------
    FileExistsError
        If `out` exists: without `overwrite`, or if it is no corpus.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tsfm.datasets.stored import Corpus, CorpusWriter, Series
    >>> with TemporaryDirectory() as folder:
    ...     with CorpusWriter(folder + "/corpus") as writer:
    ...         writer.begin("by hand", "arrays")
    ...         writer.add(Series("a", np.array([1.0, np.nan, 3.0]), "D", 7))
    ...     Corpus(folder + "/corpus").series(0).tolist()
    [1.0, nan, 3.0]
    """

    def __init__(
        self, out: str | Path, *, shard_values: int = 16_000_000, overwrite: bool = False
    ) -> None:
        self.out = Path(out)
        self.part = part_of(self.out)
        self.shard_values = shard_values
        self._refuse_existing(overwrite)
        self._sources: list[Source] = []
        self._shards: list[str] = []
        self._pending: list[tuple[str, NDArray[np.float32]]] = []
        self._pending_values = 0
        self._rows: dict[str, list[Any]] = {name: [] for name in INDEX}
        self._totals = np.zeros(3, dtype=np.int64)  # series, steps, missing
        self._digest = hashlib.blake2b(digest_size=16)
        self._guard: dict[str, Any] = {}

    def _refuse_existing(self, overwrite: bool) -> None:
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return
        if not (self.out / META).is_file():
            raise FileExistsError(
                f"{self.out} exists and is no corpus; choose another folder, or remove it."
            )
        if not overwrite:
            raise FileExistsError(
                f"{self.out} already holds a corpus; choose another folder, or replace it with "
                "overwrite=True (--overwrite)."
            )

    def __enter__(self) -> Self:
        arrow()
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True)
        pa = arrow()
        self._schema = index_schema()
        self._index_file = pa.OSFile(str(self.part / INDEX_FILE), "wb")
        self._index = pa.ipc.new_file(self._index_file, self._schema)
        self._excluded = (self.part / EXCLUDED_FILE).open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._commit()
                return
            except BaseException:
                self._abandon()
                raise
        self._abandon()

    def begin(self, name: str, kind: str) -> None:
        """Say where the series that follow come from."""
        self._sources.append(Source(name, kind))

    def add(self, series: Series) -> None:
        """Append a series; one without steps is left out.

        Raises
        ------
        ValueError
            If its values are not one-dimensional.
        """
        if series.values.ndim != 1:
            raise ValueError(
                f"Series {series.item_id!r} has shape {series.values.shape}; give one dimension."
            )
        if not self._sources:
            self.begin("arrays", "arrays")
        length = len(series.values)
        if not length:
            self.count(n_skipped=1)
            return
        stored, center, scale = packed(series.values)
        if self._pending and self._pending_values + length > self.shard_values:
            self._flush_shard()
        n_missing = int(np.isnan(stored).sum())
        digest = hashlib.blake2b(stored.tobytes(), digest_size=16).digest()
        row = (
            len(self._shards), self._pending_values, length, center, scale, n_missing / length,
            series.season_length, len(self._sources) - 1, series.start, series.frequency,
            series.item_id, digest,
        )  # fmt: skip
        for column, value in zip(self._rows.values(), row, strict=True):
            column.append(value)
        self._digest.update(digest)
        self._pending.append((series.item_id, stored))
        self._pending_values += length
        self._totals += (1, length, n_missing)
        self.count(n_series=1, n_values=length)
        if len(self._rows["shard"]) == BATCH:
            self._flush_index()

    def exclude(self, series: Series, evaluation: str, hits: int) -> None:
        """Note a series that was kept out because it holds windows of an evaluation set."""
        entry = {
            "item_id": series.item_id,
            "source": self._sources[-1].name if self._sources else "",
            "evaluation": evaluation,
            "hits": hits,
        }
        self._excluded.write(json.dumps(entry) + "\n")
        self.count(n_excluded=1)

    def count(
        self, *, n_series: int = 0, n_values: int = 0, n_excluded: int = 0, n_skipped: int = 0
    ) -> None:
        """Add to the numbers of the present source."""
        last = self._sources[-1]
        self._sources[-1] = dataclasses.replace(
            last,
            n_series=last.n_series + n_series,
            n_values=last.n_values + n_values,
            n_excluded=last.n_excluded + n_excluded,
            n_skipped=last.n_skipped + n_skipped,
        )

    def guarded(self, settings: dict[str, Any]) -> None:
        """Note the settings of the leakage guard in `corpus.json`."""
        self._guard = settings

    @property
    def sources(self) -> tuple[Source, ...]:
        """What has been read so far."""
        return tuple(self._sources)

    def _flush_shard(self) -> None:
        """Write the pending values as one record batch of one file."""
        pa = arrow()
        name = f"shard-{len(self._shards):05d}.arrow"
        lengths = [len(values) for _, values in self._pending]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.empty(offsets[-1], dtype=np.float32)
        for begin, (_, values) in zip(offsets, self._pending, strict=False):
            flat[begin : begin + len(values)] = values
        ids = pa.array([item_id for item_id, _ in self._pending], pa.large_string())
        self._pending = []
        self._pending_values = 0
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat))
        batch = pa.record_batch([ids, lists], schema=shard_schema())
        path = self.part / name
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, shard_schema()) as writer:
            writer.write_batch(batch)
        _sync(path)
        self._shards.append(name)

    def _flush_index(self) -> None:
        pa = arrow()
        columns = [pa.array(self._rows[f.name], type=f.type) for f in self._schema]
        self._index.write_batch(pa.record_batch(columns, schema=self._schema))
        self._rows = {name: [] for name in INDEX}

    def _commit(self) -> None:
        """Finish all files, the description last, and give the folder its name."""
        if not self._totals[0]:
            raise ValueError("The corpus would be empty: no series was read, or none was kept.")
        if self._pending:
            self._flush_shard()
        if self._rows["shard"]:
            self._flush_index()
        self._index.close()
        self._index_file.close()
        self._excluded.close()
        if not any(source.n_excluded for source in self._sources):
            (self.part / EXCLUDED_FILE).unlink()
        _sync(self.part / INDEX_FILE)
        n_series, n_values, n_missing = self._totals.tolist()
        meta = Meta(
            n_series=n_series,
            n_values=n_values,
            n_missing=n_missing,
            shards=tuple(self._shards),
            fingerprint=self._digest.hexdigest(),
            sources=tuple(self._sources),
            guard=self._guard,
        )
        write_text(self.part / META, json.dumps(dataclasses.asdict(meta), indent=2) + "\n")
        self._refuse_existing(overwrite=True)
        old = self.out.with_name(self.out.name + ".old")
        if self.out.exists():
            shutil.rmtree(old, ignore_errors=True)
            self.out.replace(old)
        self.part.replace(self.out)
        shutil.rmtree(old, ignore_errors=True)

    def _abandon(self) -> None:
        for file in (self._index, self._index_file, self._excluded):
            file.close()
        shutil.rmtree(self.part, ignore_errors=True)


def packed(values: Float64) -> tuple[NDArray[np.float32], float, float]:
    """Float32 values with center and scale: `values = center + scale * stored`.

    The center is 0 and the scale 1 unless float32 would lose the movement of the series next to
    its level (it varies by less than a thousandth of it), or cannot hold its unit.

    Examples
    --------
    >>> packed(np.array([1e9 + 1, 1e9 + 2, 1e9 + 3]))
    (array([-1.,  0.,  1.], dtype=float32), 1000000002.0, 1.0)
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64, copy=False)
    known = values[~np.isnan(values)]
    if not len(known):
        return values.astype(np.float32), 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    center = 0.0
    if max(abs(low), abs(high)) > 1e3 * (high / 2 - low / 2):
        center = float(np.median(known))
    largest = max(abs(low - center), abs(high - center))
    scale = 1.0
    if largest > 0 and not 1 / _LARGEST < largest < _LARGEST:
        scale = 2.0 ** int(np.floor(np.log2(largest)))
    return ((values - center) / scale).astype(np.float32), center, scale


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
