"""Variate tokens: what the contract says of them, and that S-Mamba reads them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models.presets.config import SMambaConfig
from tsfm.models.presets.smamba import SMambaNetwork
from tsfm.tokenizers import Kind, VariateTokenizer


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    variates=st.integers(1, 9),
    length=st.integers(1, 60),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_every_window_is_a_token(seed, rows, variates, length, missing):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, variates, length, generator=rng)
    observed = torch.rand(z.shape, generator=rng) >= missing
    tokenizer = VariateTokenizer(length)
    batch = tokenizer.tokenize(torch.where(observed, z, torch.nan), observed, 7)
    assert torch.equal(batch.values, torch.where(observed, z, 0))
    assert torch.equal(batch.observed, observed)
    assert (batch.kind == Kind.CONTEXT).all()
    assert (batch.start == 0).all()
    assert (batch.length == length).all()
    assert (batch.position == (length - 1) / 2).all()
    assert batch.variate.tolist() == [list(range(variates))] * rows
    assert batch.row.tolist() == list(range(rows))
    assert batch.n_context == variates
    assert torch.equal(batch.holds_data, observed.any(-1))
    assert tokenizer.max_length == length
    both = tokenizer.with_mirror_image(batch)
    assert torch.equal(both.values, torch.cat([batch.values, -batch.values]))
    some = batch.select(slice(0, 1))
    assert torch.equal(some.values, batch.values[:, :1])
    states = torch.randn(rows, variates, 4, generator=rng)
    steps = tokenizer.to_steps(states, batch)
    assert steps.shape == (rows, variates, length, 4)
    assert torch.equal(steps[:, :, -1], states)


def test_other_windows_are_refused():
    tokenizer, z = VariateTokenizer(8), torch.zeros(2, 3, 8)
    mask = z == 0
    for bad in (z[0], z[..., 1:], z[:, :2]):
        with pytest.raises(ValueError, match=r"\[B, N, 8\]"):
            tokenizer.tokenize(bad, mask, 4)
    with pytest.raises(ValueError, match="hidden"):
        tokenizer.tokenize(z, mask, 4, hidden=mask[..., 0])
    assert not list(tokenizer.parameters())


@torch.no_grad()
def test_smamba_reads_variate_tokens(monkeypatch):
    torch.manual_seed(0)
    network = SMambaNetwork(
        SMambaConfig(context_length=24, prediction_length=6, d_model=16, d_hidden=16)
    ).eval()
    z = torch.randn(2, 5, 24)
    x = network.embed(z)
    for block in network.blocks:
        x = block(x)
    assert torch.equal(network(z), network.head(network.norm(x)))
    assert not any("tokenizer" in name for name in network.state_dict())
    seen = []
    tokenize = VariateTokenizer.tokenize
    monkeypatch.setattr(
        VariateTokenizer,
        "tokenize",
        lambda self, *args, **kwargs: seen.append(tokenize(self, *args, **kwargs)) or seen[-1],
    )
    network(z)
    assert torch.equal(seen[0].values, z)
