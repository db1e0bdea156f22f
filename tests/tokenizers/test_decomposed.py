"""Decomposed patches: fixed patches with components beside their values."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models import TSFM
from tsfm.models.config import TokenizerConfig
from tsfm.models.embeddings import ComponentEmbedding
from tsfm.tokenizers import DecomposedTokenizer, FixedPatchTokenizer
from tsfm.tokenizers.decomposition import decompose


def example(seed: int, rows: int, length: int, missing: float = 0.0):
    rng = torch.Generator().manual_seed(seed)
    z = torch.sin(torch.arange(length) * 2 * torch.pi / 12) + 0.02 * torch.arange(length)
    z = z + 0.3 * torch.randn(rows, length, generator=rng)
    observed = torch.rand(rows, length, generator=rng) >= missing
    return torch.where(observed, z, torch.nan), observed


cases = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 300),
    horizon=st.integers(1, 80),
    patch=st.sampled_from([1, 7, 32]),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    causal=st.booleans(),
    references=st.booleans(),
)


@cases
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_fixed_patches_and_components_sum_to_them(
    seed, rows, length, horizon, patch, missing, causal, references
):
    z, observed = example(seed, rows, length, missing)
    sizes = (patch, 2 * references, references)
    batch = DecomposedTokenizer(*sizes, causal=causal).tokenize(z, observed, horizon)
    fixed = FixedPatchTokenizer(*sizes).tokenize(z, observed, horizon)
    for field in fields(fixed):
        if isinstance(wanted := getattr(fixed, field.name), torch.Tensor):
            assert torch.equal(getattr(batch, field.name), wanted), field.name
    assert batch.components.shape == (*batch.values.shape, 3)
    torch.testing.assert_close(batch.components.sum(-1), batch.values, atol=1e-5, rtol=1e-5)
    assert (batch.components[~batch.observed] == 0).all()


@cases
@settings(max_examples=30, deadline=None)
def test_the_mirror_image_is_that_of_the_negated_series(
    seed, rows, length, horizon, patch, missing, causal, references
):
    z, observed = example(seed, rows, length, missing)
    z = z.double()
    tokenizer = DecomposedTokenizer(patch, 2, references, causal)
    both = tokenizer.with_mirror_image(tokenizer.tokenize(z, observed, horizon))
    wanted = tokenizer.tokenize(torch.cat([z, -z]), observed.repeat(2, 1), horizon)
    torch.testing.assert_close(both.components, wanted.components, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(both.values, wanted.values)


def test_the_season_is_the_repeat_of_the_series_or_of_the_calendar():
    z, observed = example(0, 2, 240)
    tokenizer = DecomposedTokenizer(16)
    for season in (None, torch.tensor([24, 0])):
        row = tokenizer.describe(z, observed, season)
        assert row.lags.short.tolist() == [12 if season is None else 24, 12]
        batch = tokenizer.tokenize(z, observed, 16, season=season)
        parts = decompose(z, observed, row.lags.short, row.lags.short, causal=True)
        cut = torch.stack([x.unflatten(1, (15, 16)) for x in parts], dim=-1)
        assert torch.equal(batch.components[:, :15], cut)
        assert (parts.seasonal != 0).any()
    noise = torch.randn(1, 240, generator=torch.Generator().manual_seed(1)).cumsum(-1)
    batch = tokenizer.tokenize(noise, torch.ones(1, 240, dtype=torch.bool), 16)
    assert (batch.components[..., 1] == 0).all()


def test_a_given_trend_width_is_that_of_all_rows():
    z, observed = example(2, 2, 96)
    batch = DecomposedTokenizer(32, trend_width=5).tokenize(z, observed, 32)
    wanted = decompose(z, observed, torch.tensor([5, 5]), torch.tensor([12, 12]), True)
    assert torch.equal(batch.components[:, :3, :, 0].flatten(1), wanted.trend)
    with pytest.raises(ValueError, match="trend_width"):
        DecomposedTokenizer(trend_width=0)


@pytest.mark.parametrize("causal", [True, False])
def test_hidden_patches_leave_no_trace(causal):
    z, observed = example(3, 2, 160)
    hidden = torch.zeros(2, 7, dtype=torch.bool)
    hidden[:, 2:4] = True
    other = z.clone()
    other[:, 64:128] += 7
    tokenizer = DecomposedTokenizer(causal=causal)
    one, two = (tokenizer.tokenize(x, observed, 64, hidden) for x in (z, other))
    assert torch.equal(one.components, two.components)
    assert (one.components[:, 2:4] == 0).all()


def test_the_newest_tokens_are_the_last_of_all():
    z, observed = example(4, 2, 160)
    tokenizer = DecomposedTokenizer()
    row = tokenizer.describe(z, observed)
    every = tokenizer.tokenize(z, observed, 64, row=row)
    newest = tokenizer.tokenize(z, observed, 64, row=row, newest=2)
    assert torch.equal(newest.components, every.components[:, 3:])


def test_only_centred_components_look_ahead():
    assert DecomposedTokenizer(causal=False).looks_ahead
    assert not DecomposedTokenizer().looks_ahead
    z, observed = example(5, 1, 128)
    other = z.clone()
    other[:, 64:] = other[:, 64:].flip(-1) + 1
    season = torch.tensor([12])
    for causal in (True, False):
        tokenizer = DecomposedTokenizer(32, causal=causal)
        row = tokenizer.describe(z, observed, season)
        one, two = (tokenizer.tokenize(x, observed, 32, row=row).components for x in (z, other))
        gap = (one - two)[:, :2].abs().max()
        assert (gap < 1e-6) == causal


def configured(random_model, backbone: str, embedding: str, **fields) -> TSFM:
    tokenizer = TokenizerConfig(name="decomposed", embedding=embedding, **fields)
    return random_model(backbone, amount=0.1, tokenizer=tokenizer)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("embedding", ["decomposed", "componentwise"])
@pytest.mark.parametrize("backbone", ["transformer", "companion", "mamba1", "mamba2"])
def test_forecasts_of_every_backbone(random_model, backbone, embedding, causal):
    model = configured(random_model, backbone, embedding, causal_decomposition=causal, n_prompts=2)
    network = model.network
    z, observed = example(6, 3, 160, 0.1)
    plain = network(z, observed, 70)
    wide = (torch.nn.functional.pad(x, (96, 0)) for x in (z, observed))
    torch.testing.assert_close(network(*wide, 70), plain, atol=1e-5, rtol=1e-5)
    alone = network(z[1:2], observed[1:2], 70)
    torch.testing.assert_close(alone, plain[1:2], atol=1e-5, rtol=1e-5)
    up, down = (network(x, observed, 40, symmetric=True) for x in (z, -z))
    torch.testing.assert_close(down, -up.flip(-1))
    torch.testing.assert_close(network(z, observed, 9), plain[:, :9])
    loss = network.loss(torch.where(observed, z, 0), observed, 64)
    loss.mean().backward()
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert not model.keeps_state


def test_every_map_sees_its_component_alone(random_model):
    network = configured(random_model, "transformer", "componentwise").network
    embedding = network.embedding
    assert isinstance(embedding, ComponentEmbedding)
    z, observed = example(7, 2, 96)
    batch = network.tokenizer.tokenize(z, observed, 32)
    batch.components.requires_grad_()
    for index in range(3):
        (gradient,) = torch.autograd.grad(embedding.part(index, batch).sum(), batch.components)
        heard = gradient.abs().amax((0, 1, 2)) > 0
        assert heard.tolist() == [index == other for other in range(3)]
    whole = sum(embedding.part(index, batch) for index in range(3))
    facts = embedding(batch) - whole
    (gradient,) = torch.autograd.grad(facts.sum(), batch.components)
    assert gradient.abs().max() < 1e-4  # the facts know of no component
    before = [embedding.part(index, batch) for index in range(3)]
    with torch.no_grad():
        batch.components[..., 1] += 1
    for index in range(3):
        assert torch.equal(embedding.part(index, batch), before[index]) == (index != 1)


def test_embeddings_and_tokenizers_that_do_not_fit_are_refused(random_model):
    with pytest.raises(ValueError, match="does not go with"):
        configured(random_model, "transformer", "flat")
    with pytest.raises(ValueError, match="does not go with"):
        random_model("transformer", tokenizer=TokenizerConfig(embedding="componentwise"))
    with pytest.raises(ValueError, match="preset 'smamba'"):
        random_model("transformer", tokenizer=TokenizerConfig(name="variate"))


@pytest.mark.parametrize("embedding", ["decomposed", "componentwise"])
def test_saved_models_forecast_the_same(random_model, embedding, tmp_path):
    model = configured(random_model, "mamba2", embedding, references=False, n_cycles=0)
    model.save_pretrained(tmp_path)
    loaded = TSFM.from_pretrained(tmp_path, device="cpu")
    data = [np.sin(np.arange(90.0)), np.r_[np.nan, np.arange(40.0)], np.ones(5), [np.nan, 2.0]]
    one, two = (m.forecast(data, 20).quantiles for m in (model, loaded))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()
    with pytest.raises(ValueError, match="Only fixed patches"):
        model.network.blank_memory(1)
