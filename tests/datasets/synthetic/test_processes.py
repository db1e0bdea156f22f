"""Recursions and sums against plain loops, noise against its definition."""

import pytest
import torch

from tsfm.datasets.synthetic import processes as p


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("constant", [True, False])
def test_linear_scan_equals_the_loop(constant):
    g = rng()
    a = torch.rand(3, 1 if constant else 77, generator=g) * 1.6 - 0.6
    a = a.clamp(-0.95, 0.95)
    u = torch.randn(3, 77, generator=g)
    x, rows = torch.zeros(3), []
    for t in range(77):
        x = a[:, 0 if constant else t] * x + u[:, t]
        rows.append(x)
    torch.testing.assert_close(p.linear_scan(a, u), torch.stack(rows, -1), rtol=1e-4, atol=1e-5)


def test_linear_scan_leaves_its_inputs_alone():
    a, u = torch.full((2, 9), 0.5), torch.ones(2, 9)
    p.linear_scan(a, u)
    assert (a == 0.5).all()
    assert (u == 1).all()


@pytest.mark.parametrize("length", [1, 2, 50, 333])
def test_sinusoids_equal_the_direct_sum(length):
    g = rng()
    f, ph, am = torch.rand(4, 5, generator=g) / 2, torch.rand(4, 5, generator=g), torch.rand(4, 5)
    t = torch.arange(length)
    direct = (am[..., None] * torch.cos(2 * torch.pi * f[..., None] * t + ph[..., None])).sum(1)
    torch.testing.assert_close(p.sinusoids(f, ph, am, length), direct, rtol=1e-3, atol=1e-3)


def test_ar1_has_its_autocorrelation():
    x = p.ar1(rng(), torch.full((50, 1), 0.8), 2000)
    lag_one = (x[:, 1:] * x[:, :-1]).mean() / x.square().mean()
    assert lag_one.item() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_power_noise_has_its_slope(exponent):
    x = p.power_noise(rng(), torch.full((200, 1), exponent), 2048)
    power = torch.fft.rfft(x * torch.hann_window(2048)).abs().square().mean(0)
    low, high = power[8:16].mean(), power[256:512].mean()
    assert torch.log2(low / high).item() / 5 == pytest.approx(exponent, abs=0.2)


def test_fourier_profile_repeats():
    x = p.fourier_profile(rng(), torch.full((4,), 24.0), 240)
    torch.testing.assert_close(x[:, :24], x[:, 48:72], rtol=1e-3, atol=1e-3)


def test_segments_count_up_and_have_the_asked_mean():
    ids = p.segment_ids(rng(), torch.full((100, 1), 20.0), 1000)
    steps = torch.diff(ids, dim=-1)
    assert set(steps.unique().tolist()) <= {0, 1}
    assert 1000 / ids[:, -1].float().mean().item() == pytest.approx(20, rel=0.25)


def test_split_rows_is_a_partition():
    parts = p.split_rows(rng(), 100, [1.0, 2.0, 0.0])
    assert sorted(torch.cat(parts).tolist()) == list(range(100))
    assert parts[2].numel() == 0
