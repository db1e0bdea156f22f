"""`tsfm tokenize` from file to table and picture."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app

AIR = str(Path(__file__).resolve().parents[2] / "datasets" / "air_passengers.csv")


def run(*arguments: str):
    return CliRunner().invoke(app, ["tokenize", *arguments])


@pytest.mark.parametrize("tokenizer", ["fixed", "entropy", "surprise"])
def test_it_says_how_many_tokens_each_series_becomes(tokenizer, tmp_path):
    out = tmp_path / "tokens.csv"
    result = run(AIR, "--tokenizer", tokenizer, "--out", str(out))
    assert result.exit_code == 0, result.output
    summary = pd.read_csv(io.StringIO(result.stdout)).iloc[0]
    tokens = pd.read_csv(out)
    assert summary["tokens"] == len(tokens)
    assert summary["steps"] == tokens["length"].sum() == 144
    assert summary["steps_per_token"] == pytest.approx(144 / len(tokens), rel=1e-3)
    assert (summary["shortest"], summary["longest"]) == (
        tokens["length"].min(), tokens["length"].max()
    )  # fmt: skip


def test_the_picture_is_saved(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "tokens.png"
    result = run(AIR, "--plot", str(picture), "--last", "60")
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments", [("--tokenizer", "fixed", "--model", "tsfm-mini"), ("--last", "60")]
)
def test_options_that_would_be_ignored_are_refused(arguments):
    result = run(AIR, *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work():
    result = run(AIR, "--plot", "tokens.docx")
    assert result.exit_code != 0
    assert ".png" in result.stderr
