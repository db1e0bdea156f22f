"""Temporal causal graphs: random DAGs of lagged, partly nonlinear mechanisms (CauKer, TCM).

One node of each graph is observed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic.base import Family, choice, log_uniform, normal, time_index, uniform
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
)
