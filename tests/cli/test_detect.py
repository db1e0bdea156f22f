"""`tsfm detect` and `tsfm evaluate calibrate` from file to file, with an untrained detector."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app

RECIPE = Path(__file__).parents[2] / "datasets" / "anomalies.yaml"

SAMPLES = Path(__file__).resolve().parents[2] / "datasets"
AIR = str(SAMPLES / "air_passengers.csv")
POWER = str(SAMPLES / "building_power.csv")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    from tsfm.models import Detector, DetectorConfig

    config = dataclasses.replace(DetectorConfig.preset("tiny"), max_context=128)
    folder = tmp_path_factory.mktemp("detector")
    Detector.from_config(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(model):
    def invoke(*arguments: str):
        return CliRunner().invoke(app, ["detect", *arguments, "--model", model])

    return invoke


def table(result) -> pd.DataFrame:
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))


def test_stdout_is_the_answer_and_nothing_else(run):
    result = run(AIR, "--contamination", "0.05")
    answer = table(result)
    assert len(answer) == 144
    assert answer.columns.tolist() == [
        "item_id", "month", "target_name", "value", "expected", "lower", "upper", "score",
        "p_value", "is_anomaly", "segment_id",
    ]  # fmt: skip
    assert answer["is_anomaly"].sum() == 8
    assert "8 of 144 steps in" in result.stderr


def test_segments_into_a_file_and_a_picture(run, tmp_path):
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "found.csv", tmp_path / "found.png"
    result = run(
        POWER, "--id-col", "meter", "--timezone", "Europe/Berlin", "--on-duplicates", "mean",
        "--contamination", "0.02", "--segments", "--merge-gap", "2", "--out", str(out),
        "--plot", str(picture),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out)
    assert found.columns[:5].tolist() == ["meter", "target_name", "segment_id", "start", "end"]
    assert set(found["meter"]) <= {"office", "cold_store"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "segments written to" in result.stderr


def test_a_reference_and_its_level(run, tmp_path):
    air = pd.read_csv(AIR)
    air.iloc[:100].to_csv(tmp_path / "clean.csv", index=False)
    answer = table(run(AIR, "--reference", str(tmp_path / "clean.csv"), "--alpha", "0.05"))
    assert (answer["is_anomaly"] == (answer["p_value"] <= 0.05)).all()
    assert answer["p_value"].min() >= 1 / 101 - 1e-9


def test_mistakes_are_one_line(run, model):
    for arguments, text in [
        (("--alpha", "0.1", "--threshold", "2"), "--alpha 0.1 and --threshold 2 are two rules"),
        (("--contamination", "0.9"), "contamination must be"),
        (("--aggregation", "sum"), "--aggregation sum must be"),
        (("--reference", AIR), "--alpha compares with"),
        (("--delay", "2"), "--causal"),
    ]:
        result = run(AIR, *arguments)
        assert result.exit_code == 2, result.output
        assert text in " ".join(result.stderr.split())
    missing = CliRunner().invoke(app, ["detect", AIR, "--model", "nowhere"])
    assert missing.exit_code == 2
    assert "No detector 'nowhere'" in missing.stderr
    assert "Traceback" not in missing.output


def test_without_a_calibration_it_warns_and_with_one_it_has_p_values(run, model):
    result = run(AIR)
    assert result.exit_code == 0
    assert "warning: This detector has no calibration" in result.stderr
    file = Path(model) / "calibration.json"
    made = CliRunner().invoke(
        app,
        ["evaluate", "calibrate", "--model", model, "--recipe", str(SAMPLES / "anomalies.yaml"),
         "--n-series", "24", "--longest", "64", "--n-causal", "0", "--no-progress"],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(file.read_text())["recipe"] == "anomalies"
    assert "threshold" in made.stdout
    answer = table(run(AIR, "--aggregation", "max", "--min-segment", "2"))
    assert answer["p_value"].between(0, 1).all()
    file.unlink()


def test_help_teaches_the_rules():
    text = CliRunner().invoke(app, ["detect", "--help"]).output
    for word in ("--contamination", "--alpha", "--threshold", "--segments", "1 %", "--reference"):
        assert word in text


def test_a_detector_is_evaluated_beside_the_baselines(model, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.zeros(300, dtype=np.int8)
    labels[200:210] = 1
    columns = ["series_id", "dataset", "train_end", "values", "labels"]
    for name in ("univariate", "nab_original"):
        row = ("one", "A", 45, rng.normal(size=300), labels)
        pd.DataFrame([row], columns=columns).to_parquet(tmp_path / f"{name}.parquet")
    words = ["evaluate", "tsb", "--data", str(tmp_path), "--protocol", "test", "--no-progress"]
    result = CliRunner().invoke(app, [*words, "--model", model, "--aggregation", "mean"])
    assert result.exit_code == 0, result.output
    assert "tsfm-detector-tiny (mean of channels) on TSB-AD univariate" in result.output
    both = CliRunner().invoke(app, [*words, "--model", model, "--baseline", "z-score"])
    assert both.exit_code == 2
    nab = ["evaluate", "nab", "--data", str(tmp_path), "--no-progress", "--model", model]
    assert "tsfm-detector-tiny on NAB" in CliRunner().invoke(app, nab).output


def test_a_detector_before_labelled_synthetic_series(model, tmp_path):
    words = ["evaluate", "anomalies", "--model", model, "--n-mixed", "8", "--n-each", "2"]
    words += ["--n-clean", "6", "--length", "128", "--kind", "outlier", "--no-progress"]
    words += ["--recipe", str(RECIPE), "--baseline", "z-score"]
    out = tmp_path / "report.json"
    result = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "has no calibration.json" in result.output
    assert "AUC-PR z-score" in result.output
    assert json.loads(out.read_text())["types"][0]["name"] == "outlier"
    wrong = CliRunner().invoke(app, [*words, "--kind", "outliers"])
    assert wrong.exit_code != 0
    missing = [*words[: words.index("--recipe")], "--recipe", "none.yaml"]
    assert CliRunner().invoke(app, missing).exit_code != 0
