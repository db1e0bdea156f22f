"""Scores of arrays: any length, windows that overlap, missing values, save and load."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tsfm.models import TSFM, Detector, DetectorConfig, list_models
from tsfm.models import detection as detection_file
from tsfm.models.detecting import standardised
from tsfm.models.hub import build_network, load_network, read_config
from tsfm.models.judgement import judge_trailing


@pytest.fixture(scope="module")
def detector() -> Detector:
    config = dataclasses.replace(DetectorConfig.preset("tiny"), max_context=256)
    model = Detector.from_config(config, seed=0)
    torch.manual_seed(0)
    for parameter in model.network.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return model


def series(length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(length)[:, None]
    return np.sin(t / (5 + np.arange(channels))) * 3 + rng.normal(size=(length, channels)) + 20


def by_hand(detector: Detector, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and expected value of one window [L, C]."""
    values = torch.from_numpy(x.T.copy())[None]
    observed = torch.isfinite(values)
    z, scale = standardised(values, observed)
    with torch.inference_mode():
        answer = detector.network(z, observed)
    expected = scale.inverse(answer.expected[0])
    return answer.logit[0].T.double().numpy(), expected.T.numpy()


@pytest.mark.parametrize("length", [8, 9, 31, 255, 256, 257, 300, 1000, 5000])
def test_any_length(detector, length):
    x = series(length, 2)
    before = x.copy()
    answer = detector.score(x)
    for part in (answer.score, answer.expected, answer.scale):
        assert part.shape == (length, 2)
        assert np.isfinite(part).all()
    assert np.array_equal(x, before)
    again = detector.score(x)
    assert np.array_equal(answer.score, again.score)


def test_a_short_series_is_one_window(detector):
    x = series(200, 2)
    answer, (score, expected) = detector.score(x), by_hand(detector, x)
    np.testing.assert_allclose(answer.score, score, atol=1e-6)
    np.testing.assert_allclose(answer.expected, expected, rtol=1e-6)


def test_windows_are_averaged_with_weights_that_fall_towards_their_ends(detector):
    x = series(384)
    first, last = by_hand(detector, x[:256])[0], by_hand(detector, x[128:])[0]
    answer = detector.score(x).score
    np.testing.assert_allclose(answer[:128], first[:128], atol=1e-5)
    np.testing.assert_allclose(answer[256:], last[128:], atol=1e-5)
    up = np.arange(1.0, 129)[:, None]
    mixed = (first[128:] * up[::-1] + last[:128] * up) / (up + up[::-1])
    np.testing.assert_allclose(answer[128:256], mixed, atol=1e-5)


def test_every_step_is_covered_by_windows_of_full_length():
    for length, window, overlap in ((1000, 256, 0.5), (1001, 256, 0.9), (257, 256, 0.0)):
        plan = list(detection_file._overlapping(length, window, overlap))
        assert {one.stop - one.start for one in plan} == {window}
        assert (plan[0].start, plan[-1].stop) == (0, length)
        gaps = [two.start - one.stop for one, two in pairwise(plan)]
        assert max(gaps) <= 0
    assert len(list(detection_file._overlapping(256, 256, 0.5))) == 1
    assert len(list(detection_file._overlapping(1024, 256, 0.5))) == 7


def test_batches_and_memory_do_not_matter(detector, monkeypatch):
    x = series(3000, 2)
    answer = detector.score(x)
    monkeypatch.setattr(detection_file, "_TOKENS_PER_PASS", 1)
    np.testing.assert_allclose(detector.score(x).score, answer.score, atol=1e-5)


def test_overlap_and_window(detector):
    x = series(1500)
    plain = detector.score(x, overlap=0.0).score
    np.testing.assert_allclose(plain[256:512], by_hand(detector, x[256:512])[0], atol=1e-5)
    assert not np.allclose(detector.score(x).score, plain, atol=1e-3)
    short = detector.score(x, window=64, overlap=0.0).score
    np.testing.assert_allclose(short[64:128], by_hand(detector, x[64:128])[0], atol=1e-5)


def test_missing_values(detector):
    x = series(700, 2)
    x[100:150, 0] = np.nan
    x[300, 1] = np.inf
    answer = detector.score(x)
    assert np.array_equal(np.isnan(answer.score), ~np.isfinite(x))
    assert np.isfinite(answer.expected).all()  # gaps are filled
    x[:, 1] = np.nan
    answer = detector.score(x)
    assert np.isnan(answer.score[:, 1]).all()
    assert np.isnan(answer.expected[:, 1]).all()
    assert np.isfinite(answer.score[~np.isnan(x[:, 0]), 0]).all()
    masked = np.ma.masked_array(series(50), mask=np.arange(50)[:, None] < 5)
    assert np.isnan(detector.score(masked).score).sum() == 5


