"""A trained detector as a scorer of benchmarks, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import expit

from tsfm.evaluation.anomaly_metrics import FloatArray
from tsfm.models.judgement import Aggregation, DetectionModel, combine_channels, judge

NEIGHBOURHOOD = 0.01
"""Share of a series that scores are blurred over."""


@dataclass(frozen=True)
class ModelScorer:
    """Scores of a detector that sees the whole series; the training part is not told apart.

    Parameters
    ----------
    model
        The detector.
    name
        Its name in reports.
    aggregation
        How channels become one score: "max", "mean", or k for the mean of the k highest.
    window
        Steps read at once; the model's longest by default.
    neighbourhood
        Share of the series around a step whose mean score is added to its own; 0 for none.
        Benchmarks label stretches with fuzzy ends, a detector marks steps: this much blur ranked
        best on held-out synthetic series whose labels were widened as annotators do.

    Examples
    --------
    >>> from tsfm.models import Detector, DetectorConfig
    >>> scorer = ModelScorer(Detector.from_config(DetectorConfig.preset("tiny")), "untrained")
    >>> scorer(np.zeros((20, 3)), 0).shape
    (20,)
    """

    model: DetectionModel
    name: str
    aggregation: Aggregation = "max"
    window: int | None = None
    neighbourhood: float = NEIGHBOURHOOD

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(getattr(self.model, "device", "cpu"))

    def __call__(self, values: NDArray[np.floating], train_end: int) -> FloatArray:
        """Probabilities `[L]` of an anomaly in values `[L, C]`, blurred; 0 for missing steps."""
        judged = judge(self.model, np.asarray(values, dtype=np.float64), self.window)
        scores = combine_channels(expit(judged.score), self.aggregation)
        scores = np.nan_to_num(scores, nan=0.0)
        width = round(self.neighbourhood * len(scores)) // 2 * 2 + 1
        if self.neighbourhood:
            scores = scores + uniform_filter1d(scores, width, mode="nearest")
        return scores


def model_scorer(
    model: str | Path,
    *,
    aggregation: Aggregation = "max",
    window: int | None = None,
    neighbourhood: float = NEIGHBOURHOOD,
    device: str = "auto",
) -> ModelScorer:
    """The scorer of a detector by name or folder.

    Raises
    ------
    FileNotFoundError
        There is no such model.
    ValueError
        It is a model for forecasts.
    """
    from tsfm.models import Detector

    detector = Detector.from_pretrained(model, device=device)
    name = detector.config.name if Path(model).is_dir() else str(model)
    suffix = "" if aggregation == "max" else f" ({aggregation} of channels)"
    return ModelScorer(detector, f"{name}{suffix}", aggregation, window, neighbourhood)
