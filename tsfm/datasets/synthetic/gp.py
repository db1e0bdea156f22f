"""Gaussian-process families: KernelSynth-like compositions without a Cholesky factor.

Stationary kernels are composed in the covariance domain (sums and products of RBF, Matern,
rational-quadratic, periodic and white kernels), then sampled exactly enough by circulant
embedding: one FFT per row. Strictly periodic parts are random Fourier features on the harmonics of
the period, summed by a batched matrix product. Non-stationary kernels come from the identities
`linear x k = s0 f1 + t f2` and a sigmoid blend of two draws (change point).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import Family, choice, log_uniform, normal, time_index, uniform
from tsfm.datasets.synthetic.processes import (
    draw_periods,
    sinusoids,
    smooth_path,
    split_rows,
    unit_scale,
)
from tsfm.datasets.synthetic.signals import fft_size, spectral_noise

MAX_KERNELS = 4
FEATURES = 48
KIND_WEIGHTS = [2.0, 1.0, 1.0, 1.0, 1.5, 4.0, 0.7]  # in the order of `_log_kernel`


def _log_kernel(rng: torch.Generator, kind: int, lag: Tensor, n: int, length: int) -> Tensor:
    """Log of a stationary kernel with random parameters per row, [n, m], 0 at lag 0."""
    if kind == 5:  # periodic
        phase = lag / draw_periods(rng, n, length)[:, None]
        return -torch.sin(math.pi * phase).square() * (
            2 / log_uniform(rng, 0.3, 2.0, n, 1).square()
        )
    if kind == 6:  # white
        return torch.where(lag < 0.5, 0.0, -60.0).expand(n, -1)
    u = lag / log_uniform(rng, 2.0, 1.5 * length, n, 1)
    if kind == 0:  # RBF
        return -0.5 * u * u
    if kind == 1:  # Matern 1/2
        return -u
    if kind == 2:  # Matern 3/2
        return torch.log1p(math.sqrt(3.0) * u) - math.sqrt(3.0) * u
    if kind == 3:  # Matern 5/2
        u = math.sqrt(5.0) * u
        return torch.log1p(u + u * u / 3) - u
    alpha = log_uniform(rng, 0.1, 10.0, n, 1)  # rational quadratic
    return -alpha * torch.log1p(0.5 * u * u / alpha)


def _kernel(rng: torch.Generator, lag: Tensor, n: int, length: int) -> Tensor:
    """One random stationary kernel per row, evaluated at `lag` [m].

    Returns [n, m] with value 1 at lag 0.
    """
    value = torch.empty(n, lag.shape[0], device=rng.device)
    for kind, rows in enumerate(split_rows(rng, n, KIND_WEIGHTS)):
        if rows.numel():
            value[rows] = torch.exp(_log_kernel(rng, kind, lag, rows.numel(), length))
    return value


def _stationary(rng: torch.Generator, n: int, length: int, kernels: int = MAX_KERNELS) -> Tensor:
    """Sample of a random sum/product of 1 to `kernels` stationary kernels, unit sd."""
    half = length + length // 2
    lag = torch.arange(half + 1, device=rng.device, dtype=torch.float32)
    covariance = _kernel(rng, lag, n, length)
    count = choice(rng, range(1, kernels + 1), n)
    for j in range(1, kernels):
        rows = torch.nonzero(count > j)[:, 0]
        m = rows.numel()
        if m == 0:
            break
        other = _kernel(rng, lag, m, length) * log_uniform(rng, 0.1, 3.0, m, 1)
        times = uniform(rng, 0, 1, m, 1) < 0.5
        so_far = covariance[rows]
        covariance[rows] = torch.where(times, so_far * other, so_far + other)
    covariance *= torch.exp(
        -0.5 * (2.2 * lag / half).square()
    )  # taper: keeps the embedding positive
    spectrum = torch.fft.irfft(
        torch.complex(covariance, torch.zeros_like(covariance)), n=2 * half
    )[:, : half + 1]
    weight = spectrum.clamp_min(0).sqrt()
    noise = torch.complex(normal(rng, n, half + 1) * weight, normal(rng, n, half + 1) * weight)
    return unit_scale(torch.fft.irfft(noise, n=2 * half)[:, :length])


def _periodic(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Strictly or nearly periodic Gaussian process.

    Random features on harmonics of 1-3 periods, unit sd.
    """
    slots = torch.arange(FEATURES, device=rng.device)
    parts = choice(rng, (1, 2, 3), n, 1, weights=[0.6, 0.3, 0.1]).long()
    member = slots % parts  # [n, K] which period a feature belongs to
    periods = torch.stack([draw_periods(rng, n, length, 0.6) for _ in range(3)], 1)
    nested = (
        uniform(rng, 0, 1, n) < 0.4
    )  # second season a whole multiple of the first, like day and week
    periods[:, 1] = torch.where(
        nested, periods[:, 0] * choice(rng, (2, 3, 4, 5, 7, 7, 12, 24), n), periods[:, 1]
    )
    width = log_uniform(rng, 0.25, 2.0, n, 3)
    mean_harmonic = torch.gather(1 / width, 1, member)
    harmonic = torch.floor(normal(rng, n, FEATURES).abs() * mean_harmonic * 1.2) + 1
    frequency = harmonic / torch.gather(periods, 1, member)
    jitter = uniform(rng, 0, 1, n, 1) < 0.35  # times an RBF kernel: the phase wanders
    wander = normal(rng, n, FEATURES) / (2 * math.pi * log_uniform(rng, 0.3, 5.0, n, 1) * length)
    frequency = frequency + torch.where(jitter, wander, torch.zeros_like(wander))
    share = torch.gather(log_uniform(rng, 0.2, 1.0, n, 3), 1, member)
    amplitude = torch.where(frequency.abs() < 0.5, share, torch.zeros_like(share))
    amplitude[:, 0] = amplitude[:, 0].clamp_min(0.1)
    phase = uniform(rng, 0, 2 * math.pi, n, FEATURES)
    return unit_scale(
        sinusoids(frequency, phase, amplitude * normal(rng, n, FEATURES).abs(), length)
    )


