"""SARIMA parts: seasonal sums, spectra of known processes, observation layers."""

import pytest
import torch

from tsfm.datasets.synthetic import sarima


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_seasonal_sum_is_the_seasonal_random_walk() -> None:
    x = torch.randn(2, 50, generator=_rng())
    season = torch.tensor([[7], [12]])
    got = sarima._seasonal_sum(x, season)
    for i, s in enumerate((7, 12)):
        want = x[i].clone()
        for t in range(s, 50):
            want[t] += want[t - s]
        torch.testing.assert_close(got[i], want, atol=1e-4, rtol=1e-4)


def test_seasonal_gain_is_the_squared_modulus_of_the_seasonal_factor() -> None:
    omega = sarima._angles(_rng(), 64)
    got = sarima._seasonal_log_gain(torch.tensor([[0.7]]), torch.tensor([[4.0]]), omega)
    want = torch.log((1 - 0.7 * torch.exp(-4j * omega)).abs().square())
    torch.testing.assert_close(got[0], want, atol=1e-4, rtol=1e-4)


def test_many_rows_keep_a_seasonal_autocorrelation() -> None:
    season = torch.full((256, 1), 24.0)
    x = sarima._process(_rng(), 256, 1024, season).diff(dim=-1)
    c = x - x.mean(-1, keepdim=True)
    acf = (c[:, 24:] * c[:, :-24]).mean(-1) / c.square().mean(-1)
    assert (acf > 0.4).float().mean() > 0.3


def test_observation_layer_mixes_counts_positive_and_plain_rows() -> None:
    z = torch.randn(400, 300, generator=_rng())
    x = sarima.observe(_rng(), z)
    counts = (x == x.round()).all(-1)
    positive = (x >= 0).all(-1)
    assert counts.float().mean() == pytest.approx(0.15, abs=0.07)
    assert positive.float().mean() == pytest.approx(0.45, abs=0.1)


def test_fractional_orders_reach_from_short_memory_to_walks() -> None:
    x = sarima.fractional_sarima(600, 2048, _rng())
    c = x - x.mean(-1, keepdim=True)
    power = torch.fft.rfft(c * torch.hann_window(2048)).abs().square()
    slope = torch.log2(power[:, 4:16].mean(-1) / power[:, 64:256].mean(-1).clamp_min(1e-9)) / 4
    assert slope.quantile(0.1) < 0.5  # spectra from almost flat
    assert slope.quantile(0.9) > 1.5  # to that of a walk
    counts = (x == x.round()).all(-1) & (x >= 0).all(-1)
    assert 0.25 < counts.float().mean() < 0.5  # a quarter, and those of `observe`
