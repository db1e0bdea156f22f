"""Training presets; checks S4 (coupled variates) and K5 (any horizon) of what they must learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.evaluation.longterm import LinearBaseline, LongTermTask, score
from tsfm.models.presets.config import SMambaConfig, SpaceTimeConfig
from tsfm.training.finetune import finetune
from tsfm.training.finetune_config import FinetuneConfig

SMALL = SMambaConfig(
    context_length=24, prediction_length=4, d_model=16, d_hidden=16, d_state=4, n_layers=1
)
LOOP = SpaceTimeConfig(context_length=48, prediction_length=8, n_kernels=1, d_state=16)


def waves(n: int = 2, length: int = 200) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(length)
    return [np.sin(2 * np.pi * t / 12 + i) + 0.1 * rng.normal(size=length) for i in range(n)]


@pytest.mark.parametrize("config", [SMALL, LOOP], ids=lambda config: config.kind)
def test_the_seed_decides_everything_and_nothing_leaks(config):
    settings = FinetuneConfig(epochs=2, seed=5)
    before = torch.random.get_rng_state()
    one, two = (finetune(waves(), config, settings, device="cpu") for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    weights = one.model.network.state_dict()
    for name, value in two.model.network.state_dict().items():
        assert torch.equal(weights[name], value), name
    np.testing.assert_array_equal(one.model.intervals.half_widths, two.model.intervals.half_widths)
    assert [e.validation_error for e in one.history] == [e.validation_error for e in two.history]
    other = finetune(waves(), config, FinetuneConfig(epochs=2, seed=6), device="cpu")
    assert other.history[0].train_loss != one.history[0].train_loss
    assert not one.model.network.training


def test_the_best_epoch_is_kept():
    noise = [np.random.default_rng(0).normal(size=150) for _ in range(2)]  # only overfits
    settings = FinetuneConfig(epochs=8, learning_rate=0.03, schedule="constant", patience=8)
    result = finetune(noise, SMALL, settings, device="cpu")
    assert len(result.history) == 8
    assert result.best is not result.history[-1]
    assert result.best.validation_error == min(e.validation_error for e in result.history)
    shorter = FinetuneConfig(
        epochs=result.best.number + 1, learning_rate=0.03, schedule="constant", patience=8
    )
    again = finetune(noise, SMALL, shorter, device="cpu")
    kept = again.model.network.state_dict()
    for name, value in result.model.network.state_dict().items():
        assert torch.equal(kept[name], value), name


def test_patience_and_time_end_a_run():
    settings = FinetuneConfig(epochs=50, learning_rate=0.05, schedule="constant", patience=2)
    noise = [np.random.default_rng(0).normal(size=120)]  # only overfits
    result = finetune(noise, SMALL, settings, device="cpu")
    assert result.stopped == "patience"
    assert len(result.history) == result.best.number + 1 + settings.patience
    patient = FinetuneConfig(epochs=1000, patience=1000)
    result = finetune(waves(), SMALL, patient, max_minutes=0.005, device="cpu")
    assert result.stopped == "time"
    assert len(result.history) < 1000


def test_a_time_limit_that_leaves_no_step_is_an_error():
    with pytest.raises(ValueError, match="before the first step, so nothing was trained"):
        finetune(waves(), SMALL, max_minutes=1e-9, device="cpu")


def test_less_than_an_epoch_is_said(monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 1.0))
    monkeypatch.setattr("tsfm.training.finetune.time.monotonic", lambda: next(clock))
    settings = FinetuneConfig(epochs=3, batch_size=8)
    with pytest.warns(UserWarning, match=r"over after \d of the \d+ steps of the first epoch"):
        result = finetune(waves(), SMALL, settings, max_minutes=5 / 60, device="cpu")
    assert (result.stopped, len(result.history)) == ("time", 1)


@pytest.mark.parametrize(("windows", "steps"), [(10, 1), (25, 3), (None, 14)])
def test_windows_per_epoch_bounds_the_steps(monkeypatch, windows, steps):
    taken = []
    step = torch.optim.AdamW.step

    def counted(self, *args):
        taken.append(1)
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    settings = FinetuneConfig(epochs=2, windows_per_epoch=windows, batch_size=10)
    assert finetune(waves(), SMALL, settings, device="cpu").n_windows == 133
    assert len(taken) == 2 * steps


@pytest.mark.parametrize("config", [SMALL, LOOP], ids=lambda config: config.kind)
def test_a_series_that_is_constant_in_training_does_not_decide(config):
    late = np.full(200, 0.1)  # its standard deviation is 1e-17, not zero
    late[170:] = np.random.default_rng(1).normal(size=30)
    settings = FinetuneConfig(epochs=2)
    with pytest.warns(UserWarning, match="Series 2 are constant"):
        result = finetune([*waves(), late], config, settings, device="cpu")
    assert all(epoch.validation_error < 10 for epoch in result.history)
    assert result.model.intervals.half_widths.max() < 100
    with pytest.raises(ValueError, match=r"all series \(0, 1\) are constant"):
        finetune([late, late], config, settings, device="cpu")


def test_gaps_are_no_values():
    holes = waves(3, 240)
    holes[0][100:130] = np.nan
    holes[1][::7] = np.nan
    holes[2][:60] = np.nan
    for config in (SMALL, LOOP):
        result = finetune(holes, config, FinetuneConfig(epochs=2), device="cpu")
        answer = result.model.forecast(holes, 20)
        assert np.isfinite(answer.quantiles).all()
        assert all(np.isfinite(e.validation_error) for e in result.history)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="no series to train on"):
        finetune([], SMALL)
    with pytest.raises(ValueError, match="at least 9 with values"):
        finetune([np.arange(5.0)], SMALL)
    with pytest.raises(ValueError, match="lower the learning rate"):
        finetune(
            waves(),
            SMALL,
            FinetuneConfig(epochs=5, learning_rate=1e30, schedule="constant", clip=1e30),
            device="cpu",
        )


def test_intervals_cover_what_follows():
    rng = np.random.default_rng(0)
    series = [np.sin(np.arange(1500) / 3) + rng.normal(0, 0.5, 1500)]
    result = finetune([series[0][:1000]], LOOP, FinetuneConfig(epochs=5), device="cpu")
    hits = []
    for end in range(1000, 1490, 7):
        answer = result.model.forecast([series[0][:end]], 8, (0.1, 0.9)).quantiles[0]
        actual = series[0][end : end + 8]
        hits.append((answer[:, 0] <= actual) & (actual <= answer[:, 1]))
    assert 0.72 < np.mean(hits) < 0.88


def chain(n: int = 32, length: int = 2600) -> np.ndarray:
    """VAR(1) in which every variate follows its neighbour: alone, its past says little."""
    rng = np.random.default_rng(0)
    x = np.zeros((n, length))
    noise = rng.normal(size=(n, length))
    for t in range(1, length):
        x[:, t] = 0.2 * x[:, t - 1] + noise[:, t]
        x[1:, t] += 0.75 * x[:-1, t - 1]
    return x


def test_smamba_learns_coupled_variates_that_a_linear_model_cannot():
    values = chain()
    task = LongTermTask("chain", values, (1600, 1900, 2600), 16, 2, tuple(map(str, range(32))))
    config = SMambaConfig(
        context_length=16,
        prediction_length=2,
        d_model=32,
        d_hidden=32,
        n_layers=1,
        d_state=4,
        dropout=0.0,
    )
    settings = FinetuneConfig(epochs=6, learning_rate=5e-3)
    result = finetune(
        list(task.history),
        config,
        settings,
        validation_length=task.validation_length,
        device="cpu",
    )
    linear = score(task, LinearBaseline(task, per_variate=True)).mse
    assert score(task, result.model.points).mse < 0.85 * linear


def test_spacetime_rolls_far_beyond_its_training():
    rng = np.random.default_rng(0)
    t = np.arange(3200)
    x = np.sin(2 * np.pi * t / 24) + rng.normal(0, 0.5, len(t))
    config = SpaceTimeConfig(
        context_length=72, prediction_length=96, n_kernels=2, d_state=24, dropout=0.0
    )
    settings = FinetuneConfig.of(
        "spacetime", {"epochs": 3, "learning_rate": 3e-2, "validation_windows": 200}
    )
    model = finetune([x[:2200]], config, settings, device="cpu").model
    own, naive = [], []
    for end in range(2200, 3200 - 720, 40):
        forecast = model.forecast([x[:end]], 720).median[0]
        assert np.isfinite(forecast).all()
        own.append(np.square(forecast - x[end : end + 720]).mean())
        naive.append(np.square(np.tile(x[end - 24 : end], 30) - x[end : end + 720]).mean())
    np.testing.assert_array_equal(model.forecast([x[:end]], 96).median[0], forecast[:96])
    assert np.mean(own) < np.mean(naive)
