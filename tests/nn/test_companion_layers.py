"""Companion layers: one step at a time or all at once, exact autoregressions, long rollouts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsfm.nn.companion_layers import ClosedLoopCompanionSSM, CompanionSSM

PHI = torch.tensor([0.5, -0.3, 0.2, 0.1], dtype=torch.float64)


def autoregression(layer):
    """Set a = 0, b = e_1, c = phi (and K = phi): the layer is the AR(4) predictor."""
    layer = layer.double()
    with torch.no_grad():
        layer.a.zero_()
        layer.b.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        layer.c.copy_(PHI)
        if isinstance(layer, ClosedLoopCompanionSSM):
            layer.k.copy_(PHI)
        else:
            layer.skip.zero_()
    return layer


def continued(history: torch.Tensor, steps: int) -> torch.Tensor:
    """The AR(4) recursion on the last values of a series."""
    values = history.tolist()
    for _ in range(steps):
        values.append(sum(p * values[-1 - i] for i, p in enumerate(PHI.tolist())))
    return torch.tensor(values[len(history) :], dtype=torch.float64)


@pytest.mark.parametrize("path", ["recurrence", "krylov", "spectral"])
@pytest.mark.parametrize("length", [1, 50, 300])
def test_steps_and_whole_signal_agree(path, length):
    torch.manual_seed(0)
    layer = CompanionSSM(3, 2, d_state=16, path=path)
    u = torch.randn(4, length, 6)
    whole = layer(u)
    state, steps = layer.initial_state(4), []
    for u_t in u.unbind(1):
        y_t, state = layer.step(u_t, state)
        steps.append(y_t)
    torch.testing.assert_close(torch.stack(steps, 1), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.context_state(u), state, atol=1e-5, rtol=1e-5)


def test_channels_of_a_kernel_share_it_and_rows_do_not_meet():
    torch.manual_seed(0)
    layer = CompanionSSM(3, 2, d_state=8)
    u = torch.randn(5, 40, 6)
    y = layer(u)
    torch.testing.assert_close(layer(u[2:3]), y[2:3], atol=1e-5, rtol=1e-5)
    swapped = layer(u[..., [1, 0, 3, 2, 5, 4]]) - layer.skip * u[..., [1, 0, 3, 2, 5, 4]]
    torch.testing.assert_close(
        swapped, (y - layer.skip * u)[..., [1, 0, 3, 2, 5, 4]], atol=1e-5, rtol=1e-5
    )
    later = u.clone()
    later[:, 30:] += 7
    torch.testing.assert_close(layer(later)[:, :30], y[:, :30], atol=1e-5, rtol=1e-5)


def test_open_loop_gradients_reach_every_parameter():
    layer = CompanionSSM(3, 2, d_state=8)
    layer(torch.randn(2, 100, 6)).square().mean().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_autocast_changes_nothing_but_the_answers_dtype():
    layer = CompanionSSM(2, 2, d_state=8)
    closed = ClosedLoopCompanionSSM(2, 2, d_state=8)
    u = torch.randn(2, 30, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y, rolled = layer(u), closed(u, 10)[0]
    torch.testing.assert_close(y, layer(u))
    torch.testing.assert_close(rolled, closed(u, 10)[0])
    assert layer(u.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("path", ["recurrence", "krylov", "spectral"])
def test_open_loop_is_the_autoregressive_predictor(path):
    layer = autoregression(CompanionSSM(1, 1, d_state=4, norm_order=0, path=path))
    u = torch.randn(2, 60, 1, dtype=torch.float64)
    wanted = sum(PHI[i] * u[:, 3 - i : 60 - i] for i in range(4))
    torch.testing.assert_close(layer(u)[:, 3:], wanted, atol=1e-12, rtol=0)


def test_closed_loop_is_the_autoregressive_rollout():
    layer = autoregression(ClosedLoopCompanionSSM(1, 1, d_state=4, norm_order=0))
    u = torch.randn(2, 60, 1, dtype=torch.float64)
    y, fed_back = layer(u, 100)
    wanted = torch.stack([continued(row[:, 0], 100) for row in u])[..., None]
    torch.testing.assert_close(y, wanted, atol=1e-14, rtol=0)
    torch.testing.assert_close(fed_back, wanted, atol=1e-14, rtol=0)
    bounded = autoregression(ClosedLoopCompanionSSM(1, 1, d_state=4, norm_floor=1.0))
    with torch.no_grad():  # 1.1 in L1 norm: scaled to one, and scaled everywhere
        torch.testing.assert_close(bounded.coefficients()[3][0], PHI / 1.1)
        assert torch.equal(*bounded(u, 100))


@pytest.fixture
def closed() -> ClosedLoopCompanionSSM:
    torch.manual_seed(0)
    return ClosedLoopCompanionSSM(3, 2, d_state=16)


def test_short_forecast_is_a_bitwise_prefix_of_a_long_one(closed):
    u = torch.randn(4, 200, 6)
    with torch.inference_mode():
        long = closed(u, 720)
        for steps in (1, 24, 96, 97):
            for short, whole in zip(closed(u, steps), long, strict=True):
                assert short.shape == (4, steps, 6)
                assert torch.equal(short, whole[:, :steps])


def test_rollout_feeds_its_own_prediction_back(closed):
    """Stepping the open loop on the fed-back input gives the rollout."""
    closed = closed.double()
    u = torch.randn(2, 70, 6, dtype=torch.float64)
    y, fed_back = closed(u, 90)
    open_y, open_fed_back = closed.open_loop(torch.cat([u, fed_back], 1))
    torch.testing.assert_close(open_y[:, 69:-1], y, atol=1e-9, rtol=0)
    torch.testing.assert_close(open_fed_back[:, 69:-1], fed_back, atol=1e-9, rtol=0)


def test_closed_loop_gradients_reach_every_parameter(closed):
    y, fed_back = closed(torch.randn(2, 50, 6), 40)
    open_y, open_fed_back = closed.open_loop(torch.randn(2, 50, 6))
    sum(part.square().mean() for part in (y, fed_back, open_y, open_fed_back)).backward()
    for name, parameter in closed.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_growing_rollouts_are_seen_and_damped():
    torch.manual_seed(1)
    layer = ClosedLoopCompanionSSM(2, 1, d_state=4, norm_order=0)
    with torch.no_grad():
        layer.a[0] = torch.tensor([0.0, 0.0, 0.0, 1.2])  # an eigenvalue of 1.2
        layer.a[1] = torch.tensor([0.0, 0.0, 0.0, 0.5])
        layer.k.zero_()
    radius = layer.spectral_radius()
    torch.testing.assert_close(
        radius, torch.tensor([1.2, 0.5], dtype=torch.float64), rtol=1e-6, atol=0
    )
    state = torch.ones(1, 2, 1, 4)
    free = layer.rollout(state, 300)[0]
    layer.damp = True
    damped = layer.rollout(state, 300)[0]
    assert free[:, :, 0].abs().max() > 1e6
    assert damped[:, :, 0].abs().max() < 100
    torch.testing.assert_close(free[:, :, 1], damped[:, :, 1])


class Sine(nn.Module):
    """A closed loop of eight kernels on a one-channel signal and a linear readout."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClosedLoopCompanionSSM(8, 1, d_state=32, damp=True)
        self.out = nn.Linear(8, 1)

    def forward(self, u, steps):
        return self.out(self.loop(u[..., None].expand(-1, -1, 8), steps)[0])[..., 0]


