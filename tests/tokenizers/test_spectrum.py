"""Spectra on fixed frequencies: cycles are found; padding, sign and unit change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tokenizers import FixedPatchTokenizer
from tsfm.tokenizers.mixture import MixtureTokenizer
from tsfm.tokenizers.spectrum import band_power, frequencies


def shares(spectrum: torch.Tensor) -> torch.Tensor:
    return torch.expm1(spectrum) * 1e-3


def test_frequencies_are_evenly_spaced_in_the_logarithm():
    f = frequencies()
    assert f.shape == (64,)
    assert float(f[0]) == pytest.approx(1 / 2048)
    assert float(f[-1]) == pytest.approx(1 / 2)
    torch.testing.assert_close(f.log().diff(), f.log().diff()[:1].expand(63))


@pytest.mark.parametrize("period", [2.5, 7, 24, 168, 365.25])
@pytest.mark.parametrize("length", [1000, 2048, 5000])
def test_the_power_of_a_cycle_is_in_the_band_around_it(period, length):
    x = torch.sin(2 * torch.pi * torch.arange(length) / period + 1)[None]
    found = shares(band_power(x, torch.ones_like(x) > 0))[0]
    assert float(found.sum()) == pytest.approx(1, abs=1e-4)
    near = (frequencies() * period).log2().abs() < 0.35
    assert found[near].sum() > 0.8
    assert near[found.argmax()]


def test_noise_is_spread_in_proportion_to_the_width_of_bands():
    x = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    found = shares(band_power(x, torch.ones_like(x) > 0)).mean(0)
    upper = found[frequencies() > 0.25].sum()
    assert abs(float(upper) - 0.5) < 0.07


@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 300),
    pad=st.integers(0, 700),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
    factor=st.sampled_from([-1.0, 1e-3, 50.0]),
)
@settings(max_examples=60, deadline=None)
def test_padding_sign_unit_and_masked_values_change_nothing(seed, length, pad, missing, factor):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, generator=rng)
    observed = torch.rand(2, length, generator=rng) >= missing
    plain = band_power(x, observed)
    assert torch.isfinite(plain).all()
    assert (plain >= 0).all()
    padded = torch.nn.functional.pad(torch.where(observed, x, math.nan), (pad, 0), value=math.nan)
    again = band_power(factor * padded, padded.isfinite())
    torch.testing.assert_close(again, plain, atol=1e-4 if factor != -1 else 1e-6, rtol=0)


def test_other_rows_change_nothing():
    x = torch.randn(3, 200)
    observed = torch.ones_like(x) > 0
    torch.testing.assert_close(band_power(x, observed)[1:2], band_power(x[1:2], observed[1:2]))


@pytest.mark.parametrize("tokenizer", [FixedPatchTokenizer(), MixtureTokenizer()])
def test_tokens_carry_spectra_where_they_are_wanted(tokenizer):
    z = torch.randn(2, 256)
    observed = torch.rand(2, 256) < 0.8
    assert tokenizer.tokenize(z, observed, 32).spectrum is None
    tokenizer.with_spectrum = True
    batch = tokenizer.tokenize(z, observed, 32)
    torch.testing.assert_close(batch.spectrum, band_power(z, observed))
    both = tokenizer.with_mirror_image(batch)
    torch.testing.assert_close(both.spectrum, batch.spectrum.repeat(2, 1))
