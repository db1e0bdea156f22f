"""A detector on held-out labelled series: what the report says, and of which series."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.evaluation.labelled import evaluate
from tsfm.models import Detection
from tsfm.models.calibration import Table

RECIPE = AnomalyRecipe(families={"waves": 1.0}, weak=0.0)
FEW = {"length": 256, "n_mixed": 12, "n_each": 3, "n_clean": 20, "progress": False}


class Jumps:
    """Scores a step by how far it lies from its neighbours' mean; expects the median."""

    def score(self, values, *, window=None, progress=False):
        around = (np.roll(values, 1, axis=0) + np.roll(values, -1, axis=0)) / 2
        score = np.abs(values - around)
        score[[0, -1]] = 0
        expected = np.broadcast_to(np.nanmedian(values, axis=0), values.shape)
        return Detection(score, expected, np.ones(values.shape))


def table(scores):
    return Table.of({256: scores, 512: scores})


@pytest.fixture(scope="module")
def strict():
    rng = np.random.default_rng(0)
    return table(100 + rng.exponential(size=(200, 256)))  # no series scores as high


def test_outliers_are_found_and_inversions_are_not(strict):
    report = evaluate(
        Jumps(), RECIPE, name="jumps", kinds=("outlier", "inversion"), table=strict, **FEW
    )
    by_name = {row.name: row for row in report.types}
    assert by_name["outlier"].precision["jumps"] > 0.8
    assert by_name["outlier"].n_events == by_name["outlier"].n_series
    assert by_name["inversion"].n_events > 0
    assert by_name["inversion"].precision["jumps"] < by_name["outlier"].precision["jumps"]
    assert by_name["outlier"].group == "local"
    assert set(report.groups()) <= {"local", "seasonal"}
    assert report.share < report.average_precision < 1


def test_thresholds_make_recall_and_alarms(strict):
    one = evaluate(Jumps(), RECIPE, name="jumps", kinds=("outlier",), table=strict, **FEW)
    assert one.false_alarms == 0
    assert one.types[0].recall == 0
    lax = table(-np.random.default_rng(0).exponential(size=(200, 256)))
    two = evaluate(Jumps(), RECIPE, name="jumps", kinds=("outlier",), table=lax, **FEW)
    assert two.false_alarms == 1
    assert two.types[0].recall == 1
    three = evaluate(Jumps(), RECIPE, name="jumps", kinds=("outlier",), **FEW)
    assert math.isnan(three.false_alarms)
    assert math.isnan(three.types[0].recall)
    assert math.isnan(three.false_alarms_wide)
    assert two.false_alarms_wide == 1
    assert three.average_precision == one.average_precision == two.average_precision


def test_the_report_in_full(strict, tmp_path):
    flat, wild = np.zeros(300), np.zeros(300)
    wild[150] = 1e6
    real = {"flat": flat, "wild": wild}
    report = evaluate(
        Jumps(), RECIPE, name="jumps", kinds=("outlier",), table=strict, real=real, **FEW
    )
    assert report.real == {"flat": False, "wild": True}
    assert "1 of 2 real ones" in report.summary()
    text = report.table()
    assert "AUC-PR sub-pca" in text
    assert "outlier" in text
    report.to_json(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["headline"]["real series with alarms"] == ["wild"]
    assert read["types"][0]["name"] == "outlier"
    assert read["headline"]["clean series"] == 20


def test_without_calibration_nothing_is_said_of_alarms(tmp_path):
    wild = np.zeros(300)
    wild[150] = 1e6
    report = evaluate(
        Jumps(), RECIPE, name="jumps", kinds=("outlier",), real={"wild": wild}, **FEW
    )
    assert report.real == {}
    assert "no calibration" in report.summary()
    assert "real" not in report.summary()


def test_types_without_events_stay_in_the_table(strict, tmp_path):
    rare = AnomalyRecipe(families={"waves": 1.0}, weak=1.0, strength=0.001)
    report = evaluate(Jumps(), rare, name="jumps", kinds=("outlier",), table=strict, **FEW)
    assert report.types[0].n_events == 0
    assert "outlier" in report.table()
    report.to_json(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["types"][0]["n_events"] == 0


def test_the_same_series_every_time(strict):
    one, two = (
        evaluate(Jumps(), RECIPE, name="jumps", kinds=("outlier",), table=strict, **FEW)
        for _ in range(2)
    )
    assert one.types == two.types
    assert one.average_precision_wide == two.average_precision_wide


def test_names_that_do_not_exist(strict):
    with pytest.raises(ValueError, match="z-scores"):
        evaluate(Jumps(), RECIPE, name="jumps", baselines=("z-scores",), **FEW)
    with pytest.raises(ValueError, match="n_mixed must be at least 8"):
        evaluate(Jumps(), RECIPE, name="jumps", **{**FEW, "n_mixed": 1})
    with pytest.raises(ValueError, match="outliers"):
        evaluate(Jumps(), RECIPE, name="jumps", kinds=("outliers",), **FEW)