def noisy_sines(rows: int, steps: int) -> torch.Tensor:
    """Sines of period 24 and random phase in noise of standard deviation 0.5."""
    time = torch.arange(steps) + 24 * torch.rand(rows, 1)
    return torch.sin(2 * torch.pi * time / 24) + 0.5 * torch.randn(rows, steps)


def test_trained_on_96_steps_it_forecasts_720():
    torch.manual_seed(0)
    model, n_steps = Sine(), 600
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-2, n_steps)
    for _ in range(n_steps):
        z = noisy_sines(32, 192 + 96)
        loss = (model(z[:, :192], 96) - z[:, 192:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        z = noisy_sines(64, 192 + 720)
        forecast, future = model(z[:, :192], 720), z[:, 192:]
        naive = z[:, 168:192].repeat(1, 30)
        assert forecast.isfinite().all()
        assert torch.equal(
            model.loop(z[:, :192, None].expand(-1, -1, 8), 96)[0],
            model.loop(z[:, :192, None].expand(-1, -1, 8), 720)[0][:, :96],
        )
        error, naive_error = ((part - future).square().mean() for part in (forecast, naive))
        assert error < 0.9 * naive_error


def test_what_cannot_work_is_refused(closed):
    with pytest.raises(ValueError, match="d_state=0"):
        CompanionSSM(2, d_state=0)
    with pytest.raises(ValueError, match="5 channels, not 6"):
        closed(torch.randn(1, 10, 5), 3)
    with pytest.raises(ValueError, match="prediction_length=0"):
        closed(torch.randn(1, 10, 6), 0)
