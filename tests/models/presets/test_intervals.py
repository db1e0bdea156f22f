from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.presets.intervals import COVERAGES, Intervals

LEVELS = (0.001, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.999)


def normal_errors(n: int, horizon: int = 3, seed: int = 0) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(n, horizon)))


def test_half_widths_are_the_conformal_ranks():
    errors = np.arange(1.0, 100.0)[::-1, None]  # 1 .. 99
    intervals = Intervals.of(errors)
    # ceil((n + 1) p)-th smallest of n = 99: exactly 100 p
    expected = [round(100 * p) for p in COVERAGES if p <= 0.99]
    np.testing.assert_array_equal(intervals.half_widths[0, : len(expected)], expected)
    assert intervals.half_widths[0, -1] > 99  # 0.995 needs more than 99 errors


def test_new_values_are_covered_as_often_as_promised():
    rng = np.random.default_rng(1)
    hits = []
    for seed in range(200):
        offsets = Intervals.of(normal_errors(39, 1, seed)).offsets((0.1, 0.9), 1)[0]
        fresh = rng.normal(size=200)
        hits.append(((fresh > offsets[0]) & (fresh < offsets[1])).mean())
    assert 0.79 <= float(np.mean(hits)) < 0.83


def test_offsets_are_symmetric_monotone_and_zero_at_the_median():
    offsets = Intervals.of(normal_errors(500)).offsets(LEVELS, 3)
    assert (np.diff(offsets, axis=1) > 0).all()
    np.testing.assert_allclose(offsets, -offsets[:, ::-1])
    assert (offsets[:, 4] == 0).all()
    assert offsets[:, 6].mean() == pytest.approx(1.28, abs=0.2)


def test_beyond_what_was_measured_intervals_never_narrow():
    errors = normal_errors(200, 4) * np.array([1.0, 3.0, 2.0, 1.0])
    intervals = Intervals.of(errors)
    short, long = intervals.offsets(LEVELS, 4), intervals.offsets(LEVELS, 64)
    np.testing.assert_array_equal(long[:4], short)
    upper = long[:, -1]
    assert (np.diff(upper[4:]) > 0).all()
    assert upper[4] > upper[:4].max()
    assert upper[63] == pytest.approx(upper[:4].max() * 4)  # sqrt(64 / 4)


def test_unknown_steps_take_the_last_known_one():
    errors = normal_errors(50, 3)
    errors[:, [0, 2]] = np.nan
    half = Intervals.of(errors).half_widths
    np.testing.assert_array_equal(half[0], half[1])
    np.testing.assert_array_equal(half[2], half[1])
    with pytest.raises(ValueError, match="No held-out value is known"):
        Intervals.of(np.full((3, 2), np.nan))


def test_a_single_error_is_enough():
    offsets = Intervals.of(np.array([[2.0]])).offsets(LEVELS, 1)[0]
    assert np.isfinite(offsets).all()
    assert (np.diff(offsets) >= 0).all()
