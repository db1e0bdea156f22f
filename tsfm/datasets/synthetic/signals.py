"""Building blocks of the families: coloured noise, slow paths, cycles, event filters.

Everything works on a batch of `n` rows with per-row parameters, costs O(length log length) per row
at most, and draws only from the generator it is given. Sums of independent Gaussian processes are
drawn in one inverse FFT by adding their spectra (`spectral_noise`), which is what keeps the
families fast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import bernoulli, log_uniform, normal, uniform


def fft_size(length: int) -> int:
    """Smallest power of two that holds `length` twice: keeps wrap-around out of the cut."""
    return 1 << max(4, math.ceil(math.log2(max(2, 2 * length))))


def col(x: Tensor) -> Tensor:
    """`[n]` parameters as a column `[n, 1]`."""
    return x.reshape(-1, 1)


def rms(x: Tensor) -> Tensor:
    """Root mean square of each row around its mean, `[n, 1]`, never zero."""
    centred = x - x.mean(-1, keepdim=True)
    return (
        torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    ).clamp_min(1e-6)


def unit_rows(x: Tensor) -> Tensor:
    """Rows `[n, L]` with mean 0 and sd 1.

    Constant rows become 0. Several times faster on CPU than `Tensor.std`.
    """
    centred = x - x.mean(-1, keepdim=True)
    sd = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    return centred / torch.where(sd > 1e-6, sd, torch.inf)


def ar1_spectrum(tau: Tensor, length: int) -> Tensor:
    """Spectrum `[n, F]` of a unit-variance AR(1) with e-folding time `tau` [n] in steps."""
    size = fft_size(length)
    cos = torch.cos(torch.arange(size // 2 + 1, device=tau.device) * (2 * math.pi / size))  # [F]
    phi = col(torch.exp(-1.0 / tau.clamp(0.05, 50.0 * length)))
    return (1 - phi**2) / (1 + phi**2 - 2 * phi * cos).clamp_min(1e-9)


def spectral_noise(rng: torch.Generator, spectrum: Tensor, length: int) -> Tensor:
    """Stationary Gaussian series `[n, length]` with the given spectrum `[n, F]`.

    A spectrum of ones is unit white noise.

    Examples
    --------
    >>> import torch
    >>> rng = torch.Generator().manual_seed(0)
    >>> spectral_noise(rng, ar1_spectrum(torch.tensor([5.0, 50.0]), 100), 100).shape
    torch.Size([2, 100])
    """
    n, bins = spectrum.shape
    size = 2 * (bins - 1)
    wave = torch.view_as_complex(normal(rng, n, bins, 2))
    return torch.fft.irfft(wave * (spectrum * (0.5 * size)).sqrt(), n=size)[:, :length]


def ar1(rng: torch.Generator, tau: Tensor, length: int) -> Tensor:
    """Unit-variance AR(1) rows `[n, length]` with e-folding times `tau` [n] in steps."""
    return spectral_noise(rng, ar1_spectrum(tau, length), length)


def decay_filter(events: Tensor, tau: Tensor) -> Tensor:
    """Causal convolution of `events` [n, L] with exp(-t / tau), tau [n] in steps.

    For recessions, cooling and draining queues. The state before the first step is what the end
    of the row leaves behind, so rows start in mid-process.
    """
    size = events.shape[1]
    size += size % 2
    omega = torch.arange(size // 2 + 1, device=events.device) * (2 * math.pi / size)
    phi = col(torch.exp(-1.0 / tau.clamp(0.2, 2.0 * size)))
    wave = torch.polar(torch.ones_like(omega), -omega)
    x = torch.fft.irfft(torch.fft.rfft(events, n=size) / (1 - phi * wave), n=size)
    return x[:, : events.shape[1]]


def mixed_noise(rng: torch.Generator, n: int, length: int, *, memory: float = 200.0) -> Tensor:
    """Unit-sd noise `[n, length]`.

    White, AR(1) or both, a third of the rows with heavy or skewed tails.

    Parameters
    ----------
    memory
        Largest e-folding time of the AR part, in steps.
    """
    tau = log_uniform(rng, 0.5, max(1.0, memory), n)
    white = torch.rand(n, generator=rng, device=rng.device)
    white = torch.where(
        bernoulli(rng, 0.35, n), torch.ones_like(white), white * bernoulli(rng, 0.6, n)
    )
    x = spectral_noise(rng, col(white) + col(1 - white) * ar1_spectrum(tau, length), length)
    return tailed(rng, x)


def tailed(rng: torch.Generator, x: Tensor, p: float = 0.33) -> Tensor:
    """Tukey g-and-h transform of unit Gaussian rows.

    A share `p` gets skew and/or heavy tails; unit sd again.
    """
    n = x.shape[0]
    heavy = col(uniform(rng, 0.0, 0.18, n) * bernoulli(rng, p, n))
    skew = col(uniform(rng, -0.6, 0.6, n) * bernoulli(rng, p, n))
    x = x.clamp(-4.5, 4.5)
    y = x * torch.exp(x * (0.5 * heavy * x + skew * 0.5))
    return y / rms(y)


def slow_path(
    rng: torch.Generator, n: int, length: int, knots: int = 32, *, smooth: bool = True
) -> Tensor:
    """Random walk on `knots` points interpolated to `[n, length]`, unit sd per row."""
    walk = torch.cumsum(normal(rng, n, knots + 1), -1)
    at = torch.linspace(0, knots, length, device=rng.device)
    hat = (1 - (at - torch.arange(knots + 1, device=rng.device)[:, None]).abs()).clamp_min(
        0.0
    )  # [knots + 1, L]
    if smooth:
        hat = hat * hat * (3 - 2 * hat)
    return unit_rows(walk @ hat)


def per_day(values: Tensor, day: Tensor) -> Tensor:
    """Spread per-day `values` [n, D] over steps with day indices `day` [n, L] (int64)."""
    return values.gather(1, day)


def fourier_table(rng: torch.Generator, n: int, bins: int, harmonics: int = 12) -> Tensor:
    """Smooth random cycles `[n, bins]`: 1-12 harmonics with random decay, unit sd."""
    h = torch.arange(1, harmonics + 1, device=rng.device, dtype=torch.float32)
    decay = h ** -uniform(rng, 0.4, 2.2, n, 1)
    count = torch.floor(log_uniform(rng, 1.0, harmonics + 0.99, n, 1))
    amp = decay * (h <= count)
    angle = h[:, None] * torch.arange(bins, device=rng.device) * (2 * math.pi / bins)  # [h, bins]
    c = normal(rng, n, harmonics) * amp
    s = normal(rng, n, harmonics) * amp
    return unit_rows(c @ torch.cos(angle) + s @ torch.sin(angle))


def bump_table(rng: torch.Generator, n: int, bins: int, bumps: int = 8) -> Tensor:
    """Spiky random cycles `[n, bins]`: 1-8 Gaussian bumps of random width and height, unit sd."""
    at = torch.arange(bins, device=rng.device) / bins
    centre = uniform(rng, 0.0, 1.0, n, bumps, 1)
    width = log_uniform(rng, 0.012, 0.16, n, bumps, 1)
    on = torch.arange(bumps, device=rng.device) < log_uniform(rng, 1.0, bumps + 0.99, n, 1)
    height = (
        uniform(rng, 0.25, 1.0, n, bumps)
        * torch.where(bernoulli(rng, 0.15, n, bumps), -1.0, 1.0)
        * on
    )
    gap = (at - centre + 0.5) % 1.0 - 0.5  # [n, bumps, bins]
    return unit_rows((height[:, :, None] * torch.exp(-0.5 * (gap / width) ** 2)).sum(1))


def duty_table(rng: torch.Generator, n: int, bins: int, plateaus: int = 3) -> Tensor:
    """Plateau cycles `[n, bins]` (opening hours, shifts, trapezoids).

    1-3 smoothed windows plus a smooth bend.
    """
    at = torch.arange(bins, device=rng.device) / bins
    centre = uniform(rng, 0.0, 1.0, n, plateaus, 1)
    half = uniform(rng, 0.04, 0.28, n, plateaus, 1)
    edge = log_uniform(rng, 0.003, 0.05, n, plateaus, 1)
    on = torch.arange(plateaus, device=rng.device) < log_uniform(rng, 1.0, plateaus + 0.99, n, 1)
    height = uniform(rng, 0.3, 1.0, n, plateaus) * on
    gap = ((at - centre + 0.5) % 1.0 - 0.5).abs()
    table = (height[:, :, None] * torch.sigmoid((half - gap) / edge)).sum(1)
    bend = fourier_table(rng, n, bins, 3) * uniform(rng, 0.0, 0.25, n, 1)
    return unit_rows(table + bend * rms(table))


def random_table(rng: torch.Generator, n: int, bins: int) -> Tensor:
    """One random cycle per row `[n, bins]`, unit sd: smooth, spiky, plateau, or a blend of two."""
    smooth, bumpy, duty = (
        fourier_table(rng, n, bins),
        bump_table(rng, n, bins),
        duty_table(rng, n, bins),
    )
    u = torch.rand(n, 1, generator=rng, device=rng.device)
    table = torch.where(u < 0.38, smooth, torch.where(u < 0.7, bumpy, duty))
    partner = torch.where(u < 0.5, bumpy, smooth)
    w = uniform(rng, 0.1, 0.9, n, 1) * bernoulli(rng, 0.35, n, 1)
    return unit_rows(table * (1 - w) + partner * w)


def lookup(table: Tensor, phase: Tensor) -> Tensor:
    """Read cyclic tables `[n, bins]` at `phase` [n, L] (in cycles) with linear interpolation."""
    bins = table.shape[1]
    pos = (phase % 1.0) * bins
    lo = pos.long().clamp_(0, bins - 1)
    closed = torch.cat([table, table[:, :1]], 1)
    return torch.lerp(closed.gather(1, lo), closed.gather(1, lo + 1), pos - lo)


def lookup_steps(table: Tensor, t: Tensor) -> Tensor:
    """Values of integer-period tables `[n, P]` at integer steps `t` [n, L]."""
    return table.gather(1, t.long() % table.shape[1])


def poisson_like(rng: torch.Generator, rate: Tensor, dispersion: Tensor) -> Tensor:
    """Counts with mean `rate` [n, L], Poisson or overdispersed.

    The rate is multiplied by log-normal noise of log-sd `dispersion` [n, 1]; 0 is Poisson.
    """
    mixed = rate * torch.exp(dispersion * normal(rng, *rate.shape) - 0.5 * dispersion**2)
    return torch.poisson(mixed.clamp(0.0, 1e6), generator=rng)


def finish(x: Tensor) -> Tensor:
    """Float32, finite, and no single step further than 60 row sds from the row's mean."""
    x = torch.nan_to_num(x.float(), nan=0.0, posinf=1e6, neginf=-1e6)
    mean, sd = x.mean(-1, keepdim=True), rms(x)
    return torch.minimum(torch.maximum(x, mean - 60 * sd), mean + 60 * sd).contiguous()
