from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tsfm.loading import load_model
from tsfm.models import TSFM
from tsfm.models.hub import is_preset, read_config
from tsfm.models.presets import PresetModel, SMambaConfig

LEVELS = (0.02, 0.1, 0.5, 0.9, 0.999)


def test_forecast_has_the_shape_of_any_model(trained, series):
    answer = trained.forecast(series, 5, LEVELS)
    assert answer.quantiles.shape == (3, 5, 5)
    assert answer.levels == LEVELS
    assert (np.diff(answer.quantiles, axis=-1) >= 0).all()
    np.testing.assert_array_equal(answer.quantiles[..., 2], answer.median)
    assert answer.context_used.tolist() == [36, 36, 36]
    assert np.abs(answer.median - 50).max() < 25


def test_levels_may_come_in_any_order(trained, series):
    up, down = trained.forecast(series, 4, LEVELS), trained.forecast(series, 4, LEVELS[::-1])
    np.testing.assert_array_equal(up.quantiles, down.quantiles[..., ::-1])


def test_short_forecasts_begin_long_ones_and_intervals_never_narrow(trained, series):
    long = trained.forecast(series, 50, LEVELS).quantiles
    np.testing.assert_array_equal(trained.forecast(series, 8, LEVELS).quantiles, long[:, :8])
    assert np.isfinite(long).all()
    width = long[..., 3] - long[..., 1]
    assert (np.diff(width[:, 8:], axis=1) > 0).all()
    assert (width[:, 8:] >= width[:, :8].max(axis=1, keepdims=True)).all()


def test_a_reordering_model_is_saved_and_heeds_no_order(tmp_path):
    config = SMambaConfig(12, 4, d_model=16, d_hidden=16, reorder=True)
    PresetModel.from_config(config).save_pretrained(tmp_path)
    model = PresetModel.from_pretrained(tmp_path, device="cpu")
    assert model.config == config
    windows = np.random.default_rng(0).normal(size=(3, 5, 12))
    plain, other = (model.points(windows, 4, order=o) for o in (None, np.array([4, 2, 0, 1, 3])))
    np.testing.assert_allclose(other, plain, atol=1e-5)


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e6, 1e8), (-3.0, 0.0)])
def test_the_unit_does_not_matter(trained, series, factor, shift):
    moved = [factor * x + shift for x in series]
    plain = trained.forecast(series, 6, (0.5,), non_negative=False).median
    other = trained.forecast(moved, 6, (0.5,), non_negative=False).median
    if factor > 0:
        np.testing.assert_allclose((other - shift) / factor, plain, rtol=1e-4)
    assert np.isfinite(other).all()


def test_missing_short_and_constant_series(trained, series):
    holes = series[0].copy()
    holes[-20:-10] = np.nan
    holes[-1] = np.inf
    odd = [holes, np.array([3.0, 4.0]), np.full(100, 7.0), np.array([5.0])]
    answer = trained.forecast(odd, 4, LEVELS)
    assert np.isfinite(answer.quantiles).all()
    assert answer.context_used.tolist() == [36, 2, 36, 1]
    np.testing.assert_allclose(answer.quantiles[2:], [[[7.0] * 5] * 4, [[5.0] * 5] * 4])
    assert np.isinf(holes[-1])


def test_few_values_get_wider_intervals(trained):
    def width(n: int) -> float:
        x = np.resize([1.0, -1.0], n)  # deviation one, where n is even
        lower, _, upper = trained.forecast([x], 1, (0.1, 0.5, 0.9)).quantiles[0, 0]
        return upper - lower

    full = width(36)
    assert width(8) == pytest.approx(full)
    assert width(6) == pytest.approx(1.3625 * full, rel=1e-3)
    assert width(2) == pytest.approx(4.159 * full, rel=1e-3)


def test_padding_is_like_missing_values(trained, series):
    short = series[0][-10:]
    padded = np.concatenate([np.full(30, np.nan), short])
    one = trained.forecast([short], 4).quantiles
    np.testing.assert_array_equal(one, trained.forecast([padded], 4).quantiles)
    cut = trained.forecast([series[0]], 4, context_length=10).quantiles
    np.testing.assert_array_equal(one, cut)


