"""Time columns <-> integers: datetimes (in a zone or not), Periods, integers, ISO strings."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tsfm.frames.calendar import Bool, Int64, written_format
from tsfm.frames.errors import DataError, show

_ISO = re.compile(r"^\s*\d{4}-\d{1,2}(-\d{1,2}|$)|^\s*\d{4}/\d{1,2}/\d{1,2}")


@dataclass(frozen=True)
class TimeAxis:
    """What the caller's time column was made of, so that the answer can be made of the same.

    Parameters
    ----------
    kind
        "datetime", "period" or "integer".
    dtype
        Dtype of the caller's column (of the parsed datetimes where the column held strings).
    unit
        Resolution of datetime ticks; the alias of one ordinal for Periods; "" for integers.
    tz
        Time zone of the datetimes, if any. Ticks are UTC.
    multiple
        Ordinals in one Period (2 for `period[2h]`).
    """

    kind: Literal["datetime", "period", "integer"]
    dtype: Any
    unit: str = ""
    tz: dt.tzinfo | None = None
    multiple: int = 1

    def to_wall(self, ticks: Int64) -> Int64:
        """UTC ticks -> ticks of the local clock."""
        utc = _datetimes(ticks, self.unit).tz_localize("UTC")
        return np.asarray(utc.tz_convert(self.tz).tz_localize(None).asi8)

    def from_wall(self, ticks: Int64) -> Int64:
        """Ticks of the local clock -> UTC ticks.

        A local time that the change to summer time skips moves forward to the first that exists;
        one that occurs twice means the first occurrence.
        """
        local = _datetimes(ticks.reshape(-1), self.unit)
        zoned = local.tz_localize(
            self.tz, ambiguous=np.ones(len(local), dtype=bool), nonexistent="shift_forward"
        )
        return np.asarray(zoned.asi8).reshape(ticks.shape)

    def decode(self, ticks: Int64) -> pd.Series[Any]:
        """Ticks (UTC) -> a column of the caller's dtype."""
        if self.kind == "integer":
            return pd.Series(_fit_integers(ticks, self.dtype))
        if self.kind == "period":
            return pd.Series(_from_ordinals(ticks, self.dtype.freq))
        index = _datetimes(ticks, self.unit)
        if self.tz is not None:
            index = index.tz_localize("UTC").tz_convert(self.tz)
        column = pd.Series(index)
        return column if column.dtype == self.dtype else column.astype(self.dtype)

    def show(self, tick: int) -> str:
        """One timestamp as text, for messages."""
        value = self.decode(np.asarray([tick], dtype=np.int64)).iloc[0]
        if isinstance(value, pd.Timestamp) and value == value.normalize():
            return str(value.date())
        return str(value)


def encode(
    column: pd.Series[Any], name: object, code: str | None = None
) -> tuple[TimeAxis, Int64]:
    """Reads a time column.

    Parameters
    ----------
    column
        datetime64 (any resolution, with or without a zone), Period, integers, whole floats, ISO
        8601 strings, `datetime.date` or `datetime.datetime` objects.
    name
        What to call the column in messages.
    code
        How the caller's code writes the column, for messages; `df[name]` by default.

    Returns
    -------
    axis, ticks
        How to read the ticks, and the ticks `[rows]`.

    Raises
    ------
    DataError
        A timestamp is missing or cannot be read (the row is named), the dtype is not a time, or
        the integers are written dates (20240131).
    """
    column = _parse(column, name)
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"{_column(name)} has {int(missing.sum())} missing timestamp(s) (NaT), the first in "
            "row "
            f"{int(missing.argmax())}. Fill them or drop these rows: df.dropna(subset=[{name!r}])."
        )
    dtype: Any = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        periods = pd.PeriodIndex(column)
        offset: Any = dtype.freq
        axis = TimeAxis("period", dtype, unit=offset.base.freqstr, multiple=int(offset.n))
        return axis, np.asarray(periods.asi8)
    if dtype.kind == "M":
        plain = column.astype(_numpy_like(dtype)) if isinstance(dtype, pd.ArrowDtype) else column
        index = pd.DatetimeIndex(plain)
        return TimeAxis("datetime", dtype, unit=index.unit, tz=index.tz), np.asarray(index.asi8)
    ticks = _integers(column, name)
    _refuse_written_dates(ticks, name, code or f"df[{name!r}]")
    return TimeAxis("integer", dtype), ticks


