"""What an anomaly is made of: the rows it happens in, the change it makes, its type.

An event lives on `[start, start + size)` of one row. A type turns a batch of events, one row each,
into additive changes; events of one row never overlap, so their changes simply add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from tsfm.datasets.anomalies.waves import Waves
from tsfm.datasets.synthetic.base import log_uniform, uniform

SizeFn = Callable[[torch.Generator, int, int, Tensor], Tensor]
"""`size(rng, m, length, period)`: sizes of m events in steps, [m, 1] whole numbers >= 1."""

Needs = Literal["any", "period", "wave", "sine", "pulse", "notsine", "wavelet"]
Height = Literal["outlier", "spike", "other"]


@dataclass(frozen=True)
class Events:
    """A batch of m events, one row each.

    Parameters
    ----------
    x
        [m, L] series the events happen in, unit standard deviation.
    season
        [m, L] its periodic part, 0 where there is none.
    period
        [m, 1] steps per cycle, 0 where there is none.
    start, size
        [m, 1] first step and number of steps, whole numbers.
    height
        [m, 1] positive size of the deviation, in the units of `x`.
    scale
        [m, 1] range of ordinary values (5% to 95% quantile).
    noise
        [m, 1] what of a step its neighbourhood, or the step one cycle before, does not explain.
    donor
        [m, L] other rows, for types that insert a foreign piece.
    waves
        Parameters of the season, for types that change them; None for other types.
    """

    x: Tensor
    season: Tensor
    period: Tensor
    start: Tensor
    size: Tensor
    height: Tensor
    scale: Tensor
    noise: Tensor
    donor: Tensor
    waves: Waves | None = None

    @property
    def m(self) -> int:
        """Number of events."""
        return self.x.shape[0]

    @cached_property
    def since(self) -> Tensor:
        """Steps since the event began, negative before; [m, L]."""
        return torch.arange(self.x.shape[1], device=self.x.device) - self.start

    @cached_property
    def inside(self) -> Tensor:
        """Steps of the event, [m, L] bool."""
        return (self.since >= 0) & (self.since < self.size)

    @property
    def after(self) -> Tensor:
        """Steps behind the event, [m, L] bool."""
        return self.since >= self.size


@dataclass(frozen=True)
class Change:
    """What a batch of events does to its rows.

    Parameters
    ----------
    delta
        [m, L] added to the series.
    label
        [m, L] bool, steps that deviate from their context.
    settled
        [m, L] bool, steps where a lasting change has become the new normal; None: nothing lasts.
    """

    delta: Tensor
    label: Tensor
    settled: Tensor | None = None


@dataclass(frozen=True)
class AnomalyType:
    """One type of anomaly.

    Parameters
    ----------
    name
        Identifier used in recipes, tables and pictures.
    group
        "local", "sensor" or "seasonal".
    size
        Draws the number of steps of an event.
    apply
        Turns events into changes.
    weight
        Chance within the group.
    needs
        Rows it is for: any, periodic ones, waves of known parameters.
    height
        How the size of the deviation is drawn.
    factor
        Factor on that size.
    """

    name: str
    group: Literal["local", "sensor", "seasonal"]
    size: SizeFn
    apply: Callable[[Events, torch.Generator], Change]
    weight: float
    needs: Needs = "any"
    height: Height = "other"
    factor: float = 1.0


def replaced(events: Events, values: Tensor) -> Change:
    """The change that puts `values` [m, L] in the place of the event's steps."""
    delta = torch.where(events.inside, values - events.x, 0.0)
    return Change(delta, events.inside)


def read_at(x: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of rows [m, L] at fractional positions [m, K], clamped to the row."""
    position = position.clamp(0, x.shape[1] - 1)
    left = position.long().clamp_max(max(x.shape[1] - 2, 0))
    right = (left + 1).clamp_max(x.shape[1] - 1)
    return torch.lerp(torch.gather(x, 1, left), torch.gather(x, 1, right), position - left)


def box_mean(x: Tensor, width: Tensor) -> Tensor:
    """Centred moving mean of rows [m, L] over about `width` [m, 1] steps, shorter at the ends."""
    length = x.shape[1]
    total = torch.nn.functional.pad(x.double().cumsum(-1), (1, 0))
    t = torch.arange(length, device=x.device)
    half = (width / 2).floor().long().clamp_min(0)
    low, high = (t - half).clamp_min(0), (t + half + 1).clamp_max(length)
    return ((total.gather(1, high) - total.gather(1, low)) / (high - low)).float()


def mean_inside(events: Events, x: Tensor) -> Tensor:
    """Mean of `x` over the steps of each event, [m, 1]."""
    return (x * events.inside).sum(-1, keepdim=True) / events.size.clamp_min(1)


def steps(low: int, high: int) -> SizeFn:
    """Sizes of `low` to `high` steps, every number equally likely."""

    def draw(rng: torch.Generator, m: int, length: int, period: Tensor) -> Tensor:
        return uniform(rng, low, high + 1, m, 1).floor().clamp(low, high)

    return draw


def share(low: float, high: float, least: int = 4) -> SizeFn:
    """Sizes that are a share of the row, log-uniform, at least `least` steps."""

    def draw(rng: torch.Generator, m: int, length: int, period: Tensor) -> Tensor:
        return (log_uniform(rng, low, high, m, 1) * length).round().clamp_min(least)

    return draw


def cycles(rng: torch.Generator, m: int, length: int, period: Tensor) -> Tensor:
    """Whole cycles: 1 to a quarter of those in the row, few more often than many."""
    most = (length / period.clamp_min(1) / 4).clamp(1, 12)
    count = torch.exp(uniform(rng, 0, 1, m, 1) * torch.log(most + 0.99)).floor()
    # very short cycles: a handful of steps is not yet a seasonal anomaly
    least = torch.ceil(length / 100 / period.clamp_min(1))
    return (torch.maximum(count, least) * period).round().clamp_min(2)
