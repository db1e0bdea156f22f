"""Baseline scorers of anomalies: what they find, what they refuse, how channels join."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.evaluation.anomaly_baselines import CHANNEL_SCORERS, period, scorer_named


def season(length: int = 1200, lag: int = 50) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, length)
    return np.sin(2 * np.pi * np.arange(length) / lag) + noise


@pytest.mark.parametrize("name", CHANNEL_SCORERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_finite_score_per_step(name: str, channels: int) -> None:
    values = np.stack([season(lag=30 + 10 * k) for k in range(channels)], axis=1)
    before = values.copy()
    scores = scorer_named(name)(values, 100)
    assert scores.shape == (1200,)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(scores, scorer_named(name)(values, 100))


@pytest.mark.parametrize("name", [name for name in CHANNEL_SCORERS if name != "random"])
def test_a_spike_scores_highest(name: str) -> None:
    values = season()
    values[700] += 12
    scores = scorer_named(name)(values[:, None], 0)
    reach = 50 if name in ("sub-pca", "matrix-profile") else 1
    start = 100  # the windowed Gaussian has no past to go by before
    assert abs(int(np.argmax(scores[start:])) + start - 700) <= reach


@pytest.mark.parametrize("name", [name for name in CHANNEL_SCORERS if name != "random"])
def test_unit_and_offset_change_no_ranking(name: str) -> None:
    values = season()
    values[700] += 5
    scores, scaled = (scorer_named(name)(x[:, None], 0) for x in (values, 8 * values + 32))
    assert np.corrcoef(scores, scaled)[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", CHANNEL_SCORERS)
def test_constant_short_and_single_series_are_scored(name: str) -> None:
    for values in (np.full(300, 5.0), np.arange(8.0), np.array([3.0])):
        scores = scorer_named(name)(values[:, None], 0)
        assert scores.shape == values.shape
        assert np.isfinite(scores).all()


def test_sub_pca_finds_a_burst_of_usual_size() -> None:
    values = season()
    values[600:620] = np.sin(np.arange(20) * 2)
    scores = scorer_named("sub-pca")(values[:, None], 0)
    assert 570 < np.argmax(scores) < 650


def test_windowed_gaussian_sees_only_the_past() -> None:
    values = np.random.default_rng(1).normal(size=(8000, 1))
    whole = scorer_named("windowed-gaussian")(values, 0)
    for end in (5, 3000, 6499, 6501, 7300):
        part = scorer_named("windowed-gaussian")(values[:end], 0)
        np.testing.assert_allclose(part, whole[:end], atol=1e-9)
    step = 7000  # 6,400 values, moved on by six hundreds
    z = abs(values[step, 0] - values[600:step].mean()) / values[600:step].std()
    from math import erfc

    assert whole[step] == pytest.approx(1 - 0.5 * erfc(z / 2**0.5), abs=1e-9)


def test_channels_count_alike_whatever_their_unit() -> None:
    values = np.stack([season(), season(lag=30)], axis=1)
    values[400, 0] += 5
    scaled = values * np.array([1.0, 1e6])
    score = scorer_named("abs-diff")
    np.testing.assert_allclose(score(values, 0), score(scaled, 0), atol=1e-9)
    constant = np.column_stack([values, np.full(1200, 3.0)])
    assert np.argmax(score(constant, 0)) in (400, 401)


def test_period() -> None:
    assert period(season(lag=50)) == 50
    assert period(season(lag=24)) == 24
    assert period(np.arange(50.0)) == 125  # no peak
    assert period(np.full(100, 2.0)) == 125
    assert period(season(3000, lag=350)) == 125  # longer than the benchmark looks for


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no baseline 'pca'; there are sub-pca, abs-diff"):
        scorer_named("pca")
    values = season()[:, None]
    values[9] = np.nan
    with pytest.raises(ValueError, match=r"step 9 is missing .* 'z-score' knows no gaps"):
        scorer_named("z-score")(values, 0)
