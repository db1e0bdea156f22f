"""How tables are read into a corpus."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from tsfm.frames import Freq, OnDuplicates, OnGaps
from tsfm.frames.layout import AUTO


@dataclass(frozen=True)
class TableOptions:
    """Columns, frequency and repair, as in `tsfm.frames.to_panel`, and sizes of the pieces.

    Parameters
    ----------
    id_col, timestamp_col, target_col
        Column names, or "auto".
    freq
        Step of every series; inferred per series by default. For Monash and GluonTS files it
        stands in where they name none.
    on_gaps, on_duplicates
        What to do with missing rows, and with two rows at one time.
    on_error
        "raise" ends the build at the first series that cannot be read; "skip" leaves such series
        out and counts them.
    whole_bytes
        Files up to this size are read at once, exactly as for a forecast.
    chunk_cells
        Cells read at a time from a larger file.
    partition_bytes
        Memory for the rows that are sorted at a time; one series must fit, whatever its size.
    read
        Reads a small file in place of pandas.
    dates
        Turns the text dates of a chunk into time stamps; by default only ISO 8601 is read.
    """

    id_col: Hashable | None = AUTO
    timestamp_col: Hashable | None = AUTO
    target_col: Hashable | Sequence[Hashable] | None = AUTO
    freq: Freq = None
    on_gaps: OnGaps = "insert"
    on_duplicates: OnDuplicates = "raise"
    on_error: Literal["raise", "skip"] = "raise"
    whole_bytes: int = 16 << 20
    chunk_cells: int = 1_000_000
    partition_bytes: int = 32 << 20
    read: Callable[[Path], pd.DataFrame] | None = None
    dates: Callable[[pd.DataFrame], pd.DataFrame] | None = None
