"""Calendar families show the structure they are named after."""

import torch

from tsfm.datasets.synthetic import calendar, environment, high_rate


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _acf(x: torch.Tensor, lag: int) -> torch.Tensor:
    c = x - x.mean(-1, keepdim=True)
    return (c[:, lag:] * c[:, :-lag]).mean(-1) / c.square().mean(-1).clamp_min(1e-9)


def test_steps_per_day_are_clock_rates_that_fit_plus_generic_periods() -> None:
    steps = environment.steps_per_day(_rng(), 2000, 512, generic=0.2)
    clock = torch.isin(steps, torch.tensor([24.0, 48.0, 96.0, 144.0, 288.0]))
    assert 0.75 < clock.float().mean() < 0.9
    assert steps.min() >= 4
    assert steps.max() <= 512 / 1.4


def test_many_daily_profiles_repeat_at_a_clock_period() -> None:
    x = calendar.daily_profile(256, 2048, _rng())
    best = torch.stack([_acf(x, lag) for lag in (24, 48, 96, 144, 288)]).amax(0)
    assert (best > 0.5).float().mean() > 0.35


def test_weeks_explain_more_than_days_in_weekly_profiles() -> None:
    x = calendar.weekly_profile(512, 2048, _rng())
    hourly = x[_acf(x, 168) > 0.5]
    assert len(hourly) > 30
    assert (_acf(hourly, 168) > _acf(hourly, 72)).float().mean() > 0.6


def test_solar_rests_at_night() -> None:
    x = environment.solar(128, 1024, _rng())
    at_floor = (x <= x.amin(-1, keepdim=True) + 1e-6).float().mean(-1)
    assert 0.3 < at_floor.median() < 0.75
    assert (x >= -0.05).all()


def test_humidity_saturates_and_rivers_rise_faster_than_they_fall() -> None:
    assert environment.weather(256, 1024, _rng()).max() <= 100.0 + 1e-3
    flow = environment.hydrology(256, 1024, _rng())
    steps = flow.diff(dim=-1)
    skew = ((steps / steps.std(-1, keepdim=True)) ** 3).mean(-1)
    assert (skew > 0.5).float().mean() > 0.5


def test_speeds_sit_at_a_plateau_with_dips_and_occupancies_mirror_them() -> None:
    x = calendar.traffic(256, 1024, _rng())
    skew = (((x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)) ** 3).mean(-1)
    assert 0.3 < (skew < -0.3).float().mean() < 0.85
    assert (skew > 0.3).float().mean() > 0.15


def test_low_frequency_rows_carry_week_month_or_quarter_seasons() -> None:
    x = calendar.low_frequency_calendar(512, 400, _rng()).diff(dim=-1)
    weekly, yearly = _acf(x, 7) > 0.4, (_acf(x, 12) > 0.4)
    assert weekly.float().mean() > 0.12
    assert yearly.float().mean() > 0.08


def test_high_rates_show_cycles_of_the_clock_on_a_part_of_the_day() -> None:
    x = high_rate.high_rate(400, 1440, _rng()).diff(dim=-1)
    hour = torch.stack([_acf(x, lag) for lag in (30, 60, 120, 360)]).amax(0)
    assert (hour > 0.3).float().mean() > 0.08
    t = torch.arange(600.0).expand(50, -1)
    cycle = high_rate._clock_cycle(_rng(), t, torch.full((50,), 60.0))
    torch.testing.assert_close(cycle[:, :60], cycle[:, 60:120], atol=1e-3, rtol=1e-3)  # an hour
