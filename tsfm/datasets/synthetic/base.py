"""What every generator family is made of: the `Family` record and batched random draws.

A family turns a `torch.Generator` into a batch of series. All draws go through the helpers below
so that the same code runs on CPU and GPU and a seed decides everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SampleFn = Callable[[int, int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Family:
    """One generator family of the synthetic corpus.

    Parameters
    ----------
    name
        Identifier used in recipes, logs and validation tables.
    group
        Group of the recipe this family belongs to (calendar, trend_season, ets, sarima, gp, sde,
        ops, shapes, causal).
    sample
        `sample(n, length, rng)` returns `[n, length]` finite float32 on `rng.device`.
    summary
        One line: the process, for galleries and tables.
    """

    name: str
    group: str
    sample: SampleFn
    summary: str


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws from U(low, high) of the given shape."""
    return low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)


def log_uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws whose logarithm is uniform between log(low) and log(high)."""
    return torch.exp(uniform(rng, math.log(low), math.log(high), *shape))


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    """Standard normal draws of the given shape."""
    return torch.randn(shape, generator=rng, device=rng.device)


def bernoulli(rng: torch.Generator, p: float, *shape: int) -> Tensor:
    """Boolean draws that are True with probability `p`."""
    return torch.rand(shape, generator=rng, device=rng.device) < p


def or_zero(rng: torch.Generator, x: Tensor, p: float) -> Tensor:
    """Rows of `x` [n, length] kept with probability `p`, 0 elsewhere."""
    return torch.where(bernoulli(rng, p, x.shape[0], 1), x, torch.zeros_like(x))


def randint(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """Integer draws from [low, high), int64."""
    return torch.randint(low, high, shape, generator=rng, device=rng.device)


def choice(
    rng: torch.Generator,
    values: Sequence[float],
    *shape: int,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Draws from a list of numbers, optionally weighted; float32."""
    table = torch.tensor(values, dtype=torch.float32, device=rng.device)
    if weights is None:
        return table[randint(rng, 0, len(values), *shape)]
    p = torch.tensor(weights, dtype=torch.float32, device=rng.device)
    n = math.prod(shape)
    picks = torch.multinomial(p / p.sum(), n, replacement=True, generator=rng)
    return table[picks].reshape(shape)


def time_index(length: int, rng: torch.Generator) -> Tensor:
    """Steps 0 .. length-1 as float32 on the generator's device, shape [length]."""
    return torch.arange(length, dtype=torch.float32, device=rng.device)


def standardise(x: Tensor) -> Tensor:
    """Rows of `x` [n, length] with mean 0 and sd 1 (constant rows become 0)."""
    centred = x - x.mean(-1, keepdim=True)
    sd = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / centred.shape[-1] ** 0.5
    return torch.where(sd > 1e-9, centred / sd.clamp_min(1e-9), torch.zeros_like(x))
