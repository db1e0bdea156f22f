"""Temporal causal graphs: random mechanisms, lagged and partly nonlinear (CauKer, TCM).

Directed acyclic graphs whose roots are processes of their own or series of the other groups, and
graphs with feedback, rolled out step by step. One node of each graph is observed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic import calendar, ets, gp, ops, sarima, sde, shapes, trend_season
from tsfm.datasets.synthetic.base import (
    Family,
    bernoulli,
    choice,
    log_uniform,
    normal,
    randint,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.processes import (
    ar1,
    draw_periods,
    fourier_profile,
    heavy_noise,
    linear_scan,
    power_noise,
    segment_ids,
    segment_levels,
    split_rows,
    unit_scale,
)

MAX_LAG = 48
MAX_NODES = 6
MAX_PARENTS = 3


def _root(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Exogenous input per row.

    AR noise, season, 1/f path, mean with trend, regimes or sparse impulses; unit sd.
    """
    x = torch.empty(n, length, device=rng.device)
    t = time_index(length, rng) / length
    for kind, rows in enumerate(split_rows(rng, n, [3, 4, 2.5, 1, 1, 1])):
        m = rows.numel()
        if m == 0:
            continue
        if kind == 0:
            value = ar1(rng, uniform(rng, -0.3, 0.995, m, 1), length)
        elif kind == 1:
            value = fourier_profile(rng, draw_periods(rng, m, length, 0.6), length)
        elif kind == 2:
            value = power_noise(rng, uniform(rng, 0.8, 2.4, m, 1), length)
        elif kind == 3:
            value = normal(rng, m, 1) * t + torch.exp(t * uniform(rng, 0.5, 1.5, m, 1)) * normal(
                rng, m, 1
            )
        elif kind == 4:
            value = segment_levels(
                rng, segment_ids(rng, log_uniform(rng, 10.0, length / 2 + 10, m, 1), length)
            )
        else:
            hits = uniform(rng, 0, 1, m, length) < log_uniform(rng, 0.005, 0.05, m, 1)
            value = linear_scan(uniform(rng, 0.0, 0.95, m, 1), hits * normal(rng, m, length))
        x[rows] = unit_scale(value)
    return x


def _activation(rng: torch.Generator, x: Tensor) -> Tensor:
    """One of the CauKer activations per row; linear most often."""
    out = torch.empty_like(x)
    for kind, rows in enumerate(
        split_rows(rng, x.shape[0], [5, 1, 1.5, 1, 0.7, 1, 1.5, 1, 1, 0.7])
    ):
        m = rows.numel()
        if m == 0:
            continue
        v = x[rows]
        if kind == 1:
            v = F.relu(v)
        elif kind == 2:
            v = torch.sigmoid(2 * v)
        elif kind == 3:
            v = torch.sin(v * uniform(rng, 0.5, 2.0, m, 1))
        elif kind == 4:
            v = torch.remainder(v, uniform(rng, 1.0, 4.0, m, 1))
        elif kind == 5:
            v = torch.where(v > 0, v, v * uniform(rng, 0.01, 0.3, m, 1))
        elif kind == 6:
            v = torch.tanh(v)
        elif kind == 7:
            v = F.softplus(2 * v)
        elif kind == 8:
            v = F.silu(v)
        elif kind == 9:
            v = torch.exp(-v * v)
        out[rows] = v
    return out


def _lagged(nodes: Tensor, parent: Tensor, lag: Tensor) -> Tensor:
    """Node `parent` [n] of `nodes` [n, k, length], delayed by `lag` [n, 1] steps.

    The start repeats the first value.
    """
    n, _, length = nodes.shape
    t = torch.arange(length, device=nodes.device)
    index = parent[:, None] * length + (t - lag).clamp_min(0)
    return torch.gather(nodes.reshape(n, -1), 1, index)


def _mechanism(rng: torch.Generator, nodes: Tensor, mixed_lags: Tensor) -> Tensor:
    """Next node: activation of a combination of 1-3 lagged nodes, own memory, noise; unit sd."""
    n, known, length = nodes.shape
    total = torch.zeros(n, length, device=nodes.device)
    product = torch.ones(n, length, device=nodes.device)
    parents = choice(rng, range(1, MAX_PARENTS + 1), n, 1)
    for k in range(MAX_PARENTS):
        parent = (uniform(rng, 0, known, n).floor()).long().clamp_max(known - 1)
        lag = torch.where(
            uniform(rng, 0, 1, n, 1) < mixed_lags,
            log_uniform(rng, 1.0, MAX_LAG + 0.99, n, 1).floor(),
            0.0,
        ).long()
        cause = _lagged(nodes, parent, lag)
        active = (parents > k).float()
        total = total + cause * active * normal(rng, n, 1)
        if k < 2:
            product = product * torch.where(active > 0, cause, torch.ones_like(cause))
    total = torch.where((uniform(rng, 0, 1, n, 1) < 0.12) & (parents > 1), product, total)
    memory = torch.where(uniform(rng, 0, 1, n, 1) < 0.5, uniform(rng, 0.2, 0.98, n, 1), 0.0)
    value = unit_scale(linear_scan(memory, _activation(rng, unit_scale(total))))
    level = torch.where(uniform(rng, 0, 1, n, 1) < 0.7, log_uniform(rng, 0.02, 0.6, n, 1), 0.0)
    return unit_scale(value + level * heavy_noise(rng, n, length))


