"""Simple forecasts use what was known at the time, and nothing after it."""

from __future__ import annotations

import torch

from tsfm.tokenizers.references import bridge_gaps, last_observed, simple_forecasts
from tsfm.tokenizers.seasonality import detrend, find_cycles


def test_short_gaps_are_bridged_and_long_ones_are_not():
    z = torch.tensor([[0.0, 9.0, 2.0, 9.0, 9.0, 9.0, 9.0, 7.0, 9.0]])
    observed = torch.tensor([[1, 0, 1, 0, 0, 0, 0, 1, 0]], dtype=torch.bool)
    values, available = bridge_gaps(z, observed, longest=3)
    assert values.tolist() == [[0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0]]
    assert available[0, :3].tolist() == [1, 3, 3]  # the bridged value waits for its right end
    assert (available[0, 3:7] > 9).all()
    assert available[0, 8] > 9


def test_last_observed_looks_back_over_gaps():
    z = torch.tensor([[5.0, 0.0, 6.0]])
    observed = torch.tensor([[True, False, True]])
    assert last_observed(z, observed).tolist() == [[0.0, 5.0, 5.0, 6.0]]


def test_references_of_a_token_do_not_depend_on_what_follows_it():
    rng = torch.Generator().manual_seed(0)
    t = torch.arange(320)
    z = torch.sin(2 * torch.pi * t / 24) + 0.1 * torch.randn(8, 320, generator=rng)
    observed = torch.rand(8, 320, generator=rng) > 0.15
    observed[:, 62:66] = False  # a gap across the border of two patches
    observed[:, 61] = observed[:, 66] = True
    observed[:, 64] = True
    changed = z.clone()
    changed[:, 64:96] += 0.3  # only what follows the second token
    lags, _ = find_cycles(detrend(torch.where(observed, z, 0), observed), observed, 0)
    end = torch.arange(32, 353, 32).expand(8, -1)  # where each token ends and the next span starts
    before, after = (
        simple_forecasts(torch.where(observed, x, 0), observed, end, end, 32, lags)
        for x in (z, changed)
    )
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])
