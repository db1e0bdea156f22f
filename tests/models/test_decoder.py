"""Forecasts of a decoder: a short one begins a long one, and what is missing stays unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.models import TSFM
from tsfm.models.backbone import build_backbone
from tsfm.models.config import BackboneConfig, ModelConfig
from tsfm.models.network import ForecastingNetwork

TINY = ModelConfig.preset("tiny")


def configured(name: str, **fields) -> ModelConfig:
    fields = {"forecast_tokens": "decoded", "n_decoder_layers": 2, "d_state": 8, **fields}
    return replace(TINY, backbone=replace(TINY.backbone, name=name, **fields))


def heard(config: ModelConfig) -> ForecastingNetwork:
    """An untrained network in which every weight is heard."""
    torch.manual_seed(0)
    network = ForecastingNetwork(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return network


@pytest.fixture(params=["transformer", "companion", "mamba1", "mamba2"], scope="module")
def network(request) -> ForecastingNetwork:
    return heard(configured(request.param))


def series(rows: int = 3, length: int = 160) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    z = torch.sin(torch.arange(length) / 4) + 0.3 * torch.randn(rows, length, generator=rng)
    return z, torch.rand(rows, length, generator=rng) < 0.9


def test_any_horizon_is_the_beginning_of_a_longer_one(network):
    z, observed = series()
    long = network(z, observed, 720)
    for horizon in (1, 24, 32, 33, 300):
        forecast = network(z, observed, horizon)
        assert forecast.shape == (3, horizon, 9)
        assert (forecast.diff(dim=-1) >= 0).all()
        torch.testing.assert_close(forecast, long[:, :horizon], atol=1e-5, rtol=1e-5)


def test_missing_steps_in_front_change_nothing(network):
    z, observed = series()
    plain = network(z, observed, 70)
    for pad in (32, 640):
        more = network(F.pad(z, (pad, 0)), F.pad(observed, (pad, 0)), 70)
        torch.testing.assert_close(more, plain, atol=1e-5, rtol=1e-5)


def test_batch_mates_change_nothing(network):
    z, observed = series(4)
    observed[1] = False  # nothing to look at
    together = network(z, observed, 70)
    assert torch.isfinite(together).all()
    for row in range(4):
        alone = network(z[row : row + 1], observed[row : row + 1], 70)
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_tokens_nobody_asked_for_change_nothing(network):
    batch = network.tokenizer.tokenize(*series(), 96)  # five context, three forecast tokens
    every = network.predict_tokens(batch)
    for tokens in (slice(4, 8), slice(4, 5), slice(5, 8), slice(0, 3), slice(6, 7), slice(2, 6)):
        found = network.predict_tokens(batch, tokens)
        torch.testing.assert_close(found, every[:, tokens], atol=1e-5, rtol=1e-5)


def test_context_tokens_do_as_without_a_decoder(network):
    plain = {"forecast_tokens": "masked", "n_decoder_layers": 1}
    masked = ForecastingNetwork(configured(network.config.backbone.name, **plain))
    weights = {
        key.replace("backbone.context.", "backbone."): value
        for key, value in network.state_dict().items()
        if not key.startswith("backbone.") or key.startswith("backbone.context.")
    }
    masked.load_state_dict(weights)
    batch = network.tokenizer.tokenize(*series(), 96)
    one, two = (each.eval().predict_tokens(batch) for each in (network, masked))
    torch.testing.assert_close(one[:, :5], two[:, :5], atol=1e-5, rtol=1e-5)
    assert (one[:, 5:] - two[:, 5:]).abs().max() > 1e-3


def test_the_state_is_that_after_the_context(network):
    if network.config.backbone.name == "transformer":
        pytest.skip("keeps no state")
    stack, batch = network.backbone.context, network.tokenizer.tokenize(*series(), 96)
    x = network.embed(batch)
    _, wanted = stack(x[:, :5], batch.select(slice(5)), stack.initial_state(3))
    _, found = network.backbone(x, batch, stack.initial_state(3))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_gradients_reach_every_parameter(network):
    z, observed = series(3, 256)
    network.zero_grad()
    network.loss(z, observed, 96).sum().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name
    network.zero_grad(set_to_none=True)


def test_later_forecast_tokens_are_not_seen_and_missing_context_is_not_looked_at():
    network = heard(configured("transformer"))
    z, observed = series()
    observed[:, 32:64] = False
    batch = network.tokenizer.tokenize(z, observed, 96)
    x = network.embed(batch)
    plain = network.backbone(x, batch)[0]
    for changed, differs in ((6, [6, 7]), (1, [1])):  # token 1 holds nothing
        other = x.clone()
        other[:, changed] += 1
        states = network.backbone(other, batch)[0]
        found = (states != plain).flatten(2).any(-1).any(0).nonzero().flatten().tolist()
        assert found == differs


def test_adaptive_frequencies_serve_the_decoder():
    network = heard(configured("transformer", rotary="adaptive"))
    z, observed = series()
    long = network(z, observed, 100)
    torch.testing.assert_close(network(z, observed, 40), long[:, :40], atol=1e-5, rtol=1e-5)
    network.loss(z, observed, 64).sum().backward()
    assert (network.backbone.blocks[0].rotary.out.weight.grad != 0).any()


def test_streams_start_from_scratch():
    network = heard(configured("mamba2"))
    with pytest.raises(ValueError, match="forecast_tokens='masked'"):
        network.blank_memory(2)
    assert not TSFM(network).keeps_state


def test_saved_models_come_back(tmp_path):
    model = TSFM(heard(configured("mamba2")))
    model.save_pretrained(tmp_path)
    again = TSFM.from_pretrained(tmp_path)
    assert again.config == model.config
    z = [torch.sin(torch.arange(200.0)).numpy()]
    one, two = (each.forecast(z, 50).quantiles for each in (model, again))
    assert (one == two).all()


def test_masked_backbones_keep_their_names():
    names = dict(ForecastingNetwork(TINY).named_parameters())
    assert "backbone.blocks.0.attention.qkv.weight" in names
    assert not any("decoder" in name or "context" in name for name in names)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"forecast_tokens": "guessed"}, "forecast_tokens"),
        ({"n_decoder_layers": 0}, "n_decoder_layers"),
        ({"name": "mamba1", "n_heads": 7}, "n_heads=7"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    fields = {"forecast_tokens": "decoded", "d_model": 32, "n_heads": 2, **fields}
    with pytest.raises(ValueError, match=message):
        build_backbone(BackboneConfig(**fields))
