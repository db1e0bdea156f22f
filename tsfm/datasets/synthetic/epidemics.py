"""Epidemic waves from a compartment model: incident, cumulative and current cases."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

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
    fourier_profile,
    heavy_noise,
    linear_scan,
    pick,
    smooth_path,
)

_STEPS = 400
"""Steps of the compartment model at most; longer rows are interpolated between them."""


def outbreak(rng: torch.Generator, n: int, steps: int) -> Tensor:
    """New infections per head and step of a stochastic SIRS model, [n, steps], positive.

    Reproduction number 1.1-4 before behaviour, which wanders, has a season on half of the rows
    and falls with the infections; infectious for 2.5-20 steps, immune for 30 steps to for ever.
    Source: Kermack and McKendrick (1927), with waning immunity and a trickle of imported cases.
    """
    recovery = log_uniform(rng, 0.05, 0.4, n)
    waning = torch.where(bernoulli(rng, 0.7, n), log_uniform(rng, 1e-3, 0.03, n), 0.0)
    contact = 0.25 * smooth_path(rng, n, steps, 12) * uniform(rng, 0.0, 2.0, n, 1)
    year = log_uniform(rng, 30.0, 400.0, n, 1)
    wave = torch.sin(2 * math.pi * (time_index(steps, rng) / year + uniform(rng, 0, 1, n, 1)))
    contact = contact + or_zero(rng, uniform(rng, 0.05, 0.4, n, 1) * wave, 0.5)
    contact = torch.exp(contact + 0.1 * normal(rng, n, steps))
    rate = (contact * uniform(rng, 1.1, 4.0, n, 1) * recovery[:, None]).T.contiguous()
    caution = log_uniform(rng, 1.0, 300.0, n) * bernoulli(rng, 0.6, n)
    imported = log_uniform(rng, 1e-6, 1e-4, n)
    infected = log_uniform(rng, 1e-5, 1e-2, n)
    susceptible = uniform(rng, 0.4, 1.0, n) - infected
    path = []
    for k in range(steps):
        force = rate[k] * infected / (1 + caution * infected) + imported
        new = susceptible * (1 - torch.exp(-force))
        susceptible = susceptible - new + waning * (1 - susceptible - infected)
        infected = infected + new - recovery * infected
        path.append(new)
    return torch.stack(path, -1).clamp_min(1e-9)


def epidemic(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Cases of an epidemic: new, cumulative or current, with reporting noise and week effects.

    Six of ten rows are incident, a quarter cumulative (never falling), the others current cases
    that recover after 2-40 steps. Week effect of 5-60% on half of the rows; noise of .5-30%;
    a third are counts of .5-3,000 cases per step. Waves come from `outbreak`.
    """
    waves = outbreak(rng, n, min(length, _STEPS))
    log_waves = torch.log(waves)[:, None]
    new = torch.exp(F.interpolate(log_waves, size=length, mode="linear", align_corners=True)[:, 0])
    new = new / new.mean(-1, keepdim=True)
    week = fourier_profile(rng, choice(rng, (7.0, 7.0, 7.0, 52.0, 24.0), n), length, harmonics=3)
    effect = or_zero(rng, week.clamp(-2.5, 2.5) * uniform(rng, 0.05, 0.6, n, 1), 0.5)
    rough = torch.where(bernoulli(rng, 0.5, n, 1), uniform(rng, 0.2, 0.95, n, 1), 0.0)
    noise = 0.5 * (ar1(rng, rough, length) + heavy_noise(rng, n, length))
    new = new * torch.exp((effect + noise * log_uniform(rng, 0.005, 0.3, n, 1)).clamp(-4, 4))
    rate = (new * log_uniform(rng, 0.5, 3000.0, n, 1)).clamp_max(1e6).contiguous()
    new = torch.where(bernoulli(rng, 0.35, n, 1), torch.poisson(rate, generator=rng), new)
    keep = torch.exp(-1 / log_uniform(rng, 2.0, 40.0, n, 1))
    return pick(rng, [new, torch.cumsum(new, -1), linear_scan(keep, new)], [6.0, 2.5, 1.5])


FAMILIES = (
    Family(
        "epidemic",
        "sde",
        epidemic,
        "incident, cumulative and current cases of a compartment model with waves",
    ),
)
