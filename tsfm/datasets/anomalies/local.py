"""Local anomalies: spikes, bumps, ramps and level changes added to any series.

Ranges follow the published generator of step-labelled corpora for zero-shot anomaly detection
(arXiv 2509.21190). Lasting level changes are labelled while they happen; the new level is normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tsfm.datasets.anomalies.events import AnomalyType, Change, Events, share, steps
from tsfm.datasets.synthetic.base import bernoulli, choice, normal, randint, uniform


def trapezoid(since: Tensor, rise: Tensor, size: Tensor, fall: Tensor) -> Tensor:
    """0 to 1 over `rise` steps, flat, and back over `fall` steps; zero outside `size` steps."""
    up = (since + 1) / rise
    down = (size - since) / fall
    return torch.minimum(up, down).clamp(0, 1)


def spike_size(rng: torch.Generator, m: int, length: int, period: Tensor) -> Tensor:
    """Rise and fall of 1-3 steps around a plateau of 0-2."""
    sides = choice(rng, (1, 2, 3), m, 2, weights=(0.8, 0.15, 0.05)).sum(-1, keepdim=True)
    return sides - 1 + randint(rng, 0, 3, m, 1)


def _signed(events: Events, shape: Tensor, sign: float) -> Change:
    return Change(sign * events.height * shape, shape != 0)


def outlier(events: Events, rng: torch.Generator) -> Change:
    """A single step, up or down."""
    sign = choice(rng, (-1.0, 1.0), events.m, 1)
    return Change(sign * events.height * events.inside, events.inside)


def _spike(sign: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        rise = torch.minimum(choice(rng, (1, 1, 1, 2, 3), events.m, 1), events.size)
        fall = (events.size - rise + 1).clamp(1, 3)
        return _signed(events, trapezoid(events.since, rise, events.size, fall), sign)

    return apply


def shake(events: Events, rng: torch.Generator) -> Change:
    """Fast oscillation of uneven height."""
    m, length = events.x.shape
    cycle = uniform(rng, 2.2, 6.5, m, 1)
    wave = torch.sin(2 * math.pi * (events.since / cycle + uniform(rng, 0, 1, m, 1)))
    shape = wave * uniform(rng, 0.5, 1.5, m, length) * events.inside
    return Change(events.height * shape, events.inside)


def train_size(rng: torch.Generator, m: int, length: int, period: Tensor) -> Tensor:
    """Two to five spikes of 1-5 steps with 0-5 steps between them."""
    return (randint(rng, 2, 6, m, 1) * uniform(rng, 2.5, 8, m, 1)).round()


def _spikes(sign: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        count = (events.size / uniform(rng, 3, 8, events.m, 1)).round().clamp(2, 5)
        cell = events.size / count
        number = (events.since / cell).floor().clamp(0, 4).long()
        place = events.since - (number * cell).ceil()
        width = (cell * uniform(rng, 0.5, 1, events.m, 1)).floor().clamp_min(1)
        each = uniform(rng, 0.7, 1.2, events.m, 5).gather(1, number)
        side = (width / 2).ceil()
        shape = trapezoid(place, side, width, side) * events.inside
        return _signed(events, shape * each, sign)

    return apply


def _wide(sign: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        rise = (events.size * uniform(rng, 0.25, 0.75, events.m, 1)).round().clamp_min(1)
        shape = trapezoid(events.since, rise, events.size, events.size - rise + 1)
        return _signed(events, shape ** choice(rng, (0.6, 1.0, 1.0, 2.0), events.m, 1), sign)

    return apply


def _convex(sign: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        m, length = events.x.shape
        rise, fall = (torch.minimum(randint(rng, 1, 6, m, 1), events.size) for _ in range(2))
        shape = trapezoid(events.since, rise, events.size, fall)
        swing = torch.sin(2 * math.pi * events.since / events.size * randint(rng, 1, 6, m, 1))
        extra = torch.where(bernoulli(rng, 0.3, m, 1), 0.25 * swing, 0.0)
        rough = torch.where(bernoulli(rng, 0.3, m, 1), 0.12 * normal(rng, m, length), 0.0)
        return Change(sign * events.height * shape * (1 + extra + rough), shape != 0)

    return apply


def lasting(events: Events, path: Tensor, level: Tensor) -> Change:
    """A change along `path` [m, L] during the event that stays at `level` [m, 1] behind it."""
    delta = torch.where(events.inside, path, 0.0) + torch.where(events.after, level, 0.0)
    return Change(delta, events.inside, events.after)


def _shift(sign: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        partly = bernoulli(rng, 0.5, events.m, 1) & (events.size >= 4)
        rise = torch.where(partly, (events.size / 2).ceil(), events.size)
        back = torch.where(partly, uniform(rng, 0, 1 / 3, events.m, 1), 0.0)
        up = ((events.since + 1) / rise).clamp(0, 1)
        down = ((events.since + 1 - rise) / (events.size - rise).clamp_min(1)).clamp(0, 1)
        height = sign * events.height
        return lasting(events, height * (up - back * down), height * (1 - back))

    return apply


def _ramp(sign: float, fast_first: bool) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        fast = torch.minimum(randint(rng, 1, 6, events.m, 1), events.size / 2).ceil()
        slow = events.size - fast + 1
        first, second = (fast, slow) if fast_first else (slow, fast)
        return _signed(events, trapezoid(events.since, first, events.size, second), sign)

    return apply


def _spike_then_level(spike: float, level: float) -> Callable[[Events, torch.Generator], Change]:
    def apply(events: Events, rng: torch.Generator) -> Change:
        rise = choice(rng, (1, 2, 3), events.m, 1, weights=(0.8, 0.15, 0.05))
        up = ((events.since + 1) / rise).clamp(0, 1) * spike
        down = ((events.since + 1 - rise) / (events.size - rise).clamp_min(1)).clamp(0, 1)
        rest = level * uniform(rng, 0.3, 0.7, events.m, 1)
        down = 1 - (1 - down) ** choice(rng, (1.0, 2.0, 4.0), events.m, 1)
        path = torch.where(down > 0, torch.lerp(up, rest.expand_as(up), down), up)
        return lasting(events, events.height * path, events.height * rest)

    return apply


_SLOW, _AFTER = share(0.05, 0.15, 8), share(0.02, 0.05, 6)

TYPES = (
    AnomalyType("outlier", "local", steps(1, 1), outlier, 40, height="outlier", factor=0.5),
    AnomalyType("upward_spike", "local", spike_size, _spike(1), 12, height="spike"),
    AnomalyType("downward_spike", "local", spike_size, _spike(-1), 10, height="spike"),
    AnomalyType("shake", "local", share(0.02, 0.12, 12), shake, 4, factor=0.3),
    AnomalyType(
        "continuous_upward_spikes", "local", train_size, _spikes(1), 4, height="spike", factor=0.8
    ),
    AnomalyType(
        "continuous_downward_spikes",
        "local",
        train_size,
        _spikes(-1),
        2,
        height="spike",
        factor=0.8,
    ),
    AnomalyType(
        "wide_upward_spike", "local", share(0.03, 0.14, 8), _wide(1), 3, height="spike", factor=0.8
    ),
    AnomalyType(
        "wide_downward_spike",
        "local",
        share(0.03, 0.14, 8),
        _wide(-1),
        3,
        height="spike",
        factor=0.8,
    ),
    AnomalyType("upward_convex", "local", share(0.03, 0.2, 8), _convex(1), 2),
    AnomalyType("downward_convex", "local", share(0.03, 0.2, 8), _convex(-1), 2),
    AnomalyType("sudden_increase", "local", steps(1, 16), _shift(1), 2),
    AnomalyType("sudden_decrease", "local", steps(1, 16), _shift(-1), 2),
    AnomalyType("rapid_rise_slow_decline", "local", _SLOW, _ramp(1, True), 2),
    AnomalyType("slow_rise_rapid_decline", "local", _SLOW, _ramp(1, False), 2),
    AnomalyType("rapid_decline_slow_rise", "local", _SLOW, _ramp(-1, True), 2),
    AnomalyType("slow_decline_rapid_rise", "local", _SLOW, _ramp(-1, False), 2),
    AnomalyType(
        "increase_after_upward_spike", "local", _AFTER, _spike_then_level(1, 1), 3, height="spike"
    ),
    AnomalyType(
        "decrease_after_upward_spike", "local", _AFTER, _spike_then_level(1, -1), 3, height="spike"
    ),
    AnomalyType(
        "increase_after_downward_spike",
        "local",
        _AFTER,
        _spike_then_level(-1, 1),
        3,
        height="spike",
    ),
    AnomalyType(
        "decrease_after_downward_spike",
        "local",
        _AFTER,
        _spike_then_level(-1, -1),
        3,
        height="spike",
    ),
)
