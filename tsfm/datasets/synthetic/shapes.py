"""Geometric families: waves, steps, spikes and pulses in the ranges of TempoPFN and TinyCast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import (
    Family,
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
    heavy_noise,
    power_noise,
    segment_ids,
    segment_levels,
    smooth_path,
    split_rows,
)


def _background(rng: torch.Generator, n: int, length: int, p_noise: float = 0.7) -> Tensor:
    """White noise, faint 1/f noise, trend and seasonality, each on some rows.

    Sd of a few percent to a third.
    """
    x = or_zero(rng, normal(rng, n, length) * log_uniform(rng, 0.01, 0.3, n, 1), p_noise)
    brown = power_noise(rng, uniform(rng, 1.0, 2.2, n, 1), length)
    x = x + or_zero(rng, brown * log_uniform(rng, 0.03, 0.6, n, 1), 0.35)
    t = time_index(length, rng)
    x = x + or_zero(rng, (t / length - 0.5) * normal(rng, n, 1) * 1.5, 0.35)
    angle = 2 * math.pi * (t / draw_periods(rng, n, length)[:, None] + uniform(rng, 0, 1, n, 1))
    return x + or_zero(rng, torch.sin(angle) * log_uniform(rng, 0.02, 0.4, n, 1), 0.25)


def _wave(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Sine, sawtooth, triangle or square wave with slight amplitude and frequency modulation.

    Unit amplitude.
    """
    t = time_index(length, rng)
    period = draw_periods(rng, n, length, 0.4)[:, None]
    slow = t / (period * uniform(rng, 5, 50, n, 1)) + uniform(rng, 0, 1, n, 1)
    swing = torch.sin(2 * math.pi * slow)
    cycle = (
        t / period
        + uniform(rng, 0, 1, n, 1)
        + or_zero(rng, swing * uniform(rng, 0.0, 0.5, n, 1), 0.3)
    )
    phase = cycle - torch.floor(cycle)
    x = torch.empty_like(phase)
    for kind, rows in enumerate(split_rows(rng, n, [5, 2, 1.5, 1.5])):
        u = phase[rows]
        m = rows.numel()
        if m == 0:
            continue
        if kind == 0:
            x[rows] = torch.sin(2 * math.pi * u)
        elif kind == 1:
            x[rows] = (2 * u - 1) * choice(rng, (-1.0, 1.0), m, 1)
        elif kind == 2:
            peak = uniform(rng, 0.1, 0.9, m, 1)
            x[rows] = 2 * torch.where(u < peak, u / peak, (1 - u) / (1 - peak)) - 1
        else:
            x[rows] = torch.where(u < uniform(rng, 0.1, 0.9, m, 1), 1.0, -1.0)
    depth = torch.sin(2 * math.pi * slow * uniform(rng, 0.3, 1.0, n, 1))
    return x * (1 + or_zero(rng, depth * uniform(rng, 0.05, 0.4, n, 1), 0.5))


def waves(n: int, length: int, rng: torch.Generator) -> Tensor:
    """1-3 sine, sawtooth, triangle or square waves with trend and noise, [n, length]."""
    x = _wave(rng, n, length) * uniform(rng, 0.5, 3.0, n, 1)
    x = x + or_zero(rng, _wave(rng, n, length) * uniform(rng, 0.3, 2.0, n, 1), 0.6)
    x = x + or_zero(rng, _wave(rng, n, length) * uniform(rng, 0.2, 1.5, n, 1), 0.3)
    return x + _background(rng, n, length)


def steps(n: int, length: int, rng: torch.Generator) -> Tensor:
    """4-100 segments that stay, ramp, oscillate, spike and recover, or wander.

    Levels fresh or cumulated.
    """
    t = time_index(length, rng)
    mean = length / log_uniform(rng, 4.0, 100.0, n, 1)
    ids = segment_ids(rng, mean.clamp_min(4.0), length)
    change = torch.diff(ids, dim=-1, prepend=ids[:, :1]) > 0
    since = (
        t - torch.cummax(torch.where(change, t, 0.0), -1).values
    )  # steps since the segment began
    fresh = segment_levels(rng, ids)
    table = normal(rng, n, length + 1).cumsum(-1) * 0.6
    level = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, fresh, torch.gather(table, 1, ids))
    kind = torch.gather(torch.rand(n, length + 1, generator=rng, device=rng.device), 1, ids)
    stable = uniform(rng, 0.2, 1.0, n, 1)  # share of segments without inner shape
    inner = (kind - stable) / (1 - stable).clamp_min(1e-3)
    size = segment_levels(rng, ids)
    ramp = size * since / mean
    wave = 0.5 * torch.sin(
        2 * math.pi * since / (mean * uniform(rng, 0.1, 0.5, n, 1)).clamp_min(4.0)
    )
    spike = 2 * size * torch.exp(-since / (0.1 * mean))
    wander = ar1(rng, torch.full((n, 1), 0.97, device=rng.device), length) * 0.5
    shape = torch.where(inner < 0.8, spike, wander)
    shape = torch.where(inner < 0.6, wave, shape)
    shape = torch.where(inner < 0.4, ramp, shape)
    shape = torch.where(inner < 0, torch.zeros_like(level), shape)
    rounded = torch.round(level * 2) / 2
    level = torch.where(uniform(rng, 0, 1, n, 1) < 0.3, rounded, level)
    few = (
        ids.amax(-1, keepdim=True) < 1
    ).float()  # a single segment: add a ramp so that the row is not flat
    return level + shape + few * (t / length) + _background(rng, n, length)


