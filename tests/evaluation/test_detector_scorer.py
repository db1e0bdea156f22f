"""A detector as a scorer of benchmarks: blur, channels, missing values."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.evaluation.detector_scorer import ModelScorer, model_scorer
from tsfm.models import Detection, Detector, DetectorConfig


class Marked:
    """Log odds as they stand in the values; missing values have none."""

    device = "cpu"

    def score(self, values, *, window=None, progress=False):
        return Detection(values.copy(), np.zeros_like(values), np.ones_like(values))


def peak(length=300, at=100):
    values = np.full((length, 1), -20.0)
    values[at] = 20.0
    return values


def test_the_neighbourhood_of_a_step_counts():
    sharp = ModelScorer(Marked(), "marked", neighbourhood=0.0)(peak(), 0)
    blurred = ModelScorer(Marked(), "marked", neighbourhood=0.02)(peak(), 0)
    assert sharp.argmax() == blurred.argmax() == 100
    assert np.flatnonzero(sharp > 0.01).tolist() == [100]
    assert np.flatnonzero(blurred > 0.01).tolist() == list(range(97, 104))  # 7 of 300 steps
    np.testing.assert_allclose(blurred[97], 1 / 7, rtol=1e-6)


def test_missing_steps_score_nothing_and_channels_join():
    values = np.concatenate([peak(at=100), peak(at=200)], axis=1)
    values[50] = np.nan
    highest = ModelScorer(Marked(), "marked", "max", neighbourhood=0.0)(values, 0)
    mean = ModelScorer(Marked(), "marked", "mean", neighbourhood=0.0)(values, 0)
    assert highest[50] == 0
    assert np.flatnonzero(highest > 0.9).tolist() == [100, 200]
    np.testing.assert_allclose(mean[[100, 200]], 0.5, rtol=1e-6)


def test_a_saved_detector_by_folder(tmp_path):
    detector = Detector.from_config(DetectorConfig.preset("tiny"), seed=0)
    detector.save_pretrained(tmp_path / "own")
    scorer = model_scorer(tmp_path / "own", aggregation=3, device="cpu")
    assert scorer.name.endswith("(3 of channels)")
    values = np.random.default_rng(0).normal(size=(64, 4))
    answer = scorer(values, 0)
    assert answer.shape == (64,)
    assert np.isfinite(answer).all()
    with pytest.raises(FileNotFoundError):
        model_scorer(tmp_path / "none")
