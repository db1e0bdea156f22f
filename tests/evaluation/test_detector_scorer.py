"""A detector as a scorer of benchmarks: blur, channels, missing values."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.evaluation.detector_scorer import ModelScorer, faded, model_scorer
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


def test_scores_fade_around_a_step():
    sharp = ModelScorer(Marked(), "marked", neighbourhood=0.0)(peak(), 0)
    soft = ModelScorer(Marked(), "marked", neighbourhood=0.02)(peak(), 0)
    assert sharp.argmax() == soft.argmax() == 100
    assert np.flatnonzero(sharp > 0.01).tolist() == [100]
    np.testing.assert_allclose(soft[94:107], 1 - np.abs(np.arange(-6, 7)) / 6, atol=1e-8)
    assert (soft[:94] < 1e-8).all()


def test_fading_is_the_highest_score_less_its_distance():
    scores = np.random.default_rng(0).random(200)
    t = np.arange(200)
    by_hand = (scores - scores.max() * np.abs(t[:, None] - t) / 15).max(axis=1)
    np.testing.assert_allclose(faded(scores, 15.0), by_hand, atol=1e-12)
    assert faded(scores, 0.5) is scores


def test_missing_steps_score_nothing_and_channels_join():
    values = np.concatenate([peak(at=100), peak(at=200)], axis=1)
    values += 0.001 * np.arange(300)[:, None]
    values[50] = np.nan
    highest = ModelScorer(Marked(), "marked", "max", neighbourhood=0.0)(values, 0)
    mean = ModelScorer(Marked(), "marked", "mean", neighbourhood=0.0)(values, 0)
    assert highest[50] == 0
    assert np.flatnonzero(highest > 0.9).tolist() == [100, 200]
    np.testing.assert_allclose(mean[[100, 200]], 0.5, rtol=1e-4)


def test_switches_are_context_beside_what_is_measured():
    measured = peak(at=100) + 0.01 * np.arange(300)[:, None]
    switch = np.full((300, 1), -20.0)
    switch[200] = 20.0
    scorer = ModelScorer(Marked(), "marked", "max", neighbourhood=0.0)
    both = scorer(np.concatenate([measured, switch], axis=1), 0)
    assert np.flatnonzero(both > 0.9).tolist() == [100]
    alone = scorer(np.concatenate([switch, switch], axis=1), 0)
    assert np.flatnonzero(alone > 0.9).tolist() == [200]


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
