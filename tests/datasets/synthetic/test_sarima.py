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
