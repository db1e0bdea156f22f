"""Building blocks of the stochastic families: recursions, coloured noise, profiles, segments.

Everything is batched over rows and free of Python loops over series or steps: linear recursions
run as a doubling scan, sums of sinusoids as one batched matrix product, coloured noise through the
FFT.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic.base import bernoulli, choice, log_uniform, normal, uniform

COMMON_PERIODS = (
    4,
    5,
    6,
    7,
    12,
    13,
    14,
    24,
    26,
    28,
    30,
    48,
    52,
    60,
    96,
    144,
    168,
    288,
    336,
    365,
    672,
)


def linear_scan(decay: Tensor, inputs: Tensor) -> Tensor:
    """Solve `x[t] = decay[t] * x[t-1] + inputs[t]` with `x[-1] = 0` for every row.

    Hillis-Steele doubling scan: log2(length) passes instead of a loop over steps.

    Parameters
    ----------
    decay
        Coefficients, [n, length] or anything that broadcasts to it (for example [n, 1]).
    inputs
        Driving term, [n, length].

    Returns
    -------
    Tensor
        The solution, [n, length].

    Examples
    --------
    >>> linear_scan(torch.tensor([[0.5]]), torch.ones(1, 3))
    tensor([[1.0000, 1.5000, 1.7500]])
    """
    length = inputs.shape[-1]
    constant = decay.shape[-1] == 1
    x = inputs.clone()
    a = decay if constant else decay.expand_as(inputs).clone()
    step = 1
    while step < length:
        if constant:
            x = torch.cat([x[:, :step], torch.addcmul(x[:, step:], a, x[:, :-step])], -1)
            a = a * a
        else:
            x = torch.cat([x[:, :step], torch.addcmul(x[:, step:], a[:, step:], x[:, :-step])], -1)
            a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], -1)
        step *= 2
    return x


def ar1(rng: torch.Generator, phi: Tensor, length: int) -> Tensor:
    """Stationary unit-variance AR(1) paths with coefficients `phi` [n, 1]; returns [n, length]."""
    n = phi.shape[0]
    shocks = normal(rng, n, length)
    shocks[:, 1:] *= torch.sqrt((1 - phi * phi).clamp_min(1e-6))
    return linear_scan(phi, shocks)


def power_noise(rng: torch.Generator, exponent: Tensor, length: int) -> Tensor:
    """Gaussian noise with spectrum 1/f**exponent, unit sd over the row; exponent [n, 1]."""
    n = exponent.shape[0]
    size = 2 * length
    bins = torch.arange(1, length + 1, device=rng.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * exponent * torch.log(bins))  # [n, length]
    spectrum = torch.complex(normal(rng, n, length) * weight, normal(rng, n, length) * weight)
    spectrum = F.pad(torch.view_as_real(spectrum), (0, 0, 1, 0))
    x = torch.fft.irfft(torch.view_as_complex(spectrum.contiguous()), n=size)[:, :length]
    return unit_scale(x)


def unit_scale(x: Tensor) -> Tensor:
    """Rows centred and divided by their sd; rows without variation become 0."""
    x = x - x.mean(-1, keepdim=True)
    return x / root_mean_square(x).clamp_min(1e-6)


def root_mean_square(x: Tensor) -> Tensor:
    """Root mean square of each row, [n, 1]; several times faster than `Tensor.std` on a CPU."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])


def spread(x: Tensor) -> Tensor:
    """Standard deviation of each row, [n, 1], at least 1e-3."""
    return root_mean_square(x - x.mean(-1, keepdim=True)).clamp_min(1e-3)


