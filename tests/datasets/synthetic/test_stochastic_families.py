"""Gaussian-process, diffusion, operations, shape and causal families: finite, varied, seeded."""

import pytest
import torch

from tsfm.datasets.synthetic import causal, gp, ops, sde, shapes

FAMILIES = [f for m in (gp, sde, ops, shapes, causal) for f in m.FAMILIES]


@pytest.fixture(params=FAMILIES, ids=lambda f: f.name)
def family(request):
    return request.param


@pytest.mark.parametrize("length", [20, 100, 600])
def test_finite_float32_of_the_asked_shape(family, length):
    x = family.sample(48, length, torch.Generator().manual_seed(length))
    assert x.shape == (48, length)
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()


def test_one_row_works(family):
    x = family.sample(1, 64, torch.Generator().manual_seed(3))
    assert x.shape == (1, 64)
    assert torch.isfinite(x).all()


def test_generator_decides_everything(family):
    a, b, c = (family.sample(16, 200, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_global_random_state_is_untouched(family):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    family.sample(4, 64, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_rows_vary_and_differ(family):
    x = family.sample(64, 512, torch.Generator().manual_seed(0))
    moves = (x.amax(-1) - x.amin(-1)) > 1e-6 * x.abs().amax(-1)
    assert moves.float().mean() >= 0.98
    assert torch.unique(x, dim=0).shape[0] == 64


def test_names_are_unique_and_groups_known():
    names = [f.name for f in FAMILIES]
    assert len(set(names)) == len(names)
    assert {f.group for f in FAMILIES} == {"gp", "sde", "ops", "shapes", "causal"}


def test_counts_are_whole_and_not_negative():
    x = ops.counts(32, 300, torch.Generator().manual_seed(0))
    assert (x >= 0).all()
    assert torch.equal(x, x.round())


def test_intermittent_demand_is_mostly_zero():
    x = ops.intermittent(200, 500, torch.Generator().manual_seed(0))
    assert 0.5 < (x == 0).float().mean() < 0.98
    assert (x >= 0).all()


def test_local_levels_persist():
    x = sde.local_level(200, 500, torch.Generator().manual_seed(0))
    x = x - x.mean(-1, keepdim=True)
    lag_one = (x[:, 1:] * x[:, :-1]).sum(-1) / x.square().sum(-1)
    assert lag_one.median() > 0.9
