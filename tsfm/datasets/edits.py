"""Edits of z-scored rows: each changes every row it is given, with parameters drawn per row.

`tsfm.datasets.augment` decides which rows go through which edit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic.base import log_uniform, normal, randint, uniform


def zscore(x: Tensor) -> Tensor:
    """Rows with mean 0 and sd 1; rows without variation become 0."""
    x = x - x.mean(-1, keepdim=True)
    sd = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    return torch.where(sd > 1e-9, x / sd.clamp_min(1e-9), torch.zeros_like(x))


def time_of(x: Tensor) -> Tensor:
    """Steps 0 .. length-1, float [length]."""
    return torch.arange(x.shape[1], device=x.device, dtype=torch.float32)


def _path(rng: torch.Generator, n: int, length: int, knots: int) -> Tensor:
    """Piecewise-linear path through standard normal knots, [n, length]."""
    return F.interpolate(normal(rng, n, 1, knots), size=length, mode="linear", align_corners=True)[
        :, 0
    ]


def _read_at(x: Tensor, position: Tensor, step: Tensor | None = None) -> Tensor:
    """Linear interpolation of rows at fractional positions [n, length].

    Rows with `step` [n, 1] hold the left value.
    """
    position = position.clamp(0, x.shape[1] - 1)
    left = position.long().clamp_max(max(x.shape[1] - 2, 0))
    weight = position - left
    if step is not None:
        weight = torch.where(step, torch.floor(weight), weight)
    a = torch.gather(x, 1, left)
    b = torch.gather(x, 1, (left + 1).clamp_max(x.shape[1] - 1))
    return torch.lerp(a, b, weight)


def upsample(x: Tensor, rng: torch.Generator) -> Tensor:
    """Stretch a random crop to the full length by a factor of 1.2-12.

    Whole on half of the rows.
    """
    n, length = x.shape
    factor = log_uniform(rng, 1.2, 12.0, n, 1)
    factor = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, torch.round(factor).clamp_min(2), factor)
    start = torch.floor(uniform(rng, 0, 1, n, 1) * (length - length / factor))
    held = uniform(rng, 0, 1, n, 1) < 0.12
    return zscore(_read_at(x, start + time_of(x) / factor, held))


def pool(x: Tensor, rng: torch.Generator) -> Tensor:
    """Average, decimate or take maxima over blocks of 2-12 steps.

    The result is right-aligned behind NaN.
    """
    n, length = x.shape
    out = torch.full_like(x, torch.nan)
    largest = max(2, min(12, length // 48))
    factors = log_uniform(rng, 1.5, largest + 0.49, n).round().long()
    for factor in range(2, largest + 1):
        rows = torch.nonzero(factors == factor)[:, 0]
        count = length // factor
        if rows.numel() == 0 or count == 0:
            continue
        blocks = x.index_select(0, rows)[:, length - count * factor :].reshape(-1, count, factor)
        kind = uniform(rng, 0, 1, rows.numel(), 1)
        short = torch.where(
            kind < 0.65, blocks.mean(-1), torch.where(kind < 0.9, blocks[..., -1], blocks.amax(-1))
        )
        out[rows, length - count :] = zscore(short)
    return out


def time_warp(x: Tensor, rng: torch.Generator) -> Tensor:
    """Locally faster and slower time: speed exp(0.25 path), endpoints kept."""
    speed = torch.exp(0.25 * _path(rng, x.shape[0], x.shape[1], int(randint(rng, 3, 9, 1))))
    position = torch.cumsum(speed, -1)
    position = (position - position[:, :1]) / (position[:, -1:] - position[:, :1]).clamp_min(1e-6)
    return _read_at(x, position * (x.shape[1] - 1))


def reverse(x: Tensor, rng: torch.Generator) -> Tensor:
    """Reverse time."""
    return x.flip(-1)


def flip(x: Tensor, rng: torch.Generator) -> Tensor:
    """Change the sign."""
    return -x


def modulate(x: Tensor, rng: torch.Generator) -> Tensor:
    """Multiply by a slowly varying positive factor around a random reference level."""
    n, length = x.shape
    factor = torch.exp(
        uniform(rng, 0.1, 0.6, n, 1) * _path(rng, n, length, int(randint(rng, 2, 9, 1)))
    )
    level = torch.where(
        uniform(rng, 0, 1, n, 1) < 0.5,
        torch.zeros(n, 1, device=x.device),
        x.amin(-1, keepdim=True),
    )
    return zscore((x - level) * factor + level)


def _random_quantile(x: Tensor, rng: torch.Generator, q: Tensor) -> Tensor:
    """Approximate row quantiles q [n, 1] from 64 sampled values."""
    sample = torch.sort(torch.gather(x, 1, randint(rng, 0, x.shape[1], x.shape[0], 64)), -1).values
    return torch.gather(sample, 1, (q * 63).round().long())


def censor(x: Tensor, rng: torch.Generator) -> Tensor:
    """Clip below (rectification) or above (saturation) at a random quantile."""
    n = x.shape[0]
    q = uniform(rng, 0.02, 0.6, n, 1)
    below = uniform(rng, 0, 1, n, 1) < 0.6
    bound = _random_quantile(x, rng, torch.where(below, q, 1 - 0.7 * q))
    clipped = torch.where(below, torch.maximum(x, bound), torch.minimum(x, bound))
    return torch.where(clipped.std(-1, keepdim=True) > 0.05, clipped, x)


def quantise(x: Tensor, rng: torch.Generator) -> Tensor:
    """Round to 5-200 levels between minimum and maximum."""
    low = x.amin(-1, keepdim=True)
    step = (x.amax(-1, keepdim=True) - low).clamp_min(1e-6) / log_uniform(
        rng, 5.0, 200.0, x.shape[0], 1
    )
    return torch.round((x - low) / step) * step + low


def round_to_units(x: Tensor, rng: torch.Generator) -> Tensor:
    """Round to whole units, of which a mean of .5-500 lies above the row's least value or zero.

    Rows that this leaves without movement stay as they are.
    """
    n = x.shape[0]
    above = x - x.amin(-1, keepdim=True)
    unit = above.mean(-1, keepdim=True).clamp_min(1e-6) / log_uniform(rng, 0.5, 500.0, n, 1)
    rounded = torch.round(above / unit)
    return torch.where(rounded.std(-1, keepdim=True) > 0.05, zscore(rounded), x)


def add_season(x: Tensor, rng: torch.Generator) -> Tensor:
    """Add a cycle of .1-2 sd, or multiply by one of 1 +- .1-.9 around the row's least value.

    Periods log-uniform from 4 steps to half of the row, whole on two rows of three; 1-4 harmonics.
    """
    n, length = x.shape
    period = log_uniform(rng, 4.0, max(5.0, length / 2), n, 1)
    period = torch.where(uniform(rng, 0, 1, n, 1) < 0.67, torch.round(period), period)
    cycle = torch.zeros_like(x)
    for h in range(1, 5):
        angle = 2 * math.pi * (h * time_of(x) / period + uniform(rng, 0, 1, n, 1))
        cycle = cycle + torch.sin(angle) * normal(rng, n, 1) / h
    cycle = zscore(cycle)
    added = x + cycle * log_uniform(rng, 0.1, 2.0, n, 1)
    swing = (cycle / cycle.abs().amax(-1, keepdim=True).clamp_min(1e-6)) * log_uniform(
        rng, 0.1, 0.9, n, 1
    )
    product = (x - x.amin(-1, keepdim=True)) * (1 + swing)
    return zscore(torch.where(uniform(rng, 0, 1, n, 1) < 0.5, added, product))


def smooth(x: Tensor, rng: torch.Generator) -> Tensor:
    """Smooth by a centred Gaussian of .5-10 steps."""
    n, reach = x.shape[0], 30
    width = log_uniform(rng, 0.5, 10.0, n, 1)
    lag = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (lag / width).square())
    kernel = kernel / kernel.sum(-1, keepdim=True)
    padded = F.pad(x[None], (reach, reach), mode="replicate")
    return zscore(F.conv1d(padded, kernel[:, None], groups=n)[0])


def convolve(x: Tensor, rng: torch.Generator) -> Tensor:
    """Causal convolution with random kernels of 3-31 taps, dilation 1-8.

    Half of the rows with a residual path.
    """
    n, taps = x.shape[0], 31
    dilation = int(2 ** randint(rng, 0, 4, 1))
    size = log_uniform(rng, 3.0, 31.99, n, 1).floor()
    lag = torch.arange(taps - 1, -1, -1, device=x.device)
    kernel = (normal(rng, n, taps) + uniform(rng, 0.0, 1.5, n, 1)) * (lag < size) / size.sqrt()
    padded = F.pad(x[None], ((taps - 1) * dilation, 0), mode="replicate")
    y = zscore(F.conv1d(padded, kernel[:, None], dilation=dilation, groups=n)[0])
    keep = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, uniform(rng, 0.3, 1.5, n, 1), 0.0)
    return zscore(y + keep * x)


def add_spikes(x: Tensor, rng: torch.Generator) -> Tensor:
    """Add one-sided spikes of 2-10 sd: scattered at a rate of .1-2%, or every 10-500 steps."""
    n, length = x.shape
    scattered = uniform(rng, 0, 1, n, length) < log_uniform(rng, 1e-3, 0.02, n, 1)
    period = log_uniform(rng, 10.0, 500.0, n, 1).round()
    periodic = torch.floor((time_of(x) + uniform(rng, 0, 1, n, 1) * period) % period) == 0
    where = torch.where(uniform(rng, 0, 1, n, 1) < 0.6, scattered, periodic)
    height = uniform(rng, 2.0, 10.0, n, 1) * torch.exp(0.3 * normal(rng, n, length))
    sign = torch.where(uniform(rng, 0, 1, n, 1) < 0.7, 1.0, -1.0)
    return x + where * height * sign


def level_shift(x: Tensor, rng: torch.Generator) -> Tensor:
    """1-3 regime changes: lasting shift, change of scale, or a shock with exponential recovery."""
    n, length = x.shape
    t = time_of(x)
    count = randint(rng, 1, 4, n, 1)
    for k in range(3):
        at = uniform(rng, 0.05, 0.95, n, 1) * length
        after = (t >= at) & (count > k)
        size = normal(rng, n, 1) * log_uniform(rng, 0.15, 2.5, n, 1)
        decay = torch.exp(-(t - at).clamp_min(0) / (log_uniform(rng, 0.01, 0.25, n, 1) * length))
        kind = uniform(rng, 0, 1, n, 1)
        shifted = x + torch.where(kind < 0.5, size, size * decay)
        base = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, x.amin(-1, keepdim=True), 0.0)
        scaled = base + (x - base) * log_uniform(rng, 0.6, 1.7, n, 1)
        x = torch.where(after, torch.where(kind < 0.75, shifted, scaled), x)
    return zscore(x)


def integrate(x: Tensor, rng: torch.Generator) -> Tensor:
    """Cumulative sum, first difference, removal of the linear trend, or an added one."""
    n, length = x.shape
    t = time_of(x)
    t = (t - t.mean()) / max(length / math.sqrt(12.0), 1e-6)
    slope = (x * t).mean(-1, keepdim=True)
    total = zscore(torch.cumsum(x + 0.3 * normal(rng, n, 1), -1))
    change = zscore(torch.diff(x, dim=-1, prepend=x[:, :1]))
    kind = uniform(rng, 0, 1, n, 1)
    tilted = torch.where(kind < 0.75, x - slope * t, x + normal(rng, n, 1) * t)
    return torch.where(kind < 0.3, total, torch.where(kind < 0.5, change, zscore(tilted)))


def add_noise(x: Tensor, rng: torch.Generator) -> Tensor:
    """Add white noise of .01-.4 sd, proportional to |x| on a third of the rows."""
    n = x.shape[0]
    noise = normal(rng, *x.shape) * log_uniform(rng, 0.01, 0.4, n, 1)
    return x + torch.where(uniform(rng, 0, 1, n, 1) < 0.33, noise * x.abs(), noise)


def hold(x: Tensor, rng: torch.Generator) -> Tensor:
    """Repeat the value at the start of 1-4 stretches of up to 10% of the window each."""
    n, length = x.shape
    t = time_of(x).expand(n, length)
    source = t
    count = randint(rng, 1, 5, n, 1)
    for k in range(4):
        start = torch.floor(uniform(rng, 0, 1, n, 1) * length)
        size = log_uniform(rng, 0.003, 0.1, n, 1) * length
        source = torch.where((t >= start) & (t < start + size) & (count > k), start, source)
    return torch.gather(x, 1, source.long())


def add_offset(x: Tensor, rng: torch.Generator) -> Tensor:
    """Add an offset of .1-100 standard deviations, either sign."""
    n = x.shape[0]
    sign = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, 1.0, -1.0)
    return x + sign * log_uniform(rng, 0.1, 100.0, n, 1)


def rescale(x: Tensor, rng: torch.Generator) -> Tensor:
    """Multiply by exp(2 N(0, 1))."""
    return x * torch.exp(2 * normal(rng, x.shape[0], 1).clamp(-4, 4))
