"""The caller's object -> flat records: a code and a tick per row, a float column per target."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames.calendar import Int64
from tsfm.frames.errors import DataError, InfiniteValueWarning, some, warn
from tsfm.frames.layout import AUTO, Layout, detect, flatten_index, warn_unused
from tsfm.frames.timeaxis import TimeAxis, encode
from tsfm.frames.values import to_float

Data = pd.DataFrame | pd.Series | np.ndarray | Sequence[Any]
"""What can be read: a DataFrame, a Series, a 1-d array, a list of numbers, or a list of 1-d "
"arrays."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Records:
    """Rows as they came, before any repair.

    Parameters
    ----------
    codes
        `[rows]` number of the item each row belongs to, in order of first appearance.
    ids
        `[items]` the caller's ids, in their own dtype.
    ticks
        `[rows]` timestamps.
    targets
        One `[rows]` float64 array per target column; never the caller's memory to write to.
    axis, layout
        What the time column was made of, and where everything was found.
    frame
        The frame these rows are of, row for row, for messages; `None` when they are of none.
    """

    codes: Int64
    ids: Any
    ticks: Int64
    targets: tuple[Float64, ...]
    axis: TimeAxis
    layout: Layout
    frame: pd.DataFrame | None = None

    def resample_hint(self, alias: str) -> str:
        """Code that puts the caller's data on a regular grid."""
        layout = self.layout
        if not layout.from_frame:
            return f"series.resample({alias!r}).mean()"
        names = list(layout.target_cols)
        values = f"[{(names[0] if len(names) == 1 else names)!r}]"
        by = "" if layout.id_col is None else f".groupby({layout.id_col!r})"
        on = "" if layout.time_from == "index" else f", on={layout.timestamp_col!r}"
        return f"df{by}.resample({alias!r}{on}){values}.mean()"

    def label(self, code: int) -> str:
        """An item as text, for messages."""
        if self.layout.source == "wide":
            return "of the wide frame (all columns)"
        return repr(plain(self.ids[code]))


def bare(array: Any) -> Any:
    """A numpy array out of the wrapper pandas puts around it; other arrays as they are."""
    return array.to_numpy() if type(array) is pd.arrays.NumpyExtensionArray else array


def plain(value: Any) -> Any:
    """A numpy scalar as the Python value it holds."""
    return value.item() if isinstance(value, np.generic) else value


def read(
    data: Data,
    *,
    id_col: Hashable | None = AUTO,
    timestamp_col: Hashable | None = AUTO,
    target_col: Hashable | Sequence[Hashable] | None = AUTO,
) -> Records:
    """Reads any supported object; see `tsfm.frames.to_panel` for the arguments.

    Raises
    ------
    DataError
        The data are empty, ambiguous or not time series.
    TypeError
        The object is of no supported type.
    """
    if isinstance(data, pd.Series) and data.index.nlevels > 1:
        data = data.to_frame("target" if data.name is None else data.name)
    if isinstance(data, pd.DataFrame):
        records = _read_frame(data, id_col, timestamp_col, target_col)
    elif isinstance(data, pd.Series):
        records = _read_series(data, timestamp_col)
    else:
        records = _read_arrays(data)
    return _without_infinities(records)


def _read_frame(frame: pd.DataFrame, id_col: Any, timestamp_col: Any, target_col: Any) -> Records:
    if frame.empty:
        rows, columns = frame.shape
        raise DataError(
            f"The frame is empty ({rows} rows, {columns} columns): there is nothing to forecast "
            "from."
        )
    frame = flatten_index(frame, [c for c in (id_col, timestamp_col) if isinstance(c, Hashable)])
    layout = detect(frame, id_col, timestamp_col, target_col)
    codes, ids = _codes(frame, layout)
    of_row = None if layout.id_col is None else frame[layout.id_col]
    targets = tuple(to_float(frame[name], name, ids=of_row) for name in layout.target_cols)
    if layout.time_from == "position":
        axis, ticks = TimeAxis("integer", np.dtype(np.int64)), _count_within(codes, len(ids))
    else:
        column = (
            frame.index.to_series() if layout.time_from == "index" else frame[layout.timestamp_col]
        )
        axis, ticks = encode(column, layout.timestamp_name)
    warn_unused(frame, layout)
    return Records(codes, ids, ticks, targets, axis, layout, frame)


def _read_series(series: pd.Series[Any], timestamp_col: Any) -> Records:
    if series.empty:
        raise DataError("The series is empty (0 rows): there is nothing to forecast from.")
    name = "target" if series.name is None else series.name
    index = series.index
    if timestamp_col is None:
        axis, ticks = (
            TimeAxis("integer", np.dtype(np.int64)),
            np.arange(len(series), dtype=np.int64),
        )
    else:
        axis, ticks = encode(index.to_series(), index.name or "index", "series.index")
    time_name = "timestamp" if index.name is None else index.name
    layout = Layout("series", None, None, (name,), "index", time_name)
    ids = _label_array([0 if series.name is None else series.name])
    values = to_float(series, name, "series")
    return Records(np.zeros(len(series), np.int64), ids, ticks, (values,), axis, layout)


