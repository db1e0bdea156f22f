from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tsfm.nn.lora import add_low_rank, merge_low_rank


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.SiLU(), nn.Linear(6, 3, bias=False))


def test_it_begins_as_nothing():
    plain = stack()
    updated = copy.deepcopy(plain)
    added = add_low_rank(updated, rank=2, alpha=4.0)
    x = torch.randn(5, 8)
    assert torch.equal(plain(x), updated(x))
    assert [tuple(p.shape) for p in added] == [(2, 8), (6, 2), (2, 6), (3, 2)]


def test_merged_equals_unmerged():
    updated = stack()
    for parameter in add_low_rank(updated, rank=2, alpha=4.0):
        nn.init.normal_(parameter)
    x = torch.randn(5, 8)
    expected = updated(x)
    merge_low_rank(updated)
    torch.testing.assert_close(updated(x), expected, rtol=0, atol=1e-6)
    assert set(updated.state_dict()) == set(stack().state_dict())
    assert all(type(layer) is not nn.Module for layer in updated)
    merge_low_rank(updated)  # nothing is left to merge
    torch.testing.assert_close(updated(x), expected, rtol=0, atol=1e-6)


def test_only_the_updates_learn():
    updated = stack()
    before = {name: value.clone() for name, value in updated.state_dict().items()}
    updated.requires_grad_(False)
    added = add_low_rank(updated, rank=8, alpha=4.0)
    optimizer = torch.optim.SGD(added, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        updated(torch.randn(5, 8)).square().sum().backward()
        optimizer.step()
    assert torch.equal(updated[0].parametrizations.weight.original, before["0.weight"])
    assert torch.equal(updated[0].bias, before["0.bias"])
    assert not torch.equal(updated[0].weight, before["0.weight"])


def test_errors():
    with pytest.raises(ValueError, match="rank=0"):
        add_low_rank(stack(), 0, 1.0)
    with pytest.raises(ValueError, match="no linear layer"):
        add_low_rank(nn.SiLU(), 2, 1.0)