def spikes(n: int, length: int, rng: torch.Generator) -> Tensor:
    """V-shaped or flat-topped spikes, scattered, in bursts or periodic, up or down."""
    t = time_index(length, rng)
    width = log_uniform(rng, 0.002, 0.06, n, 1) * length + 2
    flat = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, uniform(rng, 0.1, 0.8, n, 1), 0.0)
    similar = uniform(rng, 0.0, 0.5, n, 1)
    count = choice(rng, range(3, 9), n, 1)
    gathered = torch.where(uniform(rng, 0, 1, n, 1) < 0.2, uniform(rng, 0.05, 0.3, n, 1), 1.0)
    origin = uniform(rng, 0, 1, n, 1) * (1 - gathered)
    scattered = torch.zeros(n, length, device=rng.device)
    for k in range(8):
        centre = (origin + gathered * uniform(rng, 0, 1, n, 1)) * length
        slope = (1 - (t - centre).abs() / width) / (1 - flat)
        height = torch.exp(similar * normal(rng, n, 1)) * (count > k)
        scattered = torch.maximum(scattered, slope.clamp(0, 1) * height)
    period = (length / log_uniform(rng, 4.0, max(5.0, length / 8), n, 1)).clamp_min(4.0)
    cycle = t / period + uniform(rng, 0, 1, n, 1)
    number = torch.floor(cycle).long()
    share = uniform(rng, 0.05, 0.5, n, 1)
    slope = (1 - (cycle - number - 0.5).abs() / share) / (1 - flat)
    regular = slope.clamp(0, 1) * torch.exp(similar * segment_levels(rng, number.clamp(0, length)))
    x = torch.where(uniform(rng, 0, 1, n, 1) < 0.4, scattered, regular) * uniform(
        rng, 1.0, 4.0, n, 1
    )
    x = x * choice(rng, (1.0, 1.0, -1.0), n, 1)
    return x + _background(rng, n, length)


def pulses(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Flat level with one-sided pulses every 10-300 steps, some clustered or extra.

    Heights AR(.7).
    """
    t = time_index(length, rng)
    period = log_uniform(rng, 10.0, min(400.0, max(12.0, length / 4)), n, 1).round()
    drawn = t + uniform(rng, 0, 1, n, 1).mul(period).floor()
    number = torch.floor(drawn / period).long().clamp(0, length)
    wiggle = torch.floor(
        segment_levels(rng, number) * or_zero(rng, period * uniform(rng, 0.01, 0.1, n, 1), 0.4)
    )
    place = drawn % period - torch.floor(period / 2) + wiggle
    span = choice(rng, (1, 1, 1, 2, 3, 5, 8), n, 1)
    on = (place >= 0) & (place < span)
    decay = torch.where(
        uniform(rng, 0, 1, n, 1) < 0.3, torch.exp(-place.clamp(0, 1e4) / (2 * span)), on.float()
    )
    decay = torch.where(place >= 0, decay, torch.zeros_like(decay))
    heights = ar1(rng, torch.full((n, 1), 0.7, device=rng.device), length + 1)
    height = torch.exp(torch.gather(heights, 1, number) * uniform(rng, 0.0, 0.5, n, 1))
    clustered = smooth_path(rng, n, length, 12) > -0.3
    keep = clustered | (uniform(rng, 0, 1, n, 1) < 0.75)
    extra = uniform(rng, 0, 1, n, length) < or_zero(rng, log_uniform(rng, 5e-4, 0.01, n, 1), 0.25)
    x = torch.maximum(decay * height * keep, extra * torch.exp(0.5 * normal(rng, n, length)))
    quiet = heavy_noise(rng, n, length) * log_uniform(rng, 0.003, 0.1, n, 1)
    x = x * choice(rng, (1.0, 1.0, 1.0, -1.0), n, 1) + quiet
    return x + or_zero(rng, _background(rng, n, length, 0.3), 0.4)


FAMILIES = (
    Family("waves", "shapes", waves, "1-3 sine, sawtooth, triangle or square waves"),
    Family("steps", "shapes", steps, "piecewise levels with ramps, oscillations and spikes"),
    Family("spikes", "shapes", spikes, "V-shaped and flat-topped spikes, scattered or periodic"),
    Family("pulses", "shapes", pulses, "quiet level with recurring pulses"),
)
