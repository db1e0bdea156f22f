"""Hard negatives: features of a normal series that look unusual on their own, but recur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tsfm.datasets.anomalies.recipe import Negatives
from tsfm.datasets.synthetic.base import bernoulli, choice, log_uniform, normal, uniform
from tsfm.datasets.synthetic.processes import smooth_path

Pair = tuple[Tensor, Tensor]
"""New rows [n, L] and the steps between recurrences [n, 1], 0 where nothing recurs."""


@dataclass(frozen=True)
class Cycle:
    """Period [n, 1] in steps (0: none) and season [n, L] of some series."""

    period: Tensor
    season: Tensor


def add_negatives(x: Tensor, cycle: Cycle, shares: Negatives, rng: torch.Generator) -> Pair:
    """Add every kind of hard negative to its own random share of rows.

    Parameters
    ----------
    x
        [n, L] series.
    cycle
        Their seasons.
    shares
        Share of rows per kind.
    rng
        Source of draws.

    Returns
    -------
    tuple of Tensor
        New rows [n, L], and the steps [n, 1] after which they look alike: the period of the season
        or else of what was added; 0 for neither.
    """
    x, lag = x.clone(), torch.zeros_like(cycle.period)
    for f in fields(Negatives):
        rows = torch.nonzero(bernoulli(rng, getattr(shares, f.name), x.shape[0]))[:, 0]
        if rows.numel():
            sub = Cycle(cycle.period[rows], cycle.season[rows])
            x[rows], recurs = _KINDS[f.name](x[rows], sub, rng)
            lag[rows] = torch.where(recurs > 0, recurs, lag[rows])
    return x, torch.where(cycle.period > 0, cycle.period, lag)


def _sd(x: Tensor) -> Tensor:
    return x.std(-1, correction=0, keepdim=True).clamp_min(1e-3)


def _since_last(rng: torch.Generator, period: Tensor, length: int) -> Tensor:
    """Steps since the last recurrence, [n, L]."""
    t = torch.arange(length, device=rng.device)
    moved = t + (uniform(rng, 0, 1, *period.shape) * period).floor()
    return moved - torch.floor(moved / period) * period


def regular_spikes(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """Short spikes every L/500 to L/8 steps, at least 16."""
    n, length = x.shape
    low = max(16.0, length / 500)
    period = log_uniform(rng, low, max(low + 1, length / 8), n, 1).round()
    since = _since_last(rng, period, length)
    width = choice(rng, (1, 1, 2, 3, 5), n, 1)
    size = torch.where(
        bernoulli(rng, 0.4, n, 1), uniform(rng, 5, 10, n, 1), uniform(rng, 1, 4, n, 1)
    )
    height = size * _sd(x) * choice(rng, (1.0, 1.0, -1.0), n, 1)
    return x + (since < width) * height * (1 - 0.6 * since / width), period


def holidays(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """Every 5-8 cycles (or L/12 to L/5 steps) the season is damped and the level moves."""
    n, length = x.shape
    unit = torch.where(cycle.period > 0, cycle.period, float(length) / 60)
    every = uniform(rng, 5, 9, n, 1).floor()
    every = torch.where(unit * every * 4 <= length, every, 3.0)
    period = (unit * every).round().clamp_min(4)
    since = _since_last(rng, period, length)
    away = since < unit
    keep = uniform(rng, 0, 0.5, n, 1)
    shift = uniform(rng, -1, 0.3, n, 1) * _sd(x)
    return x + away * ((keep - 1) * cycle.season + shift), period


def bursts(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """The same burst at equal distances, 5-25 times in the row."""
    n, length = x.shape
    period = (length / uniform(rng, 5, 25, n, 1)).round().clamp_min(8)
    since = _since_last(rng, period, length)
    size = (period * uniform(rng, 0.05, 0.3, n, 1)).clamp_min(2)
    u = since / size
    decay = torch.exp(-3 * u)
    flat = (u < 1).float()
    bump = (4 * u * (1 - u)).clamp_min(0)
    kind = uniform(rng, 0, 1, n, 1)
    shape = torch.where(kind < 0.33, decay, torch.where(kind < 0.66, flat, bump))
    rough = 1 + 0.3 * normal(rng, n, length) * bernoulli(rng, 0.4, n, 1)
    height = uniform(rng, 1, 5, n, 1) * _sd(x) * choice(rng, (1.0, 1.0, -1.0), n, 1)
    return x + shape * rough * height, period


def noisy_hours(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """Noise several times larger in a fixed 20-80% of every cycle."""
    n, length = x.shape
    period = torch.where(cycle.period > 0, cycle.period, float(length) / 10)
    since = _since_last(rng, period, length)
    noisy = since < uniform(rng, 0.2, 0.8, n, 1) * period
    factor = (5 + 2 * normal(rng, n, 1)).clamp(0, 10)
    return x + noisy * 0.03 * factor * _sd(x) * normal(rng, n, length), torch.zeros_like(period)


def slow_trend(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """A trend of 1-6 standard deviations along the row: straight, bent, or a smooth path."""
    n, length = x.shape
    u = torch.arange(length, device=rng.device) / length
    straight = (u ** log_uniform(rng, 0.5, 2.5, n, 1)) * choice(rng, (-1.0, 1.0), n, 1)
    path = torch.nn.functional.avg_pool1d(
        smooth_path(rng, n, length + length // 4, 6)[:, None], length // 4 + 1, 1
    )[:, 0]
    trend = torch.where(bernoulli(rng, 0.7, n, 1), straight, path[:, :length])
    return x + trend * uniform(rng, 1, 6, n, 1) * _sd(x), torch.zeros_like(cycle.period)


def machine_states(x: Tensor, cycle: Cycle, rng: torch.Generator) -> Pair:
    """Two to five levels in an order and with durations that repeat 5-20 times."""
    n, length = x.shape
    period = (length / uniform(rng, 5, 20, n, 1)).round().clamp_min(10)
    since = _since_last(rng, period, length)
    ends = uniform(rng, 0.2, 1, n, 5).cumsum(-1)
    ends = ends / ends[:, -1:]
    place = (since / period)[..., None]  # [n, L, 1]
    number = (place >= ends[:, None, :]).sum(-1).clamp_max(4)
    levels = torch.where(
        torch.arange(5, device=rng.device) < choice(rng, (2, 3, 4, 5), n, 1),
        normal(rng, n, 5),
        0.0,
    )
    return x + uniform(rng, 2, 8, n, 1) * _sd(x) * levels.gather(1, number), period


_KINDS: dict[str, Callable[[Tensor, Cycle, torch.Generator], Pair]] = {
    "regular_spikes": regular_spikes,
    "holidays": holidays,
    "bursts": bursts,
    "noisy_hours": noisy_hours,
    "slow_trend": slow_trend,
    "machine_states": machine_states,
}
