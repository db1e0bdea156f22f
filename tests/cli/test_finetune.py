from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app


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
    assert len(json.loads((out / "training.json").read_text())) == 2
    answer = tmp_path / "answer.csv"
    words = ["forecast", str(csv), "-n", "7", "--model", str(out), "--out", str(answer)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(answer)
    assert len(table) == 14
    assert table["predictions"].notna().all()


def test_seed_columns_and_time_limit_are_handed_on(runner, csv, tmp_path):
    out = tmp_path / "model"
    words = ["finetune", str(csv), "--preset", "smamba", "-n", "3", "--out", str(out)]
    words += ["--timestamp-col", "day", "--target-col", "east", "--seed", "4"]
    result = runner.invoke(app, [*words, "--max-minutes", "0", "--no-progress"])
    assert result.exit_code == 0, result.output
    assert "1 series, 1 epochs" in result.stderr


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
