"""Target columns -> float64, NaN where missing; what is no number is refused by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames.errors import DataError

_NUMBERS = frozenset({"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"})


def to_float(column: pd.Series[Any], name: object) -> npt.NDArray[np.float64]:
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

    Returns
    -------
    ndarray
        `[rows]` float64; missing and infinite values are still as they came (NaN, inf).

    Raises
    ------
    DataError
        The column is not numeric; the message names the first row that is not a number.
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
        row = int(numbers.argmin())
        raise _not_numeric(column, name, row)
    row = int(column.notna().to_numpy().argmax())
    raise _not_numeric(column, name, row)


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


def _not_numeric(column: pd.Series[Any], name: object, row: int) -> DataError:
    value = column.iloc[row]
    return DataError(
        f"Target column {name!r} is not numeric (dtype {column.dtype}): row {row} holds "
        f"{value!r}. Convert it with "
        f"pd.to_numeric(df[{name!r}], errors='coerce'), or name another column with target_col=."
    )
