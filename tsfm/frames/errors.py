"""Errors and warnings of the data layer.

Every message says what was found, in which series and row, and what to do about it. Warnings have
their own classes so that a caller can silence or escalate one kind:
`warnings.simplefilter("error", GapWarning)`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import numpy as np


class DataError(ValueError):
    """The data cannot be read as series; the message names series, row and remedy."""


class DataWarning(UserWarning):
    """Base class of all warnings about the caller's data."""


class GapWarning(DataWarning):
    """Missing rows were inserted as missing values."""


class InfiniteValueWarning(DataWarning):
    """Infinite values were read as missing."""


class AllMissingWarning(DataWarning):
    """A series holds no finite value; its answer is missing, too."""


class FrequencyWarning(DataWarning):
    """A series is too short to show its frequency; that of its panel was assumed."""


class NoSeriesWarning(DataWarning):
    """Files of an evaluation set hold no series; nothing is compared with them."""


class UnusedColumnWarning(DataWarning):
    """Columns of the frame were not used for the forecast."""


def warn(message: str, category: type[DataWarning]) -> None:
    """Issues a warning that points at the caller's line, not at ours."""
    depth = 2
    frame = sys._getframe(1)
    while (
        frame.f_back is not None
        and str(frame.f_globals.get("__name__", "")).split(".")[0] == "tsfm"
    ):
        frame = frame.f_back
        depth += 1
    warnings.warn(message, category, stacklevel=depth)


def some(items: Sequence[object], limit: int = 5) -> str:
    """A list for a message: the first few items, then how many more."""
    shown = ", ".join(show(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def show(value: object) -> str:
    """A value for a message: numpy scalars as the plain Python values they hold."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufcSU":
        value = value.item()
    return repr(value)


def word(items: Sequence[object], one: str, several: str) -> str:
    """The word that agrees with the number of items."""
    return one if len(items) == 1 else several
