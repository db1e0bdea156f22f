"""Rows in any order -> series, in bounded memory.

A table can hold the rows of a series anywhere: sorted by id, by time, or mixed. So its rows go
through the disk once: every chunk is split by a hash of its ids (a wide table by its columns) and
appended to partition files; each partition, small enough for memory, is then sorted and put on
regular grids as a whole. What must fit in memory is a chunk, a partition, and the longest series.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsfm.corpora.options import TableOptions
from tsfm.datasets.stored.layout import Int64, Series, arrow
from tsfm.frames import DataError, DataWarning, Panel, TimeAxis
from tsfm.frames import calendar as cal
from tsfm.frames.panel import build
from tsfm.frames.read import Records, plain, read

MOST_PARTITIONS = 256


def table_series(
    chunks: Iterable[pd.DataFrame], n_bytes: int, folder: Path, options: TableOptions
) -> Iterator[Series | DataError]:
    """The series of a table that comes in chunks.

    Parameters
    ----------
    chunks
        Pieces of the table with the same columns.
    n_bytes
        About how many bytes its values take in memory.
    folder
        An empty folder for the partition files; they are removed as they are read.
    options
        Columns, frequency, repair.

    Yields
    ------
    Series or DataError
        With `on_error="skip"` the error in place of a series that cannot be read.

    Raises
    ------
    DataError
        Otherwise; the message names the series.
    """
    spill: Spill | None = None
    for chunk in chunks:
        spill = spill or Spill(folder, n_bytes, options)
        spill.add(chunk)
    if spill is None:
        raise DataError("the table has no rows")
    yield from spill.series()


def panel_series(panel: Panel) -> Iterator[Series]:
    """The series of a panel, as a corpus stores them."""
    for i, freq in enumerate(panel.frequencies):
        dated = panel.axis.kind == "datetime"
        start = int(panel.start[i]) // cal.TICKS_PER_SECOND[panel.axis.unit] if dated else None
        alias = freq.alias if dated or panel.axis.kind == "period" else ""
        season = panel.season_lengths[i] if alias else None
        yield Series(panel.label(i), panel.values[i], str(alias), season or 0, start)


class Spill:
    """Rows of a table on disk, split so that each part holds whole series.

    Parameters
    ----------
    folder
        Where the parts are written.
    n_bytes
        Estimated size of the whole in memory.
    options
        How to read the table.
    """

    def __init__(self, folder: Path, n_bytes: int, options: TableOptions) -> None:
        self.folder = folder
        self.options = options
        wanted = math.ceil(n_bytes / options.partition_bytes)
        self.n_parts = max(1, min(MOST_PARTITIONS, wanted))
        self.axis: TimeAxis | None = None
        self.records: Records | None = None  # the first ones: where the columns are
        self._n_rows = 0
        self._writers: dict[int, Any] = {}

    def add(self, chunk: pd.DataFrame) -> None:
        """Append the rows of a chunk to their parts."""
        options = self.options
        columns: dict[str, Any] = {
            "id_col": options.id_col,
            "timestamp_col": options.timestamp_col,
            "target_col": options.target_col,
        }
        if self.records is not None:  # as in the first chunk, whatever this one looks like
            columns |= self.records.layout.arguments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if self.records else "default", DataWarning)
            try:
                records = read(chunk, **columns)
            except DataError as error:
                if not self._n_rows:
                    raise
                raise DataError(
                    f"{error} (In a piece of the table: add {self._n_rows} to its row numbers.)"
                ) from None
        self._n_rows += len(chunk)
        if self.records is None:
            self.records, self.axis = replace(records, frame=None), records.axis
        records = self._on_one_axis(records)
        if records.layout.id_col is None:
            self._add_columns(records)
        else:
            self._add_items(records)

    def _on_one_axis(self, records: Records) -> Records:
        """Ticks in the resolution of the first chunk; in UTC once the time zones differ."""
        assert self.axis is not None
        own = records.axis
        mixed = own.kind != self.axis.kind or (own.tz is None) != (self.axis.tz is None)
        if mixed or (own.kind == "period" and own.unit != self.axis.unit):
            raise DataError(
                f"The time column changes from {self.axis.dtype} to {own.dtype} within the table; "
                "write all its rows alike."
            )
        if own.kind == "datetime" and str(own.tz) != str(self.axis.tz):
            self.axis = replace(self.axis, tz=dt.UTC)
        if own.kind != "datetime" or own.unit == self.axis.unit:
            return records
        theirs, ours = cal.TICKS_PER_SECOND[own.unit], cal.TICKS_PER_SECOND[self.axis.unit]
        return replace(records, ticks=records.ticks * ours // theirs)

    def _add_items(self, records: Records) -> None:
        pa = arrow()
        labels = [str(plain(label)) for label in records.ids]
        part_of = np.array([zlib.crc32(label.encode()) % self.n_parts for label in labels])
        part = part_of[records.codes]
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange(self.n_parts + 1))
        for p in range(self.n_parts):
            rows = order[edges[p] : edges[p + 1]]
            if not len(rows):
                continue
            codes, own = np.unique(records.codes[rows], return_inverse=True)
            items = pa.DictionaryArray.from_arrays(
                pa.array(own.astype(np.int32)), pa.array([labels[c] for c in codes])
            )
            columns = {"item": items, "tick": pa.array(records.ticks[rows])}
            columns |= {f"v{k}": pa.array(t[rows]) for k, t in enumerate(records.targets)}
            self._write(p, columns)

    def _add_columns(self, records: Records) -> None:
        pa = arrow()
        groups = np.array_split(np.arange(len(records.targets)), self.n_parts)
        for p, group in enumerate(groups):
            if len(group):
                columns = {"tick": pa.array(records.ticks)}
                columns |= {f"v{k}": pa.array(records.targets[k]) for k in group.tolist()}
                self._write(p, columns)

    def _write(self, part: int, columns: dict[str, Any]) -> None:
        pa = arrow()
        batch = pa.record_batch(columns)
        if part not in self._writers:
            file = pa.OSFile(str(self._path(part)), "wb")
            self._writers[part] = (pa.ipc.new_stream(file, batch.schema), file)
        self._writers[part][0].write_batch(batch)

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:04d}.arrows"

    def series(self) -> Iterator[Series | DataError]:
        """The series, part by part; the files go with them."""
        for writer, file in self._writers.values():
            writer.close()
            file.close()
        for part in sorted(self._writers):
            records = self._load(part)
            self._path(part).unlink()
            yield from self._regular(records)

    def _load(self, part: int) -> Records:
        """One part as records, its rows in the order of the file."""
        assert self.records is not None
        assert self.axis is not None
        pa = arrow()
        numbers: dict[str, int] = {}
        pieces: dict[str, list[Any]] = {}
        with pa.OSFile(str(self._path(part)), "rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if name != "item":
                        pieces.setdefault(name, []).append(column.to_numpy())
                        continue
                    labels = column.dictionary.to_pylist()
                    new = np.array([numbers.setdefault(x, len(numbers)) for x in labels])
                    pieces.setdefault(name, []).append(new[column.indices.to_numpy()])
        whole = {name: np.concatenate(arrays) for name, arrays in pieces.items()}
        ticks = whole.pop("tick")
        codes = whole.pop("item", np.zeros(len(ticks), np.int64)).astype(np.int64)
        layout = self.records.layout
        if layout.time_from == "position":
            ticks = _count_within(codes)
        targets = {int(name[1:]): values for name, values in whole.items()}
        ids = np.array(list(numbers), dtype=object)
        if layout.id_col is None:
            names = tuple(layout.target_cols[k] for k in targets)
            layout = replace(layout, target_cols=names)
            ids = np.empty(len(names), dtype=object)
            ids[:] = names
        return Records(codes, ids, ticks, tuple(targets.values()), self.axis, layout)

    def _regular(self, records: Records) -> Iterator[Series | DataError]:
        options = self.options

        def built(some: Records) -> Panel:
            with warnings.catch_warnings():  # gaps are counted in the index
                warnings.simplefilter("ignore", DataWarning)
                return build(some, options.freq, options.on_gaps, options.on_duplicates, None)

        try:
            panel = built(records)
        except DataError:
            if options.on_error == "raise":
                raise
        else:
            yield from panel_series(panel)
            return
        for code in range(int(records.codes.max()) + 1):  # which of them is it?
            rows = np.flatnonzero(records.codes == code)
            one = Records(
                np.zeros(len(rows), np.int64),
                records.ids if records.layout.id_col is None else records.ids[[code]],
                records.ticks[rows],
                tuple(target[rows] for target in records.targets),
                records.axis,
                records.layout,
            )
            try:
                panel = built(one)
            except DataError as error:
                yield error
            else:
                yield from panel_series(panel)


def _count_within(codes: Int64) -> Int64:
    """0, 1, 2, ... within each item, in row order."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    ticks = np.empty(len(codes), dtype=np.int64)
    ticks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ticks
