"""Seasonal anomalies of waves: one parameter of the waveform changes for whole cycles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tsfm.datasets.anomalies.events import AnomalyType, Change, Events, Needs, cycles
from tsfm.datasets.anomalies.seasonal import reseason
from tsfm.datasets.anomalies.waves import (
    N_HARMONICS,
    SINE,
    SQUARE,
    TRIANGLE,
    WAVELETS,
    Waves,
    cycle_table,
    render,
)
from tsfm.datasets.synthetic.base import choice, randint, uniform

Edit = Callable[[Waves, Events, torch.Generator], Waves]


def _one_of(rng: torch.Generator, allowed: Tensor) -> Tensor:
    """One True per row among the allowed places [m, K], [m, K] bool."""
    key = uniform(rng, 0, 1, *allowed.shape) + allowed
    return torch.zeros_like(allowed).scatter_(1, key.argmax(-1, keepdim=True), True)


def _signs(rng: torch.Generator, *shape: int) -> Tensor:
    return choice(rng, (-1.0, 1.0), *shape)


def _reshape(target: int) -> Edit:
    """The waveform becomes another one of the same range."""

    def edit(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
        m = events.m
        other = replace(
            waves,
            shape=torch.full_like(waves.shape, target),
            amplitude=torch.nn.functional.pad(torch.ones(m, 1), (0, N_HARMONICS - 1)).to(
                waves.gain
            ),
            width=uniform(rng, 0.3, 0.6, m, 1),
        )
        before, after = cycle_table(waves), cycle_table(other)
        ratio = (before.amax(-1) - before.amin(-1)) / (after.amax(-1) - after.amin(-1))
        return replace(
            other, gain=waves.gain * ratio[:, None], offset=after.mean(-1, keepdim=True)
        )

    return edit


def harmonic_added(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A harmonic more, .3-.8 of the strongest one."""
    k = torch.arange(N_HARMONICS, device=rng.device)
    fits = (k + 1) * 3 <= events.period
    where = _one_of(rng, (waves.amplitude == 0) & fits)
    size = waves.amplitude.amax(-1, keepdim=True) * uniform(rng, 0.3, 0.8, events.m, 1)
    return replace(waves, amplitude=torch.where(where, size, waves.amplitude))


