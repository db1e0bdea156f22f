"""Networks with prompts: exact without, invariant with, on every backbone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tsfm.models import TSFM, ModelConfig
from tsfm.models.config import TokenizerConfig
from tsfm.models.network import ForecastingNetwork
from tsfm.models.prompting import context_query
from tsfm.tokenizers import FixedPatchTokenizer, Kind

BACKBONES = ["transformer", "companion", "mamba1", "mamba2"]
PROMPTED = TokenizerConfig(n_prompts=3, n_anchors=40)


@pytest.fixture(params=BACKBONES)
def network(request, random_model) -> ForecastingNetwork:
    return random_model(request.param, amount=0.1, tokenizer=PROMPTED).network


def series(rows: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    z = torch.sin(torch.arange(length) / 4) + 0.3 * torch.randn(rows, length, generator=rng)
    return z, torch.rand(rows, length, generator=rng) < 0.9


def retrieved(network: ForecastingNetwork, z, observed) -> torch.Tensor:
    batch = network.tokenizer.tokenize(z, observed, 32)
    return network.prompts(context_query(network.embed(batch), batch)).chosen


def test_prompts_come_first_and_belong_to_no_step():
    z, observed = series(2, 70)
    observed[0, :40] = False
    observed[1, :] = True
    plain = FixedPatchTokenizer(32).tokenize(z, observed, 32)
    batch = plain.with_prompts(2)
    assert batch.kind[:, :2].eq(Kind.PROMPT).all()
    assert batch.holds_data[:, :2].all()
    assert not batch.observed[:, :2].any()
    assert batch.length[:, :2].sum() == batch.start[:, :2].sum() == 0
    first = observed.int().argmax(-1)
    assert torch.equal(batch.position[:, :2], first[:, None].expand(-1, 2).float())
    assert (batch.n_prompts, batch.n_context) == (2, plain.n_context + 2)
    rest = batch.select(slice(2, None))
    assert rest.n_prompts == 0
    for field in dataclasses.fields(plain):
        one, two = getattr(rest, field.name), getattr(plain, field.name)
        if field.name == "step_token":
            assert torch.equal(batch.token_of_step(), plain.token_of_step() + 2)
            continue
        assert torch.equal(one, two) if isinstance(two, torch.Tensor) else one == two


@pytest.mark.parametrize("name", BACKBONES)
def test_no_prompts_are_exactly_none(name):
    config = ModelConfig.preset("tiny")
    config = dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, name=name, d_state=8)
    )
    without = dataclasses.replace(config, tokenizer=TokenizerConfig(n_prompts=0))
    one, two = (TSFM.from_config(c).network.state_dict() for c in (config, without))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    prompted = TSFM.from_config(dataclasses.replace(config, tokenizer=PROMPTED)).network
    weights = prompted.state_dict()
    assert weights.keys() - one.keys() == {"prompts.anchors", "prompts.projection.weight"}
    assert all(torch.equal(one[key], weights[key]) for key in one)  # the same start


def test_prompts_are_heard(network):
    z, observed = series(3, 160)
    before = network(z, observed, 40)
    with torch.no_grad():
        network.prompts.projection.weight.neg_()
    assert (network(z, observed, 40) - before).abs().max() > 1e-4


def test_left_padding_and_batch_mates_change_nothing(network):
    z, observed = series(3, 160)
    observed[1, :70] = False
    plain = network(z, observed, 70)
    for pad in (32, 96, 640):
        wide = F.pad(z, (pad, 0)), F.pad(observed, (pad, 0))
        assert torch.equal(retrieved(network, *wide), retrieved(network, z, observed))
        torch.testing.assert_close(network(*wide, 70), plain, atol=1e-5, rtol=1e-5)
    for row in range(3):
        one = slice(row, row + 1)
        alone = network(z[one], observed[one], 70)
        torch.testing.assert_close(alone, plain[one], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["transformer", "mamba2"])
@pytest.mark.parametrize("tokenizer", ["mixture", "decomposed"])
def test_prompts_go_with_every_tokenizer(random_model, backbone, tokenizer):
    config = TokenizerConfig(tokenizer, embedding=tokenizer, n_prompts=3)
    network = random_model(backbone, amount=0.1, tokenizer=config).network
    z, observed = series(3, 192)
    observed[1, :70] = False
    plain = network(z, observed, 70)
    wide = (F.pad(x, (256, 0)) for x in (z, observed))
    torch.testing.assert_close(network(*wide, 70), plain, atol=1e-5, rtol=1e-5)
    alone = network(z[1:2], observed[1:2], 70)
    torch.testing.assert_close(alone, plain[1:2], atol=1e-5, rtol=1e-5)
    up, down = (network(side, observed, 40, symmetric=True) for side in (z, -z))
    torch.testing.assert_close(down, -up.flip(-1))
    network.loss(z, observed, 64).mean().backward()
    assert network.prompts.projection.weight.grad.abs().max() > 0


def test_a_short_horizon_is_the_beginning_of_a_long_one(network):
    z, observed = series(2, 130)
    long = network(z, observed, 300)
    for horizon in (1, 33, 100):
        torch.testing.assert_close(network(z, observed, horizon), long[:, :horizon])


def test_tokens_nobody_asked_for_change_nothing(network):
    z, observed = series(2, 130)
    batch = network.tokenizer.tokenize(z, observed, 64)
    every = network.predict_tokens(batch)
    assert every.shape[:2] == batch.kind.shape
    for tokens in (slice(4, 7), slice(0, 1), slice(-2, None), slice(None, 3)):
        torch.testing.assert_close(network.predict_tokens(batch, tokens), every[:, tokens])


def test_symmetric_forecasts_are_mirrored(network):
    z, observed = series(3, 160)
    up, down = (network(side, observed, 40, symmetric=True) for side in (z, -z))
    torch.testing.assert_close(down, -up.flip(-1))


def test_nothing_is_learnt_from_missing_values(network):
    z, observed = series(3, 192)
    other = torch.where(observed, z, torch.nan)
    assert torch.equal(network(z, observed, 64), network(other, observed, 64))
    other = torch.where(observed, z, 50.0)
    assert torch.equal(network.loss(z, observed, 64), network.loss(other, observed, 64))
    observed[0] = False
    assert torch.isfinite(network(z, observed, 64)).all()


def test_the_loss_draws_contexts_and_prompts_together(network):
    z, observed = series(8, 192)
    batch = network.tokenizer.tokenize(z[:, :-64], observed[:, :-64], 64)
    similarity = network.answer(batch)[1]
    assert similarity.shape == (8,)
    plain = dataclasses.replace(network.config.tokenizer, prompt_weight=0.0)
    loss = network.loss(z, observed, 64)
    config = network.config
    network.config = dataclasses.replace(config, tokenizer=plain)
    torch.testing.assert_close(loss, network.loss(z, observed, 64) - 0.05 * similarity)
    network.config = dataclasses.replace(
        config, tokenizer=dataclasses.replace(plain, prompt_weight=1.0)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(8):
        optimizer.zero_grad()
        network.loss(z, observed, 64).mean().backward()
        assert network.prompts.projection.weight.grad.abs().max() > 0
        optimizer.step()
    after = network.answer(batch)[1]
    assert after.mean() > similarity.mean() + 0.02


def test_hidden_patches_are_no_part_of_the_query(network):
    z, _ = series(2, 192)
    observed = torch.ones_like(z, dtype=torch.bool)
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[:, 2] = True
    other = z.clone()
    other[:, 64:96] += 3
    queries = []
    for x in (z, other):
        batch = network.tokenizer.tokenize(x[:, :128], observed[:, :128], 64, hidden)
        queries.append(context_query(network.embed(batch), batch))
    assert torch.equal(*queries)


@pytest.mark.parametrize("name", ["transformer", "mamba2"])
def test_models_with_foreign_anchors_stand_alone(name, tmp_path, random_model):
    path = tmp_path / "words.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 7)))
    tokenizer = TokenizerConfig(n_prompts=4, anchors=str(path))
    model = random_model(name, amount=0.1, tokenizer=tokenizer)
    assert (model.config.tokenizer.n_anchors, model.config.tokenizer.d_anchors) == (50, 7)
    model.save_pretrained(tmp_path / "model")
    path.unlink()
    assert "words" not in (tmp_path / "model" / "config.json").read_text()
    loaded = TSFM.from_pretrained(tmp_path / "model", device="cpu")
    data = [np.sin(np.arange(90.0)), np.r_[np.nan, np.arange(40.0)]]
    one, two = (m.forecast(data, 20).quantiles for m in (model, loaded))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()


def test_anchors_nobody_retrieves_are_refused(random_model):
    for tokenizer in (TokenizerConfig(anchors="words.npy"), TokenizerConfig(n_prompts=-1)):
        with pytest.raises(ValueError, match="n_prompts"):
            random_model("transformer", tokenizer=tokenizer)
    with pytest.raises(FileNotFoundError, match="words"):
        random_model("transformer", tokenizer=TokenizerConfig(n_prompts=1, anchors="words.npy"))


@pytest.mark.parametrize("name", ["mamba2", "companion"])
def test_networks_with_prompts_do_not_stream(name, random_model):
    model = random_model(name, tokenizer=PROMPTED)
    assert not model.keeps_state
    assert random_model(name).keeps_state
    with pytest.raises(ValueError, match="whole context"):
        model.network.blank_memory(2)
