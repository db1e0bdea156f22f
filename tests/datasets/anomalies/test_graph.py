"""Related channels: propagation with lags, exogenous events, broken relations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tsfm.datasets.anomalies import KIND_NAMES, anomaly_batch
from tsfm.datasets.anomalies.commands import command_rows
from tsfm.datasets.anomalies.graph import Graph, delayed, draw_graph, mix, propagate


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def chain() -> Graph:
    """0 -> 1 -> 2 with lags 3 and 5, linear, without memory."""
    parent = torch.zeros(1, 3, 3, dtype=torch.int64)
    parent[0, 2, 0] = 1
    follows = torch.zeros(1, 3, 3, dtype=torch.bool)
    follows[0, 1:, 0] = True
    lag = torch.zeros(1, 3, 3, dtype=torch.int64)
    lag[0, 1, 0], lag[0, 2, 0] = 3, 5
    one = torch.ones(1, 3, 1)
    return Graph(parent, follows, lag, torch.ones(1, 3, 3), 1e-3 * one, 0 * one,
                 0.5 * one * follows.any(-1, keepdim=True), torch.zeros(1, 3).long())  # fmt: skip


def test_effects_come_with_the_sum_of_lags(chain):
    own = torch.randn(1, 3, 200, generator=rng())
    clean, scales = mix(own, chain)
    hit = own.clone()
    hit[0, 0, 100] += 10
    change = mix(hit, chain, scales)[0] - clean
    for channel, step in ((0, 100), (1, 103), (2, 108)):
        assert change[0, channel].abs().argmax() == step
        assert change[0, channel, :step].abs().max() < 1e-4
    source = torch.zeros(1, 3, 200, dtype=torch.bool)
    source[0, 0, 100] = True
    marks = propagate(source, chain)[0]
    assert [int(m.nonzero()[0]) for m in marks] == [100, 103, 108]
    assert torch.equal(mix(own, chain, scales)[0], clean)


def test_causes_do_not_see_effects(chain):
    own = torch.randn(1, 3, 200, generator=rng())
    clean, scales = mix(own, chain)
    own[0, 2, 50] += 10
    change = mix(own, chain, scales)[0] - clean
    assert change[0, :2].abs().max() == 0
    assert change[0, 2, 50] > 1


@pytest.mark.parametrize("n_channels", [2, 5, 20])
def test_graphs_are_acyclic_and_shallow(n_channels):
    graph = draw_graph(200, n_channels, rng())
    child = torch.arange(n_channels)[:, None]
    assert ((graph.parent < child) | ~graph.follows).all()
    edges = graph.follows.sum((1, 2)).float().mean()
    assert edges == 1 if n_channels == 2 else 0.6 * n_channels < edges < 1.3 * n_channels
    depth = torch.zeros(200, n_channels)
    for c in range(1, n_channels):
        above = depth.gather(1, graph.parent[:, c]) + 1
        depth[:, c] = torch.where(graph.follows[:, c], above, 0.0).amax(-1)
    assert depth.max() <= 3
    assert ((graph.blend > 0)[..., 0] == graph.is_child).all()


def test_delay():
    assert delayed(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([2])).tolist() == [[1, 1, 1, 2]]


def test_exogenous_events_stay_in_their_channels(recipe):
    only = replace(recipe, endogenous=0.0, correlation_break=0.0, clean=0.0)
    batch = anomaly_batch(only, 60, 4, 256, rng())
    changed = (batch.values != batch.clean).any(-1)
    assert (changed.sum(-1) >= 1).all()
    assert 0.3 < changed.float().mean() < 0.58  # one, and a quarter of the other three
    assert not (batch.labels.any(-1) & ~changed).any()


def test_endogenous_events_reach_other_channels(recipe):
    only = replace(recipe, endogenous=1.0, correlation_break=0.0, clean=0.0, weak=0.0)
    batch = anomaly_batch(only, 60, 4, 512, rng())
    per_sample = batch.labels.any(-1).sum(-1)
    assert (per_sample >= 1).float().mean() > 0.8
    assert (per_sample >= 2).float().mean() > 0.3
    kinds = [set(row[row > 0].tolist()) for row in batch.kind]
    assert all(len(kind) <= 1 for kind in kinds)  # one event, one type, in all channels
    labelled = (batch.values - batch.clean).abs()[batch.labels]
    assert (labelled > 1e-6).float().mean() > 0.9


def test_broken_relations_have_their_own_kind(recipe):
    only = replace(recipe, endogenous=0.0, correlation_break=1.0, clean=0.0)
    batch = anomaly_batch(only, 40, 3, 512, rng())
    named = batch.kind[batch.kind > 0].unique().tolist()
    assert KIND_NAMES.index("correlation_break") in named
    assert batch.labels.float().mean(-1).max() <= 0.35


def test_clean_samples_and_scale(recipe):
    batch = anomaly_batch(replace(recipe, clean=1.0), 10, 3, 256, rng())
    assert torch.equal(batch.values, batch.clean)
    assert (batch.clean.std(-1, correction=0) - 1).abs().max() < 1e-2


def test_label_share_of_every_channel(shipped):
    batch = anomaly_batch(shipped, 60, 6, 512, rng())
    assert batch.labels.float().mean(-1).max() <= 0.35
    assert batch.labels.any(1).float().mean(-1).median() <= 0.35
    assert batch.values.isfinite().all()


def test_commands_are_ordinary_and_leave_the_other_channels_alone(recipe):
    only = replace(recipe, clean=0.0, weak=0.0, commands=1.0)
    batch = anomaly_batch(only, 40, 8, 512, rng())
    levels = torch.tensor([[len(row.unique()) for row in sample] for sample in batch.clean])
    command = levels <= 2
    assert (~command).any(-1).all()  # never all of them
    assert 0.3 < command.float().mean() < 0.7
    assert torch.equal(batch.values[command], batch.clean[command])
    assert torch.equal(batch.expected[command], batch.clean[command])
    assert not batch.labels[command].any()
    assert batch.labels[~command].any(-1).float().mean() > 0.1
    assert batch.values.isfinite().all()
    rows = command_rows(400, 1024, rng())
    on = rows > 0
    assert 0.1 < (~on.any(-1)).float().mean() < 0.45  # silent ones
    assert (on.float().mean(-1) < 0.2).float().mean() > 0.5  # most are rare
