"""Which anomalies a row gets, how long they are, and where they lie; they never overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm.datasets.anomalies.bases import Bases
from tsfm.datasets.anomalies.catalogue import all_types
from tsfm.datasets.anomalies.events import AnomalyType, Needs
from tsfm.datasets.anomalies.recipe import AnomalyRecipe
from tsfm.datasets.anomalies.waves import SINE, SQUARE, TRIANGLE, WAVELET
from tsfm.datasets.synthetic.base import bernoulli, choice, randint, uniform


@dataclass(frozen=True)
class Plan:
    """E events: row [E], index of the type in `all_types()` [E], start and size [E, 1]."""

    row: Tensor
    type: Tensor
    start: Tensor
    size: Tensor


def type_weights(recipe: AnomalyRecipe, group: str) -> Tensor:
    """Chance of every type in the group, [K] float, not normalised."""
    types = all_types().values()
    return torch.tensor(
        [recipe.types.get(t.name, t.weight) if t.group == group else 0.0 for t in types]
    )


def suited(bases: Bases) -> Tensor:
    """Which types a row can have, [n, K] bool."""
    shape = torch.full_like(bases.wave, -1)
    known = bases.wave >= 0
    shape[known] = bases.waves.shape[bases.wave[known]]
    pulse = (shape == SQUARE) | (shape == TRIANGLE)
    fits: dict[Needs, Tensor] = {
        "any": torch.ones_like(known),
        "period": bases.period[:, 0] > 0,
        "wave": known,
        "sine": shape == SINE,
        "pulse": pulse,
        "notsine": pulse | (shape == WAVELET),
        "wavelet": shape == WAVELET,
    }
    return torch.stack([fits[t.needs] for t in all_types().values()], -1)


def draw_plan(recipe: AnomalyRecipe, bases: Bases, rng: torch.Generator) -> Plan:
    """Random events for every row, at least one each where any type fits.

    Local anomalies by `recipe.local_counts`, at most one of the group "sensor" and one seasonal.
    """
    n = bases.x.shape[0]
    counts = choice(rng, range(len(recipe.local_counts)), n, 1, weights=list(recipe.local_counts))
    slots = len(recipe.local_counts) - 1
    local = torch.arange(slots, device=rng.device) < counts
    sensor = bernoulli(rng, recipe.sensor, n, 1)
    seasonal = bernoulli(rng, recipe.seasonal, n, 1) & (bases.period > 0)
    active = torch.cat([local, sensor, seasonal], -1)  # [n, slots + 2]
    forced = randint(rng, 0, slots + 2, n)
    forced = torch.where((forced == slots + 1) & (bases.period[:, 0] == 0), 0, forced)
    none = ~active.any(-1)
    active[none, forced[none]] = True
    fits = suited(bases)
    picks = [_pick(type_weights(recipe, "local"), fits, rng) for _ in range(slots)]
    picks += [_pick(type_weights(recipe, group), fits, rng) for group in ("sensor", "seasonal")]
    types = torch.stack(picks, -1)
    return place(bases, types, active & (types >= 0), recipe.max_share, rng)


def draw_single(recipe: AnomalyRecipe, bases: Bases, rng: torch.Generator) -> Plan:
    """Exactly one local or sensor anomaly for every row."""
    weights = type_weights(recipe, "local")
    weights = weights / weights.sum().clamp_min(1e-6)
    other = type_weights(recipe, "sensor")
    weights = weights + 0.7 * other / other.sum().clamp_min(1e-6)
    types = _pick(weights, suited(bases), rng)[:, None]
    return place(bases, types, types >= 0, 0.6 * recipe.max_share, rng)


def _pick(weights: Tensor, fits: Tensor, rng: torch.Generator) -> Tensor:
    """A type per row [n], -1 where none fits."""
    p = weights.to(fits.device) * fits
    possible = p.sum(-1) > 0
    p = torch.where(possible[:, None], p, 1.0)
    if p.shape[0] == 0:
        return possible.long()
    drawn = torch.multinomial(p, 1, replacement=True, generator=rng)[:, 0]
    return torch.where(possible, drawn, -1)


def place(bases: Bases, types: Tensor, active: Tensor, most: float, rng: torch.Generator) -> Plan:
    """Sizes and non-overlapping places.

    Parameters
    ----------
    bases
        The rows.
    types
        [n, S] index of the type in every slot.
    active
        [n, S] bool, slots in use; slots that would exceed the budget are dropped.
    most
        Largest share of a row taken by events.
    rng
        Source of draws.
    """
    length = bases.x.shape[1]
    order = uniform(rng, 0, 1, *types.shape).add(~active).argsort(-1)
    types, active = types.gather(1, order), active.gather(1, order)
    whole = torch.zeros_like(active)  # events that begin where a cycle begins
    size = torch.zeros(types.shape, device=rng.device)
    for index, kind in enumerate(all_types().values()):
        row, slot = torch.nonzero(active & (types == index), as_tuple=True)
        if row.numel():
            drawn = kind.size(rng, row.numel(), length, bases.period[row])[:, 0]
            size[row, slot] = drawn.clamp(1, max(1.0, most * length - 1))
            whole[row, slot] = _whole(kind)
    active &= size.cumsum(-1) <= most * length - 1
    size = size * active
    pad = torch.where(whole & active & (bases.wave >= 0)[:, None], bases.period, 0.0)
    pad = torch.minimum(pad, 0.1 * length * torch.ones_like(pad))
    start = _spread_out(size + pad, active, length, rng)
    row, slot = torch.nonzero(active, as_tuple=True)
    start, size = start[row, slot, None], size[row, slot, None]
    snapped = _next_cycle(bases, row, start)
    can = (snapped - start <= pad[row, slot, None]) & whole[row, slot, None]
    start = torch.where(can, snapped, start).clamp_min(0).minimum(length - size)
    return Plan(row, types[row, slot], start.floor(), size)


def _whole(kind: AnomalyType) -> bool:
    return kind.group == "seasonal" and kind.name != "contextual_point"


def _spread_out(size: Tensor, active: Tensor, length: int, rng: torch.Generator) -> Tensor:
    """Starts [n, S] of the slots in order, with random room before, between and behind them."""
    n = size.shape[0]
    count = active.sum(-1, keepdim=True)
    free = length - size.sum(-1, keepdim=True)
    gap = torch.minimum(0.04 * length * torch.ones_like(free), 0.5 * free / (count + 1))
    parts = -torch.log(uniform(rng, 1e-6, 1, n, size.shape[1] + 1))
    # slots in use come first, hence the first count + 1 gaps
    parts = parts * (torch.arange(size.shape[1] + 1, device=rng.device) <= count)
    room = gap + (free - (count + 1) * gap) * parts / parts.sum(-1, keepdim=True)
    return room[:, :-1].cumsum(-1) + size.cumsum(-1) - size


def _next_cycle(bases: Bases, row: Tensor, start: Tensor) -> Tensor:
    """First step at or after `start` [E, 1] where a wave begins a cycle; `start` for others."""
    wave = bases.wave[row]
    known = torch.nonzero(wave >= 0)[:, 0]
    snapped = start.clone()
    if known.numel():
        phase = bases.waves.phase[wave[known]].gather(1, start[known].long())
        left = torch.ceil(phase) - phase
        snapped[known] = (start[known].floor() + left * bases.period[row[known]]).ceil()
    return snapped
