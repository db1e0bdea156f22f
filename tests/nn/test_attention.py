"""Attention: who sees whom, and that padding and later tokens change nothing."""

from __future__ import annotations

import pytest
import torch

from tsfm.nn.attention import Attention, causal_bias
from tsfm.nn.rotary import rotary_factors


def angles(position: torch.Tensor, d_head: int = 8):
    return rotary_factors(position, d_head, 1000.0)


def test_bias_lets_tokens_see_earlier_data_and_themselves():
    observed = torch.tensor([[False, True, False, True]])
    bias = causal_bias(observed)[0, 0]
    assert set(bias.unique().tolist()) == {0.0, -torch.inf}
    assert (bias == 0).tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, True, True, False],
        [False, True, False, True],
    ]


def test_bias_of_an_empty_row_leaves_every_token_itself():
    bias = causal_bias(torch.zeros(1, 5, dtype=torch.bool))[0, 0]
    assert torch.equal(bias == 0, torch.eye(5).bool())


@pytest.fixture
def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(32, 4)


def test_later_and_empty_tokens_change_nothing(layer):
    x = torch.randn(2, 10, 32)
    observed = torch.ones(2, 10, dtype=torch.bool)
    observed[:, 3] = False
    cos, sin = angles(torch.arange(10.0).expand(2, -1))
    before = layer(x, cos, sin, causal_bias(observed))
    changed = x.clone()
    changed[:, 3] += 100  # holds no data
    changed[:, 7:] -= 5  # lie in the future
    after = layer(changed, cos, sin, causal_bias(observed))
    keep = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(before[:, keep], after[:, keep])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_only_differences_of_position_matter(layer):
    x = torch.randn(1, 6, 32)
    bias = causal_bias(torch.ones(1, 6, dtype=torch.bool))
    position = torch.tensor([[0.0, 3.0, 4.5, 9.0, 10.0, 30.0]])
    here = layer(x, *angles(position), bias)
    there = layer(x, *angles(position + 500.25), bias)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    stretched = layer(x, *angles(3 * position), bias)
    assert (here - stretched).abs().max() > 1e-3


def test_bf16_is_close_to_fp32(layer):
    x = torch.randn(4, 32, 32)
    cos, sin = angles(torch.arange(32.0).expand(4, -1))
    bias = causal_bias(torch.rand(4, 32) < 0.8)
    full = layer(x, cos, sin, bias)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x, cos, sin, bias)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).norm() / full.norm() < 0.02


@pytest.mark.parametrize("tokens", [1, 7, 300])
def test_training_and_inference_paths_agree(layer, tokens):
    x = torch.randn(2, tokens, 32)
    cos, sin = angles(torch.arange(float(tokens)).expand(2, -1))
    bias = causal_bias(torch.rand(2, tokens) < 0.7)
    trained = layer(x, cos, sin, bias)
    assert trained.requires_grad
    with torch.inference_mode():
        inferred = layer(x, cos, sin, bias)
    torch.testing.assert_close(trained.detach(), inferred, atol=1e-5, rtol=1e-5)


def test_attention_is_its_formula(layer):
    x = torch.randn(1, 5, 32)
    position = torch.zeros(1, 5)  # no rotation
    bias = causal_bias(torch.ones(1, 5, dtype=torch.bool))
    q, k, v = (part.view(5, 4, 8).transpose(0, 1) for part in layer.qkv(x)[0].chunk(3, dim=-1))
    q, k = layer.q_norm(q), layer.k_norm(k)
    scores = (q @ k.transpose(1, 2)) / 8**0.5
    weights = (scores + bias[0]).softmax(-1)
    wanted = layer.out((weights @ v).transpose(0, 1).reshape(5, 32))
    torch.testing.assert_close(layer(x, *angles(position), bias)[0], wanted)


@pytest.mark.parametrize(("width", "heads"), [(30, 4), (20, 4)])
def test_widths_that_do_not_split_are_refused(width, heads):
    with pytest.raises(ValueError, match=f"d_model={width}"):
        Attention(width, heads)
