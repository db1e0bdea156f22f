"""Networks that read mixture-of-size patches: fusion, invariances, learning, saving."""

from __future__ import annotations

import copy

import pytest
import torch

from tsfm.models import TSFM, ModelConfig
from tsfm.models.config import TokenizerConfig
from tsfm.models.mixture_embedding import MixtureEmbedding
from tsfm.models.network import ForecastingNetwork
from tsfm.tokenizers import FixedPatchTokenizer
from tsfm.tokenizers.mixture import MixtureTokenizer

MIXTURE = TokenizerConfig("mixture", embedding="mixture")


@pytest.fixture(params=["transformer", "mamba2"])
def network(request, random_model) -> ForecastingNetwork:
    network = random_model(request.param, amount=0.1, tokenizer=MIXTURE).network
    with torch.no_grad():
        network.tokenizer.router.weight.normal_(generator=torch.Generator().manual_seed(1))
    return network


def series(rows: int, length: int, seed: int = 0, missing: float = 0.1):
    rng = torch.Generator().manual_seed(seed)
    z = torch.sin(torch.arange(length) / 4) + 0.3 * torch.randn(rows, length, generator=rng)
    z[:, : length // 2] *= torch.linspace(0.01, 1, rows)[:, None]
    return z, torch.rand(rows, length, generator=rng) >= missing


def test_it_is_the_published_block():
    torch.manual_seed(0)
    tokenizer = MixtureTokenizer(n_cycles=0, references=False, aligned_views=True)
    embedding = MixtureEmbedding(tokenizer, 24, 16)
    z, observed = series(2, 640)
    batch = tokenizer.tokenize(z, observed, 32)
    first, skip = embedding.hidden.weight, embedding.skip.weight
    places = (range(0, 128), range(128, 192), range(192, 224))
    hidden, straight = 0, 0
    for g, place in enumerate(places):  # expert by expert
        columns = [*place, *(224 + i for i in place), 448 + g]
        view = [batch.views[..., place], batch.views_observed[..., place].float()]
        x = torch.cat([*view, torch.ones_like(view[0][..., :1])], dim=-1)
        weight = batch.view_weights[..., g, None]
        hidden = hidden + weight * (x @ first[:, columns].T)
        straight = straight + weight * (x @ skip[:, columns].T)
    told = batch.features
    hidden = hidden + told @ first[:, 451:].T + embedding.hidden.bias
    straight = straight + told @ skip[:, 451:].T
    wanted = embedding.out(torch.nn.functional.silu(hidden)) + straight
    torch.testing.assert_close(embedding(batch), wanted, atol=1e-5, rtol=1e-5)


def test_tokens_of_null_experts_have_no_content():
    torch.manual_seed(0)
    tokenizer = MixtureTokenizer(top_experts=2)
    with torch.no_grad():
        tokenizer.router.weight.zero_()
        tokenizer.router.bias.copy_(torch.tensor([0.0, 0, 0, 9, 9]))
    embedding = MixtureEmbedding(tokenizer, 24, 16)
    batch = tokenizer.tokenize(*series(2, 512), 32)
    told = [batch.features, batch.references.flatten(2)]
    blank = torch.zeros(*batch.kind.shape, 451)
    wanted = super(MixtureEmbedding, embedding).forward(torch.cat([blank, *told], dim=-1))
    torch.testing.assert_close(embedding(batch), wanted)


def test_forcing_one_expert_forecasts_as_fixed_patches_of_that_size(random_model):
    network = random_model("transformer", amount=0.1, tokenizer=MIXTURE).network
    with torch.no_grad():
        network.tokenizer.router.weight.zero_()
        network.tokenizer.router.bias.copy_(torch.tensor([-50.0, -50, 0, -10, -10]))
    tokens = TokenizerConfig(patch_length=32)
    fixed = random_model("transformer", amount=0.1, tokenizer=tokens).network
    weights = network.state_dict()
    wanted = {k: v for k, v in weights.items() if not k.startswith(("tokenizer.", "embedding."))}
    length = network.tokenizer.n_features - 1  # fixed patches are not told their length
    for name in ("hidden", "skip"):
        w = weights[f"embedding.{name}.weight"]
        own, mask, told = w[:, 192:224], w[:, 416:448], w[:, 451:]
        told = torch.cat([told[:, :length], told[:, length + 1 :]], dim=1)
        wanted[f"embedding.{name}.weight"] = torch.cat([own, mask, told], dim=1)
        network.embedding.get_submodule(name).weight.data[:, [450, 451 + length]] = 0
    for name in ("hidden.bias", "out.weight", "out.bias"):
        wanted[f"embedding.{name}"] = weights[f"embedding.{name}"]
    fixed.load_state_dict(wanted)
    z, observed = series(3, 640)
    observed[:, 0] = True
    torch.testing.assert_close(
        network(z, observed, 80, symmetric=True),
        fixed(z, observed, 80, symmetric=True),
        atol=1e-5,
        rtol=1e-5,
    )


def test_padding_and_batch_mates_change_no_forecast(network):
    z, observed = series(3, 700)
    plain = network(z, observed, 70, symmetric=True)
    assert torch.isfinite(plain).all()
    for pad in (32, 128, 5 * 128):
        padded = (torch.nn.functional.pad(x, (pad, 0)) for x in (z, observed))
        again = network(*padded, 70, symmetric=True)
        torch.testing.assert_close(again, plain, atol=1e-5, rtol=1e-5)
    for row in range(3):
        alone = network(z[row : row + 1], observed[row : row + 1], 70, symmetric=True)
        torch.testing.assert_close(alone, plain[row : row + 1], atol=1e-5, rtol=1e-5)


def test_a_short_horizon_is_the_beginning_of_a_long_one(network):
    z, observed = series(2, 400)
    long = network(z, observed, 200)
    for horizon in (1, 32, 33):
        torch.testing.assert_close(network(z, observed, horizon), long[:, :horizon])


@pytest.mark.parametrize("missing", [0.2, 0.9, 1.0])
def test_missing_steps_give_finite_forecasts(network, missing):
    z, observed = series(2, 500, missing=missing)
    assert torch.isfinite(network(z, observed, 40)).all()
    assert torch.isfinite(network.loss(z[:, :480], observed[:, :480], 96)).all()


def test_evaluation_is_pure(network):
    z, observed = series(2, 640)
    before = copy.deepcopy(network.state_dict())
    one, two = (network(z, observed, 40) for _ in range(2))
    network.loss(z, observed, 64)
    assert torch.equal(one, two)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())


