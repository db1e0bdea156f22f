"""One step: schedule, loss and optimiser."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.datasets.windows import WindowBatch, chunk_batches
from tsfm.models import ModelConfig
from tsfm.models.network import ForecastingNetwork
from tsfm.training.config import OptimizerConfig
from tsfm.training.forecasting import Forecasting, training_loss
from tsfm.training.module import learning_rate_factor
from tsfm.training.optimizers import build_optimizer


def test_schedule_warms_up_and_stays():
    config = OptimizerConfig(warmup_steps=10)
    factors = [learning_rate_factor(step, config, None, 0) for step in (0, 4, 9, 10, 10**6)]
    assert factors == pytest.approx([0.1, 0.5, 1, 1, 1])


def test_schedule_decays_from_where_the_branch_left():
    config = OptimizerConfig(warmup_steps=10, final_fraction=0.05)
    factors = [learning_rate_factor(s, config, 1000, 100) for s in (1000, 1025, 1064, 1100, 9999)]
    assert factors == pytest.approx([1, 0.5, 0.2, 0.05, 0.05])


@pytest.fixture
def network() -> ForecastingNetwork:
    torch.manual_seed(0)
    return ForecastingNetwork(ModelConfig.preset("tiny"))


def window(values: torch.Tensor, horizon: int, hidden: torch.Tensor | None = None) -> WindowBatch:
    n_patches = values.shape[1] // 32
    if hidden is None:
        hidden = torch.zeros(values.shape[0], n_patches, dtype=torch.bool)
    return WindowBatch(values, horizon, hidden)


@pytest.mark.parametrize(
    "edit",
    ["all missing", "context missing", "horizon missing", "all hidden", "constant", "one value"],
)
def test_rows_with_nothing_to_learn_do_no_harm(network, edit):
    values = torch.randn(4, 192, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(4, 6, dtype=torch.bool)
    if edit == "all missing":
        values[0] = torch.nan
    elif edit == "context missing":
        values[0, :128] = torch.nan
    elif edit == "horizon missing":
        values[0, 128:] = torch.nan
    elif edit == "all hidden":
        hidden[0, :4] = True
    elif edit == "constant":
        values[0] = 5.0
    else:
        values[0, :127] = torch.nan
    loss = training_loss(network, window(values, 64, hidden))
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_missing_and_unseen_values_do_not_reach_the_scale(network):
    values = torch.randn(2, 192, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[:, 1] = True
    before = training_loss(network, window(values, 64, hidden))
    assert torch.equal(before, training_loss(network, window(values * 1.0, 64, hidden)))
    scaled = training_loss(network, window(values * 1000 + 5e4, 64, hidden))
    torch.testing.assert_close(before, scaled, atol=1e-3, rtol=1e-3)
    beyond = values.clone()
    beyond[:, 128:] = torch.nan
    wild = values.clone()
    wild[:, 32:64] = torch.nan
    assert torch.isfinite(training_loss(network, window(beyond, 64, hidden)))
    assert training_loss(network, window(wild, 64, hidden)) != before  # they were targets


def test_a_fixed_batch_is_learnt_by_heart(network, recipe):
    batch = chunk_batches(dataclasses.replace(recipe, families={"waves": 1}), 0, 0)[0]
    optimizer = build_optimizer(network, OptimizerConfig(learning_rate=5e-3))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = training_loss(network, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_only_matrices_decay(network):
    optimizer = build_optimizer(network, OptimizerConfig(weight_decay=0.3))
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for parameter in network.parameters():
        assert decays.pop(id(parameter)) == (0.3 if parameter.ndim >= 2 else 0)
    assert not decays
    with pytest.raises(ValueError, match="Unknown optimizer 'sgd'"):
        build_optimizer(network, OptimizerConfig(name="sgd"))


def test_the_share_of_the_horizon_reaches_the_loss(config, network):
    batch = window(torch.randn(4, 192, generator=torch.Generator().manual_seed(0)), 64)
    for share in (None, 0.5):
        task = Forecasting(config.replace({"horizon_share": share}))
        loss, _ = task.loss(network, batch)
        torch.testing.assert_close(loss, training_loss(network, batch, share))
    assert training_loss(network, batch, 0.5) != training_loss(network, batch)
    with pytest.raises(ValueError, match=r"horizon_share must be in \[0, 1\], got 2"):
        config.replace({"horizon_share": 2})
    assert config.replace({"horizon_share": "3e-1"}).horizon_share == 0.3
    with pytest.raises(ValueError, match="'horizon_share' must be a number; got True"):
        config.replace({"horizon_share": True})


def test_tokens_that_look_ahead_have_no_share_of_the_context(config):
    ahead = {
        "model.tokenizer.name": "decomposed",
        "model.tokenizer.embedding": "decomposed",
        "model.tokenizer.causal_decomposition": False,
    }
    assert Forecasting(config.replace(ahead)).network().tokenizer.looks_ahead
    with pytest.raises(ValueError, match="leave horizon_share out"):
        Forecasting(config.replace(ahead | {"horizon_share": 0.3})).network()