def _trend(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Draw of a dot-product kernel: linear, sometimes quadratic over the span, about unit size."""
    x = time_index(length, rng) / length - uniform(rng, 0.0, 1.0, n, 1)
    curved = torch.where(uniform(rng, 0, 1, n, 1) < 0.3, x * x, x)
    return curved * normal(rng, n, 1) * 2


def _some(rng: torch.Generator, n: int, p: float, low: float, high: float) -> Tensor:
    """Weights [n, 1]: log-uniform with probability p, else 0."""
    weight = log_uniform(rng, low, high, n, 1)
    return torch.where(uniform(rng, 0, 1, n, 1) < p, weight, torch.zeros_like(weight))


def kernel_synth(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Sums and products of stationary kernels plus linear trend and white noise, [n, length]."""
    x = _stationary(rng, n, length)
    x = x + _trend(rng, n, length) * _some(rng, n, 0.4, 0.1, 3.0)
    grow = time_index(length, rng) / length - uniform(rng, 0.0, 0.8, n, 1)
    x = torch.where(uniform(rng, 0, 1, n, 1) < 0.15, x * grow * 2, x)  # times a linear kernel
    return x + normal(rng, n, length) * _some(rng, n, 0.5, 0.01, 0.6)


def seasonal_gp(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Strictly periodic processes with smooth trend, growing or wandering amplitude, and noise."""
    season = _periodic(rng, n, length)
    rest = _stationary(rng, n, length, 2)
    steady = torch.ones(n, length, device=rng.device)
    grow = (time_index(length, rng) / length - uniform(rng, -0.5, 0.6, n, 1)).clamp_min(0.0) * 2
    wave = torch.exp(0.5 * smooth_path(rng, n, length, 6))
    kind = uniform(rng, 0, 1, n, 1)
    envelope = torch.where(kind < 0.6, steady, torch.where(kind < 0.8, grow, wave))
    x = (
        season * envelope
        + rest * _some(rng, n, 0.7, 0.05, 1.5)
        + _trend(rng, n, length) * _some(rng, n, 0.4, 0.1, 2.0)
    )
    x = x + normal(rng, n, length) * _some(rng, n, 0.8, 0.02, 0.7)
    multiplicative = uniform(rng, 0, 1, n, 1) < 0.2
    return torch.where(multiplicative, torch.exp(0.6 * unit_scale(x)), x)


def changepoint_gp(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Two independent processes blended by a sigmoid somewhere inside the window, [n, length]."""
    first = kernel_synth(n, length, rng)
    second = seasonal_gp(n, length, rng) * log_uniform(rng, 0.3, 3.0, n, 1) + normal(rng, n, 1)
    swap = uniform(rng, 0, 1, n, 1) < 0.5
    first, second = torch.where(swap, second, first), torch.where(swap, first, second)
    centre = uniform(rng, 0.15, 0.85, n, 1) * length
    steepness = log_uniform(rng, 0.005, 0.2, n, 1) * length
    gate = torch.sigmoid((time_index(length, rng) - centre) / steepness)
    return first * (1 - gate) + second * gate


def _bell(offset: Tensor, peaked: Tensor) -> Tensor:
    """Gaussian bells, or Lorentzian ones where `peaked`, at `offset` in widths."""
    square = offset.square()
    return torch.where(peaked, 1 / (1 + square), torch.exp(-0.5 * square))


def spectral_mixture(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Spectral-mixture kernels: 1-5 bells anywhere in the spectrum, with trend and noise.

    Centres 0 (a smooth or rough path; a quarter of the bells) or 1 / P with P log-U(4, L / 2),
    on a third of the rows harmonics of the first; widths log-U(1 / 4L, .03) cycles per step; a
    third of the rows have Lorentzian bells, the exponential (Matern 1/2) counterpart. Two draws
    are blended at a change point on a fifth of the rows.
    Source: Wilson and Adams (2013), "Gaussian process kernels for pattern discovery".
    """
    bins = fft_size(length) // 2 + 1
    at = torch.arange(bins, device=rng.device) * (0.5 / (bins - 1))  # cycles per step
    peaked = uniform(rng, 0, 1, n, 1) < 0.33
    count = choice(rng, range(1, 6), n, 1)
    first = 1 / draw_periods(rng, n, length, 0.3)[:, None]
    related = uniform(rng, 0, 1, n, 1) < 0.33
    spectrum = torch.zeros(n, bins, device=rng.device)
    for k in range(5):
        free = 1 / draw_periods(rng, n, length, 0.2)[:, None]
        centre = torch.where(related, (first * (k + 1)).clamp_max(0.5), free)
        centre = torch.where(uniform(rng, 0, 1, n, 1) < 0.25, 0.0, centre)
        width = log_uniform(rng, 0.25 / length, 0.03, n, 1)
        bell = _bell((at - centre) / width, peaked)
        weight = log_uniform(rng, 0.05, 1.0, n, 1) * (count > k)
        spectrum = spectrum + bell * (weight / bell.mean(-1, keepdim=True).clamp_min(1e-9))
    x = unit_scale(spectral_noise(rng, spectrum, length))
    other = unit_scale(spectral_noise(rng, spectrum.flip(0), length))
    centre = uniform(rng, 0.15, 0.85, n, 1) * length
    steepness = log_uniform(rng, 0.005, 0.2, n, 1) * length
    gate = torch.sigmoid((time_index(length, rng) - centre) / steepness)
    x = torch.where(uniform(rng, 0, 1, n, 1) < 0.2, torch.lerp(x, other, gate), x)
    x = x + _trend(rng, n, length) * _some(rng, n, 0.3, 0.1, 3.0)
    return x + normal(rng, n, length) * _some(rng, n, 0.5, 0.01, 0.5)


FAMILIES = (
    Family(
        "kernel_synth",
        "gp",
        kernel_synth,
        "random sums and products of stationary kernels with trend and noise",
    ),
    Family(
        "seasonal_gp",
        "gp",
        seasonal_gp,
        "strictly periodic Gaussian processes with trend, envelope and noise",
    ),
    Family("changepoint_gp", "gp", changepoint_gp, "sigmoid blend of two Gaussian processes"),
    Family(
        "spectral_mixture",
        "gp",
        spectral_mixture,
        "Gaussian processes with 1-5 bells in the spectrum, some with a change point",
    ),
)
