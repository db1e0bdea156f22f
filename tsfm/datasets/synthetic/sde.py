"""Stochastic dynamics: regime-switching OU, volatility, random walks, growth, nonlinear maps.

Linear recursions (OU, GARCH variance, local level) run as a doubling scan; only the nonlinear maps
loop over time, with all rows advanced together.
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
    or_zero,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.processes import (
    ar1,
    draw_periods,
    fourier_profile,
    heavy_noise,
    linear_scan,
    pick,
    power_noise,
    root_mean_square,
    segment_ids,
    segment_levels,
    smooth_path,
    split_rows,
    spread,
    unit_scale,
)


def ou_regime(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Two-regime Ornstein-Uhlenbeck process with drifting, seasonal and broken parameters.

    dx = theta_s (mu_s(t) - x) dt + sigma_s(t) dW with regime s a two-state Markov chain.
    """
    dt = log_uniform(rng, 0.003, 0.3, n, 1)
    stay = log_uniform(rng, 6.0, 1000.0, n, 2)
    state = segment_ids(rng, stay[:, :1], length, stay[:, 1:]) % 2 == 0
    state = state | bernoulli(rng, 0.3, n, 1)  # a single regime on some rows
    theta = torch.where(state, uniform(rng, 1, 5, n, 1), uniform(rng, 0.05, 0.5, n, 1))
    sigma = torch.where(
        state,
        torch.exp(math.log(0.3) + 0.3 * normal(rng, n, 1)),
        torch.exp(math.log(1.5) + 0.5 * normal(rng, n, 1)),
    )
    gap = uniform(rng, 0.0, 2.5, n, 1)
    mu = torch.where(state, normal(rng, n, 1) - gap, normal(rng, n, 1) + gap)
    x = time_index(length, rng) / length
    drift = pick(
        rng,
        [
            x * normal(rng, n, 1) * 2,
            torch.exp(x * uniform(rng, -2, 2, n, 1)),
            torch.sigmoid((x - uniform(rng, 0.2, 0.8, n, 1)) * log_uniform(rng, 4, 40, n, 1))
            * normal(rng, n, 1)
            * 3,
            torch.sin(2 * math.pi * (x * uniform(rng, 0.3, 3, n, 1) + uniform(rng, 0, 1, n, 1)))
            * 1.5,
            smooth_path(rng, n, length, 5),
        ],
        [3, 2, 2, 2, 2],
    )
    breaks = segment_levels(rng, segment_ids(rng, uniform(rng, 0.2, 1.0, n, 1) * length, length))
    season = fourier_profile(rng, draw_periods(rng, n, length), length, harmonics=4)
    mu = mu + or_zero(rng, drift, 0.5) + or_zero(rng, 2 * breaks, 0.25)
    mu = mu + or_zero(rng, season * log_uniform(rng, 0.2, 3.0, n, 1), 0.5)
    swell = fourier_profile(rng, draw_periods(rng, n, length), length, harmonics=2)
    sigma = sigma * torch.exp(or_zero(rng, 0.4 * swell, 0.3))
    phi = torch.exp(-theta * dt)
    step_sd = sigma * torch.sqrt((1 - phi * phi) / (2 * theta))
    noise = (1 - phi) * mu + step_sd * heavy_noise(rng, n, length)
    resting = (sigma / torch.sqrt(2 * theta))[:, 0].clamp_max(3.0)
    noise[:, 0] = mu[:, 0] + resting * normal(rng, n)
    path = linear_scan(phi, noise)
    return path + or_zero(rng, log_uniform(rng, 0.005, 0.1, n, 1) * normal(rng, n, length), 0.4)


