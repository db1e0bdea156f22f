"""Batches of the labelled corpus: a pure function of recipe, shape and generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tsfm.datasets.anomalies.bases import Bases, draw_bases, known_bases
from tsfm.datasets.anomalies.catalogue import GRAPH, KIND_NAMES
from tsfm.datasets.anomalies.commands import command_places, command_rows
from tsfm.datasets.anomalies.events import Change
from tsfm.datasets.anomalies.graph import (
    Break,
    Graph,
    Scales,
    draw_graph,
    mix,
    pick_channel,
    propagate,
)
from tsfm.datasets.anomalies.inject import Labelled, add_events, apply_plan, inject
from tsfm.datasets.anomalies.placement import draw_plan, draw_single
from tsfm.datasets.anomalies.recipe import AnomalyRecipe
from tsfm.datasets.synthetic.base import bernoulli, log_uniform, uniform

SHORTEST = 64
ALONE = 0.25
"""Multivariate: chance of a channel, beside the first, of exogenous anomalies of its own."""
Parts = TypeVar("Parts", Graph, Scales)


@dataclass(frozen=True)
class LabelledBatch:
    """Series with anomalies, their twins without, and what is anomalous.

    Parameters
    ----------
    values
        [B, C, L] float32 with anomalies; NaN only where the recipe asks for missing values, or
        where bases have none (there in all three).
    clean
        [B, C, L] float32, the twin without any anomaly; mean 0 and standard deviation 1.
    expected
        [B, C, L] float32, the twin plus lasting changes that have become the new normal: what
        `values` would be without the labelled deviations.
    labels
        [B, C, L] bool, steps out of line with their own context.
    kind
        [B, C, L] int16, index into `KIND_NAMES` at labelled steps, 0 elsewhere.
    """

    values: Tensor
    clean: Tensor
    expected: Tensor
    labels: Tensor
    kind: Tensor

    def to(self, device: torch.device | str) -> LabelledBatch:
        """The same batch on another device."""
        return LabelledBatch(*(x.to(device) for x in self._tensors()))

    def rows(self, index: Tensor) -> LabelledBatch:
        """Some of the samples."""
        return LabelledBatch(*(x[index] for x in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.values, self.clean, self.expected, self.labels, self.kind


def anomaly_batch(
    recipe: AnomalyRecipe,
    n: int,
    n_channels: int,
    length: int,
    rng: torch.Generator,
    bases: Bases | None = None,
) -> LabelledBatch:
    """Draw labelled samples.

    Parameters
    ----------
    recipe
        The corpus.
    n, n_channels, length
        Number of samples, channels each, and steps.
    rng
        Source of every draw; its device is where the batch is built.
    bases
        The `n * n_channels` normal series of so many steps to put anomalies into; drawn from the
        recipe by default. Those of a sample of several channels are mixed, as drawn ones are.

    Raises
    ------
    ValueError
        If there is no sample or channel, fewer than 64 steps, or bases of another shape.

    Examples
    --------
    >>> recipe = AnomalyRecipe(families={"waves": 1.0}, clean=0.0)
    >>> batch = anomaly_batch(recipe, 4, 1, 256, torch.Generator().manual_seed(0))
    >>> batch.labels.shape, bool(batch.labels.any())
    (torch.Size([4, 1, 256]), True)
    """
    if n < 1 or n_channels < 1 or length < SHORTEST:
        raise ValueError(
            f"anomaly_batch needs n >= 1, n_channels >= 1 and length >= {SHORTEST}, "
            f"not {n}, {n_channels} and {length}"
        )
    if bases is None:
        bases = draw_bases(recipe, n * n_channels, length, rng)
    elif bases.x.shape != (n * n_channels, length):
        raise ValueError(
            f"anomaly_batch needs bases of shape {(n * n_channels, length)}, "
            f"not {tuple(bases.x.shape)}"
        )
    touched = ~bernoulli(rng, recipe.clean, n)
    if n_channels == 1:
        batch = _univariate(recipe, bases, touched, rng)
    else:
        batch = _multivariate(recipe, bases, touched, n_channels, rng)
    if bases.known is not None:
        batch = _where(bases.known.view(batch.values.shape), batch)
    if n_channels > 1:
        order = uniform(rng, 0, 1, n, n_channels).argsort(-1)  # causes need not come first
        batch = batch_channels(batch, order)
    return _with_gaps(batch, recipe.missing, rng)


def _where(known: Tensor, batch: LabelledBatch) -> LabelledBatch:
    """Nothing is known of the other steps, [B, C, L]; labels stay."""
    values, clean, expected = (
        torch.where(known, x, torch.nan) for x in (batch.values, batch.clean, batch.expected)
    )
    return LabelledBatch(values, clean, expected, batch.labels, batch.kind)


def _blank(clean: Tensor) -> LabelledBatch:
    """A batch without anomalies from its twin [B, C, L]."""
    kind = torch.zeros(clean.shape, dtype=torch.int16, device=clean.device)
    return LabelledBatch(clean.clone(), clean, clean.clone(), kind > 0, kind)


def _fill(batch: LabelledBatch, index: tuple[Tensor, ...], part: Labelled) -> None:
    """Write labelled rows into a batch."""
    batch.values[index], batch.expected[index] = part.values, part.expected
    batch.kind[index], batch.labels[index] = part.kind, part.kind > 0


def _univariate(
    recipe: AnomalyRecipe, bases: Bases, touched: Tensor, rng: torch.Generator
) -> LabelledBatch:
    batch = _blank(bases.x[:, None])
    at = torch.nonzero(touched)[:, 0]
    if at.numel():
        rows = bases.rows(at)
        part = inject(recipe, rows, draw_plan(recipe, rows, rng), rng)
        _fill(batch, (at, torch.zeros_like(at)), part)
    return batch


def _multivariate(
    recipe: AnomalyRecipe, bases: Bases, touched: Tensor, n_channels: int, rng: torch.Generator
) -> LabelledBatch:
    """Related channels; anomalies that propagate, that do not, and relations that break."""
    n, length = touched.numel(), bases.x.shape[1]
    own = bases.x.reshape(n, n_channels, length)
    graph = draw_graph(n, n_channels, rng)
    clean, scales = mix(own, graph)
    batch = _blank(clean)
    kind = uniform(rng, 0, 1, n)
    inner = kind < recipe.endogenous
    breaks = (kind > 1 - recipe.correlation_break) & graph.is_child.any(-1) & ~inner
    for mode in (_endogenous, _broken):
        chosen = inner if mode is _endogenous else breaks
        at = torch.nonzero(touched & chosen)[:, 0]
        if at.numel():
            part = mode(recipe, bases, at, _rows(graph, at), _rows(scales, at), clean, rng)
            _fill(batch, (at,), part)
    at = torch.nonzero(touched & ~inner & ~breaks)[:, 0]
    if at.numel():  # exogenous: in some channels, each by itself; the others do not notice
        first = (uniform(rng, 0, 1, at.numel(), 1) * n_channels).long()
        chosen = bernoulli(rng, ALONE, at.numel(), n_channels).scatter(1, first, True)
        sample, channel = torch.nonzero(chosen, as_tuple=True)
        rows = known_bases(clean[at[sample], channel])
        part = inject(recipe, rows, draw_plan(recipe, rows, rng), rng)
        _fill(batch, (at[sample], channel), part)
    if recipe.commands:
        _switch(batch, command_places(n, n_channels, recipe.commands, rng), rng)
    return batch


def _switch(batch: LabelledBatch, places: Tensor, rng: torch.Generator) -> None:
    """Put on/off commands in the place of some channels, [B, C] bool."""
    at = torch.nonzero(places, as_tuple=True)
    rows = command_rows(at[0].numel(), batch.values.shape[-1], rng)
    batch.clean[at] = rows
    _fill(batch, at, Labelled(rows, rows, torch.zeros_like(rows, dtype=torch.int16)))


def batch_channels(batch: LabelledBatch, order: Tensor) -> LabelledBatch:
    """Channels of every sample in another order, [B, C] indices."""
    row = torch.arange(order.shape[0], device=order.device)[:, None]
    return LabelledBatch(*(x[row, order] for x in batch._tensors()))


def _rows(values: Parts, at: Tensor) -> Parts:
    """Some of the samples of a graph or of its scales."""
    return type(values)(**{name: x[at] for name, x in vars(values).items()})


def _endogenous(
    recipe: AnomalyRecipe,
    bases: Bases,
    at: Tensor,
    graph: Graph,
    scales: Scales,
    clean: Tensor,
    rng: torch.Generator,
) -> Labelled:
    """One anomaly in a cause, seen in its effects with their lags."""
    n_channels, length = clean.shape[1:]
    channel = pick_channel(graph.is_parent, rng)
    rows = bases.rows(at * n_channels + channel)
    plan = draw_single(recipe, rows, rng)
    change = apply_plan(recipe, rows, plan, rng)
    assert change.settled is not None
    own = bases.x.reshape(-1, n_channels, length)[at]
    sample = torch.arange(at.numel(), device=at.device)
    # twice the usual size: mixing weakens what arrives
    own[sample[plan.row], channel[plan.row]] += 2 * change.delta
    source = torch.zeros(own.shape, dtype=torch.bool, device=own.device)
    source[sample[plan.row], channel[plan.row]] = change.label
    lasts = torch.zeros(at.numel(), dtype=torch.bool, device=own.device)
    lasts[plan.row] = change.settled.any(-1)
    kind = torch.zeros(at.numel(), dtype=torch.int64, device=own.device)
    kind[plan.row] = plan.type + 1
    mixed, _ = mix(own, graph, scales)
    return _judged(recipe, clean[at], mixed, propagate(source, graph), lasts, kind, rng)


def _broken(
    recipe: AnomalyRecipe,
    bases: Bases,
    at: Tensor,
    graph: Graph,
    scales: Scales,
    clean: Tensor,
    rng: torch.Generator,
) -> Labelled:
    """A channel stops following its causes for 2-15% of the row."""
    n_channels, length = clean.shape[1:]
    own = bases.x.reshape(-1, n_channels, length)[at]
    channel = pick_channel(graph.is_child, rng)
    size = (log_uniform(rng, 0.02, 0.15, at.numel(), 1) * length).round().clamp_min(8)
    start = (uniform(rng, 0.02, 0.98, at.numel(), 1) * (length - size)).floor()
    t = torch.arange(length, device=own.device)
    inside = (t >= start) & (t < start + size)
    one = torch.nn.functional.one_hot(channel, n_channels).bool()
    mixed, _ = mix(own, graph, scales, Break(one, inside))
    marks = propagate(one[..., None] & inside[:, None], graph)
    never = torch.zeros(at.numel(), dtype=torch.bool, device=own.device)
    kind = torch.full((at.numel(),), KIND_NAMES.index(GRAPH), device=own.device)
    return _judged(recipe, clean[at], mixed, marks, never, kind, rng)


def _judged(
    recipe: AnomalyRecipe,
    clean: Tensor,
    mixed: Tensor,
    marks: Tensor,
    lasts: Tensor,
    kind: Tensor,
    rng: torch.Generator,
) -> Labelled:
    """Labels for every channel in which the anomaly stands out; all [B, C, L] but lasts, kind."""
    n, n_channels, length = clean.shape
    rows = known_bases(clean.reshape(-1, length))
    delta = (mixed - clean).reshape(-1, length)
    label = marks.reshape(-1, length)
    behind = label.flip(-1).cummax(-1).values.flip(-1)  # up to the last mark
    settled = ~behind & label.any(-1, keepdim=True) & lasts.repeat_interleave(n_channels)[:, None]
    index = torch.arange(n * n_channels, device=clean.device)
    change = Change(delta, label, settled)
    part = add_events(recipe, rows, index, kind.repeat_interleave(n_channels), change, rng)
    shape = (n, n_channels, length)
    return Labelled(
        mixed, (clean.reshape(-1, length) + delta * settled).reshape(shape),
        part.kind.reshape(shape),
    )  # fmt: skip


def _with_gaps(batch: LabelledBatch, share: float, rng: torch.Generator) -> LabelledBatch:
    """A stretch of .2-5% of the row is missing from a share of the channels; labels stay."""
    if share <= 0:
        return batch
    n, n_channels, length = batch.values.shape
    size = (log_uniform(rng, 0.002, 0.05, n, n_channels, 1) * length).clamp_min(1)
    start = uniform(rng, 0, 1, n, n_channels, 1) * (length - size)
    t = torch.arange(length, device=batch.values.device)
    gone = (t >= start) & (t <= start + size) & bernoulli(rng, share, n, n_channels, 1)
    values = batch.values.masked_fill(gone, torch.nan)
    return LabelledBatch(values, *batch._tensors()[1:])
