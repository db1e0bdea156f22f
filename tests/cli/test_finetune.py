from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app

TINY = str(Path(__file__).resolve().parents[1] / "assets" / "tiny")


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def csv(tmp_path):
    days = pd.date_range("2023-01-01", periods=150, freq="D")
    t = np.arange(150)
    frame = pd.DataFrame({"day": days, "east": np.sin(t / 3), "west": np.cos(t / 3) + 4})
    path = tmp_path / "wide.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("preset", ["smamba", "spacetime"])
def test_train_then_forecast(runner, csv, tmp_path, preset):
    out = tmp_path / "model"
    words = ["finetune", str(csv), "--preset", preset, "--prediction-length", "7"]
    words += ["--out", str(out), "--context-length", "21", "--epochs", "2", "--no-progress"]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "2 series, 2 epochs" in result.stderr
    assert f"--model {out}" in result.stderr
    assert len(pd.read_csv(out / "training.csv")) == 2
    answer = tmp_path / "answer.csv"
    words = ["forecast", str(csv), "-n", "7", "--model", str(out), "--out", str(answer)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(answer)
    assert len(table) == 14
    assert table["predictions"].notna().all()


def test_columns_are_handed_on(runner, csv, tmp_path):
    out = tmp_path / "model"
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "3", "--out", str(out)]
    words += ["--timestamp-col", "day", "--target-col", "east", "--epochs", "1"]
    result = runner.invoke(app, [*words, "--no-progress"])
    assert result.exit_code == 0, result.output
    assert "1 series, 1 epochs" in result.stderr
    assert json.loads((out / "config.json").read_text())["series_names"] == ["east"]


def test_the_seed_is_the_given_one_else_that_of_the_file(runner, csv, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: smamba\ntraining: {epochs: 1, seed: 3}\n")
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "3", "--config", str(path)]
    weights = {}
    for name, seed in (("file", []), ("three", ["--seed", "3"]), ("four", ["--seed", "4"])):
        out = tmp_path / name
        result = runner.invoke(app, [*words, *seed, "--out", str(out), "--no-progress"])
        assert result.exit_code == 0, result.output
        weights[name] = (out / "model.safetensors").read_bytes()
    assert weights["file"] == weights["three"] != weights["four"]


@pytest.mark.parametrize("minutes", ["0", "-1"])
def test_a_time_limit_must_leave_time(runner, csv, tmp_path, minutes):
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "3", "--out", str(tmp_path / "m")]
    result = runner.invoke(app, [*words, "--max-minutes", minutes, "--no-progress"])
    assert result.exit_code == 2
    assert "is not above 0" in result.output + result.stderr


def test_a_time_limit_ends_the_run(runner, csv, tmp_path):
    out = tmp_path / "model"
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "3", "--out", str(out)]
    words += ["--epochs", "100000", "--max-minutes", "0.01", "--no-progress"]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(out / "training.csv")) < 100000


def test_a_failed_run_leaves_no_folder(runner, csv, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "90", "--no-progress", "--out"]
    for out in (tmp_path / "new" / "model", kept):
        assert runner.invoke(app, [*words, str(out)]).exit_code == 2
    assert not (tmp_path / "new").exists()
    assert kept.is_dir()
    result = runner.invoke(app, ["forecast", str(csv), "-n", "3", "--model", str(kept)])
    assert result.exit_code == 2
    assert "tsfm finetune" in result.stderr


def test_errors_are_one_line(runner, csv, tmp_path):
    words = ["finetune", str(csv), "--preset", "smamba", "--out", str(tmp_path / "m")]
    result = runner.invoke(app, [*words, "-n", "90", "--no-progress"])
    assert result.exit_code == 2
    assert "--prediction-length" in result.stderr
    result = runner.invoke(app, [*words, "-n", "3", "--config", "no.yaml"])
    assert result.exit_code == 2
    assert "no.yaml does not exist" in result.stderr
    result = runner.invoke(app, ["forecast", str(csv), "-n", "3", "--model", "smamba"])
    assert result.exit_code == 2
    assert "tsfm finetune FILE --preset smamba" in result.stderr


