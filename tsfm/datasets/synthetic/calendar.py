"""Calendar families: daily and weekly profiles, traffic, and low-frequency calendars.

What they imitate: electricity load, transformer loads, server metrics, road and pedestrian
traffic, taxi demand, retail sales, hospital counts. The pieces are a daily profile, a weekday
pattern that mixes a second profile and levels, holidays, day-to-day amplitude, profile drift,
annual modulation, a wandering level and coloured noise, joined additively, multiplicatively or
through an exponential link. Weather-like families live in `environment`, parts of a day in
`high_rate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm.datasets.synthetic import environment, high_rate
from tsfm.datasets.synthetic.base import (
    Family,
    bernoulli,
    choice,
    log_uniform,
    normal,
    randint,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.signals import (
    ar1,
    ar1_spectrum,
    bump_table,
    col,
    finish,
    fourier_table,
    lookup,
    lookup_steps,
    mixed_noise,
    per_day,
    poisson_like,
    random_table,
    rms,
    slow_path,
    spectral_noise,
    tailed,
    unit_rows,
)

BINS = 144  # resolution of one day's profile


@dataclass(frozen=True)
class _Clock:
    """Where each step lies.

    Day index `day` [n, L] int64, fraction `frac` of the day, weekday, `days` per row.
    """

    steps: Tensor  # [n] steps per day
    day: Tensor
    frac: Tensor
    weekday: Tensor
    year: Tensor  # phase of the year in cycles [n, L]
    days: int


def _clock(rng: torch.Generator, n: int, length: int, *, generic: float = 0.15) -> _Clock:
    """A random start within the week and the year; holidays look like the last weekday."""
    steps = environment.steps_per_day(rng, n, length, generic=generic)
    u = (time_index(length, rng) + col(uniform(rng, 0.0, 1.0, n) * steps)) / col(steps)
    day = u.long()
    days = int(day.max().item()) + 1
    weekday = (day + randint(rng, 0, 7, n, 1)) % 7
    share = uniform(rng, 0.01, 0.03, n, 1) * bernoulli(rng, 0.6, n, 1)
    holiday = torch.rand(n, days, generator=rng, device=rng.device) < share
    runs = bernoulli(rng, 0.25, n, 1)
    holiday[:, 1:] |= holiday[:, :-1] & runs  # some holidays last two days
    weekday = torch.where(per_day(holiday, day), 6, weekday)
    year = u / 365.25 + uniform(rng, 0.0, 1.0, n, 1)
    return _Clock(steps, day, u - day, weekday, year, days)


def _week_table(rng: torch.Generator, n: int, weekly: bool) -> Tensor:
    """Profiles of seven days `[n, 7, BINS]`; without `weekly` all days are alike."""
    base = random_table(rng, n, BINS)
    if not weekly:
        return base[:, None, :].expand(n, 7, BINS)
    other = random_table(rng, n, BINS)
    blend = uniform(rng, 0.0, 0.85, n, 1)
    other = unit_rows(other * (1 - blend) + base * blend)
    other = other * uniform(rng, 0.2, 1.1, n, 1)
    day = torch.arange(7, device=rng.device)
    weekend = (day >= torch.where(bernoulli(rng, 0.2, n, 1), 6, 5)).float()
    mix = uniform(rng, 0.2, 1.0, n, 1) * weekend
    saturday = torch.where(
        bernoulli(rng, 0.4, n, 1),
        uniform(rng, 0.3, 1.0, n, 1),
        torch.ones(n, 1, device=rng.device),
    )
    mix = mix * torch.where(day == 5, saturday, torch.ones_like(saturday))
    mix = torch.where(
        bernoulli(rng, 0.1, n, 1), torch.rand(n, 7, generator=rng, device=rng.device), mix
    )
    shift = mix * uniform(rng, -2.0, 0.8, n, 1) * bernoulli(rng, 0.8, n, 1)
    shift = shift + normal(rng, n, 7) * log_uniform(rng, 0.01, 0.35, n, 1)
    return (
        base[:, None] * (1 - mix[..., None]) + other[:, None] * mix[..., None] + shift[..., None]
    )


def _cycle(rng: torch.Generator, clock: _Clock, weekly: bool) -> Tensor:
    """The seasonal part `[n, L]`: profile lookup, day-to-day amplitude, drift of the profile."""
    n, length = clock.day.shape
    table = _week_table(rng, n, weekly).reshape(n, 7 * BINS)
    phase = (clock.weekday + clock.frac) / 7
    cycle = lookup(table, phase)
    scale = rms(cycle)
    drift = (
        fourier_table(rng, n, BINS, 6) * uniform(rng, 0.1, 0.7, n, 1) * bernoulli(rng, 0.4, n, 1)
    )
    cycle = cycle / scale + lookup(drift, clock.frac) * slow_path(rng, n, length, 12)
    tau = log_uniform(rng, 0.3, 30.0, n)
    spread = log_uniform(rng, 0.01, 0.45, n, 1) * bernoulli(rng, 0.75, n, 1)
    amplitude = (1 + spread * ar1(rng, tau, clock.days)).clamp_min(0.05)
    return cycle * per_day(amplitude, clock.day)


def _long(rng: torch.Generator, clock: _Clock) -> Tensor:
    """Slow part `[n, L]`: annual wave, wandering level, trend, an occasional level shift."""
    n, length = clock.day.shape
    annual = torch.sin(2 * math.pi * clock.year)
    annual = annual + uniform(rng, -0.6, 0.6, n, 1) * torch.sin(
        4 * math.pi * clock.year + uniform(rng, 0, 6.28, n, 1)
    )
    level = ar1(rng, clock.steps * log_uniform(rng, 0.3, 100.0, n), length)
    trend = torch.linspace(-1, 1, length, device=rng.device) * normal(rng, n, 1)
    at = uniform(rng, 0.1, 0.95, n, 1) * length
    step = (time_index(length, rng) > at) * normal(rng, n, 1) * 1.5
    return (
        annual * log_uniform(rng, 0.05, 1.5, n, 1) * bernoulli(rng, 0.6, n, 1)
        + level * log_uniform(rng, 0.03, 1.2, n, 1) * bernoulli(rng, 0.85, n, 1)
        + trend * log_uniform(rng, 0.03, 3.0, n, 1) * bernoulli(rng, 0.35, n, 1)
        + step * bernoulli(rng, 0.06, n, 1)
    )


def _compose(rng: torch.Generator, cycle: Tensor, slow: Tensor, noise: Tensor) -> Tensor:
    """Join cycle, slow part and noise: additive, multiplicative, exponential, floored, counts."""
    n = cycle.shape[0]
    sigma = log_uniform(rng, 0.01, 1.5, n, 1)
    lowest = cycle.amin(-1, keepdim=True)
    height = (cycle - lowest) / (rms(cycle) * 2)
    hetero = torch.where(bernoulli(rng, 0.35, n, 1), 0.15 + height, torch.ones_like(height))
    noise = noise * hetero * sigma
    additive = cycle + slow + noise
    floor = log_uniform(rng, 0.02, 3.0, n, 1)
    product = (
        (height + floor) * torch.exp(0.4 * slow.clamp(-6, 6)) * (1 + 0.35 * noise).clamp_min(0.0)
    )
    power = uniform(rng, 0.1, 0.9, n, 1)
    log_link = torch.exp((power * unit_rows(additive)).clamp(-6, 5))
    u = torch.rand(n, 1, generator=rng, device=rng.device)
    x = torch.where(u < 0.45, additive, torch.where(u < 0.78, product, log_link))
    floored = torch.relu(x - x.mean(-1, keepdim=True) + uniform(rng, -0.5, 1.5, n, 1) * rms(x))
    x = torch.where((u < 0.45) & bernoulli(rng, 0.12, n, 1), floored, x)
    rate = x.clamp_min(0.0) / x.clamp_min(0.0).mean(-1, keepdim=True).clamp_min(1e-6)
    rate = rate * log_uniform(rng, 0.5, 500.0, n, 1)
    counted = (u > 0.45) & bernoulli(rng, 0.3, n, 1)
    counts = poisson_like(rng, rate * counted, log_uniform(rng, 0.02, 0.5, n, 1))
    return torch.where(counted, counts, x)


def _profile(n: int, length: int, rng: torch.Generator, weekly: bool) -> Tensor:
    clock = _clock(rng, n, length, generic=0.12 if weekly else 0.3)
    noise = mixed_noise(rng, n, length, memory=200.0)
    return finish(_compose(rng, _cycle(rng, clock, weekly), _long(rng, clock), noise))


def daily_profile(n: int, length: int, rng: torch.Generator) -> Tensor:
    """One profile per day or generic period, with drift, day-to-day amplitude and slow level."""
    return _profile(n, length, rng, weekly=False)


def weekly_profile(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Weekday and weekend profiles and levels, holidays, annual modulation (electricity, web)."""
    return _profile(n, length, rng, weekly=True)


