"""The network: monotone heads, invisible padding, and a loss that looks where it should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsfm.models.config import HeadConfig, ModelConfig, TokenizerConfig
from tsfm.models.heads import QuantileHead
from tsfm.models.network import ForecastingNetwork
from tsfm.tokenizers import FixedPatchTokenizer


@pytest.fixture(params=["transformer", "companion", "mamba1", "mamba2"])
def network(request, random_model) -> ForecastingNetwork:
    return random_model(request.param, amount=0.1).network


def series(rows: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    z = torch.sin(torch.arange(length) / 4) + 0.3 * torch.randn(rows, length, generator=rng)
    return z, torch.rand(rows, length, generator=rng) < 0.9


@pytest.mark.parametrize("n_references", [0, 5])
def test_heads_are_monotone_whatever_the_states(n_references):
    torch.manual_seed(0)
    head = QuantileHead(HeadConfig(), 16, 8, n_references)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    z, observed = series(3, 40)
    batch = FixedPatchTokenizer(8, references=n_references > 0).tokenize(z, observed, 16)
    quantiles = head(10 * torch.randn(3, 7, 16), batch)
    assert quantiles.shape == (3, 7, 8, 9)
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.1, 0.9), (0.5, 0.5), (0.1, 0.5, 0.99)])
def test_heads_need_increasing_levels_with_a_median(levels):
    with pytest.raises(ValueError, match="quantile_levels"):
        QuantileHead(HeadConfig(quantile_levels=levels), 16, 8, 0)


def test_an_untrained_network_starts_from_its_references():
    network = ForecastingNetwork(ModelConfig.preset("tiny")).eval()
    z, observed = series(2, 96)
    batch = network.tokenizer.tokenize(z, observed, 32)
    median = network.predict_tokens(batch)[..., 4]
    torch.testing.assert_close(median, batch.references.mean(-1))


def test_left_padding_changes_nothing(network):
    z, observed = series(3, 160)
    plain = network(z, observed, 70)
    for pad in (32, 96, 640):
        padded = network(
            torch.nn.functional.pad(z, (pad, 0)),
            torch.nn.functional.pad(observed, (pad, 0)),
            70,
        )
        torch.testing.assert_close(plain, padded, atol=1e-5, rtol=1e-5)


def test_a_short_horizon_is_the_beginning_of_a_long_one(network):
    z, observed = series(2, 130)
    long = network(z, observed, 300)
    for horizon in (1, 31, 32, 33, 100):
        torch.testing.assert_close(network(z, observed, horizon), long[:, :horizon])


def test_tokens_nobody_asked_for_change_nothing(network):
    z, observed = series(2, 130)
    batch = network.tokenizer.tokenize(z, observed, 64)
    every = network.predict_tokens(batch)
    for tokens in (slice(4, 7), slice(0, 1), slice(6, 7)):
        torch.testing.assert_close(network.predict_tokens(batch, tokens), every[:, tokens])


def test_symmetric_forecasts_average_with_the_mirror_image(network):
    z, observed = series(3, 160)
    up, down = (network(side, observed, 40) for side in (z, -z))
    symmetric = network(z, observed, 40, symmetric=True)
    torch.testing.assert_close(symmetric, (up - down.flip(-1)) / 2)
    mirrored = network(-z, observed, 40, symmetric=True)
    torch.testing.assert_close(mirrored, -symmetric.flip(-1))
    assert (up - symmetric).abs().max() > 1e-3


@pytest.mark.parametrize("references", [True, False])
@pytest.mark.parametrize("n_cycles", [0, 2])
def test_switches_of_the_tokenizer(random_model, references, n_cycles):
    tokenizer = TokenizerConfig(patch_length=16, n_cycles=n_cycles, references=references)
    network = random_model("transformer", amount=0.1, tokenizer=tokenizer).network
    z, observed = series(2, 96)
    quantiles = network(z, observed, 20)
    assert quantiles.shape == (2, 20, 9)
    assert torch.isfinite(quantiles).all()
    loss = network.loss(z, observed, 32)
    assert torch.isfinite(loss).all()


def test_bf16_is_close_to_fp32(network):
    z, observed = series(4, 256)
    full = network(z, observed, 64)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(z, observed, 64)
    assert half.dtype == torch.float32
    assert (half - full).norm() / full.norm() < 0.03


def test_loss_ignores_what_is_missing(network):
    z, observed = series(3, 192)
    other = torch.where(observed, z, 50.0)
    assert torch.equal(network.loss(z, observed, 64), network.loss(other, observed, 64))


def test_loss_of_rows_without_context_or_target_is_zero(network):
    z, observed = series(2, 128)
    observed[0, :64] = False  # nothing to go by
    observed[1, :] = False
    loss = network.loss(z, observed, 64)
    assert loss.tolist() == [0, 0]
    hidden = torch.zeros(2, 4, dtype=torch.bool)
    hidden[:, :2] = True
    assert network.loss(*series(2, 128), 64, hidden).tolist() == [0, 0]


def test_hidden_patches_are_targets_but_not_inputs(network):
    z, _ = series(2, 192)
    observed = torch.ones_like(z, dtype=torch.bool)
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[:, 2] = True
    z.requires_grad_()
    network.loss(z, observed, 64, hidden).sum().backward()
    gradient = z.grad.clone()
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 64:96] != 0).all()  # a pinball loss has a slope at every target
    z.grad = None
    batch = network.tokenizer.tokenize(z[:, :128], observed[:, :128], 64, hidden)
    network.predict_tokens(batch).sum().backward()
    assert (z.grad[:, 64:96] == 0).all()
