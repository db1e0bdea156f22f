"""A trained detector as a scorer of benchmarks, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tsfm.evaluation.anomaly_metrics import FloatArray
from tsfm.models.judgement import (
    Aggregation,
    DetectionModel,
    combine_channels,
    judge,
    of_measured_channels,
)

AGGREGATION: Aggregation = "max"
"""The highest channel; docs/experiments.md has the comparison."""
NEIGHBOURHOOD = 0.04
"""Share of a series over which scores fade; docs/experiments.md has the comparison."""


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
        How channels become one score: "max", "mean", or k for the mean of the k highest. On/off
        channels do not count beside others.
    window
        Steps read at once; the model's longest by default.
    neighbourhood
        Share of the series over which a step's score falls to nothing on either side; 0 for none.
        Detectors mark steps, benchmarks label stretches with fuzzy ends (see `faded`).

    Examples
    --------
    >>> from tsfm.models import Detector, DetectorConfig
    >>> scorer = ModelScorer(Detector.from_config(DetectorConfig.preset("tiny")), "untrained")
    >>> scorer(np.zeros((20, 3)), 0).shape
    (20,)
    """

    model: DetectionModel
    name: str
    aggregation: Aggregation = AGGREGATION
    window: int | None = None
    neighbourhood: float = NEIGHBOURHOOD

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(getattr(self.model, "device", "cpu"))

    def __call__(self, values: NDArray[np.floating], train_end: int) -> FloatArray:
        """Scores `[L]` of values `[L, C]`: probabilities of an anomaly, fading around them."""
        series = np.asarray(values, dtype=np.float64)
        judged = judge(self.model, series, self.window)
        told = of_measured_channels(expit(judged.score), series)
        scores = combine_channels(told, self.aggregation)
        return faded(np.nan_to_num(scores, nan=0.0), self.neighbourhood * len(scores))


def faded(scores: FloatArray, reach: float) -> FloatArray:
    """The highest score around each step, less what it loses with distance.

    What lies near an anomaly ranks behind it and before all else, as in labels that annotators
    drew around it; scores fall by the highest one of the series over `reach` steps.

    Parameters
    ----------
    scores
        [L], at least 0.
    reach
        Steps; below 1 the scores stay as they are.

    Examples
    --------
    >>> faded(np.array([0.0, 0.0, 1.0, 0.0, 0.2]), 4.0).tolist()
    [0.5, 0.75, 1.0, 0.75, 0.5]
    """
    if reach < 1:
        return scores
    fall = np.arange(len(scores)) * (scores.max() / reach)
    left = np.maximum.accumulate(scores + fall) - fall
    right = np.maximum.accumulate((scores - fall)[::-1])[::-1] + fall
    return np.asarray(np.maximum(scores, np.maximum(left, right)))


def model_scorer(
    model: str | Path,
    *,
    aggregation: Aggregation = AGGREGATION,
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
    suffix = "" if aggregation == AGGREGATION else f" ({aggregation} of channels)"
    return ModelScorer(detector, f"{name}{suffix}", aggregation, window, neighbourhood)
