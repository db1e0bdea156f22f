"""Causal graphs between the channels of a sample: mixing, propagation, broken relations.

Channels come in causal order. A child follows up to three earlier channels with lags:

    y0[t] = a y0[t-1] + sum_j b_j parent_j[t - lag_j] + c,   a ~ U(-.8, .8), b ~ U(-2, 2),
    c ~ U(-3, 3), lag ~ U{0..7},   y = alpha f(y0) + (1 - alpha) own,   alpha ~ U(.2, .6),

with y0 and y rescaled to mean 0 and standard deviation 1 by what they are without anomalies, and f
the identity for 90% of the children. No path is longer than three edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import bernoulli, choice, randint, uniform
from tsfm.datasets.synthetic.processes import linear_scan

MAX_PARENTS = 3
MAX_DEPTH = 3
_ACTIVATIONS = (0.9, 0.028, 0.012, 0.012, 0.012, 0.012, 0.012, 0.012)


@dataclass(frozen=True)
class Graph:
    """Random causal relations of B samples with C channels; up to 3 parents per channel.

    Parameters
    ----------
    parent, follows
        [B, C, 3] index of each parent, and bool whether that place is used.
    lag, weight
        [B, C, 3] delay in steps and coefficient.
    memory, constant, blend
        [B, C, 1] a, c and alpha of the equation above; alpha is 0 for channels without parents.
    activation
        [B, C] which function f.
    """

    parent: Tensor
    follows: Tensor
    lag: Tensor
    weight: Tensor
    memory: Tensor
    constant: Tensor
    blend: Tensor
    activation: Tensor

    @property
    def is_child(self) -> Tensor:
        """Channels with at least one parent, [B, C] bool."""
        return self.follows.any(-1)

    @property
    def is_parent(self) -> Tensor:
        """Channels with at least one child, [B, C] bool."""
        used = torch.zeros_like(self.is_child, dtype=torch.int64)
        return used.scatter_add(1, self.parent.flatten(1), self.follows.flatten(1).long()) > 0


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviation of y0 and y without anomalies, each [B, C, 1]."""

    inner_mean: Tensor
    inner_sd: Tensor
    mean: Tensor
    sd: Tensor


@dataclass(frozen=True)
class Break:
    """Channels [B, C] that stop following their parents during steps [B, L]."""

    channel: Tensor
    inside: Tensor


def draw_graph(n: int, n_channels: int, rng: torch.Generator) -> Graph:
    """A random directed acyclic graph per sample.

    About .8 to 1.2 edges per channel, one for two channels.
    """
    shape = (n, n_channels, MAX_PARENTS)
    parent = torch.zeros(shape, dtype=torch.int64, device=rng.device)
    follows = torch.zeros(shape, dtype=torch.bool, device=rng.device)
    depth = torch.zeros(n, n_channels, device=rng.device)
    linked = uniform(rng, 0.55, 0.85, n)  # share of the channels that have parents
    for child in range(1, n_channels):
        key = uniform(rng, 0, 1, n, child) - 10 * (depth[:, :child] >= MAX_DEPTH)
        order = key.argsort(-1, descending=True)[:, :MAX_PARENTS]
        count = choice(rng, (1, 2, 3), n, 1, weights=(0.6, 0.3, 0.1))
        has = (uniform(rng, 0, 1, n) < linked) | (n_channels == 2)
        used = (torch.arange(order.shape[1], device=rng.device) < count) & has[:, None]
        used &= depth.gather(1, order) < MAX_DEPTH
        parent[:, child, : order.shape[1]] = order
        follows[:, child, : order.shape[1]] = used
        below = torch.where(used, depth.gather(1, order) + 1, 0.0)
        depth[:, child] = below.amax(-1)
    blend = uniform(rng, 0.2, 0.6, n, n_channels, 1) * follows.any(-1, keepdim=True)
    kinds = range(len(_ACTIVATIONS))
    return Graph(
        parent=parent,
        follows=follows,
        lag=randint(rng, 0, 8, *shape),
        weight=uniform(rng, -2, 2, *shape),
        memory=uniform(rng, -0.8, 0.8, n, n_channels, 1),
        constant=uniform(rng, -3, 3, n, n_channels, 1),
        blend=blend,
        activation=choice(rng, kinds, n, n_channels, weights=_ACTIVATIONS).long(),
    )


