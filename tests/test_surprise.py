"""The forecaster's surprise: tail probabilities of values in forecasts made before them."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pytest

from tsfm.surprise import HIGHEST, LEVELS, combined, surprise


class Answer(NamedTuple):
    quantiles: np.ndarray


class Normal:
    """A standard normal at every step, whatever came before."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def forecast(self, series: Any, prediction_length: int, levels: Any, **_: Any) -> Answer:
        self.seen += [len(one) for one in series]
        curve = np.array([NormalDist().inv_cdf(level) for level in levels])
        return Answer(np.broadcast_to(curve, (len(series), prediction_length, len(levels))))


def test_values_of_the_forecast_distribution_are_as_surprising_as_they_are_rare():
    values = np.random.default_rng(0).normal(size=4_000)
    found = surprise(Normal(), values, stride=16)
    assert np.isnan(found[:32]).all()
    known = found[32:]
    for decades in (0.5, 1.0, 2.0):
        assert (known > decades).mean() == pytest.approx(10**-decades, rel=0.3)
    exact = -np.log10(2 * (1 - NormalDist().cdf(1.5)))
    values[100:103] = 1.5, -1.5, 0.0
    np.testing.assert_allclose(surprise(Normal(), values)[100:103], [exact, exact, 0], atol=0.02)


def test_tails_grow_and_are_bounded():
    values = np.zeros(60)
    values[40:44] = 2.5, 3.0, 6.0, 1e9
    found = surprise(Normal(), values)
    assert (np.diff(found[40:44]) > 0).all()
    assert found[41] == pytest.approx(-np.log10(2 * (1 - NormalDist().cdf(3.0))), abs=0.3)
    assert found[43] == HIGHEST
    assert np.isfinite(found[32:]).all()


def test_it_is_causal_and_knows_missing_values():
    values = np.random.default_rng(1).normal(size=300)
    values[[50, 60]] = np.nan, np.inf
    model = Normal()
    found = surprise(model, values, context_length=40)
    assert np.flatnonzero(np.isnan(found[32:])).tolist() == [18, 28]
    assert max(model.seen) == 40
    np.testing.assert_array_equal(surprise(model, values[:200])[:200], found[:200])
    nothing = surprise(model, np.full(100, np.nan))
    assert np.isnan(nothing).all()


def test_forecasts_without_spread():
    class Flat:
        def forecast(self, series: Any, n: int, levels: Any, **_: Any) -> Answer:
            return Answer(np.ones((len(series), n, len(levels))))

    values = np.ones(50)
    values[40] = 1.1
    found = surprise(Flat(), values)
    assert found[39] == 0
    assert found[40] == HIGHEST


def test_combinations():
    score = np.array([-4.0, -3.0, 5.0, np.nan])
    other = np.array([np.nan, 0.1, 3.0, 1.0])
    ranks = combined(score, other)
    assert ranks[2] == 1.0
    assert ranks[0] == 0.0
    assert np.isnan(ranks[3])
    total = combined(score, other, method="sum")
    assert total[2] == pytest.approx(np.log10(1 + np.exp(5)) + 3)
    assert total[0] == pytest.approx(np.log10(1 + np.exp(-4)))
    with pytest.raises(ValueError, match="method="):
        combined(score, other, method="max")
    with pytest.raises(ValueError, match="same shape"):
        combined(score, other[:2])
    with pytest.raises(ValueError, match="one series"):
        surprise(Normal(), np.zeros((9, 2)))
    assert list(LEVELS) == sorted(LEVELS)
