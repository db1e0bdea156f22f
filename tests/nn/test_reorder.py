"""Sorting tokens by importance: permutations, and what no longer depends on the order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tsfm.nn.bidirectional import Bidirectional
from tsfm.nn.mamba import Mamba1
from tsfm.nn.reorder import Reordered, soft_permutation

D_MODEL = 8


def stack(seed: int = 0) -> Bidirectional:
    torch.manual_seed(seed)
    return Bidirectional(Mamba1(D_MODEL, d_state=4), Mamba1(D_MODEL, d_state=4))


def test_rows_of_the_permutation_sum_to_one():
    score = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    for temperature in (1e-3, 1.0, 100.0):
        P = soft_permutation(score, temperature)
        assert (P >= 0).all()
        torch.testing.assert_close(P.sum(-1), torch.ones(3, 20))


def test_the_permutation_is_hard_at_a_small_temperature():
    score = torch.stack([torch.randperm(30) for _ in range(4)]).float()
    P = soft_permutation(score, 0.05)
    torch.testing.assert_close(P.mT @ P, torch.eye(30).expand(4, -1, -1), atol=1e-6, rtol=0)
    ordered = torch.arange(30.0).expand(4, -1)
    torch.testing.assert_close((P @ score[..., None])[..., 0], ordered)


def test_other_tokens_follow_the_valid_ones_in_their_order():
    score = torch.tensor([[5.0, 1.0, 9.0, 3.0, 7.0]])
    valid = torch.tensor([[True, False, True, True, False]])
    P = soft_permutation(score, 0.01, valid)
    assert P[0].argmax(-1).tolist() == [3, 0, 2, 1, 4]
    soft = soft_permutation(score, 10.0, valid)
    torch.testing.assert_close(soft.sum(-1), torch.ones(1, 5))
    assert not soft[0, :3][:, ~valid[0]].any()


@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_answers_do_not_depend_on_the_order_of_the_tokens(temperature):
    block = Reordered(stack(), D_MODEL, temperature)
    x, order = torch.randn(3, 12, D_MODEL), torch.randperm(12)
    torch.testing.assert_close(block(x[:, order])[0], block(x)[0][:, order], atol=1e-5, rtol=1e-4)
    plain = stack()
    assert (plain(x[:, order])[0] - plain(x)[0][:, order]).abs().max() > 1e-3


def test_hard_reordering_is_sorting_by_hand():
    block = Reordered(Mamba1(D_MODEL, d_state=4), D_MODEL, 1e-5)
    x = torch.randn(1, 9, D_MODEL)
    order = (x @ block.importance.weight[0])[0].argsort()
    torch.testing.assert_close(block(x)[0][:, order], block.block(x[:, order])[0])


def test_padding_changes_nothing():
    block = Reordered(stack(), D_MODEL, 0.5)
    x = torch.randn(2, 10, D_MODEL)
    valid = torch.arange(10) < torch.tensor([[10], [6]])
    span = torch.rand(2, 10)
    y, _ = block(x, valid, span)
    torch.testing.assert_close(y[1:, :6], block(x[1:, :6], None, span[1:, :6])[0])
    torch.testing.assert_close(y[:1], block(x[:1], None, span[:1])[0])


def test_scores_learn():
    block = Reordered(stack(), D_MODEL)
    block(torch.randn(2, 6, D_MODEL))[0].square().sum().backward()
    assert block.importance.weight.grad.abs().max() > 0


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match="temperature"):
        Reordered(stack(), D_MODEL, 0.0)


class VariateModel(nn.Module):
    """Windows [B, N, 8] of N variates to their next values [B, N], as S-Mamba does it."""

    def __init__(self, reorder: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        mixer = Bidirectional(Mamba1(16, 4, 2, 1), Mamba1(16, 4, 2, 1))
        self.mixer = Reordered(mixer, 16) if reorder else mixer
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        y: torch.Tensor = self.head(self.norm(h + self.mixer(h)[0]))[..., 0]
        return y


def panel(n_rows: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve variates that each revert to the mean of all; the next value depends on both."""
    x = [torch.randn(n_rows, 12, generator=rng)]
    for _ in range(8):
        mean = torch.tanh(2 * x[-1].mean(1, keepdim=True))
        x.append(0.4 * x[-1] + 0.8 * mean + 0.2 * torch.randn(n_rows, 12, generator=rng))
    return torch.stack(x[:8], -1), x[8]


def trained(reorder: bool) -> tuple[float, float]:
    """Test error, and how far forecasts spread over five orders of the variates."""
    torch.manual_seed(0)
    model, rng = VariateModel(reorder), torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(250):
        x, target = panel(64, rng)
        loss = F.mse_loss(model(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, target = panel(512, rng)
    answers = []
    with torch.no_grad():
        for _ in range(5):
            order = torch.randperm(12, generator=rng)
            answers.append(model(x[:, order])[:, order.argsort()])
    stacked = torch.stack(answers)
    return (stacked - target).square().mean().item(), stacked.std(0).mean().item()


def test_a_learned_order_makes_variate_models_insensitive_and_no_worse():
    plain_error, plain_spread = trained(reorder=False)
    error, spread = trained(reorder=True)
    assert plain_spread > 1e-3
    assert spread < plain_spread / 2
    assert error < 1.02 * plain_error
