"""Target columns -> float64, NaN where missing; what is no number is refused by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames.errors import DataError, show

_NUMBERS = frozenset({"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"})


def to_float(
    column: pd.Series[Any],
    name: object,
    code: str | None = None,
    ids: pd.Series[Any] | None = None,
) -> npt.NDArray[np.float64]:
    """Reads one target column.

    Integers, floats, nullable and Arrow numbers, booleans (0 and 1) and objects that are all
    numbers (`Decimal`, `None`) are accepted. Strings are not, even "1.5": a column of strings is
    usually a column that went wrong while it was read.

    Parameters
    ----------
    column
        The column; it is not changed.
    name
        What to call it in messages.
    code
        How the caller's code writes the column, for messages; `df[name]` by default.
    ids
        Id of each row, for messages.

    Returns
    -------
    ndarray
        `[rows]` float64; missing and infinite values are still as they came (NaN, inf).

    Raises
    ------
    DataError
        The column is not numeric; the message names the first cell that is no number, or says
        that all are, but written as text.
    """
    dtype: Any = column.dtype
    if is_number(dtype) or pd.api.types.is_bool_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_object_dtype(dtype):
        if pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS:
            objects = pd.Series(column.to_numpy(na_value=np.nan))
            return objects.to_numpy(dtype=np.float64)
        numbers = column.map(_is_number_or_missing).to_numpy(dtype=bool)
        if numbers.all():
            return np.asarray(
                [np.nan if pd.isna(v) else float(v) for v in column], dtype=np.float64
            )
    raise _not_numeric(column, name, code or f"df[{name!r}]", ids)


def is_number(dtype: Any) -> bool:
    """Whether a dtype holds real numbers (not booleans, dates or complex numbers)."""
    return bool(
        pd.api.types.is_numeric_dtype(dtype)
        and not pd.api.types.is_bool_dtype(dtype)
        and not pd.api.types.is_complex_dtype(dtype)
    )


def _is_number_or_missing(value: Any) -> bool:
    if isinstance(value, str | bytes | complex):
        return False
    if value is None or value is pd.NA:
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _not_numeric(
    column: pd.Series[Any], name: object, code: str, ids: pd.Series[Any] | None
) -> DataError:
    """Names the first cell that cannot be made a number; failing that, the first text."""
    cells = column.astype(object).reset_index(drop=True)
    text = cells.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    bad = ~(text | cells.map(_is_number_or_missing).to_numpy(dtype=bool))
    written = cells[text]
    bad[text] = (pd.to_numeric(written, errors="coerce").isna() & (written != "")).to_numpy()
    present = column.notna().to_numpy()
    row = int((bad if bad.any() else text if text.any() else present).argmax())
    start = f"Target column {name!r} is not numeric (dtype {column.dtype}): "
    where = f"row {row}" if ids is None else f"row {row} (series {show(ids.iloc[row])})"
    holds = f"{where} holds {show(cells[row])}"
    convert = f"{code} = pd.to_numeric({code})"
    if not bad.any():
        part = "the whole column is" if text[present].all() else "some of its numbers are"
        return DataError(f"{start}{part} text: {holds}. Convert it: {convert}.")
    count = int(bad.sum())
    which = (
        "which is no number" if count == 1 else f"the first of {count} cells that are no number"
    )
    remedy = f"Correct it or set it to missing (None), then convert the column: {convert}."
    if bad[present].all():
        remedy = "Name a column of numbers with target_col=, or turn this one into numbers first."
    return DataError(f"{start}{holds}, {which}. {remedy}")