def sinusoids(frequency: Tensor, phase: Tensor, amplitude: Tensor, length: int) -> Tensor:
    """Sum of K cosines per row as one batched matrix product.

    Step t = block * q + r, hence with a = w block q + p: cos(w t + p) = cos(a) cos(w r) - sin(a)
    sin(w r). Only K * (length / block + block) sines per row are evaluated, not K * length.

    Parameters
    ----------
    frequency
        Cycles per step, [n, K].
    phase
        Radians, [n, K].
    amplitude
        Amplitudes, [n, K].
    length
        Number of steps.

    Returns
    -------
    Tensor
        [n, length].
    """
    block = max(1, math.isqrt(length))
    count = -(-length // block)
    q = torch.arange(count, device=frequency.device, dtype=torch.float32) * block
    r = torch.arange(block, device=frequency.device, dtype=torch.float32)
    coarse = frequency[:, None, :] * q[:, None]  # [n, count, K] cycles
    coarse = 2 * math.pi * (coarse - torch.floor(coarse)) + phase[:, None, :]
    fine = 2 * math.pi * frequency[:, :, None] * r  # [n, K, block]
    weight = amplitude[:, None, :]
    left = torch.cat([torch.cos(coarse) * weight, -torch.sin(coarse) * weight], -1)
    right = torch.cat([torch.cos(fine), torch.sin(fine)], 1)
    return torch.bmm(left, right).reshape(frequency.shape[0], count * block)[:, :length]


def draw_periods(rng: torch.Generator, n: int, length: int, common: float = 0.5) -> Tensor:
    """Season lengths in steps, [n].

    A share from everyday ones, the rest log-uniform in (4, length / 2).
    """
    upper = max(5.0, length / 2)
    continuous = log_uniform(rng, 4.0, upper, n)
    listed = choice(rng, [p for p in COMMON_PERIODS if p <= upper], n)
    return torch.where(bernoulli(rng, common, n), listed, continuous)


def fourier_profile(
    rng: torch.Generator,
    period: Tensor,
    length: int,
    harmonics: int = 8,
    decay: Tensor | None = None,
) -> Tensor:
    """Random periodic profile with unit sd, `harmonics` terms whose sd falls as h**-decay.

    `period` is [n]; the result [n, length].
    """
    n = period.shape[0]
    h = torch.arange(1, harmonics + 1, device=rng.device, dtype=torch.float32)
    decay = uniform(rng, 0.5, 2.5, n, 1) if decay is None else decay
    amplitude = normal(rng, n, harmonics) * h**-decay
    frequency = h / period[:, None]
    amplitude = torch.where(frequency < 0.5, amplitude, torch.zeros_like(amplitude))
    amplitude = (
        amplitude / amplitude.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-6) * math.sqrt(2)
    )
    return sinusoids(frequency, uniform(rng, 0, 2 * math.pi, n, harmonics), amplitude, length)


def segment_ids(
    rng: torch.Generator, mean: Tensor, length: int, odd: Tensor | None = None
) -> Tensor:
    """Number of the segment each step lies in; exponential segment lengths of the given mean.

    Parameters
    ----------
    rng
        Source of randomness.
    mean
        Mean length of even segments in steps, [n, 1].
    length
        Number of steps.
    odd
        Mean length of odd segments, [n, 1]; same as `mean` when left out.

    Returns
    -------
    Tensor
        int64 [n, length], starting at 0 and growing by one at every boundary.
    """
    n = mean.shape[0]
    count = min(length, 600)
    scale = mean.expand(n, count).clone()
    if odd is not None:
        scale[:, 1::2] = odd
    gaps = 1 - torch.log1p(-uniform(rng, 0, 0.9999, n, count)) * scale
    ends = torch.cumsum(gaps, -1).clamp_max(length).long()
    marks = torch.zeros(n, length + 1, device=rng.device)
    marks.scatter_add_(1, ends, torch.ones_like(gaps))
    return torch.cumsum((marks[:, :length] > 0).long(), -1)


def segment_levels(rng: torch.Generator, ids: Tensor) -> Tensor:
    """Standard normal level per segment, spread over its steps: ids [n, length] -> [n, length]."""
    levels = normal(rng, ids.shape[0], int(ids.shape[1]) + 1)
    return torch.gather(levels, 1, ids)


def smooth_path(rng: torch.Generator, n: int, length: int, knots: int) -> Tensor:
    """Piecewise-linear path through `knots` standard normal values, [n, length]."""
    values = normal(rng, n, 1, max(2, knots))
    return F.interpolate(values, size=length, mode="linear", align_corners=True)[:, 0]


def heavy_noise(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Noise whose tail weight is random per row.

    Gaussian, Laplace-like, or occasional large shocks; about unit sd.
    """
    x = normal(rng, n, length)
    _, peaked, shocked = split_rows(rng, n, [0.5, 0.3, 0.2])
    if peaked.numel():
        e = x[peaked]
        x[peaked] = torch.sign(e) * e.abs() ** uniform(rng, 1.1, 1.8, peaked.numel(), 1)
    if shocked.numel():
        m = shocked.numel()
        hit = uniform(rng, 0, 1, m, length) < log_uniform(rng, 1e-3, 0.05, m, 1)
        x[shocked] *= torch.where(hit, uniform(rng, 2, 6, m, 1), 1.0)
    return x


def pick(rng: torch.Generator, options: list[Tensor], weights: list[float]) -> Tensor:
    """One of several [n, length] tensors per row, drawn with the given weights."""
    n = options[0].shape[0]
    p = torch.tensor(weights, device=rng.device)
    which = torch.multinomial(p / p.sum(), n, replacement=True, generator=rng)
    stacked = torch.stack(options, 1)
    return stacked[torch.arange(n, device=rng.device), which]


def split_rows(rng: torch.Generator, n: int, weights: list[float]) -> list[Tensor]:
    """Partition of rows 0..n-1 into random subsets whose expected shares are `weights`."""
    p = torch.tensor(weights, device=rng.device)
    which = torch.multinomial(p / p.sum(), n, replacement=True, generator=rng)
    return [torch.nonzero(which == k)[:, 0] for k in range(len(weights))]
