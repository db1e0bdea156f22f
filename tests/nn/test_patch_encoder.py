"""Pooling of patches against a masked softmax over all steps, in either direction of attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tsfm.nn.patch_encoder import PatchPooling, StepEmbedding

B, L, T, D = 2, 60, 12, 16


def case(seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    steps = torch.randn(B, L, D, generator=rng)
    marks = torch.rand(B, L, generator=rng) < 0.15
    marks[:, 0] = False
    index = (marks.cumsum(-1) + 1).clamp(max=T - 2)  # padding in front, and one token behind
    observed = torch.rand(B, L, generator=rng) < 0.8
    observed[index == 4] = False  # a patch that is missing
    return steps, index, observed, torch.rand(B, T, 2, generator=rng)


def pooling(window: int = 1) -> PatchPooling:
    torch.manual_seed(1)
    return PatchPooling(D, 4, 2, window)


def dense(module, steps, index, observed, facts):
    """The same by a mask of T x L, as published code does it."""
    patch = torch.arange(T)[:, None]
    ago = patch - index[:, None]
    own = (ago == 0) & observed[:, None]  # [B, T, L]
    allowed = (ago >= 0) & (ago < module.window) & observed[:, None]
    known = own.any(-1)
    query = torch.stack(
        [
            torch.stack([row[m].amax(0) if m.any() else torch.zeros(D) for m in masks])
            for row, masks in zip(steps, own, strict=True)
        ]
    )
    query = query + module.facts(facts)
    q = module.query(module.query_norm(query)).unflatten(-1, (4, -1)).transpose(1, 2)
    kv = module.key_value(module.step_norm(steps)).unflatten(-1, (2, 4, -1))
    k, v = kv.permute(2, 0, 3, 1, 4)
    scores = q @ k.mT / k.shape[-1] ** 0.5
    weights = scores.masked_fill(~allowed[:, None], -1e9).softmax(-1)
    pooled = query + module.out((weights @ v).transpose(1, 2).flatten(2))
    pooled = pooled + module.mlp(module.mlp_norm(pooled))
    return pooled * known[..., None], known


@pytest.mark.parametrize("window", [1, 3, 96])
def test_equals_a_dense_masked_softmax(window):
    module, arguments = pooling(window), case()
    found = module(*arguments)
    wanted, known = dense(module, *arguments)
    assert known.any()
    assert not known[:, [0, 4, T - 1]].any()
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    assert (found[~known] == 0).all()


@pytest.mark.parametrize("window", [1, 3])
def test_gradients_equal_those_of_the_dense_form(window):
    module, (steps, *rest) = pooling(window), case(1)
    found = []
    for function in (module, lambda *arguments: dense(module, *arguments)[0]):
        module.zero_grad()
        leaf = steps.clone().requires_grad_()
        function(leaf, *rest).square().sum().backward()
        found.append([leaf.grad, *(p.grad.clone() for p in module.parameters())])
    for one, two in zip(*found, strict=True):
        assert (one != 0).any()
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [1, 3])
def test_a_patch_sees_itself_and_only_so_many_before_it(window):
    module, (steps, index, observed, facts) = pooling(window), case()
    plain = module(steps, index, observed, facts)
    for changed in (2, 6):
        other = torch.where((index == changed)[..., None], steps + 1, steps)
        differs = (module(other, index, observed, facts) != plain).any(-1).any(0)
        sees = range(changed, changed + window)
        allowed = torch.tensor([patch in sees for patch in range(T)])
        assert not (differs & ~allowed).any()  # bit for bit
        assert differs[changed]
        if window > 1:
            assert differs[changed + 1]


def test_rows_without_observations_are_zero_and_harmless():
    for window in (1, 3):
        module, (steps, index, observed, facts) = pooling(window), case()
        observed[1] = False
        steps.requires_grad_()
        pooled = module(steps, index, observed, facts)
        assert (pooled[1] == 0).all()
        pooled.square().sum().backward()
        assert torch.isfinite(steps.grad).all()
        assert (steps.grad[1] == 0).all()


def test_step_embedding_tells_values_and_places_apart():
    torch.manual_seed(0)
    module = StepEmbedding(8, 5, n_channels=2)
    values = torch.randn(1, 3, 2)
    offset = torch.tensor([[0, 1, 2]])
    plain = module(values, offset, 2 - offset)
    assert plain.shape == (1, 3, 8)
    for values_too, before, after in (
        (values + 1, offset, 2 - offset),
        (values, offset + 1, 2 - offset),
        (values, offset, 3 - offset),
        (values.flip(-1), offset, 2 - offset),
    ):
        assert not F.cosine_similarity(module(values_too, before, after), plain, -1).allclose(
            torch.ones(1, 3)
        )


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="n_step_heads=3"):
        PatchPooling(16, 3, 2)
    with pytest.raises(ValueError, match="prefix_window"):
        PatchPooling(16, 4, 2, window=0)