def test_fine_tune_then_forecast(runner, csv, tmp_path):
    out, path = tmp_path / "model", tmp_path / "quick.yaml"
    path.write_text("training: {windows_per_epoch: 8, margin: 0.0, learning_rate: 0.001}\n")
    words = ["finetune", str(csv), "--model", TINY, "--method", "head", "-n", "7"]
    words += ["--out", str(out), "--context-length", "64", "--epochs", "2", "--no-progress"]
    result = runner.invoke(app, [*words, "--config", str(path)])
    assert result.exit_code == 0, result.output
    assert "2 series, 2 epochs" in result.stderr
    table = pd.read_csv(out / "training.csv")
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["kept"].sum() == 1
    assert json.loads((out / "config.json").read_text())["task"] == "forecast"
    answer = tmp_path / "answer.csv"
    words = ["forecast", str(csv), "-n", "7", "--model", str(out), "--out", str(answer)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(answer)["predictions"].notna().all()


def test_a_refusal_writes_the_weights_as_they_were(runner, csv, tmp_path):
    out, path = tmp_path / "model", tmp_path / "strict.yaml"
    path.write_text("training: {windows_per_epoch: 8, margin: 1000.0}\n")
    words = ["finetune", str(csv), "--model", TINY, "-n", "7", "--out", str(out)]
    words += ["--epochs", "1", "--no-progress", "--config", str(path)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "warning: Fine-tuning did not pay" in result.stderr
    assert "none was better than the zero-shot model" in result.stderr
    config = json.loads((out / "config.json").read_text())
    assert config["name"] == "tsfm-tiny"


def test_a_preset_and_a_model_exclude_each_other(runner, csv, tmp_path):
    words = ["finetune", str(csv), "-n", "3", "--out", str(tmp_path / "m"), "--no-progress"]
    for wrong, message in (
        (["--preset", "smamba", "--model", "tsfm-mini"], "give one of them"),
        (["--preset", "smamba", "--method", "lora"], "not with presets"),
        (["--model", "smamba", "--method", "head"], "not with presets"),
    ):
        result = runner.invoke(app, [*words, *wrong])
        assert result.exit_code == 2
        assert message in " ".join((result.output + result.stderr).replace("│", " ").split())
    result = runner.invoke(app, [*words, "--model", "smamba", "--epochs", "1"])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "m" / "config.json").read_text())["kind"] == "smamba"


def test_evaluate_longterm(runner, tmp_path):
    rng = np.random.default_rng(0)
    target = [rng.normal(size=300), np.sin(np.arange(300) / 4)]
    table = pd.DataFrame({"dim_name": ["a", "OT"], "target": target})
    table.to_parquet(tmp_path / "exchange_rate.parquet")
    out = tmp_path / "report.json"
    words = ["evaluate", "longterm", "--data", str(tmp_path), "--dataset", "exchange_rate"]
    words += ["--preset", "spacetime", "--variate", "OT", "--context-length", "24", "-n", "6"]
    words += ["--epochs", "1", "--seed", "2", "--no-progress", "--out", str(out)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "1 series, 24 -> 6, all 55 test windows" in result.stdout
    assert "spacetime" in result.stdout
    read = json.loads(out.read_text())
    assert set(read["scores"]) == {"spacetime", "linear", "repeat last"}
    assert read["run"]["seed"] == 2
    missing = runner.invoke(app, [*words, "--config", "no.yaml"])
    assert missing.exit_code == 2


def test_evaluate_longterm_takes_the_lengths_of_the_file(runner, tmp_path):
    table = pd.DataFrame({"dim_name": ["OT"], "target": [np.sin(np.arange(300) / 4)]})
    table.to_parquet(tmp_path / "exchange_rate.parquet")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "preset: smamba\nmodel: {context_length: 20, prediction_length: 5, d_model: 8}\n"
    )
    words = ["evaluate", "longterm", "--data", str(tmp_path), "--dataset", "exchange_rate"]
    words += ["--config", str(path), "--epochs", "1", "--no-progress"]
    for flags, expected in (([], "20 -> 5"), (["-n", "7"], "20 -> 7")):
        result = runner.invoke(app, [*words, *flags])
        assert result.exit_code == 0, result.output
        assert f"1 series, {expected}, all" in result.stdout
