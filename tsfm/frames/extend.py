"""New rows behind those that are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames import calendar as cal
from tsfm.frames.calendar import Int64
from tsfm.frames.errors import DataError, show
from tsfm.frames.frequency import Frequency
from tsfm.frames.infer import Freq
from tsfm.frames.panel import OnDuplicates, OnGaps, Panel, build
from tsfm.frames.read import Float64, Records, bare
from tsfm.frames.repair import FREE_INSERTED, MAX_INSERTED, groups, regularise
from tsfm.frames.runs import Runs, local


@dataclass(frozen=True)
class Extension:
    """A panel with new rows, and what is new in it.

    Parameters
    ----------
    panel
        The series as they were, in their order, with their new rows; then the new series.
    added
        Per series of that panel its new steps, with NaN where rows are missing between.
    """

    panel: Panel
    added: tuple[Float64, ...]


def extend(
    panel: Panel,
    new: Records,
    freq: Freq,
    on_gaps: OnGaps,
    on_duplicates: OnDuplicates,
    keep: int,
) -> Extension:
    """Puts new rows behind the remembered ones of their series; new ids begin new series.

    Parameters
    ----------
    panel
        What is remembered; not changed.
    new
        Rows that follow, as they came: in any order, with gaps. Rows without time continue their
        series.
    freq, on_gaps, on_duplicates
        As in `to_panel`; remembered series keep their frequency.
    keep
        Rows kept of series that grow, so that neither memory nor time depends on what has passed.

    Raises
    ------
    DataError
        Columns, ids or times are of another kind than the remembered ones, or a row does not
        follow the last one of its series; the message names series, row and remedy.
    """
    n_targets = len(new.targets)
    _check_kind(panel, new)
    items = panel.take(np.arange(0, len(panel), n_targets))
    match = _match(items, new)
    last = _last_times(items)
    new = replace(new, ticks=_on_axis(panel, new, match, last), axis=panel.axis, frame=None)
    _check_follows(new, match, last)
    added: list[Float64] = [np.empty(0)] * len(panel)
    end = panel.last.copy()
    known = np.flatnonzero(match >= 0)
    for frequency, rows in groups([items.frequencies[i] for i in match[known].tolist()]):
        codes = known[rows]
        _check_steps(new, codes, frequency, last[match[codes]], on_gaps)
        grid = _continued(new, codes, frequency, last[match[codes]], on_gaps, on_duplicates)
        for k, item in enumerate(match[codes].tolist()):
            inside = slice(int(grid.offsets[k]) + 1, int(grid.offsets[k + 1]))
            for t in range(n_targets):
                added[item * n_targets + t] = grid.flats[t][inside]
                end[item * n_targets + t] = grid.last[k]
    grown = _with_rows(panel, added, end, keep)
    fresh = np.flatnonzero(match < 0)
    if not len(fresh):
        return Extension(grown, tuple(added))
    try:
        part = build(_rows_of(new, fresh), freq, on_gaps, on_duplicates, panel.frequencies[0])
    except DataError as error:
        if "freq=" not in str(error):
            raise
        raise DataError(
            f"In series that begin with these rows: {error} (A Forecaster takes it with "
            "set_params(freq=...); it holds for series that begin after that.)"
        ) from error
    return Extension(_joined(grown, part), (*added, *part.values))


def _check_kind(panel: Panel, new: Records) -> None:
    """New rows must be of the make of the remembered ones."""
    old, now = panel.layout, new.layout
    if (old.id_col, old.target_cols) != (now.id_col, now.target_cols):
        raise DataError(
            f"The remembered series have id column {show(old.id_col)} and values "
            f"{[*old.target_cols]!r}, the new rows {show(now.id_col)} and {[*now.target_cols]!r}. "
            "Give new rows in the form that fit was given."
        )
    position = "position" in (old.time_from, now.time_from)
    if position and old.time_from != now.time_from:
        raise DataError("Give new rows with times if, and only if, fit was given times.")
    axes = [(axis.kind, axis.tz is None) for axis in (panel.axis, new.axis)]
    periods = panel.axis.kind == "period" and panel.axis.dtype != new.axis.dtype
    if axes[0] != axes[1] or periods:
        raise DataError(
            f"The times of the new rows are {new.axis.dtype}, those remembered "
            f"{panel.axis.dtype}. Convert them to the kind, and the use of time zones, of fit."
        )


def _match(items: Panel, new: Records) -> Int64:
    """`[new items]` number of the remembered item with the same id; -1 for a new one."""
    if new.layout.id_col is None and new.layout.source != "array":
        return np.zeros(1, dtype=np.int64)  # the item is the frame itself
    kinds = [pd.api.types.infer_dtype(_values(ids)) for ids in (items.ids, new.ids)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"The ids of the new rows are of type {kinds[1]}, those remembered of type "
            f"{kinds[0]}, so none could match. Convert column {show(new.layout.id_col)}."
        )
    found = pd.Index(_values(items.ids)).get_indexer(pd.Index(_values(new.ids)))
    return np.asarray(found, dtype=np.int64)


def _values(ids: Any) -> Any:
    """Ids without the wrapping of a categorical."""
    return ids.astype(ids.categories.dtype) if isinstance(ids, pd.Categorical) else ids


def _last_times(items: Panel) -> Int64:
    """`[items]` last tick, in UTC where there is a zone."""
    last = items.last.copy()
    if items.axis.tz is not None:
        wall = np.asarray([freq.wall for freq in items.frequencies])
        last[wall] = items.axis.from_wall(last[wall])
    return last


def _on_axis(panel: Panel, new: Records, match: Int64, last: Int64) -> Int64:
    """Ticks of the new rows on the remembered axis; rows without time follow the last ones."""
    if new.layout.time_from == "position":
        shift = np.where(match >= 0, last[match] + 1, 0)
        return new.ticks + shift[new.codes]
    old_unit, unit = panel.axis.unit, new.axis.unit
    if panel.axis.kind != "datetime" or old_unit == unit:
        return new.ticks
    old_rate, rate = cal.TICKS_PER_SECOND[old_unit], cal.TICKS_PER_SECOND[unit]
    if rate <= old_rate:
        _check_range(new, old_rate // rate, old_unit)
        return new.ticks * (old_rate // rate)
    ticks, rest = np.divmod(new.ticks, rate // old_rate)
    if rest.any():
        row = int((rest != 0).argmax())
        raise DataError(
            f"{_name(new, row)} is finer than the resolution of the remembered "
            f"times ({old_unit}). Round the times."
        )
    return ticks


def _check_range(new: Records, factor: int, unit: str) -> None:
    """Ticks that are to become `factor` times as many must stay within 64 bits."""
    beyond = np.abs(new.ticks) > np.iinfo(np.int64).max // factor
    if beyond.any():
        row = int(beyond.argmax())
        known = pd.Timestamp.min.year, pd.Timestamp.max.year
        span = f", which are {known[0]} to {known[1]}" if unit == "ns" else ""
        raise DataError(
            f"{_name(new, row)} is beyond the years that the resolution of the "
            f"remembered times ({unit}) can hold{span}. Correct that time, or call fit with all "
            "rows and times of a coarser resolution."
        )


def _check_follows(new: Records, match: Int64, last: Int64) -> None:
    """Every row of a remembered series must come after its last one."""
    before = np.where(match >= 0, last[match], np.iinfo(np.int64).min)[new.codes]
    late = np.flatnonzero(new.ticks <= before)
    if not len(late):
        return
    row = int(late[0])
    known = new.axis.show(int(before[row]))
    more = f" ({len(late)} such rows)" if len(late) > 1 else ""
    raise DataError(
        f"{_name(new, row)} does not follow the last row remembered, {known}{more}. Only "
        f"rows that follow can be added: drop those up to {known}; to correct the past call fit "
        "with all rows."
    )


def _check_steps(
    new: Records,
    codes: npt.NDArray[np.intp],
    frequency: Frequency,
    last: Int64,
    on_gaps: OnGaps,
) -> None:
    """New rows must be on the grid that goes on from the last ones, and not absurdly far away."""
    n = len(codes)
    number = np.full(len(new.ids), -1, dtype=np.int64)
    number[codes] = np.arange(n)
    rows = np.flatnonzero(number[new.codes] >= 0)
    item = np.concatenate([np.arange(n), number[new.codes[rows]]])
    ticks = np.concatenate([last, new.ticks[rows]])
    order = np.lexsort((ticks, item))  # the remembered row of each item comes first
    starts = np.searchsorted(item[order], np.arange(n + 1))
    runs = local(Runs(ticks[order], starts), new.axis, np.full(n, frequency.wall))
    origin = np.repeat(runs.ticks[starts[:-1]], runs.lengths)
    steps, on_grid = frequency.steps_between(origin, runs.ticks)
    off = np.sort(order[~on_grid & (order >= n)])
    if len(off):
        more = f" ({len(off)} such rows)" if len(off) > 1 else ""
        known = new.axis.show(int(last[item[off[0]]]))
        raise DataError(
            f"{_name(new, int(rows[off[0] - n]))} is not on its {frequency.alias!r} grid, which "
            f"goes on from {known}{more}. Correct the time, resample the new rows to that grid, "
            "or call fit with all rows for another frequency."
        )
    if on_gaps == "raise":  # any gap will be refused
        return
    gaps = np.diff(steps, prepend=0)
    gaps[starts[:-1]] = 0
    missing = np.add.reduceat(np.maximum(gaps - 1, 0), starts[:-1])
    distinct = 1 + np.add.reduceat((gaps > 0).astype(np.int64), starts[:-1])
    absurd = np.flatnonzero(missing > MAX_INSERTED * distinct + FREE_INSERTED)
    if len(absurd):
        begin, end = int(starts[absurd[0]]), int(starts[absurd[0] + 1])
        at = begin + int(gaps[begin:end].argmax())
        raise DataError(
            f"{_name(new, int(rows[order[at] - n]))} leaves {int(gaps[at]) - 1} rows missing "
            f"after {new.axis.show(int(ticks[order[at - 1]]))}. Check that timestamp, add the "
            "rows between, or call fit with the rows from there on."
        )


def _name(new: Records, row: int) -> str:
    """Series, number and time of a row, for messages."""
    label, time = new.label(int(new.codes[row])), new.axis.show(int(new.ticks[row]))
    return f"Series {label}, row {row}: {time}"


def _rows_of(new: Records, codes: npt.NDArray[np.intp]) -> Records:
    """The rows of some items, renumbered."""
    number = np.full(len(new.ids), -1, dtype=np.int64)
    number[codes] = np.arange(len(codes))
    rows = number[new.codes] >= 0
    return replace(
        new,
        codes=number[new.codes[rows]],
        ids=new.ids[codes],
        ticks=new.ticks[rows],
        targets=tuple(values[rows] for values in new.targets),
    )


def _continued(
    new: Records,
    codes: npt.NDArray[np.intp],
    frequency: Frequency,
    last: Int64,
    on_gaps: OnGaps,
    on_duplicates: OnDuplicates,
) -> Any:
    """The rows of some items on the grid that their last rows are on, which come first."""
    part = _rows_of(new, codes)
    begin = np.zeros(len(codes))
    joined = replace(
        part,
        codes=np.concatenate([np.arange(len(codes)), part.codes]),
        ticks=np.concatenate([last, part.ticks]),
        targets=tuple(np.concatenate([begin, values]) for values in part.targets),
    )
    grid = regularise(joined, frequency, None, on_gaps, on_duplicates)
    moved = [k for k, found in enumerate(grid.frequencies) if found != frequency]
    if moved:
        raise DataError(
            f"Series {part.label(moved[0])} has steps of {frequency.alias!r}, and its new rows "
            "are on other days of the month. Check their times, or call fit with all rows."
        )
    return grid


def _with_rows(panel: Panel, added: Sequence[Float64], end: Int64, keep: int) -> Panel:
    """The panel with new steps behind its own, at most `keep` of a series that grows."""
    values, start = list(panel.values), panel.start.copy()
    for i, tail in enumerate(added):
        if not len(tail):
            continue
        dropped = max(0, len(values[i]) + len(tail) - keep)
        old = values[i][min(dropped, len(values[i])) :]
        values[i] = np.concatenate([old, tail[-keep:]])
        if dropped:
            start[i : i + 1] = panel.frequencies[i].advance(start[i : i + 1], np.array([dropped]))
    return replace(panel, values=tuple(values), start=start, last=end)


def _joined(panel: Panel, fresh: Panel) -> Panel:
    """The series of both, of the make of the first."""
    old, now = panel.ids, fresh.ids
    if isinstance(old, pd.Categorical) or isinstance(now, pd.Categorical):
        union = list(dict.fromkeys([*_categories(old), *_categories(now)]))
        old, now = (pd.Categorical(ids, categories=union) for ids in (old, now))
    ids = bare(pd.concat([pd.Series(old), pd.Series(now)], ignore_index=True).array)
    return replace(
        panel,
        values=(*panel.values, *fresh.values),
        ids=ids,
        target_names=(*panel.target_names, *fresh.target_names),
        frequencies=(*panel.frequencies, *fresh.frequencies),
        start=np.concatenate([panel.start, fresh.start]),
        last=np.concatenate([panel.last, fresh.last]),
    )


def _categories(ids: Any) -> list[Any]:
    return list(ids.categories) if isinstance(ids, pd.Categorical) else list(ids)
