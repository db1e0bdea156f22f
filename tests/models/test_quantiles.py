"""Any level from trained ones, mixtures of forecasts, and sample paths with given marginals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models.quantiles import at_levels, check_levels, mixture_quantiles, sample_paths

TRAINED = tuple(round(0.1 * i, 1) for i in range(1, 10))
level = st.floats(1e-4, 1 - 1e-4)


def increasing(seed: int, rows: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.sort(rng.standard_normal((rows, 9)) ** 3 * 1e3, axis=1))


@given(st.integers(0, 1000), st.lists(level | st.sampled_from(TRAINED), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_levels_in_any_order_never_cross(seed, levels):
    answer = at_levels(increasing(seed), TRAINED, levels)
    order = np.argsort(levels, kind="stable")
    assert (answer[:, order].diff(dim=-1) >= 0).all()


@given(st.integers(0, 1000), st.permutations(TRAINED))
def test_trained_levels_are_returned_untouched(seed, levels):
    quantiles = increasing(seed)
    answer = at_levels(quantiles, TRAINED, [*levels, 0.55, 0.001])
    for column, one in enumerate(levels):
        assert torch.equal(answer[:, column], quantiles[:, TRAINED.index(one)])


def test_a_normal_distribution_is_completed_to_itself():
    normal = torch.distributions.Normal(3.0, 2.0)
    known = normal.icdf(torch.tensor(TRAINED, dtype=torch.float64))[None]
    wanted = (0.001, 0.05, 0.15, 0.5, 0.85, 0.975, 0.9999)
    answer = at_levels(known, TRAINED, wanted)[0]
    torch.testing.assert_close(answer, normal.icdf(torch.tensor(wanted, dtype=torch.float64)))


def test_flat_quantiles_have_no_tail():
    flat = torch.full((1, 9), 4.0)
    assert (at_levels(flat, TRAINED, (0.001, 0.37, 0.999)) == 4).all()


@pytest.mark.parametrize("levels", [(), (0.0,), (0.5, 1.0), (1.5,), (float("nan"),)])
def test_levels_out_of_range(levels):
    with pytest.raises(ValueError, match="quantile_levels"):
        check_levels(levels)


@pytest.mark.parametrize("seed", range(5))
def test_mixture_against_numpy(seed):
    rng = np.random.default_rng(seed)
    values, weights = rng.standard_normal((4, 40)), rng.random(40)
    weights /= weights.sum()
    answer = mixture_quantiles(torch.from_numpy(values), torch.from_numpy(weights), TRAINED)
    for row, x in enumerate(values):
        order = np.argsort(x)
        centre = np.cumsum(weights[order]) - weights[order] / 2
        np.testing.assert_allclose(answer[row], np.interp(TRAINED, centre, x[order]), atol=1e-9)
    even = torch.full((40,), 1 / 40)
    hazen = np.quantile(values, TRAINED, axis=1, method="hazen").T
    even_answer = mixture_quantiles(torch.from_numpy(values), even, TRAINED)
    np.testing.assert_allclose(even_answer, hazen, atol=1e-6)


def test_paths_have_the_given_marginals_and_dependence():
    levels = np.linspace(0.005, 0.995, 100)
    scale = np.array([1.0, 10.0, 3.0])
    marginal = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    quantiles = np.stack([scale[:, None] * marginal, 5 + scale[:, None] * marginal])
    rng = np.random.default_rng(0)
    paths = sample_paths(quantiles, levels, np.array([0.0, 0.9]), 20_000, rng)
    assert paths.shape == (2, 20_000, 3)
    got = np.quantile(paths, [0.1, 0.5, 0.9], axis=1)  # [3, 2, H]
    for row, centre in enumerate((0.0, 5.0)):
        for column, z in enumerate((-1.2816, 0.0, 1.2816)):
            assert np.all(np.abs(got[column, row] - centre - z * scale) < 0.05 * scale)
    for row, rho in enumerate((0.0, 0.9)):
        assert abs(np.corrcoef(paths[row, :, 0], paths[row, :, 1])[0, 1] - rho) < 0.03
    again = sample_paths(quantiles, levels, np.array([0.0, 0.9]), 20_000, np.random.default_rng(0))
    assert np.array_equal(paths, again)
