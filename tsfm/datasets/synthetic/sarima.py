"""Seasonal ARIMA families after SarSim0, with long memory and observation layers.

The stationary part is drawn in the frequency domain: white noise times the transfer function on a
grid twice as long as the row (circular burn-in), so cost does not depend on the model's order.
Ordinary integration is a cumulative sum, seasonal integration a convolution with an impulse train.
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
    col,
    fft_size,
    finish,
    lookup,
    poisson_like,
    random_table,
    rms,
    tailed,
    unit_rows,
)

_SEASONS = (4.0, 7.0, 12.0, 24.0, 48.0, 52.0, 96.0, 144.0, 168.0, 288.0, 336.0)
_PAIRS = (
    (24.0, 7.0),
    (7.0, 52.0),
    (12.0, 5.0),
    (48.0, 7.0),
    (96.0, 7.0),
    (144.0, 2.0),
    (4.0, 10.0),
)


def _angles(rng: torch.Generator, size: int) -> Tensor:
    return torch.arange(size // 2 + 1, device=rng.device) * (2 * math.pi / size)


def _log_gain(rng: torch.Generator, n: int, omega: Tensor, pairs: int, disc: float) -> Tensor:
    """Log power `[n, F]` of up to `pairs` root pairs, area-uniform in a disc.

    A third of the pairs lie on the positive real axis, which makes persistent series.
    """
    total = torch.zeros(n, omega.shape[0], device=omega.device)
    count = randint(rng, 0, pairs + 1, n, 1)
    cos1, cos2 = torch.cos(omega), torch.cos(2 * omega)
    for k in range(pairs):
        radius = disc * torch.rand(n, 1, generator=rng, device=rng.device).sqrt()
        angle = uniform(rng, 0.0, math.pi, n, 1)
        angle = torch.where(
            bernoulli(rng, 0.35, n, 1), 0.0, angle
        )  # double real root: persistence
        b, c = -2 * radius * torch.cos(angle), radius**2
        power = 1 + b**2 + c**2 + 2 * b * (1 + c) * cos1 + 2 * c * cos2  # |1 + b z + c z^2|^2
        total += torch.log(power.clamp_min(1e-6)) * (count > k)
    return total


def _seasonal_log_gain(root: Tensor, season: Tensor, omega: Tensor) -> Tensor:
    """Log power `[n, F]` of 1 - root B^season, all `[n, 1]`."""
    return torch.log((1 + root**2 - 2 * root * torch.cos(season * omega)).clamp_min(1e-6))


def _stationary(
    rng: torch.Generator, n: int, length: int, season: Tensor, seasonal: Tensor
) -> Tensor:
    """Unit-sd seasonal ARMA rows `[n, L]` with fractional memory.

    `seasonal` [n, 1] switches the seasonal roots on.
    """
    size = fft_size(length)
    omega = _angles(rng, size)
    log_power = _log_gain(rng, n, omega, 1, 0.85) - _log_gain(rng, n, omega, 4, 0.93)
    strong = torch.where(
        bernoulli(rng, 0.7, n, 1), uniform(rng, 0.5, 0.99, n, 1), uniform(rng, -0.4, 0.5, n, 1)
    )
    log_power -= _seasonal_log_gain(strong * seasonal, season, omega)
    log_power += _seasonal_log_gain(
        uniform(rng, -0.3, 0.8, n, 1) * seasonal * bernoulli(rng, 0.4, n, 1), season, omega
    )
    memory = uniform(rng, -0.1, 0.49, n, 1) * bernoulli(rng, 0.5, n, 1)
    log_power -= memory * torch.log((2 - 2 * torch.cos(omega)).clamp_min((math.pi / size) ** 2))
    log_power -= log_power.amax(-1, keepdim=True)
    wave = torch.view_as_complex(normal(rng, n, omega.shape[0], 2))
    return unit_rows(torch.fft.irfft(wave * torch.exp(0.5 * log_power), n=size)[:, :length])


def _seasonal_sum(x: Tensor, season: Tensor) -> Tensor:
    """y_t = y_(t - season) + x_t for `season` [n, 1] integers, from zero."""
    length = x.shape[1]
    size = fft_size(length)
    train = (torch.arange(length, device=x.device) % season == 0).float()
    return torch.fft.irfft(torch.fft.rfft(x, n=size) * torch.fft.rfft(train, n=size), n=size)[
        :, :length
    ]


def _season_lengths(rng: torch.Generator, n: int, length: int) -> Tensor:
    fit = [s for s in _SEASONS if s <= max(4.0, length / 3)]
    free = log_uniform(rng, 2.0, max(4.0, min(336.0, length / 3)), n).round().clamp_min(2)
    return torch.where(bernoulli(rng, 0.3, n), free, choice(rng, fit, n)).reshape(n, 1)


def _process(rng: torch.Generator, n: int, length: int, season: Tensor) -> Tensor:
    """Unit-sd SARIMA rows `[n, L]`.

    Stationary part, d in {0, 1}, D in {0, 1} from a random starting season.
    """
    seasonal = bernoulli(rng, 0.7, n, 1).float()
    x = _stationary(rng, n, length, season, seasonal)
    t = time_index(length, rng)
    start = unit_rows(lookup(random_table(rng, n, 96), (t % season) / season))
    summed = _seasonal_sum(x, season)
    repeats = (length / season).sqrt()
    summed = summed + start * repeats * log_uniform(rng, 0.3, 6.0, n, 1)
    x = torch.where(bernoulli(rng, 0.3, n, 1) & (seasonal > 0), summed, x)
    drift = (
        normal(rng, n, 1) * rms(x) * log_uniform(rng, 0.003, 0.3, n, 1) * bernoulli(rng, 0.5, n, 1)
    )
    walk = torch.cumsum(x - x.mean(-1, keepdim=True) + drift, -1)
    bridge = torch.linspace(0, 1, length, device=x.device) * normal(rng, n, 1) * rms(walk)
    x = torch.where(bernoulli(rng, 0.3, n, 1), walk + bridge, x)
    pattern = start * log_uniform(rng, 0.1, 3.0, n, 1) * seasonal * bernoulli(rng, 0.4, n, 1)
    return unit_rows(unit_rows(x) + pattern)


def observe(rng: torch.Generator, z: Tensor) -> Tensor:
    """Observation layer on unit-sd rows `[n, L]`.

    Pass-through, Poisson, generalised gamma or log-normal.

    The gamma quantile uses the Wilson-Hilferty cube, so no sampling is needed beyond `z` itself.
    """
    n = z.shape[0]
    z = z.clamp(-6, 6)
    shape = log_uniform(rng, 1.0, 50.0, n, 1)
    cube = (1 - 1 / (9 * shape) + z / (3 * shape.sqrt())).clamp_min(0.0) ** 3
    gamma = (shape * cube) ** uniform(rng, 0.5, 1.5, n, 1)
    lognormal = torch.exp(z * uniform(rng, 0.1, 0.9, n, 1))
    kind = torch.rand(n, 1, generator=rng, device=rng.device)
    rate = lognormal * log_uniform(rng, 0.1, 100.0, n, 1)
    counts = torch.poisson(rate * (kind < 0.15), generator=rng)
    x = torch.where(kind < 0.15, counts, torch.where(kind < 0.3, gamma, z))
    return torch.where((kind >= 0.3) & (kind < 0.45), lognormal, x)


def sarima(n: int, length: int, rng: torch.Generator) -> Tensor:
    """SARIMA(p, d, q)(P, D, Q)_s: p up to 8, s to 336, fractional d, an observation layer."""
    x = _process(rng, n, length, _season_lengths(rng, n, length))
    noisy = x + normal(rng, n, length) * log_uniform(rng, 0.01, 0.8, n, 1) * bernoulli(
        rng, 0.3, n, 1
    )
    return finish(observe(rng, unit_rows(tailed(rng, noisy, 0.15))))


def two_scale(n: int, length: int, rng: torch.Generator) -> Tensor:
    """SARIMA-2: two time-scales.

    A fast seasonal base added to, or multiplied by (1 + w x), a slow envelope with its own season.
    """
    pairs = [p for p in _PAIRS if p[0] * p[1] <= max(40.0, length / 2)]
    chosen = torch.tensor(pairs, device=rng.device)[randint(rng, 0, len(pairs), n)]
    season = chosen[:, :1]
    fast = _process(rng, n, length, season)
    knots = max(16, length // 4)
    envelope = _process(rng, n, knots, chosen[:, 1:].clamp(max=knots / 2))
    position = (time_index(length, rng) + col(uniform(rng, 0.0, 1.0, n)) * season) / season
    position = position.clamp(max=knots - 1.001)
    low = position.long()
    smooth = torch.lerp(envelope.gather(1, low), envelope.gather(1, low + 1), position - low)
    held = envelope.gather(1, low)
    slow = unit_rows(torch.where(bernoulli(rng, 0.5, n, 1), held, smooth))
    weight = uniform(rng, 0.1, 1.0, n, 1)
    floor = fast - fast.amin(-1, keepdim=True) * bernoulli(rng, 0.6, n, 1)
    product = floor * (1 + weight * slow).clamp_min(0.02)
    total = torch.where(bernoulli(rng, 0.5, n, 1), fast + 2 * weight * slow, product)
    noise = normal(rng, n, length) * log_uniform(rng, 0.01, 0.6, n, 1)
    return finish(observe(rng, unit_rows(unit_rows(total) + noise)))


def fractional_sarima(n: int, length: int, rng: torch.Generator) -> Tensor:
    """(1-B)^d (1-B^s)^D of any real order under an observation layer of counts, gamma or logs.

    p up to 10 and q up to 3, poles and zeros area-uniform in a disc of radius .9; P and Q up to
    2, roots U(-.3, .9); d U(0, 1), integrated once and differenced fractionally beyond .5; D
    U(0, .48) on half of the rows; seasons to 336. A quarter of the rows are negative-binomial
    counts of mean .1-100, the others go through `observe`.
    Source: SarSim0, with Hosking (1981) for real orders.
    """
    season = _season_lengths(rng, n, length)
    seasonal = bernoulli(rng, 0.75, n, 1).float()
    size = fft_size(length)
    omega = _angles(rng, size)
    log_power = _log_gain(rng, n, omega, 1, 0.9) - _log_gain(rng, n, omega, 5, 0.9)
    one = torch.ones(n, 1, device=rng.device)
    third = uniform(rng, -0.9, 0.9, n, 1) * bernoulli(rng, 0.3, n, 1)
    log_power += _seasonal_log_gain(third, one, omega)
    for sign, p in ((-1.0, 0.7), (-1.0, 0.3), (1.0, 0.4), (1.0, 0.2)):  # P, P, Q, Q
        root = uniform(rng, -0.3, 0.9, n, 1) * seasonal * bernoulli(rng, p, n, 1)
        log_power += sign * _seasonal_log_gain(root, season, omega)
    order = uniform(rng, 0.0, 1.0, n, 1)
    whole = (order >= 0.5).float()
    floor = (math.pi / size) ** 2
    log_power -= (order - whole) * torch.log((2 - 2 * torch.cos(omega)).clamp_min(floor))
    repeat = uniform(rng, 0.0, 0.48, n, 1) * seasonal * bernoulli(rng, 0.5, n, 1)
    gap = (2 - 2 * torch.cos(season * omega)).clamp_min(1e-4)
    log_power -= repeat * torch.log(gap)
    log_power -= log_power.amax(-1, keepdim=True)
    wave = torch.view_as_complex(normal(rng, n, omega.shape[0], 2))
    x = torch.fft.irfft(wave * torch.exp(0.5 * log_power), n=size)[:, :length]
    x = unit_rows(torch.where(whole > 0, unit_rows(torch.cumsum(x, -1)), unit_rows(x)))
    link = torch.exp(x.clamp(-4, 4) * uniform(rng, 0.2, 0.9, n, 1))
    counted = bernoulli(rng, 0.25, n, 1)
    rate = link * log_uniform(rng, 0.1, 100.0, n, 1) * counted
    counts = poisson_like(rng, rate, log_uniform(rng, 0.02, 1.0, n, 1))
    return finish(torch.where(counted, counts, observe(rng, x)))


FAMILIES: tuple[Family, ...] = (
    Family(
        "sarima",
        "sarima",
        sarima,
        "seasonal ARIMA with random poles, long memory and an observation layer",
    ),
    Family("two_scale", "sarima", two_scale, "fast seasonal base with a slow seasonal envelope"),
    Family(
        "fractional_sarima",
        "sarima",
        fractional_sarima,
        "seasonal ARMA with fractional orders, ordinary and seasonal, and counts",
    ),
)
