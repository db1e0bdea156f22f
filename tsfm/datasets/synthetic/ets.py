"""Exponential smoothing families: all error, trend and season forms of ETS.

Additive forms are linear in the innovations, so a whole row is one FFT convolution with the
model's impulse response; purely multiplicative forms are additive in the logarithm of their
components; the mixed forms run the recursion of Hyndman et al. (2008), "Forecasting with
Exponential Smoothing", over time with all rows side by side.
"""

from __future__ import annotations

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
    fft_size,
    finish,
    lookup,
    random_table,
    rms,
    slow_path,
    tailed,
    unit_rows,
)

_SEASONS = (4.0, 7.0, 12.0, 24.0, 48.0, 52.0, 96.0, 168.0, 288.0)


def beta_like(rng: torch.Generator, a: float, b: float, *shape: int) -> Tensor:
    """Draws from the Kumaraswamy(a, b) law, a closed-form stand-in for Beta(a, b) on (0, 1)."""
    u = torch.rand(shape, generator=rng, device=rng.device).clamp(1e-6, 1 - 1e-6)
    return (1 - (1 - u) ** (1 / b)) ** (1 / a)


def _season_lengths(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Integer season lengths `[n, 1]`, at most half of the row."""
    fit = [s for s in _SEASONS if s <= max(4.0, length / 2)]
    free = log_uniform(rng, 2.0, max(4.0, min(400.0, length / 3)), n).round().clamp_min(2)
    return torch.where(bernoulli(rng, 0.25, n), free, choice(rng, fit, n)).reshape(n, 1)


def _initial_season(rng: torch.Generator, n: int, t: Tensor, m: Tensor) -> Tensor:
    """Unit-sd season of period `m` [n, 1] over steps `t` [L].

    Multiples of seven also carry a nested day cycle.
    """
    whole = lookup(random_table(rng, n, 168), (t % m) / m)
    inner = lookup(random_table(rng, n, 96), (t % (m / 7)) / (m / 7))
    nested = ((m >= 48) & (m % 7 == 0)) * uniform(rng, 0.5, 3.0, n, 1)
    rough = (
        normal(rng, n, 24).gather(1, (t % m).long().clamp(max=23))
        * (m <= 24)
        * uniform(rng, 0.0, 1.0, n, 1)
    )
    return unit_rows(whole + nested * inner + rough)


def _smoothing(rng: torch.Generator, n: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smoothing gains alpha, beta, gamma and damping phi `[n, 1]`.

    Admissible: 0 < beta < alpha < 1, gamma < 1 - alpha, damping .8-1; some switched off.

    Level and trend gains shrink with a random power of the length, so that long rows keep their
    seasons.
    """
    alpha = (
        beta_like(rng, 0.8, 2.0, n, 1)
        * bernoulli(rng, 0.92, n, 1)
        * length ** -uniform(rng, 0.0, 0.45, n, 1)
    )
    beta = alpha * beta_like(rng, 0.7, 12.0, n, 1) * bernoulli(rng, 0.55, n, 1)
    beta = beta * length ** -uniform(rng, 0.0, 0.6, n, 1)
    gamma = (1 - alpha) * beta_like(rng, 0.7, 7.0, n, 1) * bernoulli(rng, 0.8, n, 1)
    phi = torch.where(bernoulli(rng, 0.65, n, 1), uniform(rng, 0.8, 0.995, n, 1), 1.0)
    return alpha, beta, gamma, phi


def _damped_sum(phi: Tensor, j: Tensor) -> Tensor:
    """Sum phi + phi^2 + ... + phi^j for `phi` [n, 1], `j` [L]; equals j where phi is one."""
    geometric = phi * (1 - phi**j) / (1 - phi).clamp_min(1e-6)
    return torch.where(phi > 0.9999, j.expand_as(geometric), geometric)


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of rows `[n, L]` with kernels `[n, L]`."""
    size = fft_size(x.shape[1])
    return torch.fft.irfft(torch.fft.rfft(x, n=size) * torch.fft.rfft(kernel, n=size), n=size)[
        :, : x.shape[1]
    ]


def _innovations(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Unit-sd independent errors, some heavy-tailed, some with slowly changing variance."""
    e = tailed(rng, normal(rng, n, length), 0.3)
    return e * torch.exp(0.6 * slow_path(rng, n, length, 12) * bernoulli(rng, 0.2, n, 1))


def ets_additive(n: int, length: int, rng: torch.Generator) -> Tensor:
    """ETS(A, N/A/Ad, N/A): impulse response 1, alpha + beta phi_j + gamma [m divides j]."""
    t = time_index(length, rng)
    alpha, beta, gamma, phi = _smoothing(rng, n, length)
    m = _season_lengths(rng, n, length)
    seasonal = bernoulli(rng, 0.75, n, 1)
    kernel = alpha + beta * _damped_sum(phi, t) + gamma * seasonal * (t % m == 0)
    kernel[:, 0] = 1.0
    moved = _convolve(_innovations(rng, n, length), kernel)
    season = _initial_season(rng, n, t, m) * seasonal * log_uniform(rng, 0.3, 25.0, n, 1)
    slope = normal(rng, n, 1) * log_uniform(rng, 1e-3, 0.3, n, 1) * bernoulli(rng, 0.6, n, 1)
    return finish(moved + season + slope * _damped_sum(phi, t))


def ets_multiplicative(n: int, length: int, rng: torch.Generator) -> Tensor:
    """ETS(M, N/M/Md, N/M): logs of level, growth and season are sums of log(1 + gain x error)."""
    t = time_index(length, rng)
    alpha, beta, gamma, phi = _smoothing(rng, n, length)
    phi = phi.clamp(max=0.99)
    m = _season_lengths(rng, n, length)
    seasonal = bernoulli(rng, 0.75, n, 1)
    e = (_innovations(rng, n, length) * log_uniform(rng, 0.003, 0.35, n, 1)).clamp(-0.95, 4.0)
    previous = torch.cat([torch.zeros_like(e[:, :1]), e[:, :-1]], 1)
    level = torch.cumsum(torch.log1p(alpha * previous), -1)
    level = level + _convolve(torch.log1p(0.3 * beta * previous), _damped_sum(phi, t))
    repeats = (t % m == 0) & (t > 0)
    season = _convolve(torch.log1p(gamma * e), repeats.float())
    level = level - level.mean(-1, keepdim=True)
    level = level * (
        1.2 / rms(level).clamp_min(1.2)
    )  # one sd of the level is at most a factor e^1.2
    start = _initial_season(rng, n, t, m) * log_uniform(rng, 0.03, 0.9, n, 1)
    slope = normal(rng, n, 1) * uniform(rng, 0.0, 1.2, n, 1) * bernoulli(rng, 0.5, n, 1)
    log_mean = (
        level
        + seasonal * (season + start)
        + slope * torch.linspace(-1, 1, length, device=rng.device)
    )
    return finish(torch.exp(log_mean.clamp(-9, 9)) * (1 + e))


def ets_mixed(n: int, length: int, rng: torch.Generator) -> Tensor:
    """The other forms, by recursion.

    Multiplicative error with additive trend, additive error with M season, (M,A,A).
    """
    t = time_index(length, rng)
    alpha, beta, gamma, phi = (p.squeeze(1) for p in _smoothing(rng, n, length))
    m = _season_lengths(rng, n, length).clamp(max=length)
    pick = torch.rand(n, generator=rng, device=rng.device)
    times = pick < 0.6  # season multiplies the level
    relative = (pick < 0.4) | (pick > 0.7)  # error is a share of the forecast
    depth = log_uniform(rng, 0.05, 0.9, n, 1) * bernoulli(rng, 0.85, n, 1)
    season = _initial_season(rng, n, t, m) * depth
    season = torch.where(times[:, None], (1 + 0.45 * season).clamp_min(0.05), season)
    sigma = torch.minimum(
        log_uniform(rng, 0.003, 0.3, n), 1.2 / (length**0.5 * alpha.clamp_min(0.01))
    )
    errors = (
        _innovations(rng, n, length) * sigma[:, None]
    )  # bounded: relative errors would drive the level to zero
    slope = normal(rng, n) * log_uniform(rng, 1e-5, 3e-3, n) * bernoulli(rng, 0.6, n)
    first = t.long() % m.long()  # where the season's state of each step lives
    x = _recursion(
        errors, season, first, torch.stack([alpha, 0.3 * beta, gamma, phi]), slope, times, relative
    )
    return finish(x)


def _recursion(
    errors: Tensor,
    season: Tensor,
    slot: Tensor,
    gains: Tensor,
    slope: Tensor,
    times: Tensor,
    relative: Tensor,
    growing: Tensor | None = None,
) -> Tensor:
    """Run level, trend and season side by side for all rows.

    Parameters
    ----------
    errors, season, slot
        `[n, L]`: innovations, the initial season, and the season state each step uses (its step
        modulo m).
    gains
        `[4, n]`: alpha, beta, gamma, phi.
    slope, times, relative
        `[n]`: initial trend, whether the season multiplies, whether errors are relative to the
        forecast.
    growing
        `[n]`: whether the trend multiplies, and `slope` is the initial growth factor; such levels
        stay positive. None: none does.
    """
    alpha, beta, gamma, phi = gains
    n, length = errors.shape
    e, slots = errors.T.contiguous(), slot.T.contiguous()
    state = season.T.contiguous().reshape(
        -1
    )  # slot k of row i at k n + i; slots never exceed m <= L
    index = slots * n + torch.arange(n, device=errors.device)
    one, zero = torch.ones(n, device=errors.device), torch.zeros(n, device=errors.device)
    level, trend = one.clone(), slope.clone()
    out = torch.empty_like(e)
    for k in range(length):
        s = state.take(index[k])
        damped = phi * trend
        base = (level + damped).clamp_(-50.0, 50.0)
        if growing is not None:
            damped = torch.where(growing, trend.clamp_min(0.5) ** phi, damped)
            base = torch.where(growing, (level * damped).clamp(0.02, 50.0), base)
        factor = torch.where(times, s, one)
        mean = torch.addcmul(torch.where(times, zero, s), base, factor)
        error = torch.where(relative, mean * e[k], e[k])
        out[k] = mean + error
        pulled = error / factor
        if growing is not None:
            pull = torch.where(growing, pulled / level.clamp_min(0.02), pulled)
            level, trend = torch.addcmul(base, alpha, pulled), torch.addcmul(damped, beta, pull)
        else:
            level = torch.addcmul(base, alpha, pulled)
            trend = torch.addcmul(damped, beta, pulled)
        safe = torch.where(times, base.abs().clamp_min(0.2), one)
        new = torch.addcdiv(s, gamma * error, safe)
        state.put_(index[k], torch.where(times, new.clamp(0.05, 20.0), new.clamp(-50.0, 50.0)))
    return out.T


FORMS = tuple(
    (error, trend, season)
    for error in ("A", "M")
    for trend in ("N", "A", "Ad", "M", "Md")
    for season in ("N", "A", "M")
)
"""Error, trend and season of the 30 forms in the taxonomy of Hyndman et al. (2008)."""


def _has(form: Tensor, place: int, *kinds: str) -> Tensor:
    """Which of the forms `[n]` have one of `kinds` at a place (error, trend, season)."""
    table = torch.tensor([f[place] in kinds for f in FORMS], device=form.device)
    return table[form]


def ets_forms(n: int, length: int, rng: torch.Generator) -> Tensor:
    """All 30 forms alike: error A/M, trend N/A/Ad/M/Md, season N/A/M, by recursion.

    Level starts at 1; seasons of .05-.9 of it; errors of sd .003-.3, less on long rows; initial
    trends and growth of at most 3.6 over the row, a third of that where they are damped (.8-.998);
    gains as in the other families of this module.
    Source: Hyndman, Koehler, Ord, Snyder (2008), tables 2.2 and 2.3.
    """
    form = randint(rng, 0, len(FORMS), n)
    trended, growing = ~_has(form, 1, "N"), _has(form, 1, "M", "Md")
    times, seasonal = _has(form, 2, "M"), ~_has(form, 2, "N")
    t = time_index(length, rng)
    alpha, beta, gamma, phi = (p.squeeze(1) for p in _smoothing(rng, n, length))
    damped = _has(form, 1, "Ad", "Md")
    phi = torch.where(damped, 1 - log_uniform(rng, 0.002, 0.2, n), 1.0)
    sigma = log_uniform(rng, 0.003, 0.3, n)
    sigma = torch.minimum(sigma, 0.8 / (length**0.5 * alpha.clamp_min(0.01)))
    beta = torch.minimum(0.3 * beta, 1.2 / (sigma * length**1.5)) * trended
    span = torch.where(phi < 1, 1 / (1 - phi).clamp_min(1e-3), 1.0 * length).clamp_max(length)
    rise = normal(rng, n).clamp(-3, 3) * uniform(rng, 0.0, 1.2, n) * torch.where(damped, 0.3, 1)
    slope = rise / span * trended
    slope = torch.where(growing, torch.exp(slope), slope)
    m = _season_lengths(rng, n, length).clamp(max=length)
    depth = log_uniform(rng, 0.05, 0.9, n, 1) * seasonal[:, None]
    season = _initial_season(rng, n, t, m) * depth
    season = torch.where(times[:, None], (1 + 0.45 * season).clamp_min(0.05), season)
    errors = _innovations(rng, n, length) * sigma[:, None]
    gains = torch.stack([alpha, beta, gamma * seasonal, phi])
    slots = t.long() % m.long()
    relative = _has(form, 0, "M")
    return finish(_recursion(errors, season, slots, gains, slope, times, relative, growing))


FAMILIES: tuple[Family, ...] = (
    Family("ets_additive", "ets", ets_additive, "ETS(A, N/A/Ad, N/A) by its impulse response"),
    Family(
        "ets_multiplicative", "ets", ets_multiplicative, "ETS(M, N/M/Md, N/M) in log components"
    ),
    Family("ets_mixed", "ets", ets_mixed, "ETS with mixed error and season forms by recursion"),
    Family("ets_forms", "ets", ets_forms, "all 30 forms of ETS alike, by recursion"),
)
