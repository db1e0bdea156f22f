"""Rotary positions: rotations keep lengths, and products depend on differences alone."""

from __future__ import annotations

import torch

from tsfm.nn.rotary import rotary_factors, rotate


def test_products_depend_on_the_difference_of_positions():
    torch.manual_seed(0)
    pair = torch.randn(1, 2, 1, 1, 16)  # a query and a key, one head

    def product(at_q: float, at_k: float) -> float:
        cos, sin = rotary_factors(torch.tensor([[at_q, at_k]]), 16, 1000.0)
        q, k = rotate(pair, cos, sin).flatten(0, 1).flatten(1)
        return float(q @ k)

    assert abs(product(3.5, 1.0) - product(103.5, 101.0)) < 1e-4
    assert abs(product(2.5, 0.0) - product(1.0, -1.5)) < 1e-4
    assert abs(product(3.5, 1.0) - product(1.0, 3.5)) > 1e-2


def test_lengths_are_kept_and_position_zero_is_the_identity():
    x = torch.randn(2, 5, 2, 3, 8)
    cos, sin = rotary_factors(torch.arange(5.0).expand(2, -1), 8, 100.0)
    y = rotate(x, cos, sin)
    assert torch.equal(y[:, 0], x[:, 0])
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    assert not torch.allclose(y[:, 1], x[:, 1])


def test_wavelengths_span_the_base():
    cos, sin = rotary_factors(torch.tensor([[1.0]]), 4, 100.0)
    angle = torch.tensor([1.0, 0.1])
    torch.testing.assert_close(cos.flatten(), angle.cos().repeat(2))
    torch.testing.assert_close(sin.flatten(), torch.cat([-angle.sin(), angle.sin()]))
