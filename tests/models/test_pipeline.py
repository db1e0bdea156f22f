"""`TSFM.forecast` and `sample_paths`: odd inputs, horizons, levels, batching and mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.models import TSFM
from tsfm.models.inputs import persistence

MODES = ("fast", "best")


def wave(length: int, seed: int = 0, period: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 20 + 5 * np.sin(2 * np.pi * np.arange(length) / period) + rng.normal(0, 0.5, length)


def test_the_tiny_model_has_learnt_something(tiny):
    x = wave(400)
    output = tiny.forecast([x[:352]], 48)
    error = np.abs(output.median[0] - x[352:]).mean()
    assert error < 0.35 * np.abs(x[352:] - x[351]).mean()
    inside = (x[352:] > output.quantiles[0, :, 0]) & (x[352:] < output.quantiles[0, :, -1])
    assert inside.mean() > 0.6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 31, 33, 64, 200, 2048, 5000])
def test_any_context_length(tiny, mode, length):
    output = tiny.forecast([wave(length)], 13, (0.1, 0.5, 0.9), mode=mode)
    assert output.quantiles.shape == (1, 13, 3)
    assert np.isfinite(output.quantiles).all()
    reach = tiny.max_context * (1 if mode == "fast" else 6)  # pooled views of 12 see half as many
    assert output.context_used.tolist() == [min(length, reach)]
    one_step = tiny.forecast([wave(length)], 1, mode=mode)  # no pooled view forecasts one step
    assert one_step.context_used.tolist() == [min(length, tiny.max_context)]


@pytest.mark.parametrize("horizon", [1, 1024, 1025, 2500])
def test_any_horizon_with_intervals_that_do_not_shrink_past_a_pass(tiny, horizon):
    output = tiny.forecast([wave(300), np.arange(50.0)], horizon, non_negative=False)
    assert output.quantiles.shape == (2, horizon, 9)
    assert np.isfinite(output.quantiles).all()
    assert (np.diff(output.quantiles, axis=-1) >= 0).all()
    width = output.quantiles[..., -1] - output.quantiles[..., 0]
    assert (width[:, 1024:] >= width[:, 1023:1024] * (1 - 1e-6)).all()
    if horizon > 2048:
        assert (width[:, 2048:] >= width[:, 2047:2048] * (1 - 1e-6)).all()


def test_best_mode_past_one_pass(tiny):
    output = tiny.forecast([wave(150)], 1100, (0.1, 0.5, 0.9), mode="best")
    assert np.isfinite(output.quantiles).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e300, 1e-300])
def test_constant_series_stay_constant(tiny, mode, value):
    output = tiny.forecast([np.full(100, value)], 30, (0.01, 0.5, 0.99), mode=mode)
    np.testing.assert_allclose(output.quantiles, value, rtol=1e-12)


ODD = {
    "gaps": np.where(np.arange(200) % 7 == 3, np.nan, wave(200)),
    "mostly missing": np.where(np.arange(200) % 50 == 3, wave(200), np.nan),
    "trailing gap": np.r_[wave(150), np.full(70, np.nan)],
    "long trailing gap": np.r_[wave(150), np.full(700, np.nan)],
    "leading gap": np.r_[np.full(500, np.nan), wave(20)],
    "infinities": np.r_[wave(50), np.inf, wave(50), -np.inf, wave(10)],
    "one value": np.r_[np.full(40, np.nan), 3.0, np.full(40, np.nan)],
    "float32": wave(100).astype(np.float32),
    "integers": np.arange(100) % 12,
    "booleans": np.arange(100) % 3 == 0,
    "list": [1, 2.5, None, 4] * 10,
    "huge": wave(100) * 1e300,
    "minute": wave(100) * 1e-300,
    "outlier": np.r_[wave(100), 1e12, wave(100)],
    "reversed view": wave(100)[::-1],
    "unaligned": wave(200)[::2],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ODD)
def test_odd_series_have_finite_forecasts(tiny, mode, name):
    output = tiny.forecast([ODD[name], wave(64)], 20, (0.02, 0.1, 0.5, 0.9, 0.98), mode=mode)
    assert np.isfinite(output.quantiles).all()
    assert (np.diff(output.quantiles, axis=-1) >= 0).all()


def test_a_trailing_gap_is_time_that_passed(tiny):
    x = wave(352)
    with_gap = tiny.forecast([np.r_[x[:300], np.full(52, np.nan)]], 24)
    late = np.abs(with_gap.median[0] - (20 + 5 * np.sin(2 * np.pi * np.arange(352, 376) / 24)))
    early = tiny.forecast([x[:300]], 24).median[0]
    shifted = np.abs(early - (20 + 5 * np.sin(2 * np.pi * np.arange(352, 376) / 24)))
    assert late.mean() < 0.5 * shifted.mean()


@pytest.mark.parametrize("bad", [[], [np.nan] * 5, [np.inf, -np.inf], np.full(9, np.nan)])
def test_series_without_a_value_are_named(tiny, bad):
    with pytest.raises(ValueError, match="Series 1 has no finite value"):
        tiny.forecast([wave(9), bad], 3)


def test_masked_values_are_missing(tiny):
    masked = np.ma.masked_equal([1, 2, -999, 4, 5, 6], -999)
    plain = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    answers = [tiny.forecast([x], 3).quantiles for x in (masked, plain)]
    np.testing.assert_array_equal(*answers)


def test_a_value_out_of_sight_is_no_value(tiny):
    x = np.full(tiny.max_context + 10, np.nan)
    x[3] = 1.0
    with pytest.raises(ValueError, match="Series 0 has no finite value in its last 2048 steps"):
        tiny.forecast([x], 3)
    with pytest.raises(ValueError, match="in its last 5 steps"):
        tiny.forecast([np.r_[1.0, [np.nan] * 5]], 3, context_length=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prediction_length": 0}, "prediction_length"),
        ({"prediction_length": 1.5}, "prediction_length"),
        ({"prediction_length": True}, "prediction_length"),
        ({"quantile_levels": ()}, "quantile_levels"),
        ({"quantile_levels": (0.5, 1.0)}, "quantile_levels"),
        ({"mode": "slow"}, "mode must be 'fast' or 'best'"),
        ({"non_negative": "no"}, "non_negative must be True, False or 'auto'"),
        ({"season_lengths": [-5]}, r"season_lengths\[0\] must be a whole number"),
        ({"season_lengths": [7.9]}, r"season_lengths\[0\] must be a whole number"),
        ({"series": [[1.0, 1e307, -1e307]]}, r"Series 0 holds values beyond 1e\+305"),
        ({"context_length": 0}, "context_length"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -3}, "batch_size"),
        ({"series": [np.ones((2, 3))]}, r"Series 0 must be one-dimensional, got shape \(2, 3\)"),
        ({"series": np.ones(5)}, "Series 0 must be one-dimensional"),
        ({"series": [[1, 2], ["a", "b"]]}, "Series 1 is not a list of numbers"),
    ],
)
def test_mistakes_are_named(tiny, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny.forecast(**{"series": [wave(20)], "prediction_length": 3, **arguments})


def test_no_series_is_no_error(tiny):
    assert tiny.forecast([], 5).quantiles.shape == (0, 5, 9)


def test_levels_keep_their_order_and_never_cross(tiny):
    levels = (0.9, 0.01, 0.5, 0.123, 0.999, 0.1)
    output = tiny.forecast([wave(100)], 12, levels)
    assert output.levels == levels
    assert (np.diff(output.quantiles[..., np.argsort(levels)], axis=-1) > 0).all()
    trained = tiny.forecast([wave(100)], 12)
    assert np.array_equal(output.quantiles[..., 0], trained.quantiles[..., 8])
    assert np.array_equal(output.quantiles[..., 5], trained.quantiles[..., 0])
    assert np.array_equal(output.median, trained.quantiles[..., 4])


def test_non_negativity(tiny):
    sparse = np.where(np.arange(200) % 9 == 0, 5.0, 0.0)
    free = tiny.forecast([sparse], 20, (0.001, 0.5), non_negative=False).quantiles
    assert free.min() < 0
    for choice in ("auto", True):
        assert tiny.forecast([sparse], 20, (0.001, 0.5), non_negative=choice).quantiles.min() == 0
    below = tiny.forecast([sparse - 1], 20, (0.001, 0.5)).quantiles
    np.testing.assert_allclose(below, free - 1, atol=1e-3)


def test_context_length_is_the_last_steps(tiny):
    x = wave(300)
    cut = tiny.forecast([x], 12, context_length=100)
    assert cut.context_used.tolist() == [100]
    assert np.array_equal(cut.quantiles, tiny.forecast([x[-100:]], 12).quantiles)


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_batch_size_changes_nothing(tiny, batch_size):
    series = [wave(n, n) for n in (10, 400, 33, 34, 35, 400)]
    whole = tiny.forecast(series, 40).quantiles
    parts = tiny.forecast(series, 40, batch_size=batch_size).quantiles
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_batches_halve_when_memory_runs_out(tiny, monkeypatch):
    series = [wave(100, n) for n in range(10)]
    whole = tiny.forecast(series, 8).quantiles
    sizes = []
    original = TSFM._pass

    def fussy(self, contexts, *others):
        sizes.append(len(contexts))
        if len(contexts) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, contexts, *others)

    monkeypatch.setattr(TSFM, "_pass", fussy)
    np.testing.assert_allclose(tiny.forecast(series, 8).quantiles, whole, atol=1e-4)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    monkeypatch.setattr(TSFM, "_pass", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        tiny.forecast(series, 8)


def test_bf16_is_close_to_fp32(tiny, tiny_folder):
    half = TSFM.from_pretrained(tiny_folder, device="cpu", dtype="bfloat16")
    one, two = (m.forecast([wave(300)], 48).quantiles for m in (tiny, half))
    assert 0 < np.abs(one - two).max() < 0.05 * np.ptp(wave(300))


def test_sample_paths(tiny):
    series = [wave(200), np.arange(60.0), [3, 4] * 20]
    paths = tiny.sample_paths(series, 10, 2000, random_state=1)
    assert paths.shape == (3, 2000, 10)
    assert np.array_equal(paths, tiny.sample_paths(series, 10, 2000, random_state=1))
    assert not np.array_equal(paths, tiny.sample_paths(series, 10, 2000, random_state=2))
    wanted = tiny.forecast(series, 10, (0.1, 0.5, 0.9)).quantiles
    width = wanted[..., 2] - wanted[..., 0]
    for column, level in enumerate((0.1, 0.5, 0.9)):
        got = np.quantile(paths, level, axis=1)
        assert (np.abs(got - wanted[..., column]) < 0.12 * width).all()


@pytest.mark.parametrize("name", ODD)
def test_sample_paths_of_odd_series(tiny, name):
    assert np.isfinite(tiny.sample_paths([ODD[name]], 5, 7, random_state=0)).all()


def test_persistence():
    rng = np.random.default_rng(0)
    walk = rng.standard_normal(500).cumsum()
    assert persistence(walk) > 0.8
    assert persistence(rng.standard_normal(500)) < 0.2
    assert persistence(walk * 1e300 / np.abs(walk).max()) == pytest.approx(persistence(walk))
    assert persistence(np.array([1.0, np.nan, 2.0])) == 0
    assert persistence(np.zeros(50)) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_agree(tiny, tiny_folder):
    gpu = TSFM.from_pretrained(tiny_folder, device="cuda")
    series = [wave(n, n) for n in (5, 100, 3000)]
    for horizon in (24, 1100):
        one, two = (m.forecast(series, horizon).quantiles for m in (tiny, gpu))
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-2)


def test_known_seasons(tiny):
    x = wave(60, period=24)
    plain = tiny.forecast([x, x], 24).quantiles
    none = tiny.forecast([x, x], 24, season_lengths=[None, 0]).quantiles
    assert np.array_equal(plain, none)
    for mode in MODES:
        both = tiny.forecast([x, wave(200)], 24, season_lengths=[24, None], mode=mode).quantiles
        assert np.isfinite(both).all()
        alone = tiny.forecast([x], 24, season_lengths=[24], mode=mode).quantiles
        np.testing.assert_allclose(both[:1], alone, atol=1e-5)
    for long in (61, 5000):  # longer than the history: no harm
        assert np.isfinite(tiny.forecast([x], 24, season_lengths=[long]).quantiles).all()
    with pytest.raises(ValueError, match="season_lengths has 1 entries for 2 series"):
        tiny.forecast([x, x], 24, season_lengths=[24])
