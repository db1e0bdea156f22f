"""What `AnomalyDetector` does behind its methods: read, score, draw the line, remember."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from tsfm.anomalies.arguments import check_detector, has_series_columns, settings_of
from tsfm.anomalies.findings import Finding, Settings, findings_of, judge_panel, reference_of
from tsfm.anomalies.loading import LoadedDetector, load_detector
from tsfm.anomalies.thresholds import Reference, Rule, choose_rule
from tsfm.frames.errors import DataWarning
from tsfm.frames.infer import Freq
from tsfm.frames.panel import OnDuplicates, OnGaps, Panel, to_panel
from tsfm.frames.read import Data
from tsfm.models.judgement import (
    SHORTEST,
    Aggregation,
    DetectionModel,
    combine_channels,
    judge,
    judge_trailing,
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
        return loaded, settings_of(self, loaded.model, causal=wanted)

    def _rule(self, loaded: LoadedDetector, *, causal: bool | None = None) -> Rule:
        """The rule of the parameters, with what `fit` gave it."""
        name, amount = choose_rule(self.contamination, self.alpha, self.threshold)
        trailing = bool(self.causal if causal is None else causal)
        known = loaded.calibration
        delay = self.delay if trailing else 0
        table = known.table(causal=trailing, delay=delay) if known else None
        return Rule(name, amount, table, self._reference if name in COMPARING else None)

    def _find(self, X: Data | None) -> tuple[Panel, list[Finding]]:
        check_detector(self)
        loaded, settings = self._ready()
        panel = self._panel(X)
        items = judge_panel(panel, loaded.model, settings)
        rule = self._rule(loaded)
        if rule.name == "contamination" and rule.reference is None:
            rule = Rule("contamination", rule.amount, rule.table, reference_of(items, settings))
        rule.warn_where_weak()
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
            judged = judge_trailing(loaded.model, array, settings.window, settings.delay)
        else:
            judged = judge(loaded.model, array, settings.window, progress=settings.progress)
        how = "max" if settings.aggregation == "auto" else settings.aggregation
        return combine_channels(judged.score, how)

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
        """Column arguments: those that `fit` found, where `X` is a frame of the same make."""
        names = {
            "id_col": self.id_col,
            "timestamp_col": self.timestamp_col,
            "target_col": self.target_col,
        }
        if fitted and isinstance(X, pd.DataFrame) and self.panel_.layout.from_frame:
            names.update(self.panel_.layout.arguments)
        return names

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
