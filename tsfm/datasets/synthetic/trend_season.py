"""Trend, season and irregularity with arbitrary periods, growth shapes and noise laws.

After the TSI generator of Chronos-2, the ForecastPFN prior (trend x seasonal x Weibull noise) and
the shapes of the M4 yearly, quarterly, monthly, weekly and hourly series: random walks with drift,
damped trends, two nested seasons.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
    ar1_spectrum,
    finish,
    fourier_table,
    lookup,
    lookup_steps,
    mixed_noise,
    random_table,
    rms,
    slow_path,
    spectral_noise,
    tailed,
    unit_rows,
)

_NESTED = (  # (short, long) seasons that occur together
    (24.0, 168.0),
    (48.0, 336.0),
    (96.0, 672.0),
    (144.0, 1008.0),
    (7.0, 365.25),
    (7.0, 30.44),
    (12.0, 60.0),
    (4.0, 52.0),
    (60.0, 1440.0),
    (5.0, 260.0),
)


def _rand(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def _unit_time(rng: torch.Generator, length: int) -> Tensor:
    return time_index(length, rng) / max(1, length - 1)


def piecewise_linear(rng: torch.Generator, n: int, length: int, pieces: int = 5) -> Tensor:
    """Continuous lines with 1-5 random slopes, `[n, length]`, unit sd."""
    t = _unit_time(rng, length)
    at = uniform(rng, 0.0, 1.0, n, pieces)
    at[:, 0] = 0.0
    on = torch.arange(pieces, device=rng.device) < log_uniform(rng, 1.0, pieces + 0.99, n, 1)
    slope = normal(rng, n, pieces) * on
    x = torch.zeros(n, length, device=rng.device)
    for k in range(pieces):
        x += slope[:, k : k + 1] * torch.relu(t - at[:, k : k + 1])
    return unit_rows(x)


def growth(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Deterministic growth `[n, length]`, unit sd.

    Power, exponential, logistic, saturating or damped slope.
    """
    t = _unit_time(rng, length)
    rate = uniform(rng, 0.3, 4.0, n, 1)
    steep = log_uniform(rng, 4.0, 40.0, n, 1)
    shapes = torch.stack(
        [
            t**rate,
            torch.exp(rate * t),
            torch.sigmoid(steep * (t - uniform(rng, 0.05, 1.1, n, 1))),
            1 - torch.exp(-steep * t * 0.4),
            (t - uniform(rng, 0.1, 0.9, n, 1)) ** 2,
        ],
        1,
    )  # [n, 5, L]
    pick = randint(rng, 0, 5, n)
    x = shapes[torch.arange(n, device=rng.device), pick]
    return unit_rows(x) * torch.where(bernoulli(rng, 0.3, n, 1), -1.0, 1.0)


