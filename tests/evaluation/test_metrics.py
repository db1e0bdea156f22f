"""Our metrics equal gluonts.ev, missing values and degenerate windows included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.evaluation.metrics import (
    DECILES,
    coverage,
    geometric_mean,
    mase,
    quantile_losses,
    seasonal_error,
    seasonal_errors,
    weighted_quantile_loss,
)

pytest.importorskip("gluonts")
from gluonts.ev import metrics as ev
from gluonts.ev.ts_stats import seasonal_error as gluonts_seasonal_error


def _case(seed: int, missing: float, n: int = 6, steps: int = 5):
    rng = np.random.default_rng(seed)
    label = rng.normal(3, 2, (n, steps))
    label[rng.random(label.shape) < missing] = np.nan
    quantiles = np.sort(rng.normal(3, 2, (n, steps, 9)), axis=-1)
    scale = rng.uniform(0.1, 3, n)
    return label, quantiles, scale


def _gluonts(label, quantiles, scale):
    data = {"label": np.ma.masked_invalid(label), "seasonal_error": scale[:, None]}
    data |= {str(level): quantiles[..., k] for k, level in enumerate(DECILES)}
    definitions = {
        "mase": ev.MASE(),
        "crps": ev.MeanWeightedSumQuantileLoss(quantile_levels=DECILES),
        "low": ev.Coverage(0.1),
        "high": ev.Coverage(0.9),
    }
    return {
        name: float(definition(axis=None).update(data).get())
        for name, definition in definitions.items()
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.2, 0.6]))
def test_metrics_equal_gluonts(seed: int, missing: float) -> None:
    label, quantiles, scale = _case(seed, missing)
    label[0, 0] = 1.0  # at least one label
    reference = _gluonts(label, quantiles, scale)
    assert mase(label, quantiles[..., 4], scale) == pytest.approx(reference["mase"], rel=1e-9)
    assert weighted_quantile_loss(label, quantiles, DECILES) == pytest.approx(
        reference["crps"], rel=1e-9
    )
    inside = coverage(label, quantiles[..., 0], quantiles[..., -1])
    assert inside == pytest.approx(reference["high"] - reference["low"], abs=1e-12)


def test_window_with_zero_scale_drops_out_as_in_gluonts() -> None:
    label, quantiles, scale = _case(1, 0.1)
    scale[2] = 0.0
    reference = _gluonts(label, quantiles, scale)["mase"]
    assert mase(label, quantiles[..., 4], scale) == pytest.approx(reference, rel=1e-9)
    others = np.arange(len(scale)) != 2
    alone = mase(label[others], quantiles[others][..., 4], scale[others])
    assert mase(label, quantiles[..., 4], scale) == pytest.approx(alone)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    season=st.sampled_from([1, 3, 12]),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_seasonal_errors_equal_gluonts_on_every_prefix(
    seed: int, season: int, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    series = rng.normal(0, 5, 40).cumsum() * 1e3
    series[rng.random(40) < missing] = np.nan
    ends = [5, 20, 39, 40]
    for end, error in zip(ends, seasonal_errors(series, ends, season), strict=True):
        reference = gluonts_seasonal_error(np.ma.masked_invalid(series[:end]), season)
        if np.ma.is_masked(reference) or not np.isfinite(float(reference[0])):
            assert np.isnan(error)
        else:
            assert error == pytest.approx(float(reference[0]), rel=1e-9)
        assert seasonal_error(series[:end], season) == pytest.approx(error, nan_ok=True)


def test_seasonal_error_without_a_pair_is_unknown() -> None:
    assert np.isnan(seasonal_error(np.array([1.0]), 1))
    assert np.isnan(seasonal_error(np.full(5, np.nan), 2))
    with pytest.raises(ValueError, match="season_length must be at least 1"):
        seasonal_error(np.arange(5.0), 0)


def test_infinite_values_count_as_missing() -> None:
    label, quantiles, scale = _case(3, 0.0)
    holes, infinite = label.copy(), label.copy()
    holes[1, 2], infinite[1, 2] = np.nan, np.inf
    assert mase(infinite, quantiles[..., 4], scale) == mase(holes, quantiles[..., 4], scale)
    assert weighted_quantile_loss(infinite, quantiles, DECILES) == weighted_quantile_loss(
        holes, quantiles, DECILES
    )
    gap, jump = np.array([1.0, np.nan, 3.0, 4.0]), np.array([1.0, -np.inf, 3.0, 4.0])
    assert seasonal_error(gap, 1) == seasonal_error(jump, 1) == 1.0


@pytest.mark.parametrize("forecast", [np.inf, -np.inf, np.nan])
def test_a_forecast_that_is_no_number_is_no_perfect_one(forecast: float) -> None:
    quantiles = np.full((1, 2, len(DECILES)), forecast)
    loss = weighted_quantile_loss(np.array([[1.0, 2.0]]), quantiles, DECILES)
    assert not np.isfinite(loss)
    masked = weighted_quantile_loss(np.array([[np.nan, 2.0]]), quantiles, DECILES)
    assert not np.isfinite(masked)


def test_all_labels_missing_gives_nan_not_an_error() -> None:
    label = np.full((2, 3), np.nan)
    assert np.isnan(mase(label, np.zeros((2, 3)), np.ones(2)))
    assert np.isnan(weighted_quantile_loss(label, np.zeros((2, 3, 1)), [0.5]))
    assert np.isnan(coverage(label, np.zeros((2, 3)), np.ones((2, 3))))


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 2\), expected \(2, 3, 9\)"):
        quantile_losses(np.zeros((2, 3)), np.zeros((2, 3, 2)), DECILES)


def test_geometric_mean() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert geometric_mean([0.0, 4.0]) == 0.0
    assert np.isnan(geometric_mean([]))
