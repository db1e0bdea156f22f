from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation.longterm import (
    LinearBaseline,
    LongTermScore,
    LongTermTask,
    repeat_last,
    report,
    score,
)

WINDOWS = {"train": 70 - 12 - 4 + 1, "validation": 10 - 4 + 1, "test": 20 - 4 + 1}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    target = [rng.normal(5, 3, 100).cumsum(), np.sin(np.arange(100) / 5) * 40]
    table = pd.DataFrame({"dim_name": ["rate", "OT"], "target": target})
    table.to_parquet(tmp_path / "exchange_rate.parquet")
    return tmp_path


def small(folder, **changes) -> LongTermTask:
    lengths = {"context_length": 12, "prediction_length": 4}
    return LongTermTask.load(folder, "exchange_rate", **{**lengths, **changes})


def test_windows_lie_in_their_parts(folder):
    task = small(folder)
    assert task.ends == (70, 80, 100)
    assert task.history.shape == (2, 80)
    assert task.validation_length == 10
    for part, count in WINDOWS.items():
        assert task.windows(part).shape == (count, 2, 16)
    np.testing.assert_array_equal(task.windows("train")[0], task.values[:, :16])
    np.testing.assert_array_equal(task.windows("test")[0, :, 12:], task.values[:, 80:84])
    np.testing.assert_array_equal(task.windows("test")[-1], task.values[:, 84:])
    train = task.values[:, :70]
    np.testing.assert_allclose(train.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(train.std(1), 1)


def test_variates_can_be_chosen(folder):
    task = small(folder, variates=["OT"])
    assert task.variates == ("OT",)
    np.testing.assert_array_equal(task.values, small(folder).values[1:])
    with pytest.raises(ValueError, match="no variate 'HULL'; it has"):
        small(folder, variates=["HULL"])


def test_score_counts_every_window(folder, monkeypatch):
    task = small(folder)
    windows = task.windows("test")
    error = windows[..., 11:12] - windows[..., 12:]
    expected = np.square(error).mean(), np.abs(error).mean()
    for at_once in (40, 1_000_000):
        monkeypatch.setattr("tsfm.evaluation.longterm._VALUES_AT_ONCE", at_once)
        got = score(task, repeat_last)
        assert (got.mse, got.mae) == pytest.approx(expected)
        assert got.n_windows == WINDOWS["test"]
    assert score(task, repeat_last, n_windows=3).n_windows == 3
    with pytest.raises(ValueError, match="must be finite"):
        score(task, lambda x, h: np.full((*x.shape[:2], h), np.nan))
    with pytest.raises(ValueError, match="shape"):
        score(task, lambda x, h: x)


@pytest.mark.parametrize("per_variate", [False, True])
def test_the_linear_baseline_finds_a_linear_recursion(per_variate):
    t = np.arange(400.0)
    values = np.stack([np.sin(t / 5), np.sin(t / 5 + 1)])
    task = LongTermTask("wave", values, (280, 320, 400), 12, 4, ("a", "b"))
    linear = LinearBaseline(task, per_variate=per_variate)
    assert score(task, linear).mse < 1e-6
    contexts = task.windows("test")[:3, :, :12]
    assert linear(contexts, 4).shape == (3, 2, 4)
    np.testing.assert_allclose(linear(contexts + 7, 4), linear(contexts, 4) + 7)


def test_report_is_a_table_and_json(folder, tmp_path):
    answer = report(small(folder), "mine", lambda x, h: repeat_last(x, h) * 0, "cpu", {"seed": 3})
    lines = answer.table().splitlines()
    assert lines[0] == "exchange_rate, 2 series, 12 -> 4, all 17 test windows"
    assert {line.split("  ")[0] for line in lines[3:]} == {"mine", "linear", "repeat last"}
    mse = [float(line.split()[-2]) for line in lines[3:]]
    assert mse == sorted(mse)
    answer.to_json(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["run"]["seed"] == 3
    assert read["run"]["device"] == "cpu"
    assert LongTermScore(**read["scores"]["mine"]) == answer.scores["mine"]


def test_errors(folder):
    with pytest.raises(ValueError, match="dataset 'traffic' does not exist"):
        LongTermTask.load(folder, "traffic")
    with pytest.raises(FileNotFoundError, match="holds no weather"):
        LongTermTask.load(folder, "weather")
    with pytest.raises(ValueError, match="too short"):
        small(folder, prediction_length=21)


@pytest.mark.parametrize(
    "name", ["ETTh1", "ETTh2", "ETTm1", "ETTm2", "weather", "exchange_rate", "national_illness"]
)
def test_repeating_the_last_value_equals_the_recorded_figures(longterm_data, name):
    entries = json.loads((longterm_data / "manifest.json").read_text())
    known = next(entry for entry in entries if entry["name"] == name)["repeat_naive"]
    task = LongTermTask.load(
        longterm_data, name, context_length=known["seq_len"], prediction_length=known["H"]
    )
    n_windows = known["n_windows"]
    if known["drop_last_batch"] == 1:  # nothing was dropped
        assert len(task.windows("test")) == n_windows
    got = score(task, repeat_last, n_windows=n_windows)
    assert got.mse == pytest.approx(known["MSE"], abs=1e-4)
    assert got.mae == pytest.approx(known["MAE"], abs=1e-4)