def looks_like_time(column: pd.Series[Any]) -> bool:
    """Whether a column holds datetimes, Periods, dates or ISO 8601 strings."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.PeriodDtype) or dtype.kind == "M":
        return True
    if not (
        pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype | pd.ArrowDtype)
    ):
        return False
    sample = column.dropna().iloc[:20]
    if sample.empty or dtype.kind in "iufb":
        return False
    return all(
        isinstance(value, dt.date | pd.Period)
        or (isinstance(value, str) and _ISO.match(value) is not None)
        for value in sample
    )


def _parse(column: pd.Series[Any], name: object) -> pd.Series[Any]:
    """Strings and objects -> datetimes, Periods or integers; other dtypes pass."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _parse(column.astype(dtype.categories.dtype), name)
    if isinstance(dtype, pd.PeriodDtype) or dtype.kind in "Miuf":
        return column
    content = pd.api.types.infer_dtype(column, skipna=True)
    if content == "period":
        return pd.Series(pd.PeriodIndex(column))
    if content == "integer":
        return column.astype("Int64")
    if content == "empty":
        return pd.Series(np.full(len(column), np.datetime64("NaT", "ns")))
    if content in ("date", "datetime", "datetime64", "string"):
        return _to_datetime(column, name, strings=content == "string")
    raise DataError(
        f"{_column(name)} cannot be read as time (dtype {dtype}, {content}). "
        "Use datetimes, Periods or integers, or name another column with timestamp_col=."
    )


def _to_datetime(column: pd.Series[Any], name: object, *, strings: bool) -> pd.Series[Any]:
    if strings:
        iso = column.astype("str").str.match(_ISO).to_numpy(dtype=bool) | column.isna().to_numpy()
        if not iso.all():
            raise _bad_timestamp(column, name, ~iso)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            parsed = (
                pd.to_datetime(column, format="ISO8601") if strings else pd.to_datetime(column)
            )
            if parsed.dtype == object:  # pandas 2: several UTC offsets in one column
                parsed = pd.to_datetime(column, utc=True)
        except (ValueError, TypeError):
            parsed = pd.to_datetime(
                column, utc=True, errors="coerce", format="ISO8601" if strings else None
            )
            bad = (parsed.isna() & column.notna()).to_numpy()
            if bad.any():
                raise _bad_timestamp(column, name, bad) from None
    return parsed


def _bad_timestamp(column: pd.Series[Any], name: object, bad: Bool) -> DataError:
    row = int(bad.argmax())
    return DataError(
        f"{_column(name)}, row {row}: {show(column.iloc[row])} is not an ISO 8601 timestamp "
        "(2024-01-31 or "
        f"2024-01-31T13:00). Parse the column first, e.g. pd.to_datetime(df[{name!r}], "
        "format=...), "
        "so that day and month are not guessed."
    )


def _integers(column: pd.Series[Any], name: object) -> Int64:
    if column.dtype.kind == "b":
        raise DataError(f"{_column(name)} is boolean, not a time.")
    values = column.to_numpy(dtype=np.float64) if column.dtype.kind == "f" else None
    if values is not None:
        odd = ~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > 2.0**53)
        if odd.any():
            row = int(odd.argmax())
            raise DataError(
                f"{_column(name)}, row {row}: {show(values[row])} is not a whole number. "
                "Integer time must be whole; convert other times with pd.to_datetime."
            )
        return values.astype(np.int64)
    if column.dtype.kind == "u" and len(column) and int(column.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{_column(name)} has integers beyond 64 bits (int64); use smaller ones.")
    return column.to_numpy(dtype=np.int64)


def _refuse_written_dates(ticks: Int64, name: object, code: str) -> None:
    """Counted on, 20240131 would be followed by 20240132."""
    form = written_format(ticks)
    if form is None:
        return
    first = int(ticks[0])
    what = "dates" if form == "%Y%m%d" else "months"
    raise DataError(
        f"{_column(name)} holds integers that are written {what} (row 0: {first}), and counting "
        f"them on would leave the calendar. Parse them first: pd.to_datetime({code}, "
        f"format='{form}'). If they do count steps, shift them to be told apart "
        "from dates, e.g. subtract the first from all."
    )


def _fit_integers(ticks: Int64, dtype: Any) -> Any:
    """Integers in the caller's dtype, or int64 where they no longer fit (int8 ends at 127)."""
    name = str(getattr(dtype, "numpy_dtype", dtype)).lower()
    kind = (
        np.dtype(name.split("[")[0])
        if not isinstance(dtype, pd.ArrowDtype)
        else np.dtype(np.int64)
    )
    if kind.kind in "iu" and ticks.size:
        info = np.iinfo(kind)
        if ticks.min() < info.min or ticks.max() > info.max:
            return ticks
    return pd.array(ticks, dtype=dtype) if not isinstance(dtype, np.dtype) else ticks.astype(dtype)


def _datetimes(ticks: Int64, unit: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.ascontiguousarray(ticks).view(f"M8[{unit}]"))


def _from_ordinals(ticks: Int64, freq: Any) -> pd.PeriodIndex:
    make: Any = pd.PeriodIndex  # the stubs do not know from_ordinals
    index: pd.PeriodIndex = make.from_ordinals(ticks, freq=freq)
    return index


def _numpy_like(dtype: pd.ArrowDtype) -> Any:
    arrow: Any = dtype.pyarrow_dtype
    return (
        f"datetime64[{arrow.unit}]"
        if arrow.tz is None
        else pd.DatetimeTZDtype(arrow.unit, arrow.tz)
    )


def _column(name: object) -> str:
    return f"Time column {name!r}"
