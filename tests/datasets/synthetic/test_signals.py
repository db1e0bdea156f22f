"""The building blocks have the statistics their names promise."""

import pytest
import torch

from tsfm.datasets.synthetic import signals


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _lag(x: torch.Tensor, k: int) -> torch.Tensor:
    return (x[:, k:] * x[:, :-k]).mean() / x.square().mean()


@pytest.mark.parametrize("tau", [2.0, 10.0])
def test_ar1_has_unit_variance_and_geometric_autocorrelation(tau: float) -> None:
    x = signals.ar1(_rng(), torch.full((64,), tau), 2048)
    assert x.shape == (64, 2048)
    assert x.var().item() == pytest.approx(1.0, abs=0.08)
    expected = torch.exp(torch.tensor(-3.0 / tau)).item()
    assert _lag(x, 3).item() == pytest.approx(expected, abs=0.04)


def test_flat_spectrum_is_white_noise() -> None:
    x = signals.spectral_noise(_rng(), torch.ones(32, signals.fft_size(500) // 2 + 1), 500)
    assert x.var().item() == pytest.approx(1.0, abs=0.05)
    assert abs(_lag(x, 1).item()) < 0.03


@pytest.mark.parametrize("length", [200, 201])
def test_decay_filter_matches_the_recursion(length: int) -> None:
    events = torch.zeros(1, length)
    events[0, 3], events[0, 50] = 2.0, 1.0
    tau = torch.tensor([6.0])
    phi, state, want = torch.exp(-1 / tau).item(), 0.0, []
    for e in events[0].tolist():
        state = phi * state + e
        want.append(state)
    torch.testing.assert_close(
        signals.decay_filter(events, tau)[0], torch.tensor(want), atol=1e-4, rtol=1e-4
    )


def test_lookup_reads_table_points_and_interpolates_across_the_seam() -> None:
    table = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    phase = torch.tensor([[0.0, 0.25, 0.375, 0.875, 1.25]])
    torch.testing.assert_close(
        signals.lookup(table, phase), torch.tensor([[0.0, 1.0, 1.5, 1.5, 1.0]])
    )


@pytest.mark.parametrize(
    "make", [signals.fourier_table, signals.bump_table, signals.duty_table, signals.random_table]
)
def test_tables_are_unit_and_differ_between_rows(make) -> None:  # type: ignore[no-untyped-def]
    table = make(_rng(), 16, 96)
    assert table.shape == (16, 96)
    torch.testing.assert_close(table.mean(-1), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(table.std(-1, correction=0), torch.ones(16), atol=1e-3, rtol=0)
    assert torch.cdist(table, table).add(torch.eye(16) * 99).min() > 0.1


def test_slow_path_is_smooth_and_unit() -> None:
    x = signals.slow_path(_rng(), 8, 1000, 16)
    torch.testing.assert_close(x.std(-1, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    assert x.diff().abs().max() < 0.2


def test_poisson_like_keeps_the_mean_and_adds_dispersion() -> None:
    rate = torch.full((4, 20000), 8.0)
    x = signals.poisson_like(_rng(), rate, torch.tensor([[0.0], [0.0], [0.5], [0.5]]))
    assert x.mean().item() == pytest.approx(8.0, rel=0.03)
    assert x[0].var().item() == pytest.approx(8.0, rel=0.08)
    assert x[2].var() > 2 * x[0].var()


def test_unit_rows_and_finish_survive_constant_and_non_finite_rows() -> None:
    assert signals.unit_rows(torch.full((2, 9), 3.5)).abs().max() == 0
    x = torch.tensor([[1.0, float("nan"), float("inf"), 2.0]])
    assert torch.isfinite(signals.finish(x)).all()
