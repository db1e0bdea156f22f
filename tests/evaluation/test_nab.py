"""The NAB score: worth of detections, best threshold, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation import nab
from tsfm.evaluation.anomaly_baselines import scorer_named
from tsfm.evaluation.anomaly_metrics import label_runs


def curve(y: float) -> float:
    return 2 / (1 + np.exp(5 * y)) - 1 if y < 3 else -1.0


def brute(labels: list, scores: list, probation: list, false_alarm: float, miss: float) -> float:
    """Best score over thresholds, counted one detection at a time."""
    totals = [0.0]
    windows = sum(len(label_runs(np.asarray(marks) > 0)[0]) for marks in labels)
    for level in np.unique(np.concatenate(scores)):
        total = 0.0
        for marks, series, skip in zip(labels, scores, probation, strict=True):
            starts, ends = label_runs(np.asarray(marks) > 0)
            best = [-miss] * len(starts)
            for i in range(skip, len(series)):
                if series[i] < level:
                    continue
                inside = [k for k in range(len(starts)) if starts[k] <= i <= ends[k]]
                if inside:
                    k = inside[0]
                    y = -(ends[k] - i + 1) / (ends[k] - starts[k] + 1)
                    best[k] = max(best[k], curve(y) / curve(-1.0))
                else:
                    before = [k for k in range(len(starts)) if ends[k] < i]
                    k = before[-1] if before else None
                    y = 3.0 if k is None else (i - ends[k]) / (ends[k] - starts[k])
                    total += false_alarm * curve(y)
            total += sum(best)
        totals.append(100 * (total + windows * miss) / (windows * (1 + miss)))
    return max(totals)


@pytest.mark.parametrize("seed", range(4))
def test_sweep_equals_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = [], []
    for length in (80, 120):
        marks = np.zeros(length, dtype=int)
        marks[20:30] = marks[50:56] = 1
        labels.append(marks)
        scores.append(np.round(rng.random(length) + 0.3 * marks, 2))
    found = nab.nab_scores(labels, scores, [10, 15])
    for name, profile in nab.PROFILES.items():
        expected = brute(labels, scores, [10, 15], profile.false_alarm, profile.miss)
        assert found[name].score == pytest.approx(expected, abs=1e-9), name
        assert found[name].windows == 4
        flagged = [
            s[skip:] >= found[name].threshold for s, skip in zip(scores, (10, 15), strict=True)
        ]
        alarms = [
            f & (m[skip:] == 0) for f, m, skip in zip(flagged, labels, (10, 15), strict=True)
        ]
        assert found[name].false_alarms == sum(a.sum() for a in alarms)


def test_perfect_and_silent_detectors() -> None:
    labels = np.zeros(100, dtype=int)
    labels[40:50] = 1
    first = np.zeros(100)
    first[40] = 1
    late = np.roll(first, 9)
    wrong = 1.0 - labels
    scores = [
        nab.nab_scores([labels], [series], [10])["standard"] for series in (first, late, wrong)
    ]
    assert scores[0].score == pytest.approx(100)
    assert 50 < scores[1].score < 80
    assert scores[2].score < 51  # at best, everything is flagged
    quiet = nab.nab_scores([labels] * 2, [-labels * 1.0, -1.0 * labels], [10, 10])
    assert quiet["reward_low_FP_rate"].score == 0
    assert quiet["reward_low_FP_rate"].threshold == float("inf")


def test_probation_is_not_scored() -> None:
    labels = np.zeros(100, dtype=int)
    labels[40:50] = 1
    scores = np.zeros(100)
    scores[40] = 0.5
    scores[:20] = 1.0
    assert nab.nab_scores([labels], [scores], [20])["standard"].false_alarms == 0
    with pytest.raises(ValueError, match="no anomaly window lies behind the probation"):
        nab.nab_scores([labels], [scores], [60])


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="file 1: labels"):
        nab.nab_scores([[0, 1]] * 2, [[0.0, 1.0], [0.0, np.nan]], [0, 0])


def test_evaluation_reads_a_folder_and_writes_json(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for name in ("x/one.csv", "x/two.csv"):
        values = rng.normal(size=300)
        labels = np.zeros(300, dtype=np.int8)
        labels[150:170] = 1
        values[152] = 9
        rows.append((name, "x", 45, values.astype(np.float32), labels))
    columns = ["series_id", "dataset", "train_end", "values", "labels"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "nab_original.parquet")
    report = nab.evaluate(scorer_named("z-score"), tmp_path, progress=False)
    assert report.profiles["standard"].found == 2
    assert report.profiles["standard"].score > 95
    assert "2 files" in report.table()
    report.to_json(tmp_path / "nab.json")
    read = json.loads((tmp_path / "nab.json").read_text())
    assert read["profiles"]["standard"]["windows"] == 2
    assert read["detector"] == "z-score"
    one = nab.evaluate(scorer_named("z-score"), tmp_path, series="two", progress=False)
    assert one.n_files == 1
    with pytest.raises(ValueError, match=r"x/one\.csv: the detector's scores are not all finite"):
        nab.evaluate(lambda values, _: values[:, 0] * np.nan, tmp_path, progress=False)
    with pytest.raises(FileNotFoundError, match=r"no nab_original\.parquet"):
        nab.evaluate(scorer_named("z-score"), tmp_path / "nowhere", progress=False)
