"""`Panel`: series on regular time axes, and what it takes to answer in the caller's terms."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames.calendar import Int64
from tsfm.frames.errors import AllMissingWarning, DataError, some, warn, word
from tsfm.frames.frequency import Frequency
from tsfm.frames.infer import Freq, given_frequency
from tsfm.frames.layout import AUTO, Layout
from tsfm.frames.read import Data, Float64, Records, plain, read
from tsfm.frames.repair import regularise
from tsfm.frames.timeaxis import TimeAxis

OnGaps = Literal["insert", "raise"]
OnDuplicates = Literal["raise", "mean", "last"]


@dataclass(frozen=True)
class Panel:
    """N series, one per (item, target column), in the order in which they first appear.

    Parameters
    ----------
    values
        N arrays `[length]` float64 on regular axes; NaN = missing. A copy: never the caller's
        memory.
    ids
        `[N]` the caller's ids in their own dtype (column labels when there is no id column).
    target_names
        `[N]` the column each series came from.
    frequencies
        `[N]` step of each series.
    start, last
        `[N]` first and last tick, on the clock of the series' frequency.
    axis
        What the caller's time column was made of.
    layout
        Where the series were in the caller's data.
    """

    values: tuple[Float64, ...]
    ids: Any
    target_names: tuple[Hashable, ...]
    frequencies: tuple[Frequency, ...]
    start: Int64
    last: Int64
    axis: TimeAxis
    layout: Layout

    def __len__(self) -> int:
        """Number of series."""
        return len(self.values)

    @property
    def index(self) -> pd.Index[Any]:
        """`[N]` the ids, with the target names where an id has several, as a pandas index."""
        ids: pd.Index[Any] = pd.Index(self.ids, name=self.layout.id_name)
        if self.layout.id_col is None or len(self.layout.target_cols) == 1:
            return ids
        names = [self.layout.id_name, "target_name"]
        return pd.MultiIndex.from_arrays([ids, list(self.target_names)], names=names)

    @property
    def lengths(self) -> Int64:
        """`[N]` rows of each series, inserted ones included."""
        return np.asarray([len(v) for v in self.values], dtype=np.int64)

    @property
    def season_lengths(self) -> tuple[int | None, ...]:
        """`[N]` steps in the usual season of each series' frequency; `None` when unknown."""
        known = {freq: freq.season_length for freq in set(self.frequencies)}
        return tuple(known[freq] for freq in self.frequencies)

    @property
    def has_values(self) -> npt.NDArray[np.bool_]:
        """`[N]` whether a series holds at least one value."""
        return np.asarray([not np.isnan(v).all() for v in self.values], dtype=bool)

    def label(self, index: int) -> str:
        """A series as text, for messages and titles."""
        name, target = str(plain(self.ids[index])), str(self.target_names[index])
        several = self.layout.id_col is not None and len(self.layout.target_cols) > 1
        return f"{name} / {target}" if several else name

    def timestamps(self, index: int) -> pd.Series[Any]:
        """`[length]` timestamps of one series in the caller's dtype."""
        freq = self.frequencies[index]
        ticks = freq.advance(self.start[index : index + 1], np.arange(len(self.values[index])))
        return self.axis.decode(self._utc(ticks, freq))

    def future_ticks(self, prediction_length: int) -> Int64:
        """`[N, H]` ticks (UTC) of the steps after each series' last row."""
        future = np.empty((len(self), prediction_length), dtype=np.int64)
        steps = np.arange(1, prediction_length + 1)
        for freq, rows in self._groups():
            future[rows] = self._utc(freq.advance(self.last[rows][:, None], steps), freq)
        return future

    def take(self, indices: Sequence[int] | Int64) -> Panel:
        """Some of the series, in the given order."""
        chosen = np.asarray(indices, dtype=np.int64)
        picked = chosen.tolist()
        return Panel(
            tuple(self.values[i] for i in picked),
            self.ids[chosen],
            tuple(self.target_names[i] for i in picked),
            tuple(self.frequencies[i] for i in picked),
            self.start[chosen],
            self.last[chosen],
            self.axis,
            self.layout,
        )

    def hold_out(self, prediction_length: int) -> tuple[Panel, Float64]:
        """Splits off the last rows of every series.

        Returns
        -------
        context, actual
            The panel without the last `prediction_length` rows of each series, and these `[N, H]`.

        Raises
        ------
        DataError
            A series has no row left.
        """
        short = np.flatnonzero(self.lengths <= prediction_length)
        if len(short):
            names = [self.label(i) for i in short.tolist()]
            raise DataError(
                f"Series {some(names)} {word(names, 'has', 'have')} no more than "
                f"prediction_length={prediction_length} rows, so none are left to forecast from. "
                "Give longer series or a shorter prediction_length."
            )
        last = self.last.copy()
        keep = self.lengths - prediction_length - 1
        for freq, rows in self._groups():
            last[rows] = freq.advance(self.start[rows], keep[rows])
        context = Panel(
            tuple(v[:-prediction_length] for v in self.values),
            self.ids,
            self.target_names,
            self.frequencies,
            self.start,
            last,
            self.axis,
            self.layout,
        )
        return context, np.stack([v[-prediction_length:] for v in self.values])

    def _groups(self) -> list[tuple[Frequency, Int64]]:
        members: dict[Frequency, list[int]] = {}
        for i, freq in enumerate(self.frequencies):
            members.setdefault(freq, []).append(i)
        return [(freq, np.asarray(rows, dtype=np.int64)) for freq, rows in members.items()]

    def _utc(self, ticks: Int64, freq: Frequency) -> Int64:
        return self.axis.from_wall(ticks) if freq.wall and self.axis.tz is not None else ticks