def volatility(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Returns, prices and intensities of GARCH, stochastic-volatility and jump models."""
    e = heavy_noise(rng, n, length).clamp(-6, 6)
    persistence = 1 - log_uniform(rng, 0.005, 0.3, n, 1)
    alpha = persistence * uniform(rng, 0.03, 0.35, n, 1)
    leverage = or_zero(rng, uniform(rng, 0.0, 0.5, n, 1), 0.4)
    news = e.square() * (1 + leverage * torch.where(e < 0, 1.0, -1.0))
    news = news / news.mean(-1, keepdim=True).clamp_min(1.0)
    one = torch.ones(n, 1, device=rng.device)
    growth = persistence - alpha + alpha * torch.cat([one, news[:, :-1]], -1)
    start = torch.cat([one, (1 - persistence).expand(n, length - 1)], -1)
    garch = linear_scan(growth.clamp_max(4.0), start).clamp(1e-3, 200.0).sqrt()
    phi = 1 - log_uniform(rng, 0.003, 0.3, n, 1)
    stochastic = torch.exp(uniform(rng, 0.2, 1.0, n, 1) * ar1(rng, phi, length))
    constant = torch.ones(n, length, device=rng.device)
    scale = pick(rng, [garch, stochastic, constant], [4, 4, 2])
    rate = log_uniform(rng, 1e-3, 0.03, n, 1)
    jump = (
        (uniform(rng, 0, 1, n, length) < rate) * normal(rng, n, length) * uniform(rng, 3, 12, n, 1)
    )
    returns = scale * e + or_zero(rng, jump, 0.3) + normal(rng, n, 1) * 0.1
    returns = returns + or_zero(rng, 0.2 * ar1(rng, phi, length), 0.2)
    total = log_uniform(rng, 0.05, 1.0, n, 1)  # sd of the log price over the window
    size = root_mean_square(returns).clamp_min(1e-3) * length**0.5
    step = (returns - returns.mean(-1, keepdim=True) * uniform(rng, 0.3, 1.0, n, 1)) / size * total
    step = step + or_zero(rng, normal(rng, n, 1) * total, 0.5) / length
    price = torch.exp(torch.cumsum(step, -1).clamp(-8, 8))
    reverting = linear_scan(1 - log_uniform(rng, 0.003, 0.2, n, 1), returns)
    intensity = scale * torch.exp(0.3 * normal(rng, n, length))
    return pick(rng, [returns.clamp(-300, 300), price, reverting, intensity], [2, 4, 2, 2])


def local_level(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Random walks with drift, local level and local linear trend models, arithmetic or geometric.

    Small drifts, small seasons, observation noise and rounding imitate economic and sales series.
    """
    shocks = heavy_noise(rng, n, length)
    bursts = torch.exp(0.5 * ar1(rng, 1 - log_uniform(rng, 0.01, 0.3, n, 1), length))
    shocks = shocks * torch.where(bernoulli(rng, 0.3, n, 1), bursts, torch.ones_like(bursts))
    memory = or_zero(rng, uniform(rng, -0.4, 0.8, n, 1), 0.4)  # autocorrelated increments
    shocks = linear_scan(memory, shocks)
    quiet = uniform(rng, 0, 1, n, length) < uniform(
        rng, 0.3, 0.97, n, 1
    )  # price lists that rarely move
    shocks = torch.where(quiet & bernoulli(rng, 0.12, n, 1), torch.zeros_like(shocks), shocks)
    drift = torch.where(
        bernoulli(rng, 0.6, n, 1), normal(rng, n, 1) * log_uniform(rng, 0.003, 0.3, n, 1), 0.0
    )
    slope_keep = torch.where(
        bernoulli(rng, 0.5, n, 1), 1 - log_uniform(rng, 0.003, 0.2, n, 1), 1.0
    )
    slope = linear_scan(slope_keep, normal(rng, n, length) * log_uniform(rng, 1e-3, 0.1, n, 1))
    level = torch.cumsum(shocks + drift + or_zero(rng, slope, 0.35), -1)
    size = spread(level)
    season = fourier_profile(rng, draw_periods(rng, n, length, 0.8), length, harmonics=6)
    x = level / size + or_zero(rng, season * log_uniform(rng, 0.03, 1.0, n, 1), 0.4)
    x = x + or_zero(rng, heavy_noise(rng, n, length) * log_uniform(rng, 0.01, 1.0, n, 1), 0.6)
    geometric = torch.exp((x * uniform(rng, 0.05, 0.9, n, 1)).clamp(-8, 8))
    floor = uniform(rng, 2.0, 10.0, n, 1)
    x = torch.where(bernoulli(rng, 0.35, n, 1), geometric, x + floor)
    grid = log_uniform(rng, 0.02, 0.3, n, 1) * spread(x)
    return torch.where(bernoulli(rng, 0.15, n, 1), torch.round(x / grid) * grid, x)


def long_memory(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Fractional noise.

    Spectrum 1/f^a, a in -0.5 .. 2.4, alone or with an AR part, season or log link.
    """
    x = power_noise(rng, uniform(rng, -0.5, 2.4, n, 1), length)
    other = power_noise(rng, uniform(rng, 0.0, 2.0, n, 1), length)
    x = x + or_zero(rng, other * log_uniform(rng, 0.1, 1.0, n, 1), 0.3)
    phi = uniform(rng, -0.5, 0.95, n, 1)
    x = torch.where(bernoulli(rng, 0.3, n, 1), unit_scale(linear_scan(phi, x)), x)
    modulated = x * torch.exp(0.6 * power_noise(rng, uniform(rng, 0.8, 1.8, n, 1), length))
    x = torch.where(bernoulli(rng, 0.25, n, 1), modulated, x)
    season = fourier_profile(rng, draw_periods(rng, n, length), length)
    x = x + or_zero(rng, season * log_uniform(rng, 0.1, 2.0, n, 1), 0.35)
    return torch.where(bernoulli(rng, 0.25, n, 1), torch.exp(0.7 * unit_scale(x)), x)


def _growth_curve(rng: torch.Generator, n: int, length: int) -> Tensor:
    """One S-shaped, saturating, incident or rise-and-decline curve per row, within about 0-1."""
    centre = uniform(rng, -0.2, 1.2, n, 1)
    u = (time_index(length, rng) / length - centre) / log_uniform(rng, 0.01, 0.4, n, 1)
    u = u.clamp(-30, 30)
    for kind, rows in enumerate(split_rows(rng, n, [3, 2, 2, 2, 2])):
        v = u[rows]
        if kind == 0:
            v = torch.sigmoid(v)
        elif kind == 1:
            v = torch.exp(-torch.exp(-v))
        elif kind == 2:
            v = 1 - torch.exp(-v.clamp_min(0))
        elif kind == 3:
            v = 4 * torch.sigmoid(v) * torch.sigmoid(-v)
        else:
            v = torch.exp(-v.clamp_min(0)) * torch.sigmoid(4 * v)
        u[rows] = v
    return u


def growth(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Logistic, Gompertz and saturating growth, repeated epidemic waves, with noise."""
    t = time_index(length, rng) / length

    x = _growth_curve(rng, n, length) * uniform(rng, 0.3, 1.0, n, 1)
    for p in (0.6, 0.4, 0.4, 0.25):
        x = x + or_zero(rng, _growth_curve(rng, n, length) * uniform(rng, -0.3, 1.0, n, 1), p)
    x = x + or_zero(
        rng, torch.exp(t * uniform(rng, -3, 4, n, 1)) * uniform(rng, 0, 0.3, n, 1), 0.3
    )
    x = x - x.amin(-1, keepdim=True)
    x = x / x.amax(-1, keepdim=True).clamp_min(1e-3) + or_zero(
        rng, log_uniform(rng, 0.01, 1.0, n, 1), 0.5
    )
    week = fourier_profile(
        rng, choice(rng, (7.0, 7.0, 12.0, 4.0, 24.0, 52.0), n), length, harmonics=3
    )
    x = x * (1 + or_zero(rng, week.clamp(-2, 2) * uniform(rng, 0.02, 0.35, n, 1), 0.4))
    phi = torch.where(bernoulli(rng, 0.5, n, 1), uniform(rng, 0.3, 0.99, n, 1), 0.0)
    noise = ar1(rng, phi, length) * log_uniform(rng, 0.003, 0.3, n, 1)
    proportional = x * torch.exp(noise.clamp(-3, 3))
    x = torch.where(bernoulli(rng, 0.6, n, 1), proportional, x + noise)
    counts = torch.poisson(
        (x.clamp_min(0) * log_uniform(rng, 3, 3000, n, 1)).contiguous(), generator=rng
    )
    x = torch.where(bernoulli(rng, 0.25, n, 1), counts, x)
    cumulative = torch.cumsum(x.clamp_min(0), -1)
    return torch.where(bernoulli(rng, 0.07, n, 1), cumulative, x)


def _threshold_ar(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Self-exciting two-regime AR(1)/AR(2) with a delayed threshold."""
    phi_low, phi_high = uniform(rng, -0.9, 0.99, n), uniform(rng, -0.9, 0.99, n)
    second = uniform(rng, -0.5, 0.3, n) * (uniform(rng, 0, 1, n) < 0.5)
    push_low, push_high = uniform(rng, 0.0, 1.0, n), -uniform(rng, 0.0, 1.0, n)
    sd_high = log_uniform(rng, 0.4, 3.0, n)
    noise = normal(rng, length, n)
    previous, before = noise[0], noise[0]
    steps = [previous]
    for k in range(1, length):
        low = previous < 0
        base = torch.where(low, phi_low * previous + push_low, phi_high * previous + push_high)
        current = base + second * before + noise[k] * torch.where(low, 1.0, sd_high)
        previous, before = current.clamp(-50, 50), previous
        steps.append(previous)
    return torch.stack(steps, -1)


def _maps(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Logistic or sine map with slowly changing parameter, observed through a smoother."""
    r = 3.5 + 0.499 * torch.sigmoid(
        uniform(rng, -3, 3, n, 1) + 0.7 * smooth_path(rng, n, length, 4)
    )
    r = r.t().contiguous()
    x = uniform(rng, 0.1, 0.9, n)
    steps = []
    for k in range(length):
        x = (r[k] * x * (1 - x)).clamp(1e-4, 1 - 1e-4)
        steps.append(x)
    path = torch.stack(steps, -1)
    return linear_scan(or_zero(rng, uniform(rng, 0.2, 0.95, n, 1), 0.6), path - 0.5)


def _lorenz(rng: torch.Generator, n: int, length: int) -> Tensor:
    """One coordinate of noisy Lorenz flow.

    Euler with small steps, sampling step random per row.
    """
    dt = log_uniform(rng, 0.004, 0.02, n)
    rho = uniform(rng, 24, 40, n)
    x, y, z = normal(rng, n) * 5, normal(rng, n) * 5, uniform(rng, 15, 30, n)
    noise = normal(rng, length, n) * torch.sqrt(dt) * log_uniform(rng, 0.01, 2.0, n)
    xs, zs = [], []
    for k in range(length):
        dx, dy, dz = 10 * (y - x), x * (rho - z) - y, x * y - 2.667 * z
        x, y, z = x + dt * dx + noise[k], y + dt * dy, (z + dt * dz).clamp(0, 90)
        xs.append(x)
        zs.append(z)
    return torch.where(bernoulli(rng, 0.5, n, 1), torch.stack(xs, -1), torch.stack(zs, -1)).clamp(
        -90, 90
    )


def _relaxation(rng: torch.Generator, n: int, length: int) -> Tensor:
    """FitzHugh-Nagumo oscillator driven by noise: heartbeat- and neuron-like excitable pulses."""
    dt = log_uniform(rng, 0.2, 0.6, n)
    drive = uniform(rng, 0.2, 1.2, n)
    noise = normal(rng, length, n) * torch.sqrt(dt) * log_uniform(rng, 0.01, 0.25, n)
    slow = log_uniform(rng, 0.05, 0.3, n)
    v, w = normal(rng, n), normal(rng, n) * 0.3
    steps = []
    for k in range(length):
        v, w = (
            (v + dt * (v - v * v * v / 3 - w + drive) + noise[k]).clamp(-3, 3),
            w + dt * slow * (v + 0.7 - 0.8 * w),
        )
        steps.append(v)
    return torch.stack(steps, -1)


def nonlinear(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Threshold autoregressions, chaotic maps, Lorenz flow and excitable oscillators."""
    x = torch.zeros(n, length, device=rng.device)
    makers = (_threshold_ar, _maps, _lorenz, _relaxation)
    weights = [4.0, 1.0, 2.0, 3.0]
    if n < 512:  # a loop over time costs the same for few rows: one process per small batch
        only = int(choice(rng, range(4), 1, weights=weights))
        weights = [float(k == only) for k in range(4)]
    for rows, make in zip(split_rows(rng, n, weights), makers, strict=True):
        if rows.numel():
            x[rows] = unit_scale(make(rng, rows.numel(), length))
    x = x + or_zero(rng, normal(rng, n, length) * log_uniform(rng, 0.01, 0.5, n, 1), 0.5)
    return x + or_zero(rng, power_noise(rng, uniform(rng, 1.5, 2.5, n, 1), length) * 0.7, 0.3)


FAMILIES = (
    Family(
        "ou_regime",
        "sde",
        ou_regime,
        "regime-switching mean-reverting diffusion with seasons and breaks",
    ),
    Family(
        "volatility",
        "sde",
        volatility,
        "GARCH, stochastic volatility and jump diffusion: returns, prices, intensities",
    ),
    Family(
        "local_level",
        "sde",
        local_level,
        "random walks with drift, local level and local trend, log or linear",
    ),
    Family(
        "growth",
        "sde",
        growth,
        "logistic, Gompertz and epidemic curves with proportional or count noise",
    ),
    Family(
        "long_memory",
        "sde",
        long_memory,
        "fractional noise with autoregressive part, season or log link",
    ),
    Family(
        "nonlinear",
        "sde",
        nonlinear,
        "threshold autoregressions, chaotic maps and excitable oscillators",
    ),
)