def mix(
    own: Tensor, graph: Graph, scales: Scales | None = None, broken: Break | None = None
) -> tuple[Tensor, Scales]:
    """Let causes act on effects.

    Parameters
    ----------
    own
        [B, C, L] what every channel would be on its own.
    graph
        The relations.
    scales
        Of a run without anomalies, so that the same series with anomalies is treated alike;
        measured on `own` when left out.
    broken
        Relations that fail for a while: the drive comes from a third of the row earlier.

    Returns
    -------
    tuple
        [B, C, L] series, and their scales.
    """
    n_channels, length = own.shape[1:]
    y = torch.zeros_like(own)
    found: list[list[Tensor]] = [[], [], [], []]
    for c in range(n_channels):
        drive = torch.zeros_like(own[:, c])
        for k in range(min(MAX_PARENTS, c)):
            moved = delayed(_channel(y, graph.parent[:, c, k]), graph.lag[:, c, k])
            drive = drive + moved * (graph.weight[:, c, k] * graph.follows[:, c, k])[:, None]
        if broken is not None:
            away = broken.inside & broken.channel[:, c, None]
            drive = torch.where(away, drive.roll(length // 3, -1), drive)
        drive = drive + graph.constant[:, c]
        memory = graph.memory[:, c]
        drive[:, 0] /= 1 - memory[:, 0]  # begin where the recursion settles
        y0 = linear_scan(memory, drive)
        inner = (found[0], found[1]) if scales is None else None
        known = None if scales is None else (scales.inner_mean[:, c], scales.inner_sd[:, c])
        y0 = _scaled(y0, inner, known)
        blend = graph.blend[:, c]
        out = blend * _activate(y0, graph.activation[:, c]) + (1 - blend) * own[:, c]
        outer = (found[2], found[3]) if scales is None else None
        known = None if scales is None else (scales.mean[:, c], scales.sd[:, c])
        y[:, c] = _scaled(out, outer, known)
    if scales is None:
        scales = Scales(*(torch.stack(values, 1) for values in found))
    return y, scales


def _scaled(
    x: Tensor, found: tuple[list[Tensor], list[Tensor]] | None, known: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Rows scaled by a known mean and sd, or by their own, which are then appended to `found`."""
    if known is None:
        known = x.mean(-1, keepdim=True), x.std(-1, correction=0, keepdim=True).clamp_min(1e-4)
    if found is not None:
        found[0].append(known[0])
        found[1].append(known[1])
    return (x - known[0]) / known[1]


def _channel(y: Tensor, index: Tensor) -> Tensor:
    """Channel `index` [B] of every sample, [B, L]."""
    return y[torch.arange(y.shape[0], device=y.device), index]


def delayed(x: Tensor, lag: Tensor) -> Tensor:
    """Rows [B, L] moved `lag` [B] steps later; the first value fills the beginning."""
    t = torch.arange(x.shape[1], device=x.device)
    return x.gather(1, (t - lag[:, None]).clamp_min(0))


def _activate(x: Tensor, which: Tensor) -> Tensor:
    """The function of each row [B]; bounded ones and folds besides the identity."""
    if not bool((which > 0).any()):
        return x
    options = (
        x,
        torch.sign(x),
        torch.tanh(x),
        x.abs() - 0.8,
        x.clamp_min(0) - 0.4,
        torch.sin(2 * x),
        torch.sigmoid(3 * x) - 0.5,
        torch.where(x > 0, x, 0.2 * x),
    )
    for k in range(1, len(options)):
        x = torch.where(which[:, None] == k, options[k], x)
    return x


def propagate(source: Tensor, graph: Graph) -> Tensor:
    """Where labels of a source channel arrive in the others.

    Parameters
    ----------
    source
        [B, C, L] bool, True at the labelled steps of the source channel.
    graph
        The relations: a mark arrives `lag` steps later and stays as long as the child remembers
        it, until 10% are left, at most 10 steps.

    Returns
    -------
    Tensor
        [B, C, L] bool.
    """
    marks = source.clone()
    t = torch.arange(source.shape[2], device=source.device)
    for c in range(1, source.shape[1]):
        arrived = torch.zeros_like(source[:, c])
        for k in range(min(MAX_PARENTS, c)):
            lag = graph.lag[:, c, k]
            moved = delayed(_channel(marks, graph.parent[:, c, k]), lag) & (t >= lag[:, None])
            arrived |= moved & graph.follows[:, c, k, None]
        stay = torch.log(torch.tensor(0.1)) / graph.memory[:, c].abs().clamp(1e-3, 0.99).log()
        latest = torch.where(arrived, t, -10_000).cummax(-1).values
        marks[:, c] |= t - latest <= stay.clamp_max(10)
    return marks


def pick_channel(allowed: Tensor, rng: torch.Generator) -> Tensor:
    """One allowed channel [B, C] per sample, any where none is allowed; [B]."""
    return (uniform(rng, 0, 1, *allowed.shape) + allowed).argmax(-1)


def some(rng: torch.Generator, share: float, n: int) -> Tensor:
    """Indices of a random subset of n samples."""
    return torch.nonzero(bernoulli(rng, share, n))[:, 0]
