"""Scales survive gaps, constants and extreme magnitudes, and undo themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models.scaler import Scale


def scale_of(x: torch.Tensor) -> tuple[Scale, torch.Tensor]:
    observed = torch.isfinite(x)
    return Scale.of(x, observed), observed


@given(
    loc=st.floats(-1e9, 1e9),
    magnitude=st.integers(-290, 290),
    length=st.integers(2, 60),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_round_trip_at_any_magnitude(loc, magnitude, length, seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy((loc * 1e-9 + rng.standard_normal((1, length))) * 10.0**magnitude)
    x[0, 0] = torch.nan
    scale, observed = scale_of(x)
    z = scale.forward(x)
    assert z.dtype == torch.float32
    assert torch.isfinite(z[observed]).all()
    error = (scale.inverse(z) - x)[observed].abs().max()
    assert error <= 1e-5 * x[observed].abs().max()


def test_statistics_are_those_of_the_observed_values():
    x = torch.tensor([[torch.nan, 1.0, 3.0, torch.nan, 5.0]])
    scale, _ = scale_of(x)
    assert scale.loc.item() == 3
    assert abs(scale.scale.item() - np.std([1, 3, 5])) < 1e-12
    torch.testing.assert_close(
        scale.forward(x)[0, 1], torch.tensor(np.arcsinh(-2 / np.std([1, 3, 5]))).float()
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -7.25, 0.1, 1e300, -1e-300])
def test_constants_come_back_exactly(value):
    scale, _ = scale_of(torch.full((1, 30), value, dtype=torch.float64))
    assert scale.scale.item() == 0
    assert scale.loc.item() == value
    assert (scale.forward(torch.full((1, 3), 9.0)) == 0).all()
    assert (scale.inverse(torch.tensor([[-3.0, 0.0, 3.0]])) == value).all()


def test_rounding_noise_is_no_signal():
    x = torch.tensor([[0.1 + 0.2, 0.3] * 10], dtype=torch.float64)
    assert scale_of(x)[0].scale.item() == 0


def test_nothing_observed():
    scale, _ = scale_of(torch.full((2, 4), torch.nan))
    assert (scale.loc == 0).all()
    assert (scale.scale == 0).all()


def test_trailing_axes():
    scale, _ = scale_of(torch.randn(2, 50) * torch.tensor([[1.0], [100.0]]))
    z = torch.zeros(2, 3, 4)
    assert torch.equal(scale.inverse(z), scale.loc[..., None].expand(2, 3, 4))
