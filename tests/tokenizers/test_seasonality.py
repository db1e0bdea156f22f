"""Cycles that are there are found, those that are not are not, and padding is invisible."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tsfm.tokenizers.references import simple_forecasts
from tsfm.tokenizers.seasonality import (
    cycle_features,
    detrend,
    find_cycles,
    find_repeat_lags,
    significant_cycles,
    size_classes,
    variogram,
)


def noise(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, length, generator=torch.Generator().manual_seed(seed))


def full(x: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def weekly(rows: int, length: int) -> torch.Tensor:
    """Hourly profiles of the day that differ between days of the week."""
    day = torch.sin(2 * math.pi * torch.arange(168) / 24) * (
        1 + 0.8 * (torch.arange(168) // 24 >= 5)
    )
    return day.repeat(length // 168 + 1)[:length] + 0.15 * noise(rows, length)


def test_detrend_removes_lines_and_respects_gaps():
    x = 3 + 0.5 * torch.arange(100.0).expand(2, -1)
    observed = full(x).clone()
    observed[1, 20:50] = False
    assert detrend(torch.where(observed, x, 1e3), observed).abs().max() < 1e-3


def test_variogram_is_the_mean_squared_difference():
    x, observed = noise(1, 40), torch.rand(1, 40, generator=torch.Generator().manual_seed(1)) < 0.7
    x = torch.where(observed, x, 0)
    semi, pairs = variogram(x, observed)
    for lag in (1, 2, 7, 30):
        both = observed[0, lag:] & observed[0, : 40 - lag]
        assert pairs[0, lag] == both.sum()
        wanted = (x[0, lag:] - x[0, : 40 - lag])[both].square().mean()
        assert abs(semi[0, lag] - wanted) < 1e-4


def test_lags_without_pairs_have_no_difference():
    """In single precision the transforms leave 1e-6 there, and a thousandth in its root."""
    rng = torch.Generator().manual_seed(0)
    observed = torch.zeros(4, 40, dtype=torch.bool)
    observed[:, ::7] = True
    x = torch.where(observed, 5 * torch.randn(4, 40, generator=rng), 0)
    semi, pairs = variogram(x, observed)
    assert (pairs[:, 1:7] == 0).all()
    assert (semi[pairs == 0] == 0).all()
    assert (semi[:, 7] > 0).all()
    assert (find_repeat_lags(x, observed).step_error == 0).all()


def test_day_and_week_are_found():
    x = weekly(20, 1024)
    lags = find_repeat_lags(detrend(x, full(x)), full(x))
    assert (lags.long % 168 == 0).all()
    assert (lags.long > 0).all()
    shorter = find_repeat_lags(detrend(x[:, -160:], full(x[:, -160:])), full(x[:, -160:]))
    assert (shorter.short % 24 == 0).float().mean() > 0.8
    torch.testing.assert_close(
        lags.long_error, torch.full((20,), 0.15 * 2**0.5), atol=0.03, rtol=0
    )
    assert (lags.long_error < 0.75 * lags.step_error).all()


def test_noise_has_no_short_lag_and_a_shallow_dip():
    walk = noise(50, 512).cumsum(-1)
    found = find_repeat_lags(detrend(walk, full(walk)), full(walk))
    # the one slow swing of a walk may pass for a cycle, but nothing as short as a season does
    assert ((found.short == 0) | (found.short > 512 / 8)).float().mean() > 0.9
    white = noise(50, 512, 1)
    found = find_repeat_lags(detrend(white, full(white)), full(white))
    assert ((found.short == 0) | (found.short > 512 / 16)).float().mean() > 0.9
    season = weekly(20, 512)
    clear = find_repeat_lags(detrend(season, full(season)), full(season))
    assert found.long_dip.quantile(0.95) < 0.5 < 0.9 < clear.long_dip.min()


@pytest.mark.parametrize("period", [7.0, 24.0, 52.18, 96.5, 168.0])
def test_periods_are_found_within_half_a_percent(period):
    t = torch.arange(1024.0)
    x = torch.sin(2 * math.pi * t / period + 1) + 0.3 * noise(8, 1024)
    cycles = significant_cycles(detrend(x, full(x)), full(x), 3)
    tolerance = 0.005 if period < 100 else 0.01  # six cycles in view, and noise
    assert ((1 / cycles[:, 0, 0] - period).abs() / period < tolerance).all()
    assert (cycles[:, 0, 3] > 0.5).all()


def test_short_series_have_as_many_cycles_as_long_ones_but_empty():
    x = noise(2, 8)
    cycles = significant_cycles(detrend(x, full(x)), full(x), 20)
    assert cycles.shape == (2, 20, 4)
    assert (cycles[:, 8:] == 0).all()


def test_white_noise_is_rejected_at_about_alpha():
    x = noise(2000, 256)
    # zero padding looks between the Fourier frequencies, which makes the test a little liberal
    found = significant_cycles(detrend(x, full(x)), full(x), 1)[:, 0, 0] > 0
    assert 0.01 < found.float().mean() < 0.2
    strict = significant_cycles(detrend(x, full(x)), full(x), 1, alpha=0.001)[:, 0, 0] > 0
    assert strict.float().mean() < 0.01


def test_cycle_features_continue_the_cycle():
    t = torch.arange(480.0)
    x = torch.cos(2 * math.pi * t / 24)[None]
    cycles = significant_cycles(x, full(x), 1)
    value = cycle_features(cycles, torch.arange(48.0)[None])[0, :, 0]
    wanted = torch.cos(2 * math.pi * (480 + torch.arange(48.0)) / 24)
    assert (value - wanted).abs().max() < 0.15


@pytest.mark.parametrize("pad", [1, 31, 32, 100, 1024])
def test_left_padding_is_invisible(pad):
    x = torch.cat([weekly(2, 300), noise(2, 300).cumsum(-1)])
    observed = torch.rand(4, 300, generator=torch.Generator().manual_seed(2)) < 0.9
    observed[:, 0] = True
    plain = find_cycles(detrend(x, observed), observed, 4)
    longer, mask = F.pad(x, (pad, 0)), F.pad(observed, (pad, 0))
    padded = find_cycles(detrend(longer, mask), mask, 4)
    assert torch.equal(plain[0].short, padded[0].short)
    assert torch.equal(plain[0].long, padded[0].long)
    torch.testing.assert_close(plain[0].spread, padded[0].spread, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain[1], padded[1], atol=2e-3, rtol=1e-3)


def test_rows_are_grouped_by_the_reach_of_their_data():
    observed = torch.zeros(3, 100, dtype=torch.bool)
    observed[0, 98:], observed[1, 50:], observed[2, 40:] = True, True, True
    groups = {size: rows.tolist() for rows, size in size_classes(observed)}
    assert groups == {8: [0], 64: [1, 2]}


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 9])
def test_very_short_series(length):
    x = noise(2, length)
    for observed in (full(x), torch.zeros_like(full(x))):
        lags, cycles = find_cycles(detrend(x, observed), observed, 4)
        assert torch.isfinite(cycles).all()
        for value in vars(lags).values():
            assert torch.isfinite(value.float()).all()
        forecasts = simple_forecasts(
            torch.where(observed, x, 0),
            observed,
            torch.full((2, 1), length),
            torch.full((2, 1), length),
            4,
            lags,
        )
        last = x[:, -1] if observed.any() else torch.zeros(2)
        assert torch.isfinite(forecasts).all()
        torch.testing.assert_close(forecasts[:, 0, 0, 0], last)


def test_seasonal_references_repeat_the_last_cycle():
    t = torch.arange(240.0)
    x = (t % 24)[None] / 10 + 0.01 * noise(1, 240)
    lags, _ = find_cycles(detrend(x, full(x)), full(x), 0)
    assert int(lags.short) % 24 == 0
    end = torch.tensor([[240]])
    forecasts = simple_forecasts(x, full(x), end, end, 48, lags)[0, 0]  # [48, 5]
    wanted = (torch.arange(240.0, 288.0) % 24) / 10
    for reference in (1, 2, 3):
        assert (forecasts[:, reference] - wanted).abs().max() < 0.1
    assert (forecasts[:, 0] == x[0, -1]).all()
    torch.testing.assert_close(forecasts[:, 4], x[0, -32:].mean().expand(48))
