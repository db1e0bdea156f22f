"""Naive and seasonal naive: values, intervals, gaps, short series."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tsfm.evaluation.baselines import Baseline, fill_forward, repeat_season


def test_naive_widens_like_a_random_walk() -> None:
    past = np.array([1.0, 2.0, 4.0, 4.0])
    sigma = np.sqrt((1 + 4 + 0) / 3)
    z = NormalDist().inv_cdf(0.9)
    quantiles = repeat_season(past, 3, 1, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(quantiles[:, 1], 4.0)
    np.testing.assert_allclose(quantiles[:, 2], 4.0 + z * sigma * np.sqrt([1, 2, 3]))
    np.testing.assert_allclose(quantiles[:, 0], 4.0 - z * sigma * np.sqrt([1, 2, 3]))


def test_seasonal_naive_widens_once_per_season() -> None:
    past = np.array([1.0, 5.0, 2.0, 7.0])
    sigma = np.sqrt((1 + 4) / 2)
    z = NormalDist().inv_cdf(0.9)
    quantiles = repeat_season(past, 5, 2, [0.5, 0.9])
    np.testing.assert_allclose(quantiles[:, 0], [2, 7, 2, 7, 2])
    widths = quantiles[:, 1] - quantiles[:, 0]
    np.testing.assert_allclose(widths, z * sigma * np.sqrt([1, 1, 2, 2, 3]))


def test_short_and_missing_pasts_still_get_an_answer() -> None:
    np.testing.assert_allclose(repeat_season(np.array([3.0]), 2, 12, [0.1, 0.5]), 3.0)
    np.testing.assert_allclose(repeat_season(np.array([1.0, 3.0]), 2, 12, [0.5]), 3.0)
    np.testing.assert_allclose(repeat_season(np.full(4, np.nan), 2, 1, [0.9]), 0.0)
    with pytest.raises(ValueError, match="context is empty"):
        repeat_season(np.array([]), 2, 1)


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32,
        st.integers(2, 30),
        elements=st.one_of(st.just(float("nan")), st.floats(-100, 100, width=32)),
    )
)
def test_fill_forward_equals_gluonts(values: np.ndarray) -> None:
    feature = pytest.importorskip("gluonts.transform.feature")
    before = values.copy()
    filled = fill_forward(values)
    np.testing.assert_array_equal(values, before)
    reference = feature.LastValueImputation()(values.copy())
    np.testing.assert_allclose(filled, reference)


def test_baseline_takes_a_season_per_series() -> None:
    past = np.array([1.0, 2.0, 3.0, 4.0])
    answer = Baseline("seasonal-naive", 2).forecast(
        [past, past, past], 2, (0.5,), season_lengths=[None, 4, 1]
    )
    np.testing.assert_allclose(answer.median, [[3, 4], [1, 2], [4, 4]])
    naive = Baseline("naive", 2).forecast([past], 2, (0.5,), season_lengths=[4])
    np.testing.assert_allclose(naive.median, [[4, 4]])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'clever' does not exist"):
        Baseline("clever")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="season_length must be"):
        Baseline("naive", 0)
    with pytest.raises(ValueError, match="1 series came with 2"):
        Baseline("naive").forecast([np.ones(3)], 2, season_lengths=[1, 2])
