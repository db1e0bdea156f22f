"""Conformal ranks by hand, against the theory, and against the intervals of the presets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models.conformal import (
    _design_effect,
    between_centres,
    centres,
    conformal_quantiles,
    corrections,
)
from tsfm.models.presets.intervals import COVERAGES, Intervals
from tsfm.models.recalibration import LEVELS

MEDIAN = LEVELS.index(0.5)


def test_ranks_are_those_of_split_conformal_prediction():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    for level in (0.05, 0.5, 0.801, 0.95, 0.99):
        wanted = np.ceil(100 * level - 1e-9)
        assert conformal_quantiles(scores, [level])[0] == wanted
    assert conformal_quantiles(scores, [0.999])[0] == 99  # needs more scores than there are
    errors = np.abs(np.random.default_rng(1).normal(size=399))
    presets = Intervals.of(errors[:, None]).half_widths[0]
    np.testing.assert_array_equal(conformal_quantiles(errors, COVERAGES), presets)


@given(n=st.integers(1, 40), level=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_next_of_exchangeable_scores_is_below_as_often_as_promised(n, level, seed):
    rng = np.random.default_rng(seed)
    draws = rng.random((4_000, n + 1))
    for method in ("higher", "linear"):
        edge = conformal_quantiles(draws[:, :n], [level], method=method)[:, 0]
        share = (draws[:, n] <= edge).mean()
        reachable = 1 / (n + 1) <= level <= n / (n + 1)
        if reachable:
            assert share > level - 0.035
            assert share < level + 0.035 + (1 / (n + 1) if method == "higher" else 0)


def test_both_tails_are_alike():
    scores = np.random.default_rng(2).normal(size=(3, 30))
    for new in (0.0, 1.0, 5.0):
        up = conformal_quantiles(scores, LEVELS, method="linear", new=np.full(3, new))
        down = conformal_quantiles(-scores, LEVELS, method="linear", new=np.full(3, new))
        np.testing.assert_allclose(up, -down[:, ::-1], atol=1e-12)
        assert (np.diff(up, axis=1) >= 0).all()


def test_weights_count_like_repetitions_and_unknown_scores_not_at_all():
    scores, times = np.array([3.0, 1.0, 2.0, 9.0]), np.array([1, 2, 1, 3])
    levels = [0.1, 0.3, 0.6, 0.85]
    np.testing.assert_array_equal(
        conformal_quantiles(scores, levels, times),
        conformal_quantiles(np.repeat(scores, times), levels),
    )
    for method in ("higher", "linear"):
        with_gaps = conformal_quantiles([np.nan, 3.0, np.nan, 1.0, 2.0], levels, method=method)
        np.testing.assert_array_equal(
            with_gaps, conformal_quantiles([3.0, 1.0, 2.0], levels, method=method)
        )
        assert np.isnan(conformal_quantiles([np.nan, np.nan], levels, method=method)).all()


@pytest.mark.parametrize("method", ["higher", "linear"])
def test_scores_of_weight_zero_are_no_scores(method):
    levels = [0.05, 0.3, 0.5, 0.7, 0.9, 0.99]
    assert conformal_quantiles([1.0, 2.0, 3.0], [0.9], [0, 1, 1], method=method)[0] == 3.0
    assert conformal_quantiles([1.0, 2.0, 3.0], [0.9], [1, 1, 0], method=method)[0] == 2.0
    for weights in ([0, 2, 1, 1], [2, 0, 0, 1], [1, 1, 1, 0]):
        kept = np.flatnonzero(weights)
        some = np.array([4.0, 1.0, 3.0, 2.0])
        np.testing.assert_array_equal(
            conformal_quantiles(some, levels, weights, method=method),
            conformal_quantiles(some[kept], levels, np.array(weights)[kept], method=method),
        )
    assert np.isnan(conformal_quantiles([1.0, 2.0], levels, [0, 0], method=method)).all()


@pytest.mark.parametrize("horizon", [1, 2, 3, 8, 24, 100])
def test_corrections_between_centres(horizon):
    at = centres(horizon)
    assert (at[0], at[-1]) == (1, horizon)
    assert (np.diff(at) > 0).all()
    line = np.log2(at)[:, None]
    steps = np.arange(1, horizon + 1)
    np.testing.assert_allclose(between_centres(line, horizon)[:, 0], np.log2(steps), atol=1e-9)


def normal_scores(n: int, windows: int, steps: int, spread: float, seed: int = 0) -> np.ndarray:
    """Scores of quantiles of N(0, 1), whose .1-.9 range is 2.56, for values from N(0, spread)."""
    from statistics import NormalDist

    z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    y = np.random.default_rng(seed).normal(0, spread, size=(n, windows, steps, 1))
    return (y - z) / (2 * NormalDist().inv_cdf(0.9))


def corrected(scores: np.ndarray, horizon: int, discrete: bool = False) -> np.ndarray:
    n, windows = scores.shape[:2]
    apart, same_age = np.full(n, float(windows)), np.zeros(windows)
    return corrections(scores, LEVELS, horizon, apart, np.full(n, discrete), same_age)


def test_corrections_make_quantiles_those_of_the_values():
    from statistics import NormalDist

    found = corrected(normal_scores(1, 1000, 8, 2.0), 8)[0]
    z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    wanted = (2 * z - z) / (2 * NormalDist().inv_cdf(0.9))  # from N(0, 1) to N(0, 2)
    inner = slice(2, -2)  # the outermost levels rest on few scores
    np.testing.assert_allclose(found[-1, inner], wanted[inner], atol=0.1)


def test_chance_moves_the_median_less_and_a_real_bias_stays():
    noise = normal_scores(400, 8, 8, 1.0)
    raw, shrunk = (corrected(noise, 8, d)[:, :, MEDIAN] for d in (True, False))
    assert (shrunk**2).mean() < 0.6 * (raw**2).mean()
    bias = corrected(noise + 1.0, 8)[:, :, MEDIAN]
    assert bias.mean() == pytest.approx(1.0, abs=0.05)


def test_windows_that_vary_as_a_whole_widen_the_tails():
    rng = np.random.default_rng(3)
    apart = normal_scores(200, 8, 16, 1.0)
    whole = np.repeat(apart[:, :, :1], 16, axis=2) + 0.01 * rng.normal(size=(200, 8, 16, 1))
    width = [np.ptp(corrected(s, 16)[..., [3, -4]], axis=-1).mean() for s in (apart, whole)]
    assert width[1] > width[0]


@pytest.mark.parametrize(
    ("common", "missing", "within"),
    [(0, 0, 0.003), (0.3, 0, 0.003), (0.8, 0, 0.004), (0, 0.5, 0.003), (0.8, 0.5, 0.006)],
)
def test_corrected_levels_hold_as_often_as_they_say(common, missing, within):
    """On average over series, with unequal weights, gaps and what windows have in common."""
    from statistics import NormalDist

    from scipy.special import ndtr

    n, windows, steps = 1000, 16, 16
    rng = np.random.default_rng(5)
    z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    y = np.sqrt(common) * rng.normal(size=(n, windows, 1, 1))
    y = y + np.sqrt(1 - common) * rng.normal(size=(n, windows, steps, 1))
    y = np.concatenate([y, -y])
    spread = z[LEVELS.index(0.9)] - z[LEVELS.index(0.1)]
    scores = np.where(rng.random(y.shape) < missing, np.nan, (y - z) / spread)
    apart, unshrunk = np.full(2 * n, float(windows)), np.full(2 * n, True)
    found = corrections(scores, LEVELS, steps, apart, unshrunk, np.arange(windows)[::-1])
    held = ndtr(z + spread * found).mean(axis=0)
    tenth_to_ninth = [LEVELS.index(k / 10) for k in range(1, 10)]
    wanted = np.array(LEVELS)[tenth_to_ninth]
    np.testing.assert_allclose(held[:, tenth_to_ninth] - wanted, 0, atol=within)


def test_ties_are_no_dependence():
    """Forecasts that hardly move: all zeros of a window pass a level at once."""
    rng = np.random.default_rng(6)
    counts = rng.poisson(0.5, size=(200, 16, 16, 1)).astype(float)
    tied = np.repeat(counts + 0.01 * rng.normal(size=(200, 16, 1, 1)), len(LEVELS), axis=-1)
    whole = np.repeat(tied[:, :, :1], 16, axis=2)
    near = np.ones(16)
    assert np.median(_design_effect(tied, np.array(LEVELS), near)) < 1.3
    assert np.median(_design_effect(whole, np.array(LEVELS), near)) > 8


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_a_real_bias_survives_gaps(missing):
    rng = np.random.default_rng(7)
    scores = normal_scores(300, 16, 24, 1.0) + 0.15
    known = rng.random(scores.shape[:3]) >= missing
    scores = np.where(known[..., None], scores, np.nan)
    apart = known.mean(axis=2).sum(axis=1)
    ages = np.arange(16)[::-1]
    found = corrections(scores, LEVELS, 24, apart, np.full(300, False), ages)
    assert found[:, -1, MEDIAN].mean() == pytest.approx(0.15, abs=0.015)


def test_nothing_known_corrects_nothing():
    scores = np.full((2, 4, 8, len(LEVELS)), np.nan)
    scores[1] = normal_scores(1, 4, 8, 1.0)[0]
    found = corrected(scores, 8)
    assert (found[0] == 0).all()
    assert np.isfinite(found).all()
    assert (found[1] != 0).any()
