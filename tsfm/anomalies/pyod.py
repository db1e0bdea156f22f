"""A fitted detector under the conventions of PyOD: high scores and 1 are abnormal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from tsfm.detector import AnomalyDetector

Array = NDArray[np.float64]


class PyodDetector:
    """What `AnomalyDetector.as_pyod` returns.

    scikit-learn and PyOD disagree: there a high `decision_function` is normal and an outlier is
    -1, here a high one is abnormal and an outlier is 1.

    Parameters
    ----------
    detector
        A fitted detector.

    Attributes
    ----------
    decision_scores_ : ndarray
        [n] score of each step that was fitted; series one after another, missing ones NaN.
    labels_ : ndarray
        [n] 1 for anomalous steps, else 0.
    threshold_ : float
        Score above which a step is anomalous.
    """

    def __init__(self, detector: AnomalyDetector) -> None:
        self._detector = detector
        self.contamination = detector.contamination
        self.decision_scores_, self.labels_ = detector._fitted_scores()
        self.threshold_ = -float(detector.offset_)

    def decision_function(self, X: ArrayLike) -> Array:
        """[n] score of each row of an array; high is abnormal."""
        return -self._detector.score_samples(X)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """[n] 1 for anomalous rows of an array, else 0."""
        return (self._detector.predict(X) < 0).astype(np.int64)

    def fit(self, X: Any, y: object = None) -> PyodDetector:
        """Fit the detector anew; returns this object."""
        self._detector.fit(X)
        self.__init__(self._detector)  # type: ignore[misc]
        return self
