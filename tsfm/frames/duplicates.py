"""Two rows of a series at one time: refused with a way out, averaged, or the last one kept."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from tsfm.frames.calendar import Int64
from tsfm.frames.errors import DataError
from tsfm.frames.read import Float64, Records

_ID_KINDS = frozenset({"integer", "string", "categorical"})


def without_duplicates(
    codes: Int64, ticks: Int64, targets: tuple[Float64, ...], records: Records, policy: str
) -> tuple[Int64, Int64, tuple[Float64, ...]]:
    """Sorted rows with one row for each item and time.

    Parameters
    ----------
    codes, ticks, targets
        Rows by item, then time.
    records
        What they were made from, for messages.
    policy
        "raise", "mean" or "last".

    Raises
    ------
    DataError
        There are duplicates and the policy is to raise.
    """
    new = np.concatenate([[True], (codes[1:] != codes[:-1]) | (ticks[1:] != ticks[:-1])])
    if new.all():
        return codes, ticks, targets
    first = np.flatnonzero(new)
    counts = np.diff(np.concatenate([first, [len(codes)]]))
    if policy == "raise":
        raise DataError(_describe(codes[first], ticks[first], counts, records))
    if policy == "last":
        kept = tuple(values[first + counts - 1] for values in targets)
    else:
        kept = tuple(_group_mean(values, first) for values in targets)
    return codes[first], ticks[first], kept


def _group_mean(values: Float64, first: Int64) -> Float64:
    present = ~np.isnan(values)
    total = np.add.reduceat(np.where(present, values, 0.0), first)
    count = np.add.reduceat(present.astype(np.int64), first)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _describe(codes: Int64, ticks: Int64, counts: Int64, records: Records) -> str:
    twice = np.flatnonzero(counts > 1)

    def show(i: int) -> str:
        when = records.axis.show(int(ticks[i]))
        return f"{records.label(int(codes[i]))}, {when} ({int(counts[i])}\N{MULTIPLICATION SIGN})"

    shown = "; ".join(show(int(i)) for i in twice[:3])
    more = f"; and {len(twice) - 3} more" if len(twice) > 3 else ""
    remedy = "Pass"
    if records.layout.from_frame and records.layout.id_col is None:
        # To average the rows of several series is never right, so the id is the first remedy.
        found = _hidden_id(records, len(ticks))
        how = " with id_col=" if found is None else f": id_col={found!r}"
        remedy = f"If a column tells several series apart, name it{how}. Otherwise pass"
    return (
        f"duplicate timestamps: {shown}{more}. {remedy} on_duplicates='mean' or 'last', or remove "
        "them with df.drop_duplicates."
    )


def _hidden_id(records: Records, times: int) -> Hashable | None:
    """Column that tells the rows of each time apart, as an id does: that of fewest values.

    Its values must have rows at most of the times. Where one date of a year occurs twice, any
    count that differs between the two rows tells them apart, but is no id.
    """
    frame, layout = records.frame, records.layout
    if frame is None:
        return None
    roles = {layout.timestamp_col, *(layout.target_cols if len(layout.target_cols) == 1 else ())}
    best, fewest = None, 2 * len(frame) // times
    for name in frame.columns:
        if name in roles or pd.api.types.infer_dtype(frame[name], skipna=True) not in _ID_KINDS:
            continue
        codes, values = pd.factorize(frame[name])
        if not 1 < len(values) < fewest or codes.min() < 0:
            continue
        if not pd.DataFrame({"code": codes, "tick": records.ticks}).duplicated().any():
            best, fewest = name, len(values)
    return best