def test_the_router_learns_through_the_fusion_and_the_budget(random_model):
    z, observed = series(4, 640)
    slopes = []
    for steps_per_token in (0.0, 64.0):
        tokens = TokenizerConfig("mixture", embedding="mixture", steps_per_token=steps_per_token)
        network = random_model("transformer", amount=0.1, tokenizer=tokens).network.train()
        loss = network.loss(z, observed, 64).mean()
        loss.backward()
        slopes.append(network.tokenizer.router.weight.grad.clone())
        assert slopes[-1].abs().max() > 0
    assert not torch.allclose(*slopes)


@pytest.mark.parametrize("embedding", ["flat", "mixture"])
@pytest.mark.parametrize("aligned", [False, True])
def test_forecasts_and_saved_models(random_model, tmp_path, embedding, aligned):
    tokens = TokenizerConfig("mixture", embedding=embedding, aligned_views=aligned)
    model = random_model("mamba2", tokenizer=tokens)
    with torch.no_grad():
        model.network.tokenizer.router.bias += torch.tensor([0.3, -0.2, 0.1, 0, 0])
    arrays = [torch.sin(torch.arange(n) / 5.0).numpy() for n in (1, 40, 300, 1000)]
    arrays[2][50:100] = float("nan")
    found = model.forecast(arrays, 50)
    assert found.quantiles.shape == (4, 50, 9)
    model.save_pretrained(tmp_path)
    loaded = TSFM.from_pretrained(tmp_path, device="cpu")
    assert loaded.config == model.config
    assert (loaded.forecast(arrays, 50).quantiles == found.quantiles).all()
    reverse = loaded.forecast(arrays[::-1], 50).quantiles[::-1]
    torch.testing.assert_close(
        torch.tensor(reverse.copy()), torch.tensor(found.quantiles), atol=1e-5, rtol=1e-5
    )


def test_views_are_needed():
    tokens = TokenizerConfig(embedding="mixture")
    with pytest.raises(ValueError, match="'fixed' does not make"):
        ForecastingNetwork(ModelConfig(tokenizer=tokens))
    embedding = MixtureEmbedding(MixtureTokenizer(), 8, 8)
    batch = FixedPatchTokenizer().tokenize(torch.zeros(1, 64), torch.ones(1, 64) > 0, 0)
    with pytest.raises(ValueError, match="tokenizer 'mixture'"):
        embedding(batch)
