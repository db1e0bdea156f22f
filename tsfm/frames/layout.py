"""Which columns of the caller's frame are what.

The order in which columns are recognised, per role: the name the caller gave; `item_id`,
`timestamp`, `target` (chronos, AutoGluon, gluonts); `unique_id`, `ds`, `y` (Nixtla, Prophet);
then the only datetime column or the `DatetimeIndex`, and the numeric columns. Several numeric
columns without an id are a *wide* frame: one series per column. What stays ambiguous is an error
that lists the candidates, never a guess.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pandas as pd

from tsfm.frames.errors import DataError, UnusedColumnWarning, some, warn, word
from tsfm.frames.timeaxis import looks_like_time
from tsfm.frames.values import is_number

AUTO = "auto"
ID_NAMES = ("item_id", "unique_id")
TIMESTAMP_NAMES = ("timestamp", "ds")
TARGET_NAMES = ("target", "y")


@dataclass(frozen=True)
class Layout:
    """Where the series are in the caller's data, and what the answer calls its columns.

    Parameters
    ----------
    source
        "long", "wide", "series" or "array".
    id_col
        Column of the ids; `None` without one (each series is then known by its column's label).
    timestamp_col
        Column of the timestamps; `None` when they are the index or the row numbers.
    target_cols
        Columns of the values.
    time_from
        "column", "index" or "position".
    timestamp_name
        Name of the time column in the answer.
    """

    source: Literal["long", "wide", "series", "array"]
    id_col: Hashable | None
    timestamp_col: Hashable | None
    target_cols: tuple[Hashable, ...]
    time_from: Literal["column", "index", "position"]
    timestamp_name: Hashable = "timestamp"

    @property
    def id_name(self) -> Hashable:
        """Name of the id column in the answer."""
        return "item_id" if self.id_col is None else self.id_col

    @property
    def from_frame(self) -> bool:
        """Whether the data were a DataFrame."""
        return self.source in ("long", "wide")

    @property
    def arguments(self) -> dict[str, Any]:
        """Column arguments of `to_panel` that find the same columns again."""
        found: dict[str, Any] = {"id_col": self.id_col, "target_col": list(self.target_cols)}
        return (
            found if self.time_from == "index" else {**found, "timestamp_col": self.timestamp_col}
        )


class _Columns(Protocol):
    """What an estimator was told of its columns."""

    id_col: Any
    timestamp_col: Any
    target_col: Any


def column_arguments(estimator: _Columns, data: object, fitted: Layout | None) -> dict[str, Any]:
    """Column arguments of `to_panel` for an estimator's data.

    Parameters
    ----------
    estimator
        Has `id_col`, `timestamp_col` and `target_col`.
    data
        What it was given.
    fitted
        Where `fit` found the series; None before.

    Returns
    -------
    dict of str to object
        What the estimator was told; where `fit` saw a frame and `data` is one, what `fit` found.
    """
    again = fitted is not None and fitted.from_frame and isinstance(data, pd.DataFrame)
    found = fitted.arguments if fitted is not None and again else {}
    return {
        "id_col": estimator.id_col,
        "timestamp_col": estimator.timestamp_col,
        "target_col": estimator.target_col,
        **found,
    }


def flatten_index(frame: pd.DataFrame, wanted: Sequence[Hashable | None]) -> pd.DataFrame:
    """Moves index levels that are ids or timestamps into columns.

    A `MultiIndex` always moves (two nameless levels become `item_id` and `timestamp`); a single
    index moves when its name was asked for or is one of the conventional ones. A nameless
    `DatetimeIndex` stays where it is.
    """
    names = list(frame.index.names)
    if frame.index.nlevels > 1:
        if names == [None, None]:
            return frame.rename_axis(index=["item_id", "timestamp"]).reset_index()
        if None in names:
            raise DataError(
                f"The index has levels without a name: {names}. Name them or call reset_index()."
            )
        return frame.reset_index()
    name = names[0]
    known = (*ID_NAMES, *TIMESTAMP_NAMES, *[w for w in wanted if w is not None and w != AUTO])
    if name is not None and name in known and name not in frame.columns:
        return frame.reset_index()
    return frame


def detect(
    frame: pd.DataFrame,
    id_col: Hashable | None,
    timestamp_col: Hashable | None,
    target_col: Hashable | Sequence[Hashable] | None,
) -> Layout:
    """Finds the id, time and target columns of a frame.

    Parameters
    ----------
    frame
        The caller's frame after `flatten_index`.
    id_col, timestamp_col, target_col
        "auto", or the column; `id_col=None` says there is no id, `timestamp_col=None` that the
        rows are equally spaced and in order. `target_col` may be a list: one series per id and
        column.

    Raises
    ------
    DataError
        A named column does not exist, a role cannot be filled, or more than one column could fill
        it.
    """
    labels = list(frame.columns)
    if frame.columns.nlevels > 1:
        raise DataError(
            f"The columns have {frame.columns.nlevels} levels; join them into one, e.g. "
            "df.columns = ['/'.join(map(str, c)) for c in df.columns]."
        )
    if len(set(labels)) != len(labels):
        twice = sorted({str(label) for label in labels if labels.count(label) > 1})
        raise DataError(f"Column names must be unique; found more than once: {some(twice)}.")
    time, time_from = _find_time(frame, timestamp_col, taken=(id_col, *_as_tuple(target_col)))
    ident = _find_id(frame, id_col, taken=(time, *_as_tuple(target_col)))
    targets = _find_targets(frame, target_col, ident, time, automatic_id=id_col == AUTO)
    clash = [c for c in (ident, time) if c in ("target_name", "predictions")]
    if clash:
        raise DataError(f"Rename column {clash[0]!r}: the answer has a column of that name.")
    wide = ident is None and len(targets) > 1
    name = time if time_from == "column" else (frame.index.name if time_from == "index" else None)
    return Layout(
        "wide" if wide else "long",
        ident,
        time,
        targets,
        time_from,
        "timestamp" if name is None else name,
    )


def warn_unused(frame: pd.DataFrame, layout: Layout) -> None:
    """Names the columns that play no role; the last step of reading, so that errors come first."""
    used = {*layout.target_cols, layout.id_col, layout.timestamp_col}
    unused = [c for c in frame.columns if c not in used]
    if unused:
        warn(
            f"Not used: {some(unused)}. Of each series only the target is read. Name the "
            "target with target_col=, or drop what is not needed to silence this warning.",
            UnusedColumnWarning,
        )


def _find_time(
    frame: pd.DataFrame, wanted: Hashable | None, taken: Sequence[Hashable | None]
) -> tuple[Hashable | None, Literal["column", "index", "position"]]:
    if wanted is None:
        return None, "position"
    if wanted != AUTO:
        return _must_exist(frame, wanted, "timestamp_col"), "column"
    for name in TIMESTAMP_NAMES:
        if name in frame.columns and name not in taken:
            return name, "column"
    on_index = looks_like_time(frame.index.to_series())
    found = [c for c in frame.columns if c not in taken and looks_like_time(frame[c])]
    typed = [
        c
        for c in found
        if frame[c].dtype.kind == "M" or isinstance(frame[c].dtype, pd.PeriodDtype)
    ]
    if (
        len(found) > 1 and len(typed) == 1
    ):  # a real datetime column beats strings that look like dates
        found = typed
    if len(found) + on_index == 1:
        return (None, "index") if on_index else (found[0], "column")
    if found or on_index:
        where = " and the index" if on_index else ""
        raise DataError(
            f"Several columns could be the time: {some(found)}{where}. Choose one with "
            "timestamp_col=."
        )
    lost = [c for c in taken if c in frame and (c in TIMESTAMP_NAMES or looks_like_time(frame[c]))]
    if lost:
        raise DataError(
            f"{lost[0]!r} is the time column: it cannot be the id or the target as well. Name "
            "another column, or another time column with timestamp_col=."
        )
    raise DataError(
        f"No time column found among {some(list(frame.columns), 10)}: none is called 'timestamp' "
        "or 'ds' and none "
        "holds datetimes. Name it with timestamp_col=, or pass timestamp_col=None if the rows "
        "are equally spaced steps."
    )


def _find_id(
    frame: pd.DataFrame, wanted: Hashable | None, taken: Sequence[Hashable | None]
) -> Hashable | None:
    if wanted is None:
        return None
    if wanted != AUTO:
        return _must_exist(frame, wanted, "id_col")
    for name in ID_NAMES:
        if name in frame.columns and name not in taken:
            return name
    return None


def _find_targets(
    frame: pd.DataFrame,
    wanted: Hashable | Sequence[Hashable] | None,
    ident: Hashable | None,
    time: Hashable | None,
    *,
    automatic_id: bool,
) -> tuple[Hashable, ...]:
    rest = [c for c in frame.columns if c != ident and c != time]
    if wanted is not None and wanted != AUTO:
        targets = tuple(_must_exist(frame, c, "target_col") for c in _as_tuple(wanted))
        if len(set(targets)) != len(targets) or ident in targets or time in targets:
            raise DataError(
                f"target_col={wanted!r} repeats a column, or names the id or the time column."
            )
        if ident is None and automatic_id:
            _refuse_id_as_target(targets)
    else:
        targets = tuple(c for c in TARGET_NAMES if c in rest)[:1]
    if not targets:
        targets = tuple(c for c in rest if is_number(frame[c].dtype) or _holds_numbers(frame[c]))
        if ident is not None and len(targets) > 1:
            raise DataError(
                f"Several columns could be the target: {some(targets, 10)}. Choose with "
                "target_col= (a list forecasts "
                "each of them)."
            )
    if not targets:
        raise DataError(_no_target(frame, ident, time, rest))
    if ident is None and automatic_id:
        _refuse_hidden_id(frame, [c for c in rest if c not in targets])
    return targets


def _refuse_id_as_target(targets: Sequence[Hashable]) -> None:
    named = [c for c in targets if c in ID_NAMES]
    if named:
        raise DataError(
            f"target_col={named[0]!r} names the id column; name the column of numbers to "
            "forecast. If it does hold the numbers, pass id_col=None, too."
        )


def _no_target(
    frame: pd.DataFrame, ident: Hashable | None, time: Hashable | None, rest: Sequence[Hashable]
) -> str:
    """What there is where the numbers should be, for the error message."""
    columns = list(frame.columns)
    roles = [
        f"{c!r} is the {role}" for c, role in ((ident, "id"), (time, "time")) if c is not None
    ]
    message = (
        f"No numeric target column found: the {word(columns, 'column is', 'columns are')} "
        f"{some(columns, 10)}{', where ' * bool(roles)}{' and '.join(roles)}. A column of numbers "
        "is expected, the history to forecast; name it with target_col=."
    )
    texts = [c for c in rest if _is_text(frame[c])]
    if texts:
        message += (
            f" {word(texts, 'Column', 'Columns')} {some(texts)} {word(texts, 'holds', 'hold')} "
            f"text: if that is the target, target_col={texts[0]!r} shows what in it is no number."
        )
    return message


def _refuse_hidden_id(frame: pd.DataFrame, rest: Sequence[Hashable]) -> None:
    texts = [c for c in rest if _is_text(frame[c])]
    if texts:
        raise DataError(
            f"{word(texts, 'Column', 'Columns')} {some(texts)} may tell several series apart, but "
            "no column is called 'item_id' or 'unique_id'. Pass "
            f"id_col={texts[0]!r}, or id_col=None if the frame holds a single series."
        )


def _is_text(column: pd.Series[Any]) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return True
    return bool(pd.api.types.is_string_dtype(dtype)) and not _holds_numbers(column)


def _holds_numbers(column: pd.Series[Any]) -> bool:
    if column.dtype != object:
        return False
    return pd.api.types.infer_dtype(column, skipna=True) in (
        "decimal",
        "integer",
        "floating",
        "mixed-integer-float",
    )


def _must_exist(frame: pd.DataFrame, name: Hashable, argument: str) -> Hashable:
    if name not in frame.columns:
        raise DataError(
            f"{argument}={name!r} is not a column. The columns are "
            f"{some(list(frame.columns), 10)}."
        )
    return name


def _as_tuple(value: Hashable | Sequence[Hashable] | None) -> tuple[Hashable, ...]:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, Hashable) else tuple(value)
