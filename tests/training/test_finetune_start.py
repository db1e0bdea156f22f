"""The closed-form start of SpaceTime: what it finds, and that training never ends behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.models.presets import PresetModel
from tsfm.models.presets.config import SpaceTimeConfig
from tsfm.models.presets.windows import scaled
from tsfm.training.finetune import finetune
from tsfm.training.finetune_config import FinetuneConfig
from tsfm.training.finetune_start import huber_ridge

CONFIG = SpaceTimeConfig(
    context_length=96,
    prediction_length=8,
    n_kernels=1,
    d_state=16,
    autoregression=95,
    dropout=0.0,
)
TAPS = np.array([0.6, -0.5, 0.4])


def process(length: int, seed: int = 0) -> np.ndarray:
    """AR(3) around a level of 10."""
    rng = np.random.default_rng(seed)
    x = np.zeros(length + 100)
    for t in range(3, len(x)):
        x[t] = TAPS @ x[t - 3 : t][::-1] + rng.normal()
    return 10 + x[100:]


def of_the_process(windows: np.ndarray, horizon: int) -> np.ndarray:
    """Forecasts of windows [W, L] by who knows the coefficients."""
    x = windows - 10
    for _ in range(horizon):
        x = np.concatenate([x, x[:, -3:][:, ::-1] @ TAPS[:, None]], axis=1)
    return x[:, -horizon:] + 10


@pytest.fixture(scope="module")
def result():
    settings = FinetuneConfig.of(
        "spacetime", {"epochs": 2, "validation_windows": 300, "windows_per_epoch": 1000}
    )
    return finetune([process(10_000)], CONFIG, settings, device="cpu")


def test_it_forecasts_an_autoregression_almost_like_the_truth(result):
    x = process(3000, seed=1)
    windows = np.lib.stride_tricks.sliding_window_view(x, 96 + 8)
    context, target = windows[:, :96], windows[:, 96:]
    own = np.square(result.model.points(context[:, None], 8)[:, 0] - target).mean()
    known = np.square(of_the_process(context, 8) - target).mean()
    assert own < 1.04 * known


def test_the_start_is_recorded_before_the_epochs(result):
    assert [epoch.number for epoch in result.history] == [-1, 0, 1]
    start = result.history[0]
    assert start.train_loss is None
    assert all(epoch.train_loss > 0 for epoch in result.history[1:])
    assert result.best.validation_error <= start.validation_error
    assert 0 < start.diagnostics["autoregression_radius"] < 1.01


def test_training_begins_at_the_closed_form_and_never_ends_behind_it():
    x = process(600)
    ruinous = FinetuneConfig(epochs=2, learning_rate=10.0, schedule="constant", clip=1e9)
    result = finetune([x], CONFIG, ruinous, device="cpu")
    assert result.best is result.history[0]
    z, loc, scale = scaled(torch.from_numpy(np.ascontiguousarray(x[None, -96:])))
    alone = result.model.network.autoregression(z, 8) * scale + loc
    forecast = result.model.points(x[None, None], 8)[0]
    np.testing.assert_allclose(forecast, alone.numpy(), rtol=1e-6)


def test_any_horizon_and_the_same_after_saving(result, tmp_path):
    series = [process(200, seed=2), process(30, seed=3)]
    long = result.model.forecast(series, 500).median
    assert np.isfinite(long).all()
    np.testing.assert_array_equal(result.model.forecast(series, 8).median, long[:, :8])
    result.model.save_pretrained(tmp_path)
    loaded = PresetModel.from_pretrained(tmp_path, device="cpu")
    assert loaded.config == CONFIG
    np.testing.assert_array_equal(loaded.forecast(series, 500).median, long)


def test_missing_values_do_not_count():
    x = process(3000)
    holes = x.copy()
    holes[np.random.default_rng(0).random(len(x)) < 0.02] = np.nan
    settings = FinetuneConfig(epochs=1, windows_per_epoch=32)
    whole, sparse = (finetune([s], CONFIG, settings, device="cpu").model for s in (x, holes))
    windows = np.lib.stride_tricks.sliding_window_view(process(1000, seed=1), 96 + 8)
    error = [
        np.square(model.points(windows[:, None, :96], 8)[:, 0] - windows[:, 96:]).mean()
        for model in (whole, sparse)
    ]
    assert error[1] < 1.05 * error[0]


def test_gaps_everywhere_leave_the_last_value():
    x = process(400)
    x[::2] = np.nan  # no two values follow each other
    result = finetune([x], CONFIG, FinetuneConfig(epochs=1), device="cpu")
    assert (result.model.network.autoregression.coefficients == 0).all()
    assert np.isfinite(result.model.forecast([x], 8).quantiles).all()


def test_a_few_extreme_values_do_not_decide():
    x = process(3000)
    spoilt = x.copy()
    spoilt[[500, 501, 502, 900, 1400]] = -9999.0
    settings = FinetuneConfig(epochs=1, windows_per_epoch=32, validation_windows=100)
    clean, robust = (
        finetune([s], CONFIG, settings, device="cpu").model.network.autoregression.coefficients
        for s in (x, spoilt)
    )
    assert (clean - robust).abs().max() < 0.1


def test_penalties_shrink_and_weights_forgive():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    y = x @ [1.0, -2.0] + 0.1 * rng.normal(size=500)
    y[:20] += 50
    small, large = huber_ridge(x, y, (1e-6, 10.0))
    np.testing.assert_allclose(small, [1.0, -2.0], atol=0.05)
    assert np.abs(large).sum() < 0.3 * np.abs(small).sum()
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.abs(plain - [1.0, -2.0]).max() > 3 * np.abs(small - [1.0, -2.0]).max()
    assert huber_ridge(np.zeros((4, 2)), np.zeros(4), (1e-4,))[0].tolist() == [0.0, 0.0]