def harmonic_removed(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A harmonic less."""
    where = _one_of(rng, waves.amplitude > 0.15 * waves.amplitude.amax(-1, keepdim=True))
    return replace(waves, amplitude=waves.amplitude.masked_fill(where, 0))


def harmonic_phase(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A strong harmonic turned by 1.5 rad or more."""
    where = _one_of(rng, waves.amplitude > 0.3 * waves.amplitude.amax(-1, keepdim=True))
    turn = uniform(rng, 1.5, 2 * math.pi - 1.5, events.m, 1)
    return replace(waves, angle=waves.angle + where * turn)


def modulation_depth(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """The amplitude swings by .2-.6."""
    depth = uniform(rng, 0.2, 0.6, events.m, 1)
    depth = torch.where(waves.depth > 0.1, waves.depth * uniform(rng, 0, 0.3, events.m, 1), depth)
    return replace(waves, depth=depth)


def modulation_factor(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A fast swing of the amplitude, every 1.3-3 cycles."""
    depth = torch.maximum(waves.depth, uniform(rng, 0.2, 0.6, events.m, 1))
    return replace(waves, depth=depth, rate=1 / uniform(rng, 1.3, 3, events.m, 1))


def modulation_phase(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """The swing of the amplitude is out of turn."""
    depth = torch.maximum(waves.depth, uniform(rng, 0.2, 0.6, events.m, 1))
    return replace(waves, depth=depth, turn=waves.turn + uniform(rng, 0.25, 0.75, events.m, 1))


def pulse_shift(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """The pulse comes .1-.3 cycles early or late."""
    shift = uniform(rng, 0.1, 0.3, events.m, 1) * _signs(rng, events.m, 1)
    return replace(waves, begin=waves.begin + shift)


def pulse_wider(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """The pulse lasts 1.4-2 times as long."""
    factor = uniform(rng, 1.4, 2, events.m, 1)
    return replace(waves, width=(waves.width * factor).clamp_max(0.95))


def pulse_narrower(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """The pulse lasts .4-.8 of its time."""
    return replace(waves, width=waves.width * uniform(rng, 0.4, 0.8, events.m, 1))


def wavelet_family(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet of another family."""
    where = _one_of(rng, waves.weight > 0)
    other = (waves.family + randint(rng, 1, len(WAVELETS), events.m, 1)) % len(WAVELETS)
    return replace(waves, family=torch.where(where, other, waves.family))


def wavelet_scale(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet of another width."""
    factor = uniform(rng, 1.5, 2.2, events.m, 1) ** _signs(rng, events.m, 1)
    where = _one_of(rng, waves.weight > 0)
    return replace(waves, scale=torch.where(where, waves.scale * factor, waves.scale).clamp_max(1))


def wavelet_shift(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet at another place in the cycle."""
    shift = uniform(rng, 0.1, 0.4, events.m, 1) * _signs(rng, events.m, 1)
    return replace(waves, shift=waves.shift + _one_of(rng, waves.weight > 0) * shift)


def wavelet_amplitude(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet smaller or larger than usual."""
    factor = choice(rng, (-1.0, 0.2, 0.4, 1.7, 2.2), events.m, 1)
    where = _one_of(rng, waves.weight > 0)
    return replace(waves, weight=torch.where(where, waves.weight * factor, waves.weight))


def wavelet_added(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet more; where there are three, one is doubled."""
    where = _one_of(rng, waves.weight == 0)
    weight = torch.where(where, waves.weight + uniform(rng, 0.5, 1, events.m, 1), waves.weight)
    return replace(waves, weight=weight)


def wavelet_removed(waves: Waves, events: Events, rng: torch.Generator) -> Waves:
    """A wavelet less."""
    return replace(waves, weight=waves.weight.masked_fill(_one_of(rng, waves.weight > 0), 0))


def _type(name: str, edit: Edit, weight: float, needs: Needs) -> AnomalyType:
    def apply(events: Events, rng: torch.Generator) -> Change:
        assert events.waves is not None, name
        waves = edit(events.waves, events, rng)
        return reseason(events, render(waves))

    return AnomalyType(name, "seasonal", cycles, apply, weight, needs)


TYPES = (
    _type("waveform_to_square", _reshape(SQUARE), 50, "sine"),
    _type("waveform_to_triangle", _reshape(TRIANGLE), 50, "sine"),
    _type("waveform_to_sine", _reshape(SINE), 80, "notsine"),
    _type("harmonic_added", harmonic_added, 60, "sine"),
    _type("harmonic_removed", harmonic_removed, 60, "sine"),
    _type("harmonic_phase", harmonic_phase, 60, "sine"),
    _type("modulation_depth", modulation_depth, 30, "wave"),
    _type("modulation_factor", modulation_factor, 30, "wave"),
    _type("modulation_phase", modulation_phase, 30, "wave"),
    _type("pulse_shift", pulse_shift, 100, "pulse"),
    _type("pulse_wider", pulse_wider, 100, "pulse"),
    _type("pulse_narrower", pulse_narrower, 100, "pulse"),
    _type("wavelet_family", wavelet_family, 100, "wavelet"),
    _type("wavelet_scale", wavelet_scale, 100, "wavelet"),
    _type("wavelet_shift", wavelet_shift, 100, "wavelet"),
    _type("wavelet_amplitude", wavelet_amplitude, 100, "wavelet"),
    _type("wavelet_added", wavelet_added, 60, "wavelet"),
    _type("wavelet_removed", wavelet_removed, 60, "wavelet"),
)