def to_panel(
    data: Data,
    *,
    id_col: Hashable | None = AUTO,
    timestamp_col: Hashable | None = AUTO,
    target_col: Hashable | Sequence[Hashable] | None = AUTO,
    freq: Freq = None,
    on_gaps: OnGaps = "insert",
    on_duplicates: OnDuplicates = "raise",
    default_frequency: Frequency | None = None,
) -> Panel:
    """Reads and repairs the caller's data.

    Parameters
    ----------
    data
        A long DataFrame (an id, a time and a target column), a wide one (a time column or index
        and one numeric column per series), a Series, a 1-d array, a list of numbers, or a list of
        1-d arrays. It is never changed.
    id_col, timestamp_col, target_col
        Column names, or "auto" (`tsfm.frames.layout` has the order of recognition).
        `id_col=None`: one series; `timestamp_col=None`: rows are equally spaced; a list of
        targets: one series per id and column.
    freq
        Step of every series; inferred per series by default. An integer for integer time.
    on_gaps
        "insert" puts missing values where rows are missing and warns once with the counts;
        "raise" refuses.
    on_duplicates
        What to do with two rows of a series at one time: "raise", "mean", or "last" (in row
        order).
    default_frequency
        Frequency of series with one row, when no other series shows one.

    Returns
    -------
    Panel

    Raises
    ------
    DataError
        Empty, ambiguous, not numeric, not regular, duplicated; the message names series, row and
        remedy.
    TypeError
        `data` is of no supported type.

    Examples
    --------
    >>> import pandas as pd
    >>> from tsfm.frames import to_panel
    >>> index = pd.date_range("2024-01-01", periods=4, freq="h")
    >>> panel = to_panel(pd.Series([1.0, 2.0, 3.0, 4.0], index=index, name="load"))
    >>> len(panel), panel.frequencies[0].alias, panel.season_lengths
    (1, 'h', (24,))
    """
    if on_gaps not in ("insert", "raise"):
        raise ValueError(f"on_gaps={on_gaps!r} must be 'insert' or 'raise'.")
    if on_duplicates not in ("raise", "mean", "last"):
        raise ValueError(f"on_duplicates={on_duplicates!r} must be 'raise', 'mean' or 'last'.")
    records = read(data, id_col=id_col, timestamp_col=timestamp_col, target_col=target_col)
    return build(records, freq, on_gaps, on_duplicates, default_frequency)


def build(
    records: Records,
    freq: Freq,
    on_gaps: OnGaps,
    on_duplicates: OnDuplicates,
    default: Frequency | None,
) -> Panel:
    """Records -> Panel: sorts, removes duplicates, finds the frequencies, fills the gaps."""
    given = given_frequency(freq, records.axis)
    grid = regularise(records, given, default, on_gaps, on_duplicates)
    n_targets = len(records.targets)
    has_id = records.layout.id_col is not None
    pieces = [np.split(flat, grid.offsets[1:-1]) for flat in grid.flats]
    values = tuple(pieces[t][k] for k in range(len(grid.start)) for t in range(n_targets))
    panel = Panel(
        values,
        records.ids.repeat(n_targets) if has_id else records.ids,
        tuple(name for _ in range(len(grid.start)) for name in records.layout.target_cols),
        tuple(f for f in grid.frequencies for _ in range(n_targets)),
        np.repeat(grid.start, n_targets),
        np.repeat(grid.last, n_targets),
        records.axis,
        records.layout,
    )
    empty = np.flatnonzero(~panel.has_values)
    if len(empty):
        names = [panel.label(i) for i in empty.tolist()]
        warn(
            f"No value at all in series {some(names)}: {word(names, 'its', 'their')} answers "
            f"are missing, too. Drop {word(names, 'it', 'them')} to silence this warning.",
            AllMissingWarning,
        )
    return panel
