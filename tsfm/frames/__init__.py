"""DataFrames in, DataFrames out: find the columns, repair time, build the answer.

`to_panel` reads what the caller has (long or wide DataFrame, Series, arrays) into a `Panel` of
regular series; `forecast_frame` turns quantiles back into a frame with the caller's own names,
dtypes, time zone and order.

How inputs without an id name their series: `target_name` is always the column that held the
values ("target" when it has no name) and `item_id` is that same label, so that a wide frame has
one item per column; nameless series are item 0, and a list of arrays has items 0, 1, 2, ...
"""

from tsfm.frames.answer import forecast_frame, level_name, samples_frame, tidy_level
from tsfm.frames.errors import (
    AllMissingWarning,
    DataError,
    DataWarning,
    FrequencyWarning,
    GapWarning,
    InfiniteValueWarning,
    UnusedColumnWarning,
)
from tsfm.frames.frequency import Frequency, parse_frequency
from tsfm.frames.infer import Freq
from tsfm.frames.layout import Layout
from tsfm.frames.panel import OnDuplicates, OnGaps, Panel, to_panel
from tsfm.frames.read import Data
from tsfm.frames.timeaxis import TimeAxis

__all__ = [
    "AllMissingWarning",
    "Data",
    "DataError",
    "DataWarning",
    "Freq",
    "Frequency",
    "FrequencyWarning",
    "GapWarning",
    "InfiniteValueWarning",
    "Layout",
    "OnDuplicates",
    "OnGaps",
    "Panel",
    "TimeAxis",
    "UnusedColumnWarning",
    "forecast_frame",
    "level_name",
    "parse_frequency",
    "samples_frame",
    "tidy_level",
    "to_panel",
]
