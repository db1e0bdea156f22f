from __future__ import annotations

import pytest
import torch

from tsfm.models.presets.config import SpaceTimeConfig
from tsfm.models.presets.spacetime import BrakedLoop, SpaceTimeNetwork


def network(**changes) -> SpaceTimeNetwork:
    torch.manual_seed(0)
    sizes = {"context_length": 48, "prediction_length": 12, "n_kernels": 2, "d_state": 8}
    return SpaceTimeNetwork(SpaceTimeConfig(**{**sizes, **changes})).eval()


@torch.no_grad()
@pytest.mark.parametrize("order", [0, 30])
def test_a_short_forecast_is_the_prefix_of_a_long_one_bitwise(order):
    model = network(n_extra_blocks=1, autoregression=order)
    if order:
        model.autoregression.set_coefficients(torch.rand(order) / order)
        model.head.reset_parameters()
    z = torch.randn(3, 1, 48)
    long = model(z, 720)
    assert long.shape == (3, 1, 720)
    for horizon in (1, 31, 96):
        assert torch.equal(model(z, horizon), long[..., :horizon])
    assert torch.equal(model(z), long[..., :12])


@torch.no_grad()
def test_series_do_not_see_each_other():
    model = network()
    z = torch.randn(2, 3, 48)
    torch.testing.assert_close(model(z)[1, 2], model(z[1:, 2:])[0, 0])


@torch.no_grad()
def test_the_read_out_starts_at_the_autoregression():
    model = network(autoregression=20)
    model.settle()
    z = torch.randn(2, 3, 48)
    assert torch.equal(model(z, 40), z[..., -1:].expand(2, 3, 40))  # no coefficients yet
    model.autoregression.set_coefficients(torch.full((20,), 0.04))
    assert torch.equal(model(z, 40), model.autoregression(z.flatten(0, 1), 40).view(2, 3, 40))
    assert set(model.diagnostics()) == {"spectral_radius", "autoregression_radius"}


def test_the_correction_has_gradients_once_its_read_out_is_not_zero():
    model = network(autoregression=20).train()
    z, target = torch.randn(4, 1, 48), torch.randn(4, 1, 12)
    rest = torch.ones(4, 1, 1), target, torch.ones_like(target).bool()
    model.loss(z, *rest).backward()
    assert model.head.weight.grad.abs().sum() > 0
    model.head.reset_parameters()
    model.loss(z, *rest).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


@torch.no_grad()
def test_the_loss_counts_the_whole_forecast():
    model = network(autoregression=20, one_step_weight=0.0)
    model.autoregression.set_coefficients(torch.full((20,), 0.04))
    z, target = torch.randn(4, 1, 48), torch.randn(4, 1, 12)
    loss = model.loss(z, torch.ones(4, 1, 1), target, torch.ones_like(target).bool())
    assert loss.item() == pytest.approx((model(z) - target).square().mean().sqrt().item())


def test_published_size():
    count = sum(p.numel() for p in SpaceTimeNetwork(SpaceTimeConfig(n_kernels=16)).parameters())
    assert count == pytest.approx(52_700, rel=0.01)


def test_settle_brakes_what_would_grow():
    torch.manual_seed(0)
    loop = BrakedLoop(n_kernels=3, d_state=4)
    with torch.no_grad():
        for name, value in {"a": 1.0, "b": 1.0, "k": 1.0}.items():  # M e_d = a + b k_d
            getattr(loop, name).zero_()[:, -1] = value
    free = loop.eval().set_brake()
    assert (free > 1.5).all()
    assert (loop.spectral_radius() <= 1).all()
    assert loop.rollout(torch.ones(1, 3, 1, 4), 5000)[0].abs().max() < 100
    torch.testing.assert_close(loop.set_brake(), free)  # measured without the brake


def test_a_stable_loop_is_not_touched():
    model = network()
    with torch.no_grad():
        model.loop.k.zero_()[:, 0] = 1e-6  # normalised to 1e-2: hardly any feedback
        model.loop.a.zero_()[:, 0] = 1e-6
    before = model(torch.ones(1, 1, 48))
    model.settle()
    assert 0 < model.diagnostics()["spectral_radius"] < 1
    assert (model.loop.brake == 1).all()
    torch.testing.assert_close(model(torch.ones(1, 1, 48)), before)


def test_every_parameter_has_a_gradient():
    model = network(n_extra_blocks=1).train()
    z, target = torch.randn(4, 1, 48), torch.randn(4, 1, 12)
    model.loss(z, torch.ones(4, 1, 1), target, torch.ones_like(target).bool()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_loss_is_finite_for_empty_and_tiny_windows():
    for length in (1, 2, 5):
        model = network(context_length=length).train()
        z, target = torch.zeros(2, 1, length), torch.zeros(2, 1, 12)
        loss = model.loss(z, torch.ones(2, 1, 1), target, torch.zeros_like(target).bool())
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_one_step_weight_scales_two_of_three_terms():
    z, target = torch.randn(4, 1, 48), torch.randn(4, 1, 12)
    rest = torch.full((4, 1, 1), 2.0), target, torch.ones_like(target).bool()
    none, published, double = (
        network(one_step_weight=weight).loss(z, *rest).item() for weight in (0.0, 1.0, 2.0)
    )
    forecast = 2 * (network()(z) - target).square().mean().sqrt().item()
    assert none == pytest.approx(forecast, rel=1e-4)
    assert published > none
    assert double - none == pytest.approx(2 * (published - none), rel=1e-4)
    assert network().loss(z, *rest).item() == published


@torch.no_grad()
def test_an_extreme_window_decides_the_loss_only_in_the_unit_of_the_series():
    z, target = torch.randn(4, 1, 48), torch.randn(4, 1, 12)
    known, even = torch.ones_like(target).bool(), torch.ones(4, 1, 1)
    extreme = torch.tensor([1.0, 1.0, 1.0, 1000.0])[:, None, None]
    windows, series = network(loss_unit="window"), network()
    even_loss = windows.loss(z, even, target, known)
    assert torch.equal(windows.loss(z, extreme, target, known), even_loss)
    torch.testing.assert_close(series.loss(z, even, target, known), even_loss)
    assert series.loss(z, extreme, target, known) > 10 * even_loss