def test_sample_paths_have_the_marginals_of_the_forecast(trained, series):
    paths = trained.sample_paths(series, 8, 2000, random_state=0)
    assert paths.shape == (3, 2000, 8)
    answer = trained.forecast(series, 8, (0.1, 0.9)).quantiles
    width = (answer[..., 1] - answer[..., 0])[..., None]
    drawn = np.moveaxis(np.quantile(paths, (0.1, 0.9), axis=1), 0, -1)
    assert (np.abs(drawn - answer) / width).max() < 0.1
    np.testing.assert_array_equal(paths, trained.sample_paths(series, 8, 2000, random_state=0))
    with pytest.raises(ValueError, match="num_samples"):
        trained.sample_paths(series, 8, 0)


def test_evaluation_is_pure(trained, series):
    state = {k: v.clone() for k, v in trained.network.state_dict().items()}
    copies = [x.copy() for x in series]
    random = torch.random.get_rng_state()
    first = trained.forecast(series, 12).quantiles
    np.testing.assert_array_equal(first, trained.forecast(series, 12).quantiles)
    for copy, x in zip(copies, series, strict=True):
        np.testing.assert_array_equal(copy, x)
    assert all(torch.equal(state[k], v) for k, v in trained.network.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())


def test_spacetime_series_are_independent_and_smamba_variates_are_not(trained, series):
    together = trained.forecast(series, 6).median
    alone = np.concatenate([trained.forecast([x], 6, batch_size=1).median for x in series])
    if trained.config.kind == "spacetime":
        np.testing.assert_allclose(together, alone, rtol=1e-5)
    else:
        assert np.abs(together - alone).max() > 1e-3


def test_orders_are_averaged_for_smamba_only(trained, series):
    one = trained.forecast(series, 6).median
    many = trained.forecast(series, 6, average_orders=4, random_state=1)
    again = trained.forecast(series, 6, average_orders=4, random_state=1)
    np.testing.assert_array_equal(many.median, again.median)
    changed = np.abs(one - many.median).max() > 0
    assert changed == (trained.config.kind == "smamba")
    best = trained.forecast(series, 6, mode="best").median
    np.testing.assert_array_equal(best, one)


def test_points_permutes_there_and_back(trained, series):
    windows = np.stack(series)[None]
    order = np.array([2, 0, 1])
    permuted = trained.points(windows, 4, order=order)
    direct = trained.points(windows[:, order], 4)
    np.testing.assert_allclose(permuted[:, order], direct, rtol=1e-6)


def test_saved_and_loaded_by_every_door(trained, series, tmp_path):
    trained.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["kind"] == trained.config.kind
    assert (values["format_version"], values["task"]) == (1, "forecast")
    assert is_preset(tmp_path)
    expected = trained.forecast(series, 20, LEVELS).quantiles
    for model in (load_model(tmp_path, "cpu"), PresetModel.from_pretrained(tmp_path)):
        assert model.config == trained.config
        np.testing.assert_array_equal(model.forecast(series, 20, LEVELS).quantiles, expected)
    assert load_model(tmp_path, "cpu") is load_model(str(tmp_path), "cpu")


def test_folders_are_not_confused(trained, tmp_path, tiny_folder):
    trained.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"holds a {trained.config.kind} trained on a data set"):
        TSFM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no trained preset"):
        PresetModel.from_pretrained(tiny_folder)
    assert not is_preset(tiny_folder)
    assert read_config(tiny_folder).task == "forecast"


def test_non_negative(trained, series):
    low = [x - 55 for x in series]  # forecasts below zero are likely
    assert trained.forecast(low, 8).quantiles.min() < 0
    assert trained.forecast(low, 8, non_negative=True).quantiles.min() == 0
    positive = [x - x.min() for x in series]
    assert trained.forecast(positive, 50, LEVELS).quantiles.min() >= 0


def test_errors_say_what_to_do(trained, series):
    with pytest.raises(ValueError, match="mode must be"):
        trained.forecast(series, 4, mode="slow")
    with pytest.raises(ValueError, match="average_orders must be"):
        trained.forecast(series, 4, average_orders=-1)
    with pytest.raises(ValueError, match="Series 1 has no finite value"):
        trained.forecast([series[0], np.full(5, np.nan)], 4)
    untrained = PresetModel.from_config(SMambaConfig(context_length=8, prediction_length=2))
    with pytest.raises(ValueError, match="is not trained"):
        untrained.forecast(series, 2)