def traffic(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Speeds at a free-flow plateau with rush-hour dips, or occupancies, their mirror image."""
    clock = _clock(rng, n, length, generic=0.0)
    rush = bump_table(rng, n, BINS, 4).abs()
    rush = rush / rush.amax(-1, keepdim=True).clamp_min(1e-6)
    demand = lookup(rush, clock.frac)
    workday = torch.where(clock.weekday >= 5, uniform(rng, 0.0, 0.8, n, 1), 1.0)
    depth = torch.exp(
        ar1(rng, log_uniform(rng, 0.1, 5, n), clock.days) * uniform(rng, 0.05, 0.6, n, 1)
    )
    jam_noise = ar1(rng, clock.steps * log_uniform(rng, 0.01, 0.2, n), length)
    load = (
        demand
        * workday
        * per_day(depth, clock.day)
        * (1 + uniform(rng, 0.02, 0.5, n, 1) * jam_noise)
    )
    jam = torch.relu(load - uniform(rng, 0.0, 0.55, n, 1))
    jam = jam / (1 + jam * uniform(rng, 0.0, 1.5, n, 1))
    flow = 1 + 0.1 * lookup(fourier_table(rng, n, BINS, 4), clock.frac) * log_uniform(
        rng, 0.05, 1, n, 1
    )
    noise = mixed_noise(rng, n, length, memory=50.0) * log_uniform(rng, 0.005, 0.08, n, 1)
    speed = (flow - jam * uniform(rng, 0.3, 1.1, n, 1)).clamp_min(0.05) * (1 + noise)
    occupancy = (demand * workday * per_day(depth, clock.day) * 0.5 + jam * 2) * (
        1 + 3 * noise
    ) + 0.05
    return finish(torch.where(bernoulli(rng, 0.65, n, 1), speed, occupancy.clamp_min(0.0)))


def low_frequency_calendar(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Daily (week, month, year), weekly (52), monthly (12) and quarterly (4) series.

    They stand for sales, visits, counts and indices.
    """
    t = time_index(length, rng) + uniform(rng, 0.0, 400.0, n, 1).floor()
    year_length = col(choice(rng, (365.25, 52.18, 12.0, 4.0), n, weights=(0.42, 0.2, 0.26, 0.12)))
    daily = year_length > 100
    week = (
        lookup_steps(_weekdays(rng, n), t)
        * daily
        * log_uniform(rng, 0.05, 2.0, n, 1)
        * bernoulli(rng, 0.88, n, 1)
    )
    smooth, peaks = fourier_table(rng, n, 120, 6), bump_table(rng, n, 120, 4)
    kind = torch.rand(n, 1, generator=rng, device=rng.device)
    table = torch.where(
        kind < 0.5, smooth, torch.where(kind < 0.75, peaks, unit_rows(smooth + peaks))
    )
    table = torch.where(
        year_length < 20,
        unit_rows(normal(rng, n, 12)).repeat_interleave(10, 1) * 0.7 + table,
        table,
    )
    year = (
        lookup(table, t / year_length)
        * log_uniform(rng, 0.05, 2.0, n, 1)
        * bernoulli(rng, 0.75, n, 1)
    )
    month = lookup(bump_table(rng, n, 60, 3), t / 30.44) * daily * uniform(rng, 0.0, 0.5, n, 1)
    season = week + year + month * bernoulli(rng, 0.2, n, 1)
    holiday = (
        (torch.rand(n, length, generator=rng, device=rng.device) < 0.012)
        * daily
        * bernoulli(rng, 0.4, n, 1)
    )
    season = season - holiday * normal(rng, n, 1) * 2
    swing = 1 + slow_path(rng, n, length, 16) * uniform(rng, 0.0, 0.5, n, 1) * bernoulli(
        rng, 0.5, n, 1
    )
    trend = (
        _economic_trend(rng, n, length)
        * log_uniform(rng, 0.1, 4.0, n, 1)
        * bernoulli(rng, 0.85, n, 1)
    )
    noise = mixed_noise(rng, n, length, memory=12.0)
    return finish(_compose(rng, season * swing + 1e-4 * noise, trend, noise))


def _weekdays(rng: torch.Generator, n: int) -> Tensor:
    """Unit-sd weekday effects `[n, 7]`: free, 5/2 split, or a build-up towards one day."""
    free = normal(rng, n, 7)
    day = torch.arange(7, device=rng.device)
    split = (day >= 5) * uniform(rng, -4.0, 3.0, n, 1) + 0.4 * free
    shape = torch.where(bernoulli(rng, 0.6, n, 1), split, free)
    start = randint(rng, 0, 7, n, 1)
    return unit_rows(shape.gather(1, (day + start) % 7))


def _economic_trend(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Unit-sd slow parts `[n, L]`.

    Random walks with drift, integrated walks, or piecewise-smooth growth.
    """
    tau = log_uniform(rng, 10.0, 10.0 * length, n)
    walk = spectral_noise(rng, ar1_spectrum(tau, length), length)
    walk = tailed(rng, walk, 0.1)
    line = torch.linspace(-1.7, 1.7, length, device=rng.device) * normal(rng, n, 1)
    smooth = slow_path(rng, n, length, 8)
    bend = torch.exp(
        torch.linspace(-1, 1, length, device=rng.device) * uniform(rng, 0.3, 1.8, n, 1)
    )
    u = torch.rand(n, 1, generator=rng, device=rng.device)
    return unit_rows(
        torch.where(
            u < 0.45,
            walk + line * 0.7,
            torch.where(u < 0.75, smooth + 0.5 * line, bend + 0.2 * walk),
        )
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        "daily_profile",
        "calendar",
        daily_profile,
        "daily or generic-period profile with drift and slow level",
    ),
    Family(
        "weekly_profile",
        "calendar",
        weekly_profile,
        "weekday/weekend profiles, holidays, annual modulation",
    ),
    Family(
        "traffic", "calendar", traffic, "free-flow plateaus with rush-hour dips, or occupancies"
    ),
    Family(
        "low_frequency_calendar",
        "calendar",
        low_frequency_calendar,
        "week, month and year effects on slow series",
    ),
    *environment.FAMILIES,
    *high_rate.FAMILIES,
)
