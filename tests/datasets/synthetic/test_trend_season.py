"""Trend-season families show trends, seasons and changes of regime."""

import torch

from tsfm.datasets.synthetic import trend_season


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_trends_are_unit_rows_and_growth_is_monotone_or_bent_once() -> None:
    x = trend_season.any_trend(_rng(), 64, 300)
    torch.testing.assert_close(x.std(-1, correction=0), torch.ones(64), atol=1e-3, rtol=0)
    signs = torch.sign(trend_season.growth(_rng(), 64, 300).diff(dim=-1))
    turns = ((signs[:, 1:] * signs[:, :-1]) < 0).sum(-1)
    assert (turns <= 1).float().mean() > 0.9  # saturated ends may flicker in float32


def test_piecewise_lines_bend_at_most_four_times() -> None:
    x = trend_season.piecewise_linear(_rng(), 32, 500)
    bends = (x.diff(n=2, dim=-1).abs() > 1e-4).sum(-1)
    assert bends.max() <= 8  # each knot shows in at most two second differences


def test_multi_season_is_more_regular_than_noise() -> None:
    x = trend_season.multi_season(256, 1024, _rng())
    z = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True).clamp_min(1e-6)
    power = torch.fft.rfft(z, dim=-1).abs().square()[:, 1:]
    top = power.topk(8, dim=-1).values.sum(-1) / power.sum(-1)
    assert top.median() > 0.6


def test_random_walks_are_rougher_in_level_than_in_difference() -> None:
    x = trend_season.random_walk(256, 512, _rng())
    ratio = x.diff(dim=-1).std(-1) / x.std(-1)
    assert ratio.median() < 0.25


def test_calendar_product_is_positive_and_smooth_trend_is_predictable() -> None:
    assert (trend_season.calendar_product(64, 256, _rng()) >= 0).all()
    x = trend_season.smooth_trend(256, 256, _rng())
    assert (x.diff(dim=-1).std(-1) / x.std(-1)).median() < 0.3
