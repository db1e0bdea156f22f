"""What must hold of every calendar, trend-season, ETS and SARIMA family."""

import pytest
import torch

from tsfm.datasets.synthetic import calendar, ets, sarima, trend_season
from tsfm.datasets.synthetic.base import Family

FAMILIES = [f for m in (calendar, trend_season, ets, sarima) for f in m.FAMILIES]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_family
def test_shape_dtype_finite_and_decided_by_the_seed(family: Family) -> None:
    x = family.sample(24, 300, _rng(3))
    assert x.shape == (24, 300)
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()
    assert x.abs().max() < 1e7
    assert torch.equal(x, family.sample(24, 300, _rng(3)))
    assert not torch.equal(x, family.sample(24, 300, _rng(4)))


@every_family
def test_rows_are_alive_not_ruled_by_one_step_and_all_different(family: Family) -> None:
    n, length = 96, 512
    x = family.sample(n, length, _rng(5))
    mean, sd = x.mean(-1, keepdim=True), x.std(-1, keepdim=True, correction=0)
    assert (sd > 1e-5 * (1 + mean.abs())).float().mean() > 0.97
    z = (x - mean) / sd.clamp_min(1e-9)
    assert (z.abs().amax(-1) > 18).float().mean() < 0.05
    live = z[(sd > 1e-5).squeeze(1)]
    distance = torch.cdist(live, live) + torch.eye(len(live)) * 1e6
    assert distance.min() > 0.005 * length**0.5


@every_family
@pytest.mark.parametrize(("n", "length"), [(1, 64), (3, 17), (2, 333), (5, 100), (2, 5)])
def test_one_row_odd_and_short_lengths(family: Family, n: int, length: int) -> None:
    x = family.sample(n, length, _rng(1))
    assert x.shape == (n, length)
    assert torch.isfinite(x).all()


@every_family
def test_global_random_state_is_neither_read_nor_changed(family: Family) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    family.sample(2, 64, _rng(1))
    assert torch.equal(before, torch.get_rng_state())


def test_names_are_unique_and_groups_are_the_modules() -> None:
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)
    for module in (calendar, trend_season, ets, sarima):
        assert {f.group for f in module.FAMILIES} == {module.__name__.rsplit(".", 1)[1]}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_family
def test_builds_on_the_generators_device(family: Family) -> None:
    rng = torch.Generator("cuda").manual_seed(0)
    x = family.sample(8, 256, rng)
    assert x.device.type == "cuda"
    assert torch.isfinite(x).all()
