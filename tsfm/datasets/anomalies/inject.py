"""From plans to labelled rows: sizes of deviations, changes, labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm.datasets.anomalies.bases import Bases
from tsfm.datasets.anomalies.catalogue import all_types
from tsfm.datasets.anomalies.events import AnomalyType, Change, Events
from tsfm.datasets.anomalies.placement import Plan
from tsfm.datasets.anomalies.recipe import AnomalyRecipe
from tsfm.datasets.anomalies.visibility import local_noise, visible
from tsfm.datasets.synthetic.base import bernoulli, log_uniform, normal, randint, uniform


@dataclass(frozen=True)
class Labelled:
    """Rows with anomalies.

    Parameters
    ----------
    values
        [n, L] with anomalies.
    expected
        [n, L] without them, but following lasting changes once these are the new normal.
    kind
        [n, L] int16, index into `KIND_NAMES` at labelled steps, 0 elsewhere.
    """

    values: Tensor
    expected: Tensor
    kind: Tensor


def inject(recipe: AnomalyRecipe, bases: Bases, plan: Plan, rng: torch.Generator) -> Labelled:
    """Put the events of a plan into their rows and label those that stand out."""
    change = apply_plan(recipe, bases, plan, rng)
    return add_events(recipe, bases, plan.row, plan.type + 1, change, rng)


def add_events(
    recipe: AnomalyRecipe,
    bases: Bases,
    row: Tensor,
    kind: Tensor,
    change: Change,
    rng: torch.Generator,
) -> Labelled:
    """Add the changes of E events to their rows; what nobody could see is not labelled.

    Parameters
    ----------
    recipe
        Thresholds of visibility.
    bases
        n rows without events.
    row, kind
        [E] row of each event and index of its type into `KIND_NAMES`.
    change
        [E, L] what they do.
    rng
        Source of draws.
    """
    assert change.settled is not None
    label = trimmed(change.label, change.delta)
    seen = visible(
        bases.x[row], change.delta, label, change.settled, bases.lag[row], recipe.visibility, rng
    )
    marks = label * (seen * kind).to(torch.int16)[:, None]
    none = torch.zeros(bases.x.shape, dtype=torch.int16, device=bases.x.device)
    return Labelled(
        bases.x.index_add(0, row, change.delta),
        bases.x.index_add(0, row, change.delta * change.settled),
        none.index_add_(0, row, marks),
    )


def trimmed(label: Tensor, delta: Tensor, least: float = 0.05) -> Tensor:
    """Labels without the ends of an event where next to nothing changes.

    Parameters
    ----------
    label
        [m, L] bool.
    delta
        [m, L] change.
    least
        Share of the largest change below which an end is cut off.
    """
    size = delta.abs() * label
    counts = (size > least * size.amax(-1, keepdim=True)).to(torch.int8)
    begun = counts.cummax(-1).values
    unfinished = counts.flip(-1).cummax(-1).values.flip(-1)
    return label & (begun > 0) & (unfinished > 0)


def apply_plan(recipe: AnomalyRecipe, bases: Bases, plan: Plan, rng: torch.Generator) -> Change:
    """The changes [E, L] of all events, type by type."""
    n_events, length = plan.row.numel(), bases.x.shape[1]
    delta = torch.zeros(n_events, length, device=rng.device)
    label = torch.zeros(n_events, length, dtype=torch.bool, device=rng.device)
    settled = torch.zeros_like(label)
    names = list(all_types().values())
    for index in plan.type.unique().tolist():
        at = torch.nonzero(plan.type == index)[:, 0]
        change = names[index].apply(_events(recipe, names[index], bases, plan, at, rng), rng)
        delta[at], label[at] = change.delta, change.label
        if change.settled is not None:
            settled[at] = change.settled
    return Change(delta, label, settled)


def _events(
    recipe: AnomalyRecipe,
    kind: AnomalyType,
    bases: Bases,
    plan: Plan,
    at: Tensor,
    rng: torch.Generator,
) -> Events:
    """The events of one type with the rows they happen in."""
    row, start, size = plan.row[at], plan.start[at], plan.size[at]
    x, m, length = bases.x[row], at.numel(), bases.x.shape[1]
    reach = torch.maximum(torch.full_like(size, length / 8), 2 * size)
    lag = bases.lag[row].clamp_min(1)
    noise = local_noise(x, lag, start + size / 2, reach, rng)[0].usual
    sample = x.gather(1, randint(rng, 0, length, m, 128)).sort(-1).values
    scale = (sample[:, 121:122] - sample[:, 6:7]).clamp_min(0.05)
    waves = None
    if kind.needs in ("wave", "sine", "pulse", "notsine", "wavelet"):
        waves = bases.waves.rows(bases.wave[row])
    return Events(
        x=x,
        season=bases.season[row],
        period=bases.period[row],
        start=start,
        size=size,
        height=_heights(recipe, kind, scale, noise, rng),
        scale=scale,
        noise=noise,
        donor=bases.x[randint(rng, 0, bases.x.shape[0], m)],
        waves=waves,
    )


def _heights(
    recipe: AnomalyRecipe, kind: AnomalyType, scale: Tensor, noise: Tensor, rng: torch.Generator
) -> Tensor:
    """Sizes of deviations [m, 1]: a multiple of the ordinary range and of the noise.

    Outliers: 1 + Exp(2) times the range, 5% of them 10-20 times, at least 6 noise units. Spikes:
    .5 + Exp(1), at least 6. Others: .3 + Exp(.3), at least 3. Exp by its mean. A share
    `recipe.weak` is .3-4 noise units (at least 1% of the range) instead.
    """
    m = scale.shape[0]
    exponential = -torch.log(uniform(rng, 1e-6, 1, m, 1))
    if kind.height == "outlier":
        rare = bernoulli(rng, 0.05, m, 1)
        multiple = torch.where(rare, uniform(rng, 10, 20, m, 1), 1 + 2 * exponential)
    else:
        multiple = 0.5 + exponential if kind.height == "spike" else 0.3 + 0.3 * exponential
    size = scale * multiple * kind.factor
    size = (size * (1 + 0.2 * normal(rng, m, 1))).abs()
    size = torch.maximum(size, (3 if kind.height == "other" else 6) * noise)
    faint = noise.maximum(0.01 * scale) * log_uniform(rng, 0.3, 4, m, 1)
    size = torch.where(bernoulli(rng, recipe.weak, m, 1), faint, size)
    return size * recipe.strength
