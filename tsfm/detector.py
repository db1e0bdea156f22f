"""`AnomalyDetector`: the scikit-learn-style front door for anomalies."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from tsfm.anomalies.answer import detection_frame, segment_frame
from tsfm.anomalies.arguments import check_detector, is_table
from tsfm.anomalies.estimator import COMPARING
from tsfm.anomalies.findings import channels_per_item, judge_panel, reference_of
from tsfm.anomalies.pyod import PyodDetector
from tsfm.anomalies.streaming import StreamingDetector
from tsfm.anomalies.thresholds import Reference, choose_rule
from tsfm.frames.infer import Freq
from tsfm.frames.panel import OnDuplicates, OnGaps
from tsfm.frames.read import Data
from tsfm.models.hub import DEFAULT_DETECTOR
from tsfm.models.judgement import Aggregation, DetectionModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


class AnomalyDetector(OutlierMixin, StreamingDetector):  # type: ignore[misc]
    """Zero-shot detection of what is out of line with its own context.

    `detect` and `segments` take DataFrames and need no `fit`. The methods of scikit-learn take
    arrays whose rows are time steps and whose columns are channels. Nothing is ever trained: `fit`
    remembers series, and scores that later ones are compared with.

    ========================  =================================  =========================
    answer                    a high number is                   an anomaly is
    ========================  =================================  =========================
    `detect(df)`, `segments`  abnormal (`score`, in log odds)    `is_anomaly` True
    `score_samples(X)`        normal (minus that score)
    `decision_function(X)`    normal (negative for an anomaly)
    `predict(X)`                                                 -1
    `as_pyod()`               abnormal                           1
    ========================  =================================  =========================

    Channels (the target columns of one item, the columns of a wide frame or of an array) are read
    together, as parts of one system. Items never influence each other: put series that have
    nothing to do with each other in long format, with an id.

    Parameters
    ----------
    model
        Name of a shipped detector, a folder with a checkpoint, or any object with a `score` method
        (see `tsfm.models.judgement.DetectionModel`). Loaded on first use.
    contamination, threshold, alpha
        Where the line is drawn; at most one may be given. By default ("auto"), at most 1 % of
        clean series of the same length have any step above it. `contamination`: the share of steps
        above it. `alpha`: the largest p-value of an anomalous step. `threshold`: a score, in log
        odds. See `tsfm.anomalies.thresholds`.
    context_length
        Steps that are read at once, at least 8. By default as many as the model can take, or, for
        causal judgements, as those of its calibration were. Series that are read in windows of
        another length than those of the calibration do without it, with a warning.
    aggregation
        How channels are judged. "auto": one by one in frames, by the highest score in arrays.
        "max", "mean" or k (the mean of the k highest): as one, with one answer per time step;
        frames then name the channel of the highest score.
    min_segment
        Segments of fewer steps are dropped.
    merge_gap
        Segments with at most so many steps between them are one.
    causal
        Judge each step without what follows it, as an alert would have to: a pass per step.
    delay
        Steps that causal judgements, and `update`, wait for.
    id_col, timestamp_col, target_col, freq, on_gaps, on_duplicates
        As in `Forecaster`.
    device
        "auto", "cpu", "cuda", ...
    verbose
        1 shows a progress bar.

    Attributes
    ----------
    offset_ : float
        After `fit`: minus the threshold.
    n_features_in_ : int
        After `fit` with an array or a wide frame: number of channels.
    panel_ : Panel
        After `fit` with series: what is remembered.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsfm import AnomalyDetector
    >>> from tsfm.models import Detector, DetectorConfig
    >>> untrained = Detector.from_config(DetectorConfig.preset("tiny"))
    >>> hours = pd.date_range("2024-01-01", periods=48, freq="h")
    >>> load = pd.Series(np.arange(48.0) % 24, index=hours, name="load")
    >>> detector = AnomalyDetector(untrained, contamination=0.1)
    >>> int(detector.detect(load)["is_anomaly"].sum())
    5
    """

    def __init__(
        self,
        model: str | Path | DetectionModel = DEFAULT_DETECTOR,
        *,
        contamination: float | Literal["auto"] = "auto",
        threshold: float | None = None,
        alpha: float | None = None,
        context_length: int | None = None,
        aggregation: Aggregation | Literal["auto"] = "auto",
        min_segment: int = 1,
        merge_gap: int = 0,
        causal: bool = False,
        delay: int = 0,
        id_col: Hashable | None = "auto",
        timestamp_col: Hashable | None = "auto",
        target_col: Hashable | Sequence[Hashable] = "auto",
        freq: Freq = None,
        on_gaps: OnGaps = "insert",
        on_duplicates: OnDuplicates = "raise",
        device: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.contamination = contamination
        self.threshold = threshold
        self.alpha = alpha
        self.context_length = context_length
        self.aggregation = aggregation
        self.min_segment = min_segment
        self.merge_gap = merge_gap
        self.causal = causal
        self.delay = delay
        self.id_col = id_col
        self.timestamp_col = timestamp_col
        self.target_col = target_col
        self.freq = freq
        self.on_gaps = on_gaps
        self.on_duplicates = on_duplicates
        self.device = device
        self.verbose = verbose

    def fit(self, X: Data, y: object = None) -> AnomalyDetector:
        """Remembers series and their scores; nothing is trained.

        Parameters
        ----------
        X
            A Series or a DataFrame as for `detect`, or an array [n, channels] whose rows are time
            steps, NaN = missing. An array or list of one dimension is refused, as scikit-learn has
            it: reshape it to (-1, 1), or make it a Series. With `alpha` it is the clean reference;
            with `contamination` it sets the threshold; else it is what `update` goes on from. It
            is copied, not changed.
        y
            Ignored; there for scikit-learn.

        Raises
        ------
        ValueError
            The data cannot be read (`DataError`), an array is not of two dimensions, or a
            parameter is out of range.
        """
        check_detector(self)
        loaded, settings = self._ready()
        self._forget()
        if is_table(self, X):
            self._remember(self._read(X, fitted=False))
            if choose_rule(self.contamination, self.alpha, self.threshold)[0] in COMPARING:
                items = judge_panel(self.panel_, loaded.model, settings)
                self._reference = reference_of(items, settings)
            length = int(self.panel_.lengths.max())
            channels = settings.joined(channels_per_item(self.panel_))
        else:
            array = self._array(X, reset=True)
            self._reference = Reference((self._score_rows(array, loaded, settings),))
            length, channels = array.shape
        rule = self._rule(loaded, settings)
        length = settings.length(length)
        rule.warn_where_weak([length], channels)
        self.offset_ = -rule.threshold(length, channels)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Labels of the rows of an array: -1 anomalous, 1 normal or missing.

        Parameters
        ----------
        X
            [n, channels], rows in order of time, NaN = missing. They are judged in the light of
            each other; the threshold is that of `fit`.
        """
        return self._labels(-self.score_samples(X))

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """`fit(X).predict(X)`, scored once."""
        self.fit(X)  # type: ignore[arg-type]
        if hasattr(self, "panel_"):
            return self.predict(X)
        assert self._reference is not None
        return self._labels(self._reference.parts[0])

    def score_samples(self, X: ArrayLike) -> Array:
        """Minus the score of each row of an array, [n]: high is normal, NaN is missing."""
        check_is_fitted(self)
        check_detector(self)
        loaded, settings = self._ready()
        return -self._score_rows(self._array(X, reset=False), loaded, settings)

    def decision_function(self, X: ArrayLike) -> Array:
        """`score_samples(X) - offset_`: negative for anomalies."""
        shifted: Array = self.score_samples(X) - self.offset_
        return shifted

    def detect(self, X: Data | None = None) -> pd.DataFrame:
        """Judges every step of every series.

        Parameters
        ----------
        X
            Long or wide DataFrame, Series, 1-d array, list of numbers or list of 1-d arrays; what
            `fit` remembers by default. Missing rows are inserted. It is not changed.

        Returns
        -------
        DataFrame
            One row per step of each series, by series and time: id, timestamp, "target_name",
            "value", "expected" (what it would be if nothing were wrong), "lower" and "upper"
            (three usual distances from that), "score" (log odds), "p_value" (of the step, 1 /
            (n + 1) at least; missing without calibration or reference), "is_anomaly" and
            "segment_id" (from 0 in each series). Scores are missing where values are, in series of
            fewer than 8 steps, and (`causal`) for the last `delay` steps. A channel that never
            changes has the score -10.

        Raises
        ------
        DataError
            The data cannot be read; the message names the series, the row and the remedy.
        NotFittedError
            Neither `X` nor remembered series.
        """
        panel, findings = self._find(X)
        return detection_frame(panel, findings)

    def segments(self, X: Data | None = None) -> pd.DataFrame:
        """Stretches of anomalous steps.

        Parameters
        ----------
        X
            As for `detect`.

        Returns
        -------
        DataFrame
            One row per segment: id, "target_name", "segment_id", "start", "end" (its last step),
            "n_points", "peak_time" and "peak_score" (highest score), "severity" (largest distance
            from the expected value, in usual distances) and "p_value" (how often a clean series of
            that length has a peak as high; after `fit(reference)` with `alpha`: how often a
            stretch of the reference as long as the segment has).
        """
        panel, findings = self._find(X)
        return segment_frame(panel, findings)

    def plot(self, X: Data | None = None, ax: Axes | None = None) -> Axes | NDArray[Any]:
        """Draws values, the expected band, anomalous points and segments.

        Parameters
        ----------
        X
            As for `detect`.
        ax
            Axes to draw on, for a single series.

        Returns
        -------
        Axes or ndarray of Axes
            One per series, up to nine: those with the highest scores.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from tsfm.anomalies.plot import plot_findings

        panel, findings = self._find(X)
        return plot_findings(panel, findings, ax)

    def as_pyod(self) -> PyodDetector:
        """The fitted detector under PyOD's conventions: high scores and 1 are abnormal.

        Raises
        ------
        NotFittedError
            `fit` comes first.
        """
        check_is_fitted(self)
        return PyodDetector(self)

    def save(self, path: str | Path) -> None:
        """Writes the detector to a folder, with the model unless that shipped; no pickle.

        Raises
        ------
        TypeError
            The model is an object without `save_pretrained`.
        """
        from tsfm.anomalies.persistence import save_detector

        save_detector(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> AnomalyDetector:
        """Reads what `save` wrote.

        Raises
        ------
        FileNotFoundError
            The folder holds no detector.
        ValueError
            It was written by a newer version.
        """
        from tsfm.anomalies.persistence import load_state

        parameters, restore = load_state(Path(path))
        detector = cls(**parameters)
        restore(detector)
        return detector

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
