"""Projections of known sign: their eigenvalues, and the blocks that use them."""

from __future__ import annotations

import pytest
import torch

from tsfm.nn.dynamics import SignedProjection
from tsfm.nn.mamba import Mamba1, Mamba2


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return module.double()


def eigenvalues(projection: SignedProjection) -> torch.Tensor:
    """[G, d_in], of `S_C^T S_B`, which is symmetric."""
    S_B, S_C = projection.state_projections()
    M = S_C.mT @ S_B
    torch.testing.assert_close(M, M.mT)
    return torch.linalg.eigvalsh(M)


@pytest.mark.parametrize(
    ("dynamics", "n_positive"), [("positive", 6), ("negative", 0), ("mixed", 3)]
)
def test_eigenvalues_have_the_chosen_signs(dynamics, n_positive):
    values = eigenvalues(randomised(SignedProjection(16, 6, dynamics, 5, 3, n_groups=2)))
    assert values.shape == (2, 16)
    assert (values > 1e-2).sum(1).tolist() == [n_positive] * 2
    assert (values < -1e-2).sum(1).tolist() == [6 - n_positive] * 2
    if dynamics == "positive":
        assert values.min() >= -1e-6


@pytest.mark.parametrize(
    "block",
    [
        Mamba1(16, d_state=4, dynamics="positive"),
        Mamba2(16, d_state=4, d_head=8, n_groups=2, dynamics="positive"),
    ],
)
def test_the_matrix_of_a_block_stays_semidefinite_in_training(block):
    projection = block.x_proj if isinstance(block, Mamba1) else block.in_proj
    optimiser = torch.optim.SGD(block.parameters(), lr=0.5)
    x = torch.randn(4, 10, 16)
    for _ in range(5):
        loss = (block(x)[0] - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        for name, parameter in block.named_parameters():
            assert parameter.grad.abs().max() > 0, name
        optimiser.step()
    assert eigenvalues(projection.double()).min() >= -1e-6


def test_rows_stand_where_a_linear_layer_has_them():
    """B and C of a block are S_B x and S_C x of the right group."""
    torch.manual_seed(0)
    first = Mamba1(16, d_state=4, dynamics="mixed")
    S_B, S_C = first.x_proj.state_projections()
    assert torch.equal(first.x_proj.weight[first.dt_rank : first.dt_rank + 4], S_B[0])
    assert torch.equal(first.x_proj.weight[-4:], S_C[0])
    second = Mamba2(16, d_state=4, d_head=8, n_groups=2, dynamics="mixed")
    weight = second.in_proj.weight
    assert weight.shape == (2 * 32 + 2 * 2 * 4 + 4, 16)
    S_B, S_C = second.in_proj.state_projections()
    assert torch.equal(weight[64:80], torch.cat([*S_B, *S_C]))
    assert torch.equal(torch.cat([weight[:64], weight[80:]]), second.in_proj.free)


def test_a_signed_block_is_a_plain_block_with_that_weight():
    torch.manual_seed(0)
    signed = Mamba2(16, d_state=8, d_head=8, dynamics="positive")
    plain = Mamba2(16, d_state=8, d_head=8)
    weights = {k: v for k, v in signed.state_dict().items() if not k.startswith("in_proj.")}
    plain.load_state_dict({**weights, "in_proj.weight": signed.in_proj.weight.detach()})
    x = torch.randn(2, 12, 16)
    torch.testing.assert_close(signed(x)[0], plain(x)[0])
    names = {name for name in signed.state_dict() if name.startswith("in_proj.")}
    assert names == {"in_proj.free", "in_proj.mixing", "in_proj.strength"}


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'up'; choose one of positive, negative, mixed"):
        SignedProjection(8, 4, "up")
    with pytest.raises(ValueError, match="d_state <= 8"):
        Mamba2(8, d_state=16, d_head=8, dynamics="positive")
