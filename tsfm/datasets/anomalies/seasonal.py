"""Seasonal anomalies of any periodic series: whole cycles that do not look like the others.

They act on the season, the series without its level: `x + new season - season`. Ranges follow the
published generator of step-labelled corpora (arXiv 2509.21190), with further types of our own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.anomalies.events import (
    AnomalyType,
    Change,
    Events,
    box_mean,
    cycles,
    read_at,
    steps,
)
from tsfm.datasets.synthetic.base import bernoulli, choice, normal, randint, uniform


def reseason(events: Events, season: Tensor) -> Change:
    """The change that puts another season [m, L] in the place of the event's cycles."""
    return Change(torch.where(events.inside, season - events.season, 0.0), events.inside)


def _cycle_place(events: Events) -> Tensor:
    """Fraction of the cycle elapsed since the event's start, [m, L] in [0, 1)."""
    cycle = events.since / events.period.clamp_min(1)
    return cycle - torch.floor(cycle)


def inversion(events: Events, rng: torch.Generator) -> Change:
    """Upside down."""
    return reseason(events, -events.season)


def amplitude_increase(events: Events, rng: torch.Generator) -> Change:
    """Amplitude times 1.4-2."""
    return reseason(events, events.season * uniform(rng, 1.4, 2, events.m, 1))


def amplitude_decrease(events: Events, rng: torch.Generator) -> Change:
    """Amplitude times .4-.8."""
    return reseason(events, events.season * uniform(rng, 0.4, 0.8, events.m, 1))


def flattened(events: Events, rng: torch.Generator) -> Change:
    """Almost nothing is left of the cycle."""
    return reseason(events, events.season * uniform(rng, 0, 0.25, events.m, 1))


def added_noise(events: Events, rng: torch.Generator) -> Change:
    """White noise of .1-.2 of the range."""
    sd = events.scale * uniform(rng, 0.1, 0.2, events.m, 1)
    return reseason(events, events.season + sd * normal(rng, *events.x.shape))


def _respeed(events: Events, speed: Tensor) -> Change:
    """The cycles at another speed; whole cycles are read around, so that no step is missing."""
    place = torch.remainder(events.since * speed, events.size.clamp_min(1))
    return reseason(events, read_at(events.season, events.start + place))


def frequency_increase(events: Events, rng: torch.Generator) -> Change:
    """Period times .2-.6."""
    return _respeed(events, 1 / uniform(rng, 0.2, 0.6, events.m, 1))


def frequency_decrease(events: Events, rng: torch.Generator) -> Change:
    """Period times 1.5-3."""
    return _respeed(events, 1 / uniform(rng, 1.5, 3, events.m, 1))


def phase_shift(events: Events, rng: torch.Generator) -> Change:
    """Everything happens .5 rad to half a cycle too early or too late."""
    shift = uniform(rng, 0.5 / (2 * math.pi), 0.5, events.m, 1) * events.period
    t = torch.arange(events.x.shape[1], device=rng.device)
    first = t.shape[0] - 1 - shift
    early = bernoulli(rng, 0.5, events.m, 1)
    position = torch.where(early & (t < first), t + shift, t - shift)
    position = torch.where(position < 0, position + events.period, position)
    return reseason(events, read_at(events.season, position))