def _read_arrays(data: Any) -> Records:
    parts = _as_arrays(data)
    lengths = np.asarray([len(part) for part in parts])
    if not len(parts) or not lengths.all():
        which = f"Series {int(lengths.argmin())} of the list" if len(parts) > 1 else "The data"
        raise DataError(f"{which} is empty (0 values): there is nothing to forecast from.")
    codes = np.repeat(np.arange(len(parts)), lengths)
    layout = Layout("array", None, None, ("target",), "position")
    axis = TimeAxis("integer", np.dtype(np.int64))
    ticks = _count_within(codes, len(parts))
    return Records(codes, np.arange(len(parts)), ticks, (np.concatenate(parts),), axis, layout)


def _as_arrays(data: Any) -> list[Float64]:
    supported = "a DataFrame, a Series, a 1-d array, a list of numbers or a list of 1-d arrays"
    if isinstance(data, str | bytes | dict) or not hasattr(data, "__len__"):
        raise TypeError(f"Cannot read series from {type(data).__name__}; pass {supported}.")
    if isinstance(data, list | tuple):
        if any(isinstance(part, pd.DataFrame | pd.Series) for part in data):
            raise TypeError(
                "A list of pandas objects is ambiguous; join them first with pd.concat(..., "
                "keys=ids)."
            )
        if not all(np.ndim(part) == 0 for part in data):
            return [_as_vector(part, f"series {i} of the list") for i, part in enumerate(data)]
        column = pd.Series(list(data), dtype=None if len(data) else np.float64)
        return [to_float(column, "data", "data")]
    return [_as_vector(data, "the array")]


def _as_vector(part: Any, what: str) -> Float64:
    if isinstance(part, np.ma.MaskedArray):  # np.asarray would take the values under the mask
        part = np.ma.filled(part.astype(np.float64), np.nan)
    array = np.asarray(part)
    if array.ndim != 1:
        raise DataError(
            f"Expected one dimension, but {what} has shape {array.shape}. Pass a list of 1-d "
            "arrays (one per series), "
            "or a DataFrame with one column per series."
        )
    return to_float(pd.Series(array), what, "array").copy()


def _codes(frame: pd.DataFrame, layout: Layout) -> tuple[Int64, Any]:
    if layout.id_col is None:
        # Without ids a series is known by the label of its column (wide frames: one id per
        # column).
        return np.zeros(len(frame), dtype=np.int64), _label_array(layout.target_cols)
    column = frame[layout.id_col]
    codes = np.asarray(pd.factorize(column)[0], dtype=np.int64)
    missing = codes < 0
    if missing.any():
        raise DataError(
            f"Id column {layout.id_col!r} is missing in {int(missing.sum())} row(s), the first "
            "is row "
            f"{int(missing.argmax())}. Fill the ids or drop these rows: "
            f"df.dropna(subset=[{layout.id_col!r}])."
        )
    first = np.empty(int(codes.max()) + 1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, bare(column.iloc[first].array)


def _label_array(labels: Sequence[Hashable]) -> Any:
    if any(isinstance(label, tuple) for label in labels):
        array = np.empty(len(labels), dtype=object)
        array[:] = list(labels)
        return array
    return bare(pd.Index(list(labels)).array)


def _count_within(codes: Int64, n_items: int) -> Int64:
    """0, 1, 2, ... within each item, in row order."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=n_items)
    ticks = np.empty(len(codes), dtype=np.int64)
    ticks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ticks


def _without_infinities(records: Records) -> Records:
    infinite = [np.isinf(values) for values in records.targets]
    count = sum(int(mask.sum()) for mask in infinite)
    if not count:
        return records
    rows = np.logical_or.reduce(infinite)
    if records.layout.id_col is None and len(records.targets) > 1:
        items = [
            name
            for name, mask in zip(records.layout.target_cols, infinite, strict=True)
            if mask.any()
        ]
    else:
        items = [plain(records.ids[code]) for code in np.unique(records.codes[rows])]
    warn(
        f"{count} infinite value(s) are read as missing, in series {some(items)} (first in row "
        f"{int(rows.argmax())}). Replace them to silence this warning.",
        InfiniteValueWarning,
    )
    targets = tuple(
        np.where(mask, np.nan, values)
        for mask, values in zip(infinite, records.targets, strict=True)
    )
    return replace(records, targets=targets)
