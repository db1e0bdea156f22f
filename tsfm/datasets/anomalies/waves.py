"""Periodic series of known parameters, so that one parameter can be changed for a few cycles.

A wave is one cycle tabulated at 512 points, read along a phase and slowly modulated. Shapes:
sums of harmonics, square pulses, triangles, and 2-3 wavelets per cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic.base import (
    bernoulli,
    choice,
    log_uniform,
    normal,
    randint,
    uniform,
)

SHAPES = ("sine", "square", "triangle", "wavelet")
SINE, SQUARE, TRIANGLE, WAVELET = range(4)
TABLE = 512
N_HARMONICS = 10

_R3 = math.sqrt(3.0)
_FILTERS = {  # scaling filters of orthogonal wavelets, divided by sqrt(2) below where needed
    "haar": (0.5, 0.5),
    "db2": ((1 + _R3) / 8, (3 + _R3) / 8, (3 - _R3) / 8, (1 - _R3) / 8),
    "coif1": tuple(
        c / math.sqrt(2.0)
        for c in (-0.0156557, -0.0727326, 0.3848648, 0.8525720, 0.3378977, -0.0727326)
    ),
}
WAVELETS = (*_FILTERS, "ricker", "morlet", "edge", "beat")


@dataclass(frozen=True)
class Waves:
    """Parameters of n waves; K stands for 10 harmonics or 3 wavelets.

    Parameters
    ----------
    shape
        [n] index into `SHAPES`.
    amplitude, angle
        [n, 10] amplitudes and phases of the harmonics.
    begin, width
        [n, 1] where the pulse begins and how long it lasts, in cycles.
    family, scale, shift, weight
        [n, 3] of the wavelets: index into `WAVELETS`, width and centre in cycles, amplitude.
    depth, rate, turn
        [n, 1] amplitude modulation: depth, modulations per cycle, phase in turns.
    gain, offset
        [n, 1] from table to series units.
    phase
        [n, L] cycles since an arbitrary origin.
    """

    shape: Tensor
    amplitude: Tensor
    angle: Tensor
    begin: Tensor
    width: Tensor
    family: Tensor
    scale: Tensor
    shift: Tensor
    weight: Tensor
    depth: Tensor
    rate: Tensor
    turn: Tensor
    gain: Tensor
    offset: Tensor
    phase: Tensor

    def rows(self, index: Tensor) -> Waves:
        """The waves of some rows."""
        return Waves(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@cache
def _mother(name: str) -> Tensor:
    """A wavelet on [-1/2, 1/2], tabulated at 256 points, largest value 1; float [256]."""
    v = torch.linspace(-0.5, 0.5, 256)
    z = 8 * v
    bell = torch.exp(-0.5 * z**2)
    if name in _FILTERS:
        h = torch.tensor(_FILTERS[name])
        psi = h.flip(0) * torch.tensor([(-1.0) ** k for k in range(len(h))])
        for _ in range(6):  # cascade: double the resolution, filter again
            dilated = torch.zeros(2 * psi.numel() - 1)
            dilated[::2] = psi
            psi = F.conv1d(dilated[None, None], h.flip(0)[None, None], padding=len(h) - 1)[0, 0]
        psi = F.interpolate(psi[None, None], size=256, mode="linear", align_corners=True)[0, 0]
    elif name == "ricker":
        psi = (1 - z**2) * bell
    elif name == "morlet":
        psi = torch.cos(5 * z) * bell
    elif name == "edge":
        psi = z * bell
    else:  # a heartbeat: a tall narrow peak with a dip on either side
        psi = torch.exp(-(z**2) * 8) - 0.3 * torch.exp(-((z.abs() - 1) ** 2) * 8)
    return psi / psi.abs().amax()


def draw_waves(rng: torch.Generator, shape: Tensor, period: Tensor, length: int) -> Waves:
    """Waves with random parameters and unit range, one per row.

    Parameters
    ----------
    rng
        Source of draws.
    shape
        [n] index into `SHAPES`.
    period
        [n, 1] steps per cycle.
    length
        Number of steps.
    """
    n = shape.numel()
    device = rng.device
    k = torch.arange(1, N_HARMONICS + 1, device=device)
    most = (period / 6).clamp(2, N_HARMONICS)
    count = 2 + (uniform(rng, 0, 1, n, 1) * (most - 1)).floor()
    triangle = shape[:, None] == TRIANGLE
    pulse = torch.where(triangle, uniform(rng, 0.1, 0.6, n, 1), uniform(rng, 0.1, 0.3, n, 1))
    wide = bernoulli(rng, 0.3, n, 1)  # duty cycles up to a half besides the narrow ones
    pulse = torch.where(wide & ~triangle, uniform(rng, 0.3, 0.5, n, 1), pulse)
    n_wavelets = randint(rng, 2, 4, n, 1)
    beats = bernoulli(rng, 0.15, n, 1)  # deep regular modulation is normal for these
    cyc = length / period
    waves = Waves(
        shape=shape,
        amplitude=torch.where(k <= count, uniform(rng, 0.3, 1, n, N_HARMONICS) / k, 0.0),
        angle=uniform(rng, 0, 2 * math.pi, n, N_HARMONICS),
        begin=uniform(rng, 0, 0.3, n, 1),
        width=pulse,
        family=randint(rng, 0, len(WAVELETS), n, 3),
        scale=uniform(rng, 0.125, 0.5, n, 3),
        shift=uniform(rng, 0, 1, n, 3),
        weight=torch.where(
            torch.arange(3, device=device) < n_wavelets, uniform(rng, 0.5, 1, n, 3), 0.0
        ),
        depth=torch.where(beats, uniform(rng, 0.2, 0.5, n, 1), uniform(rng, 0, 0.05, n, 1)),
        rate=torch.where(beats, 1 / uniform(rng, 3, 8, n, 1), uniform(rng, 1, 3, n, 1) / cyc),
        turn=uniform(rng, 0, 1, n, 1),
        gain=torch.ones(n, 1, device=device),
        offset=torch.zeros(n, 1, device=device),
        phase=_phase(rng, period, length),
    )
    table = cycle_table(waves)
    low, high = table.amin(-1, keepdim=True), table.amax(-1, keepdim=True)
    gain = choice(rng, (1.0, 1.0, 1.0, -1.0), n, 1) / (high - low).clamp_min(1e-3)
    return replace(waves, gain=gain, offset=table.mean(-1, keepdim=True))


def _phase(rng: torch.Generator, period: Tensor, length: int) -> Tensor:
    """Cycles since the origin, [n, L].

    A fifth of the rows keeps time a little unevenly, and a sixth has cycles of uneven length, like
    heartbeats or steps.
    """
    n = period.shape[0]
    t = torch.arange(length, device=period.device)
    phase = t / period + uniform(rng, 0, 1, n, 1)
    uneven = torch.nonzero(bernoulli(rng, 0.2, n))[:, 0]
    if uneven.numel():
        wander = normal(rng, uneven.numel(), length).cumsum(-1)
        wander = wander * uniform(rng, 0.002, 0.02, uneven.numel(), 1) / period[uneven].sqrt()
        phase[uneven] += wander
    loose = torch.nonzero(bernoulli(rng, 0.16, n))[:, 0]
    if loose.numel():
        phase[loose] = _loose_phase(rng, period[loose], length)
    return phase


def _loose_phase(rng: torch.Generator, period: Tensor, length: int) -> Tensor:
    """Cycles since the origin, [n, L], where each cycle lasts .5-6% longer or shorter."""
    n = period.shape[0]
    count = int(1.5 * length / float(period.amin())) + 8
    spread = log_uniform(rng, 0.005, 0.06, n, 1)
    lasts = period * torch.exp((spread * normal(rng, n, count)).clamp(-0.3, 0.3))
    begins = torch.nn.functional.pad(lasts.cumsum(-1), (1, 0))
    t = torch.arange(length, device=period.device) + uniform(rng, 0, 1, n, 1) * lasts[:, :1]
    number = (torch.searchsorted(begins, t, right=True) - 1).clamp(0, count - 1)
    return number + (t - begins.gather(1, number)) / lasts.gather(1, number)


def cycle_table(waves: Waves) -> Tensor:
    """One cycle of every wave, [n, TABLE + 1] with the first point repeated at the end."""
    n, device = waves.shape.numel(), waves.shape.device
    u = torch.arange(TABLE + 1, device=device) / TABLE
    table = torch.zeros(n, TABLE + 1, device=device)
    sine = torch.nonzero(waves.shape == SINE)[:, 0]
    if sine.numel():
        k = torch.arange(1, N_HARMONICS + 1, device=device, dtype=torch.float32)
        turns = 2 * math.pi * k[:, None] * u  # [10, TABLE + 1]
        amplitude, angle = waves.amplitude[sine], waves.angle[sine]
        table[sine] = (amplitude * angle.cos()) @ turns.sin() + (
            amplitude * angle.sin()
        ) @ turns.cos()
    pulse = torch.nonzero((waves.shape == SQUARE) | (waves.shape == TRIANGLE))[:, 0]
    if pulse.numel():
        place = torch.remainder(u - waves.begin[pulse], 1) / waves.width[pulse]
        flat = (place < 1).float()
        tent = (1 - (2 * place - 1).abs()).clamp_min(0)
        table[pulse] = torch.where(waves.shape[pulse, None] == SQUARE, flat, tent)
    small = torch.nonzero(waves.shape == WAVELET)[:, 0]
    if small.numel():
        table[small] = _wavelet_table(waves.rows(small), u)
    return table


def _wavelet_table(waves: Waves, u: Tensor) -> Tensor:
    mothers = torch.stack([_mother(name) for name in WAVELETS]).to(u.device)
    v = torch.remainder(u - waves.shift[..., None] + 0.5, 1) - 0.5
    v = v / waves.scale[..., None] + 0.5  # [n, 3, TABLE + 1], inside the support if in [0, 1]
    index = waves.family[..., None] * 256 + (v * 255).round().long().clamp(0, 255)
    value = mothers.reshape(-1)[index] * ((v >= 0) & (v <= 1))
    return (value * waves.weight[..., None]).sum(1)


def render(waves: Waves, phase: Tensor | None = None) -> Tensor:
    """The seasons [n, L] of waves, optionally along another phase."""
    table = (cycle_table(waves) - waves.offset) * waves.gain
    phase = waves.phase if phase is None else phase
    place = (phase - torch.floor(phase)) * TABLE
    left = place.long().clamp(0, TABLE - 1)
    value = torch.lerp(table.gather(1, left), table.gather(1, left + 1), place - left)
    swing = torch.sin(2 * math.pi * (phase * waves.rate + waves.turn))
    return value * (1 + waves.depth * swing)
