"""Checks S2 and S3: both directions matter, any number of variates."""

from __future__ import annotations

import pytest
import torch

from tsfm.models.presets.config import SMambaConfig
from tsfm.models.presets.smamba import SMambaNetwork, mean_where


def network(**changes) -> SMambaNetwork:
    torch.manual_seed(0)
    sizes = {"context_length": 24, "prediction_length": 6, "d_model": 16, "d_hidden": 16}
    return SMambaNetwork(SMambaConfig(**{**sizes, **changes})).eval()


def influence(model: SMambaNetwork, n: int = 5) -> torch.Tensor:
    """[i, j]: whether variate i changes the forecast of variate j."""
    torch.manual_seed(1)
    z = torch.randn(1, n, 24)
    before = model(z)[0]
    rows = []
    for i in range(n):
        changed = z.clone()
        changed[0, i] = torch.randn(24)
        rows.append((model(changed)[0] - before).abs().amax(-1) > 1e-7)
    return torch.stack(rows)


@pytest.mark.parametrize("mixer", ["mamba1", "mamba2"])
@torch.no_grad()
def test_variates_see_each_other_in_both_directions(mixer):
    assert influence(network(mixer=mixer)).all()


@pytest.mark.parametrize("mixer", ["mamba1", "mamba2"])
@torch.no_grad()
def test_one_direction_only_sees_what_came_before(mixer):
    seen = influence(network(mixer=mixer, bidirectional=False))
    assert torch.equal(seen, torch.ones(5, 5).triu().bool())


@pytest.mark.parametrize("mixer", ["mamba1", "mamba2"])
@torch.no_grad()
def test_a_learnt_order_replaces_the_given_one(mixer):
    z, order = torch.randn(2, 9, 24), torch.randperm(9)
    for reorder in (False, True):
        model = network(mixer=mixer, reorder=reorder)
        gap = (model(z[:, order]) - model(z)[:, order]).abs().max()
        assert (gap < 1e-5) == reorder
    assert influence(model).all()


@pytest.mark.parametrize("n", [1, 3, 7, 11])
@torch.no_grad()
def test_any_number_of_variates(n):
    model = network()
    z = torch.randn(2, n, 24)
    assert model(z).shape == (2, n, 6)
    torch.testing.assert_close(model(z, 4), model(z)[..., :4])
    torch.testing.assert_close(model(z)[:1], model(z[:1]))  # windows do not see each other


def test_published_size():
    count = sum(
        p.numel()
        for p in SMambaNetwork(SMambaConfig(d_model=256, d_hidden=256, d_state=2)).parameters()
    )
    assert count == pytest.approx(1.15e6, rel=0.01)


def test_loss_counts_known_targets_in_the_unit_of_the_series():
    model = network(dropout=0.0)
    z, scale = torch.randn(3, 2, 24), torch.full((3, 2, 1), 2.0)
    target, observed = torch.randn(3, 2, 6), torch.rand(3, 2, 6) > 0.5
    loss = model.loss(z, scale, target, observed)
    expected = (2 * (model(z) - target))[observed].square().mean()
    torch.testing.assert_close(loss, expected)
    assert mean_where(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 0
