"""`tsfm evaluate` on a tiny benchmark made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.evaluate import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "item_id": ["a"],
            "start": [pd.Timestamp("2020-01-01")],
            "freq": ["H"],
            "target": [rng.normal(5, 1, 200)],
        }
    ).to_parquet(tmp_path / "classics.parquet")
    entry = {
        "file": "classics.parquet",
        "freq": "H",
        "configs": ["a/H/short"],
        "terms": ["short"],
        "prediction_length": {"short": 24},
        "windows": {"short": 2},
    }
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    return tmp_path


@pytest.mark.parametrize("suite", ["gift", "classics"])
def test_table_on_screen_and_json_in_a_file(folder: Path, suite: str) -> None:
    out = folder / "report.json"
    arguments = [suite, "--data", str(folder), "--model", "naive", "--no-progress"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"naive (fast) on {suite}, 1 configuration" in result.output
    data = json.loads(out.read_text())
    assert data["model"] == "naive"
    assert data["configs"][0]["config"] == "a/H/short"


def test_wrong_choice_is_a_usage_error(folder: Path) -> None:
    result = CliRunner().invoke(app, ["gift", "--data", str(folder), "--mode", "quick"])
    assert result.exit_code == 2
