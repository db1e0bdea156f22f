"""Checks of what an `AnomalyDetector` is given, which by custom its constructor only stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.anomalies.findings import Settings
from tsfm.anomalies.thresholds import choose_rule
from tsfm.arguments import positive_int
from tsfm.frames.layout import AUTO, ID_NAMES, TIMESTAMP_NAMES
from tsfm.frames.timeaxis import looks_like_time
from tsfm.models.judgement import SHORTEST, DetectionModel, longest_window

if TYPE_CHECKING:
    from tsfm.detector import AnomalyDetector


def check_detector(detector: AnomalyDetector) -> None:
    """Checks the parameters of an `AnomalyDetector`.

    Raises
    ------
    ValueError
        A parameter is out of range; the message names it.
    """
    choose_rule(detector.contamination, detector.alpha, detector.threshold)
    context = detector.context_length
    if context is not None and positive_int(context, "context_length") < SHORTEST:
        raise ValueError(f"context_length must be at least {SHORTEST}, got {context}.")
    positive_int(detector.min_segment, "min_segment")
    for name in ("merge_gap", "delay"):
        value = getattr(detector, name)
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < 0:
            raise ValueError(f"{name} must be a whole number of steps, 0 or more; got {value!r}.")
    if detector.aggregation not in ("auto", "max", "mean"):
        if isinstance(detector.aggregation, str):
            raise ValueError(
                f"aggregation={detector.aggregation!r} must be 'auto', 'max', 'mean' or a number "
                "of channels."
            )
        positive_int(detector.aggregation, "aggregation")
    if not isinstance(detector.causal, bool | np.bool_):
        raise ValueError(f"causal must be True or False, got {detector.causal!r}.")


def settings_of(detector: AnomalyDetector, model: DetectionModel, *, causal: bool) -> Settings:
    """How a detector reads series.

    Raises
    ------
    ValueError
        The delay leaves too little of the window.
    """
    window = longest_window(model, detector.context_length)
    if causal and detector.delay > window - SHORTEST:
        raise ValueError(
            f"delay={detector.delay} must leave at least {SHORTEST} steps of the window of "
            f"{window}; take at most {window - SHORTEST}."
        )
    return Settings(
        window,
        detector.aggregation,
        detector.min_segment,
        detector.merge_gap,
        bool(causal),
        detector.delay,
        bool(detector.verbose),
    )


def is_table(detector: AnomalyDetector, X: Any) -> bool:
    """Whether data are series with times or ids, and not an array whose rows are time steps."""
    if isinstance(X, pd.Series):
        return True
    if not isinstance(X, pd.DataFrame):
        return False
    named = (detector.id_col, detector.timestamp_col, detector.target_col)
    if any(not (isinstance(name, str) and name == AUTO) for name in named):
        return True
    return _has_time_index(X) or has_series_columns(X)


def has_series_columns(X: pd.DataFrame) -> bool:
    """Whether a column of a frame holds times, or is called as ids or times are."""
    if any(name in X.columns for name in (*ID_NAMES, *TIMESTAMP_NAMES)):
        return True
    return any(looks_like_time(X.iloc[:, i]) for i in range(X.shape[1]))


def _has_time_index(X: pd.DataFrame) -> bool:
    return X.index.nlevels > 1 or isinstance(X.index, pd.DatetimeIndex | pd.PeriodIndex)
