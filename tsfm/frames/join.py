"""Remembered series followed by new rows of the same series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsfm.frames.calendar import Int64
from tsfm.frames.panel import Panel
from tsfm.frames.read import Float64, Records


def continue_records(panel: Panel, new: Records, prediction_length: int) -> Records:
    """Puts the remembered rows of each series before its new ones.

    Of the remembered rows only those earlier than a series' first new row are kept: the new rows
    win, and nothing that lies after them leaks in. Series of `panel` that `new` does not mention
    are left out. Rows without time (arrays) continue the remembered ones when they are no more
    than `prediction_length`, otherwise they stand alone.

    Parameters
    ----------
    panel
        What `fit` remembered.
    new
        The rows to score.
    prediction_length
        Horizon of the score.

    Returns
    -------
    Records
        `new` alone when the two do not describe the same kind of data.
    """
    n_targets = len(new.targets)
    if not _same_kind(panel, new):
        return new
    items = panel.take(np.arange(0, len(panel), n_targets))
    # Without an id column the item is the frame itself.
    has_id = new.layout.id_col is not None or new.layout.source == "array"
    match = (
        pd.Index(items.ids).get_indexer(pd.Index(new.ids))
        if has_id
        else np.zeros(1, dtype=np.int64)
    )
    ticks = _shifted(items, match, new, prediction_length)
    first = np.full(len(match), np.iinfo(np.int64).max)
    np.minimum.at(first, new.codes, ticks)
    codes, times = [new.codes], [ticks]
    targets: list[list[Float64]] = [[values] for values in new.targets]
    for code, item in enumerate(match.tolist()):
        if item < 0:
            continue
        past = _ticks(items, item)
        past = past[past < first[code]]
        codes.append(np.full(len(past), code))
        times.append(past)
        for t in range(n_targets):
            targets[t].append(panel.values[item * n_targets + t][: len(past)])
    joined = tuple(np.concatenate(parts) for parts in targets)
    return Records(
        np.concatenate(codes), new.ids, np.concatenate(times), joined, new.axis, new.layout
    )


def _same_kind(panel: Panel, new: Records) -> bool:
    old = panel.layout
    axis: Sequence[Any] = (panel.axis.kind, panel.axis.unit, panel.axis.tz)
    return (
        old.target_cols == new.layout.target_cols
        and old.id_col == new.layout.id_col
        and tuple(axis) == (new.axis.kind, new.axis.unit, new.axis.tz)
    )


def _shifted(items: Panel, match: Int64, new: Records, prediction_length: int) -> Int64:
    """Ticks of the new rows; rows without time are moved behind the remembered ones."""
    counts = np.bincount(new.codes, minlength=len(match))
    if new.layout.time_from != "position" or counts.max() > prediction_length:
        return new.ticks
    shift = np.where(match >= 0, items.lengths[match], 0)
    return new.ticks + shift[new.codes]


def _ticks(items: Panel, item: int) -> Int64:
    freq = items.frequencies[item]
    ticks = freq.advance(items.start[item : item + 1], np.arange(len(items.values[item])))
    return items.axis.from_wall(ticks) if freq.wall and items.axis.tz is not None else ticks