def causal_graph(n: int, length: int, rng: torch.Generator) -> Tensor:
    """One random node of a temporal causal graph of up to 6 nodes, 1-3 parents each, lags 0-48."""
    span = length + 2 * MAX_LAG
    nodes = torch.stack([_root(rng, n, span) for _ in range(3)], 1)
    mixed_lags = uniform(rng, 0.2, 1.0, n, 1)
    while nodes.shape[1] < MAX_NODES:
        nodes = torch.cat([nodes, _mechanism(rng, nodes, mixed_lags)[:, None]], 1)
    out = choice(rng, (3, 4, 5), n).long()
    x = nodes[torch.arange(n, device=rng.device), out, -length:]
    still = (
        x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True) < 1e-3
    )  # a saturated or never triggered node
    return torch.where(still, nodes[:, 0, -length:] + normal(rng, n, length) * 0.1, x)


def feedback_pair(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Sum or ratio of a cointegrated or lead-lag pair driven by a common path, [n, length]."""
    common = power_noise(rng, uniform(rng, 1.2, 2.2, n, 1), length) + 0.5 * _root(rng, n, length)
    lag = log_uniform(rng, 1.0, MAX_LAG + 0.99, n, 1).long()
    delayed = _lagged(common[:, None], torch.zeros(n, dtype=torch.long, device=rng.device), lag)
    gap = ar1(rng, uniform(rng, 0.5, 0.99, n, 1), length) * log_uniform(rng, 0.05, 1.0, n, 1)
    season = fourier_profile(rng, draw_periods(rng, n, length), length) * log_uniform(
        rng, 0.02, 1.0, n, 1
    )
    kind = uniform(rng, 0, 1, n, 1)
    other = delayed * normal(rng, n, 1) + gap
    x = torch.where(
        kind < 0.4, other, torch.where(kind < 0.7, common - delayed + gap, common + gap)
    )
    ratio = torch.exp((0.5 * other - 0.5 * common).clamp(-4, 4)) * math.e
    x = torch.where(kind > 0.88, ratio, x)
    return x + torch.where(uniform(rng, 0, 1, n, 1) < 0.4, season, torch.zeros_like(season))


_BORROWED = (
    calendar.daily_profile,
    calendar.weekly_profile,
    trend_season.multi_season,
    ets.ets_additive,
    sarima.sarima,
    gp.kernel_synth,
    sde.local_level,
    ops.counts,
    shapes.waves,
)
"""Cheap families of the other groups that drive a graph."""


def _borrowed(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Series of one other family, unit sd, without extremes."""
    family = _BORROWED[int(randint(rng, 0, len(_BORROWED), 1))]
    return unit_scale(family(n, length, rng)).clamp(-8, 8)


def exogenous_graph(n: int, length: int, rng: torch.Generator) -> Tensor:
    """One node of a causal graph of 3-8 nodes whose two roots are series of the other groups.

    1-3 parents per node, lags 0-48, the ten activations of CauKer; on a third of the rows the
    second root is one of this module's own processes.
    Source: the structural causal models of CauKer, with the roots that chronos-2-synth uses.
    """
    span = length + 2 * MAX_LAG
    first, second = _borrowed(rng, n, span), _borrowed(rng, n, span)
    own = bernoulli(rng, 0.33, n, 1)
    nodes = torch.stack([first, torch.where(own, _root(rng, n, span), second)], 1)
    mixed_lags = uniform(rng, 0.2, 1.0, n, 1)
    observed = randint(rng, 2, 8, n)  # the last node of a graph of 3-8
    for _ in range(int(observed.max()) - 1):
        nodes = torch.cat([nodes, _mechanism(rng, nodes, mixed_lags)[:, None]], 1)
    x = nodes[torch.arange(n, device=rng.device), observed, -length:]
    still = x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True) < 1e-3
    return torch.where(still, first[:, -length:] + normal(rng, n, length) * 0.1, x)


_FEEDBACK_NODES = 8
_SHORTEST_LAGS = (4, 6, 8, 12, 24)
_KINDS = 5  # linear, rectified, tanh, sine, bell
_BOUNDED_KINDS = 3  # the last of them


