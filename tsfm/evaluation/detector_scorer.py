"""A trained detector as a scorer of benchmarks, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsfm.evaluation.anomaly_metrics import FloatArray
from tsfm.models.judgement import Aggregation, DetectionModel, combine_channels, judge


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

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(getattr(self.model, "device", "cpu"))

    def __call__(self, values: NDArray[np.floating], train_end: int) -> FloatArray:
        """Scores `[L]` of values `[L, C]`, missing ones at the lowest of the series."""
        judged = judge(self.model, np.asarray(values, dtype=np.float64), self.window)
        scores = combine_channels(judged.score, self.aggregation)
        lowest = float(np.nan_to_num(scores, nan=np.inf).min(initial=0.0))
        return np.nan_to_num(scores, nan=lowest)


def model_scorer(
    model: str | Path,
    *,
    aggregation: Aggregation = "max",
    window: int | None = None,
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
    return ModelScorer(detector, f"{name}{suffix}", aggregation, window)
