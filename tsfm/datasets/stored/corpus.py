"""Read a corpus: rows of its index, whole series, and windows out of mapped shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsfm.datasets.stored.layout import (
    BATCH,
    INDEX_FILE,
    STRATA_FILE,
    Float64,
    Int64,
    arrow,
    read_meta,
)

_WINDOWS_PER_MAPPING = 1024
"""Windows read before a shard is unmapped: pages that were touched count as memory in use."""


class Corpus:
    """A corpus on disk; its values stay there until they are asked for.

    Parameters
    ----------
    path
        Folder that `tsfm corpus build` or `CorpusWriter` wrote.

    Attributes
    ----------
    meta
        What `corpus.json` says.

    Raises
    ------
    FileNotFoundError
        If the folder is no corpus, or one whose build did not end.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta = read_meta(self.path)

    def __len__(self) -> int:
        """Number of series."""
        return self.meta.n_series

    @property
    def stratified(self) -> bool:
        """Whether the corpus has strata that belong to its series."""
        if not (self.path / STRATA_FILE).is_file():
            return False
        return bool(self.strata_meta["corpus"] == self.meta.fingerprint)

    @property
    def strata_meta(self) -> dict[str, Any]:
        """Settings, edges and weights of the strata.

        Raises
        ------
        FileNotFoundError
            If the corpus has not been stratified.
        """
        path = self.path / STRATA_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.path} has no strata; make them with `tsfm corpus stratify {self.path}`."
            )
        pa = arrow()
        with pa.memory_map(str(path)) as file:
            values: dict[str, Any] = json.loads(pa.ipc.open_file(file).schema.metadata[b"tsfm"])
        return values

    def batches(self, *columns: str, file: str = INDEX_FILE) -> Iterator[tuple[NDArray[Any], ...]]:
        """Columns of the index (or the strata), `BATCH` series at a time.

        Parameters
        ----------
        columns
            Names, see `layout.INDEX`.
        file
            `INDEX_FILE` or `STRATA_FILE`.
        """
        pa = arrow()
        with pa.memory_map(str(self.path / file)) as source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                yield tuple(_numpy(batch.column(name)) for name in columns)

    def column(self, name: str, file: str = INDEX_FILE) -> NDArray[Any]:
        """One column of all series; `[n_series]`."""
        return np.concatenate([part[0] for part in self.batches(name, file=file)])

    def rows(self, numbers: Int64, *columns: str) -> tuple[NDArray[Any], ...]:
        """Columns of some series, in the order asked for.

        Parameters
        ----------
        numbers
            [n] numbers of series.
        columns
            Names, see `layout.INDEX`.
        """
        pa = arrow()
        found: list[NDArray[Any]] = []
        which = numbers // BATCH
        with pa.memory_map(str(self.path / INDEX_FILE)) as source:
            reader = pa.ipc.open_file(source)
            for b in np.unique(which):
                batch = reader.get_batch(int(b))
                here = np.flatnonzero(which == b)
                for k, name in enumerate(columns):
                    values = _numpy(batch.column(name).take(pa.array(numbers[here] - b * BATCH)))
                    if len(found) <= k:
                        found.append(np.empty(len(numbers), dtype=values.dtype))
                    found[k][here] = values
        return tuple(found)

    def series(self, number: int) -> Float64:
        """All values of a series in its own unit, NaN = missing; `[length]` float64."""
        if not 0 <= number < len(self):
            raise IndexError(f"Series {number} of {len(self)}; they are counted from 0.")
        where = np.array([number])
        length, center, scale = self.rows(where, "length", "center", "scale")
        stored = self.windows(where, np.zeros(1, np.int64), int(length[0]))[0]
        return stored.astype(np.float64) * scale[0] + center[0]

    def windows(
        self, numbers: Int64, starts: Int64, length: int, ends: Int64 | None = None
    ) -> NDArray[np.float32]:
        """Windows of some series as they are stored (centered where their level is far off).

        Parameters
        ----------
        numbers, starts
            [n] series, and first step of each window; may be negative.
        length
            Steps per window.
        ends
            [n] step at which each series is to be cut off; its length by default.

        Returns
        -------
        ndarray
            [n, length] float32; NaN = missing, before the first step, or from `ends` on.
        """
        shard, offset, total = self.rows(numbers, "shard", "offset", "length")
        stop = total if ends is None else np.minimum(ends, total)
        out = np.full((len(numbers), length), np.nan, dtype=np.float32)
        order = np.lexsort((offset + starts, shard))
        begin = 0
        while begin < len(order):
            here = int(shard[order[begin]])
            end = min(begin + _WINDOWS_PER_MAPPING, len(order))
            end = begin + int(np.searchsorted(shard[order[begin:end]], here, side="right"))
            self._copy(here, order[begin:end], offset, starts, stop, out)
            begin = end
        return out

    def _copy(
        self,
        shard: int,
        rows: Int64,
        offset: Int64,
        starts: Int64,
        stop: Int64,
        out: NDArray[np.float32],
    ) -> None:
        """Fill some rows of `out` from one shard, which is mapped for that long only."""
        pa = arrow()
        with pa.memory_map(str(self.path / self.meta.shards[shard])) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
            flat = batch.column("target").values.to_numpy(zero_copy_only=True)
            places = zip(rows.tolist(), offset[rows].tolist(), starts[rows].tolist(), strict=True)
            for (row, base, start), last in zip(places, stop[rows].tolist(), strict=True):
                first, end = max(start, 0), min(start + out.shape[1], last)
                if end > first:
                    out[row, first - start : end - start] = flat[base + first : base + end]
            del flat, batch


def _numpy(column: Any) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values