def missing_cycle(events: Events, rng: torch.Generator) -> Change:
    """The cycle does not happen: its most common value stays."""
    rest = events.season[:, :: max(1, events.x.shape[1] // 256)].median(-1, keepdim=True).values
    return reseason(events, rest.expand_as(events.x))


def reversed_cycle(events: Events, rng: torch.Generator) -> Change:
    """Every cycle runs backwards."""
    t = torch.arange(events.x.shape[1], device=rng.device)
    begin = t - _cycle_place(events) * events.period
    position = begin + events.period - 1 - (t - begin)
    return reseason(events, read_at(events.season, position))


def warped_cycle(events: Events, rng: torch.Generator) -> Change:
    """The cycle runs fast at first and slowly later, or the other way round."""
    t = torch.arange(events.x.shape[1], device=rng.device)
    place = _cycle_place(events)
    power = choice(rng, (-1.0, 1.0), events.m, 1) * uniform(rng, 0.6, 1.3, events.m, 1)
    warped = place.clamp(0, 1) ** torch.exp(power)
    return reseason(events, read_at(events.season, t + (warped - place) * events.period))


def clipped_peaks(events: Events, rng: torch.Generator) -> Change:
    """The peaks or the troughs of the cycle are cut off."""
    sign = choice(rng, (-1.0, 1.0), events.m, 1)
    season = sign * events.season
    high = torch.where(events.inside, season, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(events.inside, season, torch.inf).amin(-1, keepdim=True)
    bound = high - uniform(rng, 0.3, 0.75, events.m, 1) * (high - low)
    return reseason(events, sign * torch.minimum(season, bound))


def raised_cycle(events: Events, rng: torch.Generator) -> Change:
    """The cycle is complete but on another level."""
    shift = uniform(rng, 0.25, 0.8, events.m, 1) * events.scale
    shift = shift * choice(rng, (-1.0, 1.0), events.m, 1)
    return reseason(events, events.season + shift)


def smoothed_cycle(events: Events, rng: torch.Generator) -> Change:
    """Sharp features of the cycle are blurred."""
    width = (events.period * uniform(rng, 0.2, 0.6, events.m, 1)).clamp_min(3)
    return reseason(events, box_mean(events.season, width))


def foreign_cycle(events: Events, rng: torch.Generator) -> Change:
    """Another series' cycle of the same range."""
    m, length = events.x.shape
    t = torch.arange(length, device=rng.device)
    offset = uniform(rng, 0, 1, m, 1) * (length - events.size).clamp_min(1)
    donor = read_at(events.donor, offset + (t - events.start).clamp_min(0))
    mean = (donor * events.inside).sum(-1, keepdim=True) / events.size
    spread = torch.where(events.inside, donor - mean, 0.0).abs().amax(-1, keepdim=True)
    reach = torch.where(events.inside, events.season, 0.0).abs().amax(-1, keepdim=True)
    return reseason(events, (donor - mean) * reach / spread.clamp_min(1e-3))


def contextual_point(events: Events, rng: torch.Generator) -> Change:
    """A few steps take a value that is ordinary at another time of the cycle."""
    away = events.start + uniform(rng, 0.2, 0.8, events.m, 1) * events.period
    away = torch.where(away > events.x.shape[1] - 1, away - events.period, away)
    return reseason(events, read_at(events.season, away).expand_as(events.x))


def swapped_cycle(events: Events, rng: torch.Generator) -> Change:
    """The halves, or thirds to fifths, of every cycle change places."""
    parts = randint(rng, 2, 6, events.m, 1)
    t = torch.arange(events.x.shape[1], device=rng.device)
    place = _cycle_place(events) * parts
    number = torch.floor(place)
    moved = torch.remainder(number + 1, parts)
    position = t + (moved - number) / parts * events.period
    return reseason(events, read_at(events.season, position))


TYPES = (
    AnomalyType("inversion", "seasonal", cycles, inversion, 50, "period"),
    AnomalyType("amplitude_increase", "seasonal", cycles, amplitude_increase, 25, "period"),
    AnomalyType("amplitude_decrease", "seasonal", cycles, amplitude_decrease, 25, "period"),
    AnomalyType("flattened", "seasonal", cycles, flattened, 25, "period"),
    AnomalyType("added_noise", "seasonal", cycles, added_noise, 50, "period"),
    AnomalyType("frequency_increase", "seasonal", cycles, frequency_increase, 25, "period"),
    AnomalyType("frequency_decrease", "seasonal", cycles, frequency_decrease, 25, "period"),
    AnomalyType("phase_shift", "seasonal", cycles, phase_shift, 50, "period"),
    AnomalyType("missing_cycle", "seasonal", cycles, missing_cycle, 40, "period"),
    AnomalyType("reversed_cycle", "seasonal", cycles, reversed_cycle, 25, "period"),
    AnomalyType("warped_cycle", "seasonal", cycles, warped_cycle, 25, "period"),
    AnomalyType("clipped_peaks", "seasonal", cycles, clipped_peaks, 25, "period"),
    AnomalyType("raised_cycle", "seasonal", cycles, raised_cycle, 30, "period"),
    AnomalyType("smoothed_cycle", "seasonal", cycles, smoothed_cycle, 20, "period"),
    AnomalyType("foreign_cycle", "seasonal", cycles, foreign_cycle, 40, "period"),
    AnomalyType("contextual_point", "seasonal", steps(1, 4), contextual_point, 50, "period"),
    AnomalyType("swapped_cycle", "seasonal", cycles, swapped_cycle, 25, "period"),
)
