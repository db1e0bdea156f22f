"""What `AnomalyDetector` does behind its methods: read, score, draw the line, remember."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from tsfm.anomalies.arguments import check_detector, has_series_columns, settings_of
from tsfm.anomalies.findings import (
    Finding,
    Settings,
    channels_per_item,
    findings_of,
    judge_panel,
    reference_of,
)
from tsfm.anomalies.loading import LoadedDetector, load_detector
from tsfm.anomalies.thresholds import Reference, Rule, choose_rule
from tsfm.frames.errors import DataWarning
from tsfm.frames.infer import Freq
from tsfm.frames.layout import column_arguments
from tsfm.frames.panel import OnDuplicates, OnGaps, Panel, to_panel
from tsfm.frames.read import Data
from tsfm.models.calibration import Table
from tsfm.models.judgement import (
    SHORTEST,
    Aggregation,
    DetectionModel,
    combine_channels,
    judge,
    judge_trailing,
    longest_window,
    of_measured_channels,
)

Array = NDArray[np.float64]

COMPARING = ("contamination", "alpha")
"""Rules that compare with the scores of `fit`."""


class DetectingEstimator(BaseEstimator):  # type: ignore[misc]
    """Parameters and state of an `AnomalyDetector`, which is the class to use."""

    model: str | Path | DetectionModel
    contamination: float | Literal["auto"]
    threshold: float | None
    alpha: float | None
    context_length: int | None
    aggregation: Aggregation | Literal["auto"]
    min_segment: int
    merge_gap: int
    causal: bool
    delay: int
    id_col: Hashable | None
    timestamp_col: Hashable | None
    target_col: Hashable | Sequence[Hashable]
    freq: Freq
    on_gaps: OnGaps
    on_duplicates: OnDuplicates
    device: str
    verbose: int

    offset_: float
    panel_: Panel
    _reference: Reference | None = None

    def _ready(self, *, causal: bool | None = None) -> tuple[LoadedDetector, Settings]:
        loaded = load_detector(self.model, self.device)
        wanted = self.causal if causal is None else causal
        settings = settings_of(self, loaded.model, causal=wanted)
        if settings.causal and self.context_length is None:
            table = _table(loaded, settings)
            if table is not None and table.window >= settings.delay + SHORTEST:
                settings = replace(settings, window=min(settings.window, table.window))
        return loaded, settings

    def _rule(self, loaded: LoadedDetector, settings: Settings) -> Rule:
        """The rule of the parameters, with what `fit` gave it."""
        name, amount = choose_rule(self.contamination, self.alpha, self.threshold)
        table = _table(loaded, settings)
        longest = math.inf
        if table is not None:
            window = table.window or longest_window(loaded.model, None)
            if window != settings.window:
                longest = 0 if settings.causal else min(window, settings.window)
        reference = self._reference if name in COMPARING else None
        return Rule(name, amount, table, reference, longest)

    def _find(self, X: Data | None) -> tuple[Panel, list[Finding]]:
        check_detector(self)
        loaded, settings = self._ready()
        panel = self._panel(X)
        items = judge_panel(panel, loaded.model, settings)
        rule = self._rule(loaded, settings)
        if rule.name == "contamination" and rule.reference is None:
            rule = replace(rule, reference=reference_of(items, settings))
        lengths = [settings.length(int(length)) for length in panel.lengths]
        rule.warn_where_weak(lengths, settings.joined(channels_per_item(panel)))
        return panel, [one for item in items for one in findings_of(item, rule, settings)]

    def _panel(self, X: Data | None) -> Panel:
        if X is not None:
            return self._read(X, fitted=hasattr(self, "panel_"))
        if not hasattr(self, "panel_"):
            raise NotFittedError(
                "This AnomalyDetector remembers no series: call fit with some, or pass X."
            )
        return self.panel_

    def _fitted_scores(self) -> tuple[Array, NDArray[np.int64]]:
        """Scores and 0/1 labels of what was fitted."""
        if not hasattr(self, "panel_"):
            assert self._reference is not None
            scores = self._reference.parts[0]
            return scores, (self._labels(scores) < 0).astype(np.int64)
        with warnings.catch_warnings():  # fit has given them already
            warnings.simplefilter("ignore", DataWarning)
            _, found = self._find(None)
        scores = np.concatenate([one.score for one in found])
        return scores, np.concatenate([one.segment >= 0 for one in found]).astype(np.int64)

    def _labels(self, scores: Array) -> NDArray[np.int64]:
        _, settings = self._ready()
        with np.errstate(invalid="ignore"):
            numbers = settings.numbering()(scores > -self.offset_)
        return np.where(numbers >= 0, -1, 1)

    def _score_rows(self, array: Array, loaded: LoadedDetector, settings: Settings) -> Array:
        """[n] combined score of each row."""
        if settings.causal:
            score = judge_trailing(loaded.model, array, settings.window, settings.delay).score
        else:
            judged = judge(loaded.model, array, settings.window, progress=settings.progress)
            score = of_measured_channels(judged.score, array)
        how = "max" if settings.aggregation == "auto" else settings.aggregation
        return combine_channels(score, how)

    def _array(self, X: Any, *, reset: bool) -> Array:
        """A float array [n, channels] of what is array-like."""
        if isinstance(X, pd.Series):
            X = X.to_frame("target" if X.name is None else X.name)
        if isinstance(X, pd.DataFrame) and has_series_columns(X):
            raise ValueError(
                "This frame has a column of times or ids. predict, score_samples and "
                "decision_function take rows of numbers, one per time step; for such a frame call "
                "detect or segments."
            )
        _check_rows(X)
        array: Array = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan",
            ensure_min_samples=SHORTEST,
        )  # fmt: skip
        return array

    def _read(self, X: Data, *, fitted: bool) -> Panel:
        default = self.panel_.frequencies[0] if fitted else None
        return to_panel(
            X,
            **self._names(X, fitted=fitted),
            freq=self.freq,
            on_gaps=self.on_gaps,
            on_duplicates=self.on_duplicates,
            default_frequency=default,
        )

    def _names(self, X: Data, *, fitted: bool) -> dict[str, Any]:
        """Column arguments of `to_panel`, as told or as found by `fit`."""
        return column_arguments(self, X, self.panel_.layout if fitted else None)

    def _remember(self, panel: Panel) -> None:
        """Keep series, and what scikit-learn wants to know of a wide frame."""
        self.panel_ = panel
        layout = panel.layout
        if layout.id_col is None and layout.source != "array":
            self.n_features_in_ = len(layout.target_cols)
            if layout.from_frame and all(isinstance(name, str) for name in layout.target_cols):
                self.feature_names_in_ = np.asarray(layout.target_cols, dtype=object)

    def _forget(self) -> None:
        """Drop what an earlier `fit` left."""
        for name in ("panel_", "offset_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        self._reference = None


def _table(loaded: LoadedDetector, settings: Settings) -> Table | None:
    """The calibration for steps that are judged causally, or not."""
    if loaded.calibration is None:
        return None
    delay = settings.delay if settings.causal else 0
    return loaded.calibration.table(causal=settings.causal, delay=delay)


def _check_rows(X: Any) -> None:
    """Refuse what `detect` takes as series, but has no rows of numbers."""
    listed = X if isinstance(X, list | tuple) else []
    if getattr(X, "ndim", None) == 1 or any(np.ndim(one) == 0 for one in listed[:1]):
        raise ValueError(
            "Expected an array [n, channels] whose rows are time steps, got one dimension. "
            "Reshape your data with np.reshape(X, (-1, 1)), or pass pandas.Series(X)."
        )
    if any(isinstance(one, np.ndarray | pd.Series) for one in listed):
        raise ValueError(
            "Expected an array [n, channels] whose rows are time steps, got a list of arrays. Put "
            "series that have nothing to do with each other into a DataFrame with an id column, "
            "channels of one system into the columns of an array (np.column_stack)."
        )
