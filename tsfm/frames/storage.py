"""A `Panel` on disk: arrays in `.npz`, everything else in JSON. No pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsfm.frames.errors import DataError
from tsfm.frames.frequency import Frequency
from tsfm.frames.layout import Layout
from tsfm.frames.panel import Panel
from tsfm.frames.read import bare
from tsfm.frames.timeaxis import TimeAxis, encode

ARRAYS = "context.npz"
SCHEMA = "context.json"


def save_panel(panel: Panel, folder: Path) -> None:
    """Writes `context.npz` and `context.json` into a folder.

    Raises
    ------
    DataError
        Ids or column labels are neither strings nor numbers.
    """
    distinct = list(dict.fromkeys(panel.frequencies))
    number = {freq: i for i, freq in enumerate(distinct)}
    np.savez_compressed(
        folder / ARRAYS,
        values=np.concatenate(panel.values),
        lengths=panel.lengths,
        start=panel.start,
        last=panel.last,
        frequency=np.asarray([number[freq] for freq in panel.frequencies], dtype=np.int64),
    )
    schema = {
        "ids": _array_to_json(panel.ids),
        "target_names": _labels_to_json(panel.target_names),
        "frequencies": [asdict(freq) for freq in distinct],
        "axis": {"dtype": str(panel.axis.dtype)},
        "layout": {
            **asdict(panel.layout),
            "id_col": _labels_to_json([panel.layout.id_col])[0],
            "timestamp_col": _labels_to_json([panel.layout.timestamp_col])[0],
            "timestamp_name": _labels_to_json([panel.layout.timestamp_name])[0],
            "target_cols": _labels_to_json(panel.layout.target_cols),
        },
    }
    (folder / SCHEMA).write_text(json.dumps(schema, indent=1), encoding="utf-8")


def load_panel(folder: Path) -> Panel:
    """Reads what `save_panel` wrote."""
    schema = json.loads((folder / SCHEMA).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        lengths, frequency = arrays["lengths"], arrays["frequency"].tolist()
        values = tuple(np.split(arrays["values"], np.cumsum(lengths)[:-1]))
        start, last = arrays["start"], arrays["last"]
    frequencies = [Frequency(**entry) for entry in schema["frequencies"]]
    layout = Layout(**{**schema["layout"], "target_cols": tuple(schema["layout"]["target_cols"])})
    return Panel(
        values,
        _array_from_json(schema["ids"]),
        tuple(schema["target_names"]),
        tuple(frequencies[i] for i in frequency),
        start,
        last,
        _axis(schema["axis"]["dtype"]),
        layout,
    )


def _axis(dtype: str) -> TimeAxis:
    """The axis of an empty column of that dtype."""
    made: Any = np.dtype(object)
    try:
        made = pd.api.types.pandas_dtype(dtype)
    except TypeError as error:
        raise DataError(f"Cannot restore a time column of dtype {dtype}.") from error
    axis, _ = encode(pd.Series([], dtype=made), "timestamp")
    return replace(axis, dtype=made)


def _labels_to_json(labels: Sequence[object]) -> list[Any]:
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    bad = [label for label in plain if not (label is None or isinstance(label, str | int | float))]
    if bad:
        raise DataError(f"Column labels must be strings or numbers to be saved; found {bad[0]!r}.")
    return plain


def _array_to_json(array: Any) -> dict[str, Any]:
    dtype: Any = array.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _array_to_json(dtype.categories.array)
        codes = np.asarray(array.codes).tolist()
        return {
            "dtype": "category",
            "ordered": bool(dtype.ordered),
            "categories": categories,
            "codes": codes,
        }
    return {"dtype": str(dtype), "values": _labels_to_json(list(array))}


def _array_from_json(entry: dict[str, Any]) -> Any:
    if entry["dtype"] == "category":
        categories = pd.Index(_array_from_json(entry["categories"]))
        return pd.Categorical.from_codes(
            entry["codes"], categories=categories, ordered=entry["ordered"]
        )
    return bare(pd.Series(entry["values"], dtype=entry["dtype"]).array)