def _bent(v: Tensor, kind: Tensor, frequency: Tensor) -> Tensor:
    """Activation of every node without a branch; `kind` [n, k, 1, _KINDS] holds ones and zeros."""
    linear, rectified, tanh, sine, bell = kind.unbind(-1)
    bent = linear * v + rectified * F.relu(v) + tanh * torch.tanh(v)
    return bent + sine * torch.sin(frequency * v) + bell * torch.exp(-v * v)


def roll_out(
    driven: Tensor, parent: Tensor, weight: Tensor, lag: Tensor, kind: Tensor, frequency: Tensor
) -> Tensor:
    """Nodes that drive one another with a delay: `x_j[t] = f_j(sum w x_p[t - lag]) + u_j[t]`.

    No effect is faster than the smallest lag, so that as many steps are made at a time. The first
    `MAX_LAG` steps are the inputs alone.

    Parameters
    ----------
    driven
        Inputs u, [n, k, length].
    parent, weight, lag
        [n, k, p]: number, effect and delay of the parents of every node.
    kind, frequency
        [n, k, 1, _KINDS] and [n, k, 1], see `_bent`.
    """
    n, _, length = driven.shape
    block, x = int(lag.min()), driven.clone()
    flat = x.view(n, -1)  # the same memory
    base = (parent * length - lag)[..., None] + torch.arange(block, device=x.device)
    for start in range(MAX_LAG, length, block):
        stop = min(start + block, length)
        here = (base + start)[..., : stop - start]
        causes = flat.gather(1, here.reshape(n, -1)).view(here.shape)  # [n, k, p, block]
        total = (causes * weight[..., None]).sum(2)
        effect = _bent(total, kind, frequency)
        x[:, :, start:stop] = (x[:, :, start:stop] + effect).clamp_(-20.0, 20.0)
    return x


def feedback_graph(n: int, length: int, rng: torch.Generator) -> Tensor:
    """One node of a temporal causal model of 3-8 nodes with feedback, rolled out in time.

    1-3 parents per node, itself and later nodes included; lags from 4-24 (one number per call)
    to 48; effects that add up to .3-.95 (linear and rectified nodes) or .3-3 (bounded ones, which
    may oscillate or be chaotic); autoregressive noise at every node (coefficient -.2 to .997),
    seasons, regimes or impulses at three.
    Source: the temporal causal models of chronos-2-synth; its ranges were not published.
    """
    span, k = length + 2 * MAX_LAG, _FEEDBACK_NODES
    noise = ar1(rng, 1 - log_uniform(rng, 0.003, 1.2, n * k, 1), span).view(n, k, span)
    driven = noise * log_uniform(rng, 0.02, 0.6, n, k, 1)
    for node in range(3):
        driven[:, node] += _root(rng, n, span) * uniform(rng, 0.0, 2.0, n, 1)
    count = randint(rng, 3, k + 1, n, 1, 1)
    parent = torch.floor(uniform(rng, 0, 1, n, k, MAX_PARENTS) * count).long()
    shortest = float(choice(rng, _SHORTEST_LAGS, 1))
    lag = log_uniform(rng, shortest, MAX_LAG + 0.99, n, k, MAX_PARENTS).long()
    weight = normal(rng, n, k, MAX_PARENTS)
    used = torch.arange(MAX_PARENTS, device=rng.device) < randint(rng, 1, MAX_PARENTS + 1, n, k, 1)
    weight = weight * used
    which = randint(rng, 0, _KINDS, n, k)
    bounded = (which >= _KINDS - _BOUNDED_KINDS)[..., None]
    size = torch.where(
        bounded, log_uniform(rng, 0.3, 3.0, n, k, 1), uniform(rng, 0.3, 0.95, n, k, 1)
    )
    weight = weight * size / weight.abs().sum(-1, keepdim=True).clamp_min(1e-6)
    kind = F.one_hot(which, _KINDS).float()[:, :, None]
    x = roll_out(driven, parent, weight, lag, kind, log_uniform(rng, 0.5, 3.0, n, k, 1))
    out = torch.floor(uniform(rng, 0, 1, n) * count[:, 0, 0]).long()
    return unit_scale(x[torch.arange(n, device=rng.device), out, -length:])


FAMILIES = (
    Family(
        "causal_graph",
        "causal",
        causal_graph,
        "one node of a random lagged nonlinear causal graph",
    ),
    Family(
        "feedback_pair",
        "causal",
        feedback_pair,
        "cointegrated and lead-lag pairs, spreads and ratios",
    ),
    Family(
        "exogenous_graph",
        "causal",
        exogenous_graph,
        "one node of a causal graph driven by series of the other groups",
    ),
    Family(
        "feedback_graph",
        "causal",
        feedback_graph,
        "one node of a temporal causal model with feedback",
    ),
)
