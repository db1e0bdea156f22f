"""The promises of the design, held by the committed tiny model."""

from __future__ import annotations

import copy
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tsfm
from tsfm.models import TSFM

TINY = Path(__file__).resolve().parent / "assets" / "tiny"
MODES = ("fast", "best")


@pytest.fixture(scope="module", params=["released", "companion", "mamba1", "mamba2"])
def model(request, random_model) -> TSFM:
    if request.param == "released":
        return TSFM.from_pretrained(TINY, device="cpu")
    return random_model(request.param)


def example(seed: int, length: int, missing: float = 0.0) -> np.ndarray:
    """A season on a slow walk, standard deviation of order one, last value observed."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    period = rng.choice([7, 12, 24, 168])
    x = np.sin(2 * np.pi * t / period + rng.uniform(0, 6)) + 0.1 * rng.standard_normal(length)
    x += 0.02 * rng.standard_normal(length).cumsum()
    x[rng.random(length) < missing] = np.nan
    x[-1] = 0.3
    return x


def forecast(model: TSFM, series, horizon: int = 24, **options) -> np.ndarray:
    return model.forecast(series, horizon, non_negative=False, **options).quantiles


cases = given(
    seed=st.integers(0, 500), length=st.integers(1, 600), missing=st.sampled_from([0.0, 0.3])
)


@cases
@settings(max_examples=25, deadline=None)
def test_leading_gaps_are_no_history(model, seed, length, missing):
    x = example(seed, length, missing)
    for gap in (1, 31, 32, 500):
        padded = forecast(model, [np.r_[np.full(gap, np.nan), x]])
        np.testing.assert_allclose(padded, forecast(model, [x]), atol=1e-5)


@cases
@settings(max_examples=25, deadline=None)
def test_padding_inside_a_batch_changes_nothing(model, seed, length, missing):
    x = example(seed, length, missing)
    x = x[np.isfinite(x).argmax() :]
    tight = -(-len(x) // 32) * 32
    season = torch.tensor([0])
    one = model._pass([x], tight, 24, season)
    for more in (32, 64, 1024):
        padded = model._pass([x], tight + more, 24, season)
        np.testing.assert_allclose(padded, one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_batch_mates_and_row_order_change_nothing(model, mode):
    series = [example(s, n, 0.1) for s, n in enumerate((5, 33, 100, 100, 257, 640, 2500))]
    together = forecast(model, series, mode=mode)
    order = np.random.default_rng(0).permutation(len(series))
    shuffled = forecast(model, [series[i] for i in order], mode=mode)
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5, rtol=1e-5)
    alone = np.concatenate([forecast(model, [x], mode=mode) for x in series])
    np.testing.assert_allclose(alone, together, atol=1e-5, rtol=1e-5)
    wild = np.r_[example(9, 99) * 1e12, np.full(20, np.nan), 1e15]
    with_wild = forecast(model, [*series, wild], mode=mode)[:-1]
    np.testing.assert_allclose(with_wild, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1e-6, 0), (1e6, 0), (1, 1e6), (1, -1e6), (1e-3, 7), (1e-12, 0), (1e200, 0)],
)
def test_the_unit_does_not_matter(model, mode, scale, shift):
    series = [example(s, n, 0.1) for s, n in enumerate((50, 300, 700))]
    here = forecast(model, series, mode=mode)
    there = forecast(model, [scale * x + shift for x in series], mode=mode)
    np.testing.assert_allclose((there - shift) / scale, here, atol=1e-4)


@cases
@settings(max_examples=25, deadline=None)
def test_the_mirror_image_has_the_mirrored_forecast(model, seed, length, missing):
    x = example(seed, length, missing)
    up, down = forecast(model, [x]), forecast(model, [-x])
    np.testing.assert_allclose(up, -down[..., ::-1], atol=1e-5, rtol=1e-5)


@cases
@settings(max_examples=15, deadline=None)
def test_short_horizons_begin_long_ones(model, seed, length, missing):
    x = example(seed, length, missing)
    long = forecast(model, [x], 720)
    np.testing.assert_allclose(forecast(model, [x], 24), long[:, :24], atol=1e-5)
    np.testing.assert_allclose(forecast(model, [x], 33), long[:, :33], atol=1e-5)


def test_horizons_past_one_pass_begin_alike(model):
    x = example(1, 300)
    long = forecast(model, [x], 2200)
    for horizon in (1000, 1024, 1030, 2100):
        np.testing.assert_allclose(forecast(model, [x], horizon), long[:, :horizon], atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_never_changed(model, mode):
    series = [
        np.r_[np.nan, example(0, 100, 0.2), np.inf],
        np.arange(40),
        np.float32([1, 2, np.nan]),
    ]
    series[1].flags.writeable = False
    before = copy.deepcopy(series)
    model.forecast(series, 12, mode=mode)
    model.sample_paths(series, 12, 5, mode=mode)
    for one, two in zip(series, before, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def surroundings() -> tuple:
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.random.get_rng_state().tolist(),
        [str(part) for part in np.random.get_state()],
    )


@pytest.mark.parametrize("mode", MODES)
def test_forecasting_is_pure(mode):
    before = surroundings()
    model = TSFM.from_pretrained(TINY, device="cpu")
    state = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    series = [example(0, 200), example(1, 30, 0.2)]
    first = model.forecast(series, 1030 if mode == "fast" else 40, mode=mode).quantiles
    model.sample_paths(series, 4, 3, mode=mode, random_state=0)
    again = model.forecast(series, 1030 if mode == "fast" else 40, mode=mode).quantiles
    assert np.array_equal(first, again)
    assert surroundings() == before
    assert not model.network.training
    assert model.network.state_dict().keys() == state.keys()
    for name, weight in model.network.state_dict().items():
        assert torch.equal(weight, state[name])
    assert all(p.grad is None for p in model.network.parameters())


def test_the_default_dtype_of_the_caller_does_not_matter(model, tmp_path):
    model.save_pretrained(tmp_path)
    here = forecast(model, [example(0, 200)], 1030)
    torch.set_default_dtype(torch.float64)
    try:
        there = forecast(TSFM.from_pretrained(tmp_path, device="cpu"), [example(0, 200)], 1030)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_no_socket_is_opened(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = TSFM.from_pretrained(TINY, device="cpu")
    for mode in MODES:
        model.forecast([example(0, 100)], 8, mode=mode)
    with pytest.raises(FileNotFoundError):
        TSFM.from_pretrained("someone/some-model")


def test_sample_paths_have_the_quantiles_of_the_forecast():
    months = pd.date_range("2020-01-01", periods=30, freq="MS")
    season = np.sin(2 * np.pi * np.arange(30) / 12)
    noise = np.random.default_rng(0).normal(
        0, 0.8, 30
    )  # too much to see the year without calendar
    frame = pd.DataFrame({"timestamp": months, "target": 10 + 2 * season + noise})
    forecaster = tsfm.Forecaster(TINY, prediction_length=12, random_state=0).fit(frame)
    answer = forecaster.predict()
    levels = ["0.1", "0.3", "0.5", "0.7", "0.9"]
    paths = forecaster.predict_samples(num_samples=4000)
    sampled = paths.groupby("timestamp")["predictions"].quantile([float(q) for q in levels])
    width = (answer["0.9"] - answer["0.1"]).to_numpy()[:, None]
    gap = sampled.unstack().to_numpy() - answer[levels].to_numpy()
    assert np.abs(gap / width).max() < 0.05
