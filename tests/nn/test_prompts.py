"""Checks P2 and P3: what is retrieved, what learns from it, and anchors of any origin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tsfm.nn.prompts import PromptPool, read_anchors


@pytest.mark.parametrize(("n_anchors", "d_anchors"), [(4, None), (8, None), (50, None), (30, 3)])
def test_the_most_similar_anchors_are_retrieved(n_anchors, d_anchors):
    torch.manual_seed(0)
    pool = PromptPool(8, 4, n_anchors, d_anchors)
    query = torch.randn(6, 8)
    found = pool(query)
    projected = pool.anchors @ pool.projection.weight.T
    cosine = torch.cosine_similarity(query[:, None], projected, dim=-1)
    best, index = cosine.sort(dim=-1, descending=True)
    assert torch.equal(found.chosen, index[:, :4])
    torch.testing.assert_close(found.similarity, best[:, :4].mean(-1))
    torch.testing.assert_close(found.vectors, projected[found.chosen])


@pytest.mark.parametrize("n_anchors", [1, 5, 8, 13, 40])
def test_anchors_are_random_orthogonal_directions(n_anchors):
    torch.manual_seed(1)
    pool = PromptPool(8, 1, n_anchors)
    for block in pool.anchors.split(8):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), atol=1e-6, rtol=0)
    torch.manual_seed(1)
    assert torch.equal(PromptPool(8, 1, n_anchors).anchors, pool.anchors)
    assert not torch.equal(PromptPool(8, 1, n_anchors).anchors, pool.anchors)


def test_gradients_reach_projection_and_query_but_not_the_anchors():
    torch.manual_seed(2)
    pool = PromptPool(8, 2, 16)
    query = torch.randn(3, 8, requires_grad=True)
    pool(query).vectors.square().sum().backward()
    assert query.grad is None or (query.grad == 0).all()
    assert pool.projection.weight.grad.abs().max() > 0
    pool.zero_grad()
    pool(query).similarity.sum().backward()
    assert query.grad.abs().max() > 0
    assert pool.projection.weight.grad.abs().max() > 0
    assert not pool.anchors.requires_grad
    assert "anchors" in pool.state_dict()


def test_a_query_of_nothing_retrieves_the_first():
    found = PromptPool(8, 3)(torch.zeros(2, 8))
    assert found.chosen.tolist() == [[0, 1, 2]] * 2
    assert torch.equal(found.similarity, torch.zeros(2))


def test_autocast_does_not_choose():
    torch.manual_seed(3)
    pool, query = PromptPool(16, 4, 64), torch.randn(20, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = pool(query)
    for one, two in zip(half, pool(query), strict=True):
        assert torch.equal(one, two)


def test_more_prompts_than_anchors_are_refused():
    with pytest.raises(ValueError, match="between 1 and the number of anchors, 3"):
        PromptPool(8, 4, 3)
    with pytest.raises(ValueError, match="n_anchors=0"):
        PromptPool(8, 1, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_anchors_from_safetensors(tmp_path, dtype):
    matrix = torch.randn(7, 5).to(dtype)
    for name, others in (("wte.weight", {}), ("anchors", {"bias": torch.zeros(5)})):
        save_file({name: matrix, **others}, tmp_path / "words.safetensors")
        assert torch.equal(read_anchors(tmp_path / "words.safetensors"), matrix.float())


@pytest.mark.parametrize("shape", [(1, 1), (300, 7), (5, 64)])
def test_anchors_from_npy_of_any_shape(tmp_path, shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "words.npy", matrix)
    anchors = read_anchors(tmp_path / "words.npy")
    assert anchors.dtype == torch.float32
    pool = PromptPool(16, 1, anchors=anchors)
    assert pool.anchors.shape == shape
    assert pool(torch.randn(2, 16)).vectors.shape == (2, 1, 16)


def test_what_cannot_be_anchors_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="words"):
        read_anchors(tmp_path / "words.npy")
    np.save(tmp_path / "words.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        read_anchors(tmp_path / "words.npy")
    np.save(tmp_path / "words.npy", np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="finite"):
        read_anchors(tmp_path / "words.npy")
    save_file({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="a, b"):
        read_anchors(tmp_path / "two.safetensors")
    (tmp_path / "words.txt").write_text("1 2")
    with pytest.raises(ValueError, match="not from"):
        read_anchors(tmp_path / "words.txt")