def test_constant_series_and_extreme_units(detector):
    answer = detector.score(np.full(600, 3.25))
    assert np.isfinite(answer.score).all()
    assert (answer.expected == 3.25).all()
    assert (answer.scale == 0).all()
    x = series(400)
    plain = detector.score(x)
    for unit, shift in ((1e-200, 0.0), (1e200, 0.0), (50.0, 1e4)):
        other = detector.score(x * unit + shift)
        np.testing.assert_allclose(other.score, plain.score, atol=2e-3)
        np.testing.assert_allclose(other.expected, plain.expected * unit + shift, rtol=1e-3)
    assert np.isfinite(detector.score(np.arange(20)).score).all()
    assert np.isfinite(detector.score(np.array([0.0] * 50 + [1e300] + [0.0] * 50)).score).all()


def test_channels_in_another_order(detector):
    x = series(600, 3)
    one, two = detector.score(x), detector.score(x[:, [2, 0, 1]])
    np.testing.assert_allclose(one.score[:, [2, 0, 1]], two.score, atol=1e-5)
    np.testing.assert_allclose(one.expected[:, [2, 0, 1]], two.expected, rtol=1e-5)


def test_windows_together_are_windows_by_themselves(detector, monkeypatch):
    x = series(90, 2)
    x[70:75, 1] = np.nan
    windows = np.stack([x[at : at + 48] for at in range(20)])
    before = windows.copy()
    for tokens in (1, 100, 10_000):
        monkeypatch.setattr(detection_file, "_TOKENS_PER_PASS", tokens)
        for one, window in zip(detector.score_windows(windows), windows, strict=True):
            alone = detector.score(window)
            np.testing.assert_allclose(one.score, alone.score, atol=1e-5)
            np.testing.assert_allclose(one.expected, alone.expected, rtol=1e-5)
            np.testing.assert_allclose(one.scale, alone.scale, rtol=1e-6)
    np.testing.assert_array_equal(windows, before)
    for wrong in (windows[0], windows[:, :7], np.zeros((1, 257, 1))):
        with pytest.raises(ValueError, match=r"shape \[n, L, C\], L from 8 to 256"):
            detector.score_windows(wrong)


@pytest.mark.parametrize("delay", [0, 3])
def test_trailing_windows_know_nothing_of_what_comes(detector, delay):
    x = series(90, 2)
    whole = judge_trailing(detector, x, 32, delay)
    assert np.isnan(whole.score[: 7 - delay]).all()
    assert np.isfinite(whole.score[7 - delay : 90 - delay]).all()
    assert np.isnan(whole.score[90 - delay :]).all()
    for cut in (40, 64):
        part = judge_trailing(detector, x[:cut], 32, delay)
        np.testing.assert_allclose(
            part.score[: cut - delay], whole.score[: cut - delay], atol=1e-5
        )
    score, expected = by_hand(detector, x[48:80])
    np.testing.assert_allclose(whole.score[79 - delay], score[-1 - delay], atol=1e-5)
    np.testing.assert_allclose(whole.expected[79 - delay], expected[-1 - delay], rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros(7), {}, "at least 8 steps"),
        (np.zeros((9, 2, 2)), {}, r"shape \[L\] or \[L, C\]"),
        (np.zeros((9, 0)), {}, "a channel"),
        (["a"] * 9, {}, "not a list of numbers"),
        (np.full(9, 1e307), {}, "in a larger unit"),
        (np.zeros(9), {"window": 4}, "window must be"),
        (np.zeros(9), {"window": 512}, "from 8 to 256"),
        (np.zeros(9), {"overlap": 1.0}, "overlap must be"),
    ],
)
def test_mistakes_are_named(detector, values, options, message):
    with pytest.raises(ValueError, match=message):
        detector.score(values, **options)


def test_wide_series_are_read_in_shorter_windows(detector, monkeypatch):
    monkeypatch.setattr(detection_file, "_TOKENS_PER_WINDOW", 64)
    monkeypatch.setattr(detection_file, "_SHORTEST_WINDOW", 16)
    assert [detector._window(None, c) for c in (1, 4, 1000)] == [256, 128, 16]
    assert detector._window(64, 1) == 64


def test_saved_and_loaded_are_the_same(detector, tmp_path, monkeypatch, tiny_folder):
    folder = tmp_path / "models" / "quick"
    detector.save_pretrained(folder)
    loaded = Detector.from_pretrained(folder, device="cpu")
    assert loaded.config == detector.config == read_config(folder)
    assert loaded.n_parameters == detector.n_parameters
    x = series(300)
    assert np.array_equal(loaded.score(x).score, detector.score(x).score)
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with pytest.raises(ValueError, match="a model for 'detect', not for forecasts"):
        TSFM.from_pretrained(folder)
    with pytest.raises(ValueError, match="a model for forecasts, not for anomalies"):
        Detector.from_pretrained(tiny_folder)
    monkeypatch.setattr("tsfm.models.hub.assets", lambda kind: tmp_path / kind)
    assert [(info.name, info.task) for info in list_models()] == [("quick", "detect")]


def test_loading_leaves_the_random_state_alone(detector, tmp_path):
    detector.save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    network = load_network(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert isinstance(network, type(build_network(detector.config)))
    assert not network.training
