"""`tsfm evaluate tsb` and `tsfm evaluate nab` on a tiny benchmark made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.evaluation.anomaly_baselines import CHANNEL_SCORERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.normal(size=300)
    labels = np.zeros(300, dtype=np.int8)
    labels[200:210] = 1
    values[200:210] += 6
    columns = ["series_id", "dataset", "train_end", "values", "labels"]
    for name in ("univariate", "nab_original"):
        frame = pd.DataFrame([("one", "A", 45, values, labels)], columns=columns)
        frame.to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def run(*words: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


@pytest.mark.parametrize("flag", ["--out", "--json"])
def test_tsb_table_on_screen_and_json_in_a_file(folder: Path, flag: str) -> None:
    out = folder / "report.json"
    words = ("tsb", "--data", folder, "--protocol", "test", "--baseline", "z-score")
    result = run(*words, flag, out, "--no-progress")
    assert result.exit_code == 0, result.output
    assert "z-score on TSB-AD univariate, protocol test, 1 file: VUS-PR" in result.output
    read = json.loads(out.read_text())
    assert (read["detector"], read["protocol"]) == ("z-score", "test")
    assert read["files"][0]["n_scored"] == 255


def test_the_protocol_must_be_named(folder: Path) -> None:
    result = run("tsb", "--data", folder)
    assert result.exit_code == 2
    assert "--protocol" in result.output


def test_nab_table_and_json(folder: Path) -> None:
    out = folder / "nab.json"
    result = run("nab", "--data", folder, "--out", out, "--no-progress")
    assert result.exit_code == 0, result.output
    assert "windowed-gaussian on NAB, 1 file" in result.output
    assert json.loads(out.read_text())["profiles"]["standard"]["windows"] == 1


def test_mistakes_are_one_line(folder: Path) -> None:
    result = run("tsb", "--data", folder, "--protocol", "full", "--baseline", "pca")
    assert result.exit_code == 2
    assert "error: no baseline 'pca'; there are sub-pca" in result.output
    result = run("tsb", "--data", folder, "--protocol", "full", "--variates", "multivariate")
    assert result.exit_code == 2
    assert "no multivariate.parquet" in result.output


def test_help_names_every_baseline_and_both_protocols() -> None:
    text = run("tsb", "--help").output
    assert all(name in text for name in CHANNEL_SCORERS)
    assert "full scores every step" in text
    assert "40.1" in run("nab", "--help").output
