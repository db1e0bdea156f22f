from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsfm.models.presets.autoregression import (
    DifferenceAutoregression,
    filled,
    spectral_radius,
)


def drawn(order: int, size: float = 0.8) -> DifferenceAutoregression:
    """Coefficients whose absolute values sum to `size`: below one the recursion is stable."""
    c = torch.randn(order, generator=torch.Generator().manual_seed(order))
    recursion = DifferenceAutoregression(order)
    recursion.set_coefficients(size * c / c.abs().sum())
    return recursion


def stepped(coefficients: Tensor, z: Tensor, horizon: int) -> Tensor:
    """The same forecasts, one step after the other, in double precision."""
    values = z.double()
    for _ in range(horizon):
        latest_first = values.diff(dim=1).flip(1)[:, : len(coefficients)]
        move = latest_first @ coefficients.double()[: latest_first.shape[1]]
        values = torch.cat([values, values[:, -1:] + move[:, None]], 1)
    return values[:, -horizon:]


@pytest.mark.parametrize("order", [1, 2, 31, 33, 47])
def test_the_map_is_the_loop(order):
    recursion, z = drawn(order), torch.randn(3, 48)
    expected = stepped(recursion.coefficients, z, 100)
    torch.testing.assert_close(recursion(z, 100).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_window_may_be_shorter_than_the_order():
    recursion, z = drawn(40), torch.randn(3, 9)
    expected = stepped(recursion.coefficients, z, 80)
    torch.testing.assert_close(recursion(z, 80).double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(recursion(z[:, :1], 5), z[:, :1].expand(3, 5))


def test_a_short_forecast_is_the_prefix_of_a_long_one_bitwise():
    recursion, z = drawn(40), torch.randn(3, 48)
    long = recursion(z, 720)
    assert long.shape == (3, 720)
    for horizon in (1, 31, 32, 33, 96):
        assert torch.equal(recursion(z, horizon), long[:, :horizon])


def test_one_step_is_the_first_of_a_forecast_at_every_value():
    recursion, z = drawn(7), torch.randn(3, 20)
    ahead = recursion.one_step(z)
    for end in range(1, 21):
        torch.testing.assert_close(ahead[:, end - 1 : end], recursion(z[:, :end], 1))


def test_no_coefficients_repeat_the_last_value():
    z = torch.randn(2, 10)
    assert torch.equal(DifferenceAutoregression(4)(z, 50), z[:, -1:].expand(2, 50))


def test_missing_values_repeat_the_one_before():
    z = torch.tensor([[0.0, 0.0, 1.0, 0.0, 3.0, 0.0], [0.0] * 6])
    assert filled(z).tolist() == [[1.0, 1.0, 1.0, 1.0, 3.0, 3.0], [0.0] * 6]
    recursion = drawn(5)
    assert torch.equal(recursion(z, 9), recursion(filled(z), 9))
    assert torch.equal(recursion(z, 9)[1], torch.zeros(9))


def test_what_would_grow_is_shrunk_and_levels_stay():
    recursion = DifferenceAutoregression(3)
    recursion.set_coefficients(torch.tensor([1.0, 0.5, 0.2]))
    assert recursion.radius > 1.3
    assert recursion.radius == pytest.approx(spectral_radius(torch.tensor([1.0, 0.5, 0.2])))
    assert 1 - 1e-4 < spectral_radius(recursion.coefficients) <= 1
    rolled = recursion(torch.tensor([[1.0, 2.0, 2.5, 2.7], [4.0, 4.0, 4.0, 4.0]]), 5000)
    assert rolled[0].abs().max() < 1e5  # a line at most
    assert torch.equal(rolled[1], torch.full((5000,), 4.0))


def test_a_stable_recursion_is_taken_as_it_is():
    c = torch.tensor([0.4, -0.3, 0.2])
    recursion = DifferenceAutoregression(3)
    recursion.set_coefficients(c)
    assert torch.equal(recursion.coefficients, c)
    assert recursion.radius < 1