def any_trend(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Unit-sd trend rows `[n, length]`.

    Line, piecewise line, growth curve, smooth drift, or random walk.
    """
    u = _rand(rng, n, 1)
    line = unit_rows(_unit_time(rng, length).expand(n, length)) * torch.where(
        bernoulli(rng, 0.6, n, 1), 1.0, -1.0
    )
    x = torch.where(u < 0.25, line, piecewise_linear(rng, n, length))
    x = torch.where((u > 0.5) & (u <= 0.7), growth(rng, n, length), x)
    x = torch.where((u > 0.7) & (u <= 0.85), slow_path(rng, n, length, 10), x)
    return torch.where(u > 0.85, slow_path(rng, n, length, min(256, length), smooth=False), x)


def _wave(rng: torch.Generator, phase: Tensor) -> Tensor:
    """Unit-sd waves read at `phase` [n, L] in cycles.

    Sine, saw, square, triangle or a random cycle per row.
    """
    n = phase.shape[0]
    grid = torch.arange(192, device=rng.device) / 192
    sine = torch.sin(2 * math.pi * grid).expand(n, 192)
    apex = uniform(rng, 0.05, 0.95, n, 1)
    saw = torch.where(grid < apex, grid / apex, (1 - grid) / (1 - apex))
    square = torch.sigmoid((apex - (grid - 0.5).abs() * 2) * log_uniform(rng, 8.0, 200.0, n, 1))
    u = _rand(rng, n, 1)
    table = torch.where(
        u < 0.3, sine, torch.where(u < 0.42, saw, torch.where(u < 0.54, square, sine))
    )
    table = torch.where(u >= 0.54, random_table(rng, n, 192), table)
    return lookup(unit_rows(table), phase)


def _periods(rng: torch.Generator, n: int, length: int, count: int) -> Tensor:
    """Real periods `[n, count]`.

    Log-uniform from 3 to half the length, or a nested calendar pair.
    """
    top = max(6.0, min(length / 2.0, 1500.0))
    free = log_uniform(rng, 3.0, top, n, count)
    free = torch.where(bernoulli(rng, 0.5, n, count), free.round(), free)
    pairs = [p for p in _NESTED if p[1] <= top] or [(4.0, 6.0)]
    pick = randint(rng, 0, len(pairs), n)
    pair = torch.tensor(pairs, device=rng.device)[pick]
    free[:, :2] = torch.where(bernoulli(rng, 0.4, n, 1), pair, free[:, :2])
    return free


def multi_season(n: int, length: int, rng: torch.Generator) -> Tensor:
    """1-3 seasons of any real period and shape, with AM and FM, around a trend.

    Joined additively, multiplicatively or in the exponent.
    """
    t = time_index(length, rng)
    periods = _periods(rng, n, length, 3)
    used = torch.arange(3, device=rng.device) < choice(
        rng, (1.0, 2.0, 3.0), n, 1, weights=(0.45, 0.4, 0.15)
    )
    weight = log_uniform(rng, 0.15, 1.0, n, 3) * used
    modulate = uniform(rng, 0.0, 0.6, n, 1) * bernoulli(rng, 0.4, n, 1)
    wobble = uniform(rng, 0.0, 0.35, n, 1) * bernoulli(rng, 0.15, n, 1)
    amplitude = (1 + modulate * slow_path(rng, n, length, 16)).clamp_min(0.05)
    bent = t + wobble * slow_path(rng, n, length, 8) * periods[:, :1]
    season = torch.zeros(n, length, device=rng.device)
    product = torch.ones(n, length, device=rng.device)
    for k in range(3):
        wave = _wave(rng, bent / periods[:, k : k + 1] + uniform(rng, 0.0, 1.0, n, 1))
        season += weight[:, k : k + 1] * wave
        product *= 1 + 0.4 * weight[:, k : k + 1] * wave.clamp(-2.4, 2.4)
    season = (
        torch.where(
            bernoulli(rng, 0.3, n, 1), unit_rows(product) * weight.sum(-1, keepdim=True), season
        )
        * amplitude
    )
    trend = (
        any_trend(rng, n, length) * log_uniform(rng, 0.05, 4.0, n, 1) * bernoulli(rng, 0.7, n, 1)
    )
    noise = mixed_noise(rng, n, length, memory=40.0) * log_uniform(rng, 0.005, 1.5, n, 1)
    return finish(_join(rng, trend, season, noise))


def _join(rng: torch.Generator, trend: Tensor, season: Tensor, noise: Tensor) -> Tensor:
    """Join trend, season and noise.

    Additive, season growing with the level, noise growing with the level, or an exponential.
    """
    n = trend.shape[0]
    additive = trend + season + noise
    base = trend - trend.amin(-1, keepdim=True) + uniform(rng, 0.3, 2.0, n, 1)
    grow = base * (1 + 0.3 * season.clamp(-3, 6)) * (1 + 0.25 * noise)
    hetero = trend + season + noise * base / base.mean(-1, keepdim=True)
    exponent = torch.exp((unit_rows(additive) * uniform(rng, 0.1, 0.9, n, 1)).clamp(-6, 5))
    u = _rand(rng, n, 1)
    x = torch.where(u < 0.5, additive, torch.where(u < 0.72, grow, hetero))
    return torch.where(u > 0.88, exponent, x)


def calendar_product(n: int, length: int, rng: torch.Generator) -> Tensor:
    """ForecastPFN prior: linear x exponential trend x calendar cycles x Weibull noise."""
    t = time_index(length, rng)
    step = choice(
        rng,
        (60.0, 24.0, 96.0, 7.0, 52.18, 12.0, 4.0),
        n,
        weights=(0.12, 0.25, 0.13, 0.25, 0.08, 0.12, 0.05),
    )
    factor = choice(rng, (7.0, 7.0, 24.0, 30.44, 12.0, 52.18), n)
    low = step[:, None] * torch.stack([torch.ones(n, device=rng.device), factor, factor * 12.0], 1)
    x = torch.ones(n, length, device=rng.device)
    for k, top in enumerate((1.0, 0.6, 0.6)):
        cycle = lookup(
            fourier_table(rng, n, 120, 10), t / low[:, k : k + 1] + uniform(rng, 0.0, 1.0, n, 1)
        )
        used = bernoulli(rng, (0.9, 0.6, 0.5)[k], n, 1)
        x = x * (1 + 0.45 * uniform(rng, 0.02, top, n, 1) * used * cycle).clamp_min(0.02)
    unit = _unit_time(rng, length)
    line = 1 + uniform(rng, -0.8, 2.0, n, 1) * (unit - uniform(rng, 0.0, 0.5, n, 1)) * bernoulli(
        rng, 0.7, n, 1
    )
    power = torch.exp(uniform(rng, -1.5, 1.8, n, 1) * unit * bernoulli(rng, 0.4, n, 1))
    shape = uniform(rng, 1.0, 5.0, n, 1)
    weibull = (-torch.log1p(-_rand(rng, n, length).clamp(max=1 - 1e-6))) ** (1 / shape)
    u = _rand(rng, n, 1)
    spread = torch.where(
        u < 0.6, u / 6, torch.where(u < 0.9, 0.2 + (u - 0.6), 0.6 + 2 * (u - 0.9))
    )
    noise = 1 + spread * (weibull / math.log(2.0) ** (1 / shape) - 1)
    return finish(x * line.clamp_min(0.05) * power * noise)


def random_walk(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Random walks with drift, mean-reverting or geometric, weak or no seasons (M4-like)."""
    t = time_index(length, rng)
    step = tailed(
        rng, spectral_noise(rng, ar1_spectrum(log_uniform(rng, 0.1, 3.0, n), length), length), 0.5
    )
    volatile = torch.exp(
        uniform(rng, 0.0, 0.8, n, 1) * slow_path(rng, n, length, 24) * bernoulli(rng, 0.4, n, 1)
    )
    step = (
        step
        * volatile
        * torch.where(bernoulli(rng, 0.1, n, 1), bernoulli(rng, 0.2, n, length), True)
    )
    drift = normal(rng, n, 1) * log_uniform(rng, 0.003, 0.6, n, 1) * bernoulli(rng, 0.7, n, 1)
    damped = torch.exp(-t / (length * log_uniform(rng, 0.05, 10.0, n, 1)))
    walk = torch.cumsum(step + drift * damped, -1)
    mean_reverting = spectral_noise(
        rng, ar1_spectrum(log_uniform(rng, 8.0, 4.0 * length, n), length), length
    )
    walk = torch.where(bernoulli(rng, 0.2, n, 1), mean_reverting * 10, walk)
    period = choice(rng, (4.0, 12.0, 52.0, 7.0, 5.0, 24.0, 13.0), n, 1)
    cycle = _seasonal_table(rng, n, 52, period)
    scale = log_uniform(rng, 0.05, 5.0, n, 1) * bernoulli(rng, 0.6, n, 1)
    walk = walk + scale * lookup(cycle, t / period + uniform(rng, 0.0, 1.0, n, 1))
    walk = walk + normal(rng, n, length) * log_uniform(rng, 0.02, 2.0, n, 1) * bernoulli(
        rng, 0.5, n, 1
    )
    level = (walk - walk.mean(-1, keepdim=True)) / rms(walk)
    geometric = torch.exp(level * uniform(rng, 0.05, 1.0, n, 1))
    return finish(torch.where(bernoulli(rng, 0.4, n, 1), geometric, walk))


def _seasonal_table(rng: torch.Generator, n: int, bins: int, period: Tensor) -> Tensor:
    """Smooth cycles for long periods, free values for short ones (`period` [n, 1])."""
    smooth = fourier_table(rng, n, bins, 6)
    return torch.where(period < 15, unit_rows(smooth + normal(rng, n, bins) * 0.3), smooth)


def smooth_trend(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Yearly to monthly macro series.

    Damped or bent trends, business cycles, small noise, a weak 4- or 12-season.
    """
    t = time_index(length, rng)
    slope = spectral_noise(
        rng, ar1_spectrum(log_uniform(rng, 3.0, 1.0 * length + 4, n), length), length
    )
    slope = slope + normal(rng, n, 1) * uniform(rng, 0.0, 2.0, n, 1)
    local = unit_rows(torch.cumsum(slope, -1))
    u = _rand(rng, n, 1)
    trend = torch.where(
        u < 0.5,
        local,
        torch.where(u < 0.75, growth(rng, n, length), piecewise_linear(rng, n, length)),
    )
    cycle = torch.sin(
        2 * math.pi * t / log_uniform(rng, 6.0, 1.0 * length + 8, n, 1)
        + uniform(rng, 0.0, 6.28, n, 1)
    )
    cycle = (
        cycle
        * slow_path(rng, n, length, 12)
        * log_uniform(rng, 0.02, 0.5, n, 1)
        * bernoulli(rng, 0.5, n, 1)
    )
    period = choice(rng, (4, 12), n, 1, weights=(0.5, 0.5)).long()
    season = lookup_steps(
        unit_rows(normal(rng, n, 12)), t.long() % period + torch.zeros_like(period)
    )
    season = season * log_uniform(rng, 0.01, 1.0, n, 1) * bernoulli(rng, 0.55, n, 1)
    noise = mixed_noise(rng, n, length, memory=6.0) * log_uniform(rng, 0.002, 0.4, n, 1)
    return finish(_join(rng, trend * uniform(rng, 0.5, 3.0, n, 1) + cycle, season, noise))


def change_point(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Changed scale or process after an abrupt or gradual point, or up to four level shifts."""
    t = _unit_time(rng, length)
    first = unit_rows(multi_season(n, length, rng))
    second = first * log_uniform(rng, 0.2, 5.0, n, 1)
    foreign = math.ceil(n / 5)  # rows that change into an unrelated process
    second[:foreign] = unit_rows(multi_season(foreign, length, rng))
    second[:foreign] *= log_uniform(rng, 0.3, 3.0, foreign, 1)
    centre = uniform(rng, 0.1, 0.9, n, 1)
    width = log_uniform(rng, 0.0005, 0.15, n, 1)
    gate = torch.sigmoid((t - centre) / width)
    joined = torch.lerp(first, second + normal(rng, n, 1) * 1.5, gate)
    shifted = first.clone()
    for _ in range(4):
        at = uniform(rng, 0.02, 0.98, n, 1)
        until = at + torch.where(bernoulli(rng, 0.4, n, 1), uniform(rng, 0.02, 0.3, n, 1), 2.0)
        size = normal(rng, n, 1) * uniform(rng, 0.5, 3.0, n, 1) * bernoulli(rng, 0.55, n, 1)
        shifted += size * ((t > at) & (t < until))
    return finish(torch.where(bernoulli(rng, 0.5, n, 1), joined, shifted))


FAMILIES: tuple[Family, ...] = (
    Family(
        "multi_season",
        "trend_season",
        multi_season,
        "1-3 seasons of any period and shape with trend and noise",
    ),
    Family(
        "calendar_product",
        "trend_season",
        calendar_product,
        "ForecastPFN prior: trend x cycles x Weibull noise",
    ),
    Family(
        "random_walk",
        "trend_season",
        random_walk,
        "random walks with drift and weak seasons, plain or geometric",
    ),
    Family(
        "smooth_trend",
        "trend_season",
        smooth_trend,
        "damped, bent and local trends with weak quarterly/monthly season",
    ),
    Family("change_point", "trend_season", change_point, "joined regimes and level shifts"),
)
