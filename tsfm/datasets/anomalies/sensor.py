"""Anomalies of monitoring data: stuck sensors, lost packets, clipping, changed noise, copies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.anomalies.events import (
    AnomalyType,
    Change,
    Events,
    box_mean,
    mean_inside,
    read_at,
    replaced,
    share,
)
from tsfm.datasets.anomalies.local import lasting
from tsfm.datasets.synthetic.base import bernoulli, choice, log_uniform, normal, randint, uniform


def _value_at(events: Events, step: Tensor) -> Tensor:
    """Values of the series at steps [m, K], clamped to the row."""
    return events.x.gather(1, step.long().clamp(0, events.x.shape[1] - 1))


def _floor(events: Events, rng: torch.Generator) -> Tensor:
    """Level a lost signal falls to, [m, 1]: the smallest value, or below it."""
    below = uniform(rng, 0.2, 2, events.m, 1) * events.scale
    below = torch.where(bernoulli(rng, 0.4, events.m, 1), 0.0, below)
    return events.x.amin(-1, keepdim=True) - below


def flat_line(events: Events, rng: torch.Generator) -> Change:
    """The value at the start repeats."""
    return replaced(events, _value_at(events, events.start).expand_as(events.x))


def stuck_at_bound(events: Events, rng: torch.Generator) -> Change:
    """The largest or smallest value of the row repeats."""
    high, low = events.x.amax(-1, keepdim=True), events.x.amin(-1, keepdim=True)
    bound = torch.where(bernoulli(rng, 0.5, events.m, 1), high, low)
    return replaced(events, bound.expand_as(events.x))


def dropout(events: Events, rng: torch.Generator) -> Change:
    """The signal is lost: a constant at or below the smallest value."""
    return replaced(events, _floor(events, rng).expand_as(events.x))


def packet_loss(events: Events, rng: torch.Generator) -> Change:
    """Part of the steps of a stretch are lost."""
    lost = uniform(rng, 0, 1, *events.x.shape) < uniform(rng, 0.2, 0.7, events.m, 1)
    return replaced(events, torch.where(lost, _floor(events, rng), events.x))


def variance_increase(events: Events, rng: torch.Generator) -> Change:
    """Noise several times the usual."""
    sd = events.noise.clamp_min(0.02) * log_uniform(rng, 1.5, 8, events.m, 1)
    return replaced(events, events.x + sd * normal(rng, *events.x.shape))


def variance_decrease(events: Events, rng: torch.Generator) -> Change:
    """Little is left of the fast variation."""
    level = box_mean(events.x, uniform(rng, 5, 15, events.m, 1))
    keep = uniform(rng, 0, 0.3, events.m, 1)
    return replaced(events, level + keep * (events.x - level))


def clipped(events: Events, rng: torch.Generator) -> Change:
    """Values beyond a bound are cut off."""
    sign = choice(rng, (-1.0, 1.0), events.m, 1)
    x = sign * events.x
    high = torch.where(events.inside, x, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(events.inside, x, torch.inf).amin(-1, keepdim=True)
    bound = high - uniform(rng, 0.3, 0.8, events.m, 1) * (high - low)
    return replaced(events, sign * torch.minimum(x, bound))


def noise_only(events: Events, rng: torch.Generator) -> Change:
    """White noise around the local mean takes the place of the signal."""
    sd = 0.3 * events.scale * uniform(rng, 0.3, 1, events.m, 1)
    return replaced(events, mean_inside(events, events.x) + sd * normal(rng, *events.x.shape))


def slope_change(events: Events, rng: torch.Generator) -> Change:
    """A steady slope leads to another level, which stays."""
    height = events.height * choice(rng, (-1.0, 1.0), events.m, 1)
    return lasting(events, height * (events.since + 1) / events.size, height)


def reordered(events: Events, rng: torch.Generator) -> Change:
    """Pieces of the stretch in another order."""
    count = torch.minimum(randint(rng, 3, 8, events.m, 1), (events.size / 3).ceil())
    cell = events.size / count
    number = (events.since / cell).floor().clamp(0, 7).long()
    key = uniform(rng, 0, 1, events.m, 8) + (torch.arange(8, device=rng.device) >= count)
    order = key.argsort(-1)
    source = events.start + events.since + (order.gather(1, number) - number) * cell
    return replaced(events, _value_at(events, source))


def duplicated(events: Events, rng: torch.Generator) -> Change:
    """A stretch from elsewhere in the same row is repeated here."""
    room = (events.x.shape[1] - events.size).clamp_min(1)
    source = (uniform(rng, 0, 1, events.m, 1) * room).floor()
    return replaced(events, _value_at(events, source + events.since))


def reversed_stretch(events: Events, rng: torch.Generator) -> Change:
    """Time runs backwards."""
    return replaced(events, _value_at(events, events.start + events.size - 1 - events.since))


def coarse_resolution(events: Events, rng: torch.Generator) -> Change:
    """Values rounded to few levels."""
    grid = events.scale.clamp_min(1e-3) * uniform(rng, 0.15, 0.6, events.m, 1)
    return replaced(events, (events.x / grid).round() * grid)


def sample_and_hold(events: Events, rng: torch.Generator) -> Change:
    """Only every few steps a fresh value."""
    every = torch.minimum(randint(rng, 4, 25, events.m, 1), events.size)
    source = events.start + (events.since / every).floor() * every
    return replaced(events, _value_at(events, source))


def scattered_outliers(events: Events, rng: torch.Generator) -> Change:
    """Several single outliers in a stretch; only they are labelled."""
    m, length = events.x.shape
    rate = (uniform(rng, 3, 20, m, 1) / events.size).clamp_max(0.3)
    hit = (uniform(rng, 0, 1, m, length) < rate) & events.inside
    hit |= events.since == 0
    one_sided = torch.where(bernoulli(rng, 0.5, m, 1), 1.0, choice(rng, (-1.0, 1.0), m, length))
    sign = one_sided * choice(rng, (-1.0, 1.0), m, 1)
    return Change(events.height * sign * hit * uniform(rng, 0.7, 1.3, m, length), hit)


def oscillation(events: Events, rng: torch.Generator) -> Change:
    """A control loop hunts: a swelling and fading oscillation."""
    cycle = log_uniform(rng, 4, 30, events.m, 1)
    cycle = torch.minimum(cycle, events.size / 2.5)
    swell = torch.sin(math.pi * (events.since + 0.5) / events.size).clamp_min(0)
    wave = torch.sin(2 * math.pi * events.since / cycle) * swell ** uniform(
        rng, 0.2, 1, events.m, 1
    )
    return Change(events.height * wave * events.inside, events.inside)


def shock_with_recovery(events: Events, rng: torch.Generator) -> Change:
    """A jump that decays exponentially."""
    decay = torch.exp(-events.since.clamp_min(0) * 4 / events.size)
    sign = choice(rng, (-1.0, 1.0), events.m, 1)
    return Change(sign * events.height * decay * events.inside, events.inside)


def foreign_shape(events: Events, rng: torch.Generator) -> Change:
    """A piece of another series at the local level and range."""
    level, donor = mean_inside(events, events.x), events.donor
    donor = donor - mean_inside(events, donor)
    spread = torch.where(events.inside, events.x - level, 0.0).abs().amax(-1, keepdim=True)
    size = torch.where(events.inside, donor, 0.0).abs().amax(-1, keepdim=True)
    spread = torch.maximum(spread, 0.1 * events.scale)
    return replaced(events, level + donor * spread / size.clamp_min(1e-3))


def slowed_stretch(events: Events, rng: torch.Generator) -> Change:
    """The first part of the stretch takes all of its time, the rest is lost."""
    speed = uniform(rng, 0.25, 0.6, events.m, 1)
    return replaced(events, read_at(events.x, events.start + speed * events.since))


_SHORT, _LONG = share(0.005, 0.06, 6), share(0.015, 0.12, 12)

TYPES = (
    AnomalyType("flat_line", "sensor", _LONG, flat_line, 12),
    AnomalyType("stuck_at_bound", "sensor", _SHORT, stuck_at_bound, 6),
    AnomalyType("dropout", "sensor", share(0.0005, 0.05, 1), dropout, 12),
    AnomalyType("packet_loss", "sensor", _LONG, packet_loss, 5),
    AnomalyType("variance_increase", "sensor", _LONG, variance_increase, 12),
    AnomalyType("variance_decrease", "sensor", _LONG, variance_decrease, 6),
    AnomalyType("clipped", "sensor", _LONG, clipped, 5),
    AnomalyType("noise_only", "sensor", _LONG, noise_only, 6),
    AnomalyType("slope_change", "sensor", share(0.02, 0.1, 12), slope_change, 6, factor=1.5),
    AnomalyType("reordered", "sensor", _LONG, reordered, 5),
    AnomalyType("duplicated", "sensor", _LONG, duplicated, 6),
    AnomalyType("reversed_stretch", "sensor", _LONG, reversed_stretch, 5),
    AnomalyType("coarse_resolution", "sensor", _LONG, coarse_resolution, 4),
    AnomalyType("sample_and_hold", "sensor", _LONG, sample_and_hold, 4),
    AnomalyType(
        "scattered_outliers", "sensor", _LONG, scattered_outliers, 6, height="outlier", factor=0.5
    ),
    AnomalyType("oscillation", "sensor", _LONG, oscillation, 6, factor=0.8),
    AnomalyType("shock_with_recovery", "sensor", _LONG, shock_with_recovery, 8, factor=1.5),
    AnomalyType("foreign_shape", "sensor", _LONG, foreign_shape, 8),
    AnomalyType("slowed_stretch", "sensor", _LONG, slowed_stretch, 4),
)
