"""Check P1: parts sum to the series, agree with pandas, and take missing steps as missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tokenizers.decomposition import decompose


def example(seed: int, rows: int, length: int, missing: float = 0.0):
    rng = torch.Generator().manual_seed(seed)
    walk = 0.2 * torch.randn(rows, length, generator=rng).cumsum(-1)
    z = walk + torch.sin(torch.arange(length) * 2 * torch.pi / 12) + 3
    observed = torch.rand(rows, length, generator=rng) >= missing
    return torch.where(observed, z, torch.nan), observed


def parts(z, observed, width, season, causal=False):
    sizes = (torch.as_tensor(x).expand(len(z)) for x in (width, season))
    return decompose(z, observed, *sizes, causal)


cases = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 150),
    width=st.integers(1, 200),
    season=st.integers(0, 200),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    causal=st.booleans(),
)


@cases
@settings(max_examples=80, deadline=None)
def test_parts_sum_to_the_series(seed, rows, length, width, season, missing, causal):
    z, observed = example(seed, rows, length, missing)
    found = parts(z, observed, width, season, causal)
    whole = torch.where(observed, z, 0)
    torch.testing.assert_close(sum(found), whole, atol=1e-6, rtol=1e-6)
    for part in found:
        assert part.dtype == z.dtype
        assert (part[~observed] == 0).all()
    if season <= 1:
        assert (found.seasonal == 0).all()


@cases
@settings(max_examples=60, deadline=None)
def test_missing_steps_in_front_change_nothing(seed, rows, length, width, season, missing, causal):
    z, observed = example(seed, rows, length, missing)
    found = parts(z, observed, width, season, causal)
    for pad in (1, 32, 77):
        padded = parts(
            torch.nn.functional.pad(z, (pad, 0), value=torch.nan),
            torch.nn.functional.pad(observed, (pad, 0)),
            width,
            season,
            causal,
        )
        for one, two in zip(found, padded, strict=True):
            torch.testing.assert_close(two[:, pad:], one, atol=1e-6, rtol=1e-6)


@cases
@settings(max_examples=40, deadline=None)
def test_parts_of_the_mirror_image_are_mirrored(
    seed, rows, length, width, season, missing, causal
):
    z, observed = example(seed, rows, length, missing)
    up, down = (parts(x, observed, width, season, causal) for x in (z, -z))
    for one, two in zip(up, down, strict=True):
        assert torch.equal(one, -two)


@pytest.mark.parametrize("width", [1, 2, 7, 12, 25, 96])
@pytest.mark.parametrize("season", [2, 7, 12, 24])
def test_centred_parts_are_those_of_pandas(width, season):
    z, observed = example(3, 4, 96)
    found = parts(z, observed, width, season)
    for row in range(len(z)):
        x = pd.Series(z[row].double().numpy())
        trend = x.rolling(width, center=True).mean().bfill().ffill()
        seasonal = (x - trend).groupby(np.arange(96) % season).transform("mean")
        for part, wanted in zip(found, (trend, seasonal, x - trend - seasonal), strict=True):
            np.testing.assert_allclose(part[row].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize(("width", "season"), [(1, 2), (7, 7), (24, 12), (200, 24)])
def test_causal_parts_are_those_of_pandas(width, season, missing):
    z, observed = example(4, 3, 96, missing)
    found = parts(z, observed, width, season, causal=True)
    phase = np.arange(96) % season
    for row in range(len(z)):
        x = pd.Series(z[row].double().numpy())
        trend = x.rolling(width, min_periods=1).mean()
        detrended = (x - trend).groupby(phase)
        seasonal = detrended.expanding().mean().droplevel(0).sort_index()
        for part, wanted in zip(found, (trend, seasonal, x - trend - seasonal), strict=True):
            wanted = np.where(observed[row], wanted, 0)
            np.testing.assert_allclose(part[row].numpy(), wanted, atol=1e-5)


def test_missing_steps_count_in_no_mean():
    z, observed = example(5, 3, 96, 0.4)
    width, season = 9, 12
    found = parts(z, observed, width, season)
    for row in range(len(z)):
        x = pd.Series(z[row].double().numpy())
        begin = x.first_valid_index()
        full = x[begin:].rolling(width, center=True, min_periods=1).mean()
        # whole windows, then the values at the edges
        full[(full.index < begin + width // 2) | (full.index > 95 - (width - 1) // 2)] = np.nan
        trend = full.bfill().ffill()
        seasonal = (x[begin:] - trend).groupby((95 - trend.index) % season).transform("mean")
        for part, wanted in zip(found[:2], (trend, seasonal), strict=True):
            wanted = np.where(observed[row, begin:], wanted, 0)
            np.testing.assert_allclose(part[row, begin:].numpy(), wanted, atol=1e-5)


def test_causal_parts_know_nothing_of_later_steps():
    z, observed = example(6, 2, 120, 0.1)
    for causal in (True, False):
        before = parts(z, observed, 12, 12, causal)
        changed = torch.where(torch.arange(120) < 70, z, z.flip(-1))
        mask = torch.where(torch.arange(120) < 70, observed, observed.flip(-1))
        after = parts(changed, mask, 12, 12, causal)
        for name, one, two in zip(before._fields, before, after, strict=True):
            gap = (one - two)[:, :70].abs().max()
            assert (gap < 1e-12) == causal, name


def test_rows_have_their_own_width_and_season():
    z, observed = example(7, 3, 90, 0.2)
    widths, seasons = torch.tensor([5, 24, 90]), torch.tensor([0, 24, 7])
    for causal in (True, False):
        together = decompose(z, observed, widths, seasons, causal)
        for row in range(3):
            one = slice(row, row + 1)
            alone = decompose(z[one], observed[one], widths[one], seasons[one], causal)
            for mine, part in zip(alone, together, strict=True):
                assert torch.equal(mine, part[one])


def test_a_line_and_a_pattern_are_told_apart():
    t = torch.arange(240.0)
    line, pattern = 0.01 * t, torch.sin(t * 2 * torch.pi / 24)
    z = (line + pattern)[None]
    found = parts(z, torch.ones_like(z, dtype=torch.bool), 24, 24)
    inner = slice(24, -24)
    assert (found.trend[0] - line)[inner].abs().max() < 0.01
    assert (found.seasonal[0] - pattern)[inner].abs().max() < 0.05
    assert found.residual[0, inner].abs().max() < 0.05
