"""Measures of anomaly scores: definitions written out, properties, errors, speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from tsfm.evaluation.anomaly_metrics import (
    MEASURES,
    auc_pr,
    auc_roc,
    label_runs,
    measure,
    standard_f1,
    volumes,
    vus_pr,
    vus_roc,
)

RANK_BASED = ("VUS-PR", "VUS-ROC", "AUC-PR", "AUC-ROC", "Standard-F1")


def case(seed: int, length: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Random ranges, dense or sparse, touching the ends now and then; scores with ties."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(length, dtype=int)
    for start in rng.integers(0, length, rng.integers(1, 7)):
        labels[start : start + rng.integers(1, 6)] = 1
    if seed % 4 == 0:
        labels[[0, -1]] = 1
    labels[length // 2] = 0
    scores = rng.random(length) + 0.3 * labels
    return labels, np.round(scores, 1) if seed % 2 else scores


def brute_volumes(labels: np.ndarray, scores: np.ndarray, window: int, n: int):
    """VUS straight from its definition, one step, buffer and threshold at a time."""
    length = len(labels)
    starts, ends = label_runs(labels.astype(bool))
    ranges = list(zip(starts, ends, strict=True))
    levels = np.sort(scores)[::-1][np.linspace(0, length - 1, n).astype(int)]
    areas, precisions = [], []
    for w in range(window + 1):
        soft = labels.astype(float)
        widened = np.zeros(length, dtype=bool)
        for start, end in ranges:
            for i in range(length):
                d = max(start - i, i - end, 0)
                if d <= w // 2:
                    widened[i] = True
                    soft[i] += np.sqrt(1 - d / w) if d else 0.0
        soft = np.minimum(soft, 1.0)
        pieces = _pieces(ranges, w // 2)
        curve, heights = [(0.0, 0.0)], []
        for level in levels:
            flagged = scores >= level
            found = np.where(labels == 1, 1.0, soft * flagged)
            true = (found * flagged).sum()
            wanted = (labels.sum() + found.sum()) / 2
            touched = np.mean([flagged[max(a, 0) : b + 1].any() for a, b in pieces])
            false = flagged.sum() - true
            curve.append((min(true / wanted, 1) * touched, false / (length - wanted)))
            heights.append(true / flagged.sum())
        assert (soft[~widened] == 0).all()
        recall = np.array([point[0] for point in curve])
        precisions.append(np.diff(recall) @ np.array(heights))
        curve.append((1.0, 1.0))
        tpr, fpr = np.array(curve).T
        areas.append(np.diff(fpr) @ (tpr[1:] + tpr[:-1]) / 2)
    return np.mean(precisions), np.mean(areas)


def _pieces(ranges: list, half: int) -> list:
    """Ranges widened by `half`, merged where they share a step."""
    pieces = [[ranges[0][0] - half, ranges[0][1] + half]]
    for start, end in ranges[1:]:
        if start - half <= pieces[-1][1]:
            pieces[-1][1] = end + half
        else:
            pieces.append([start - half, end + half])
    return pieces


@pytest.mark.parametrize("window", [0, 1, 2, 5, 12, 130])
@pytest.mark.parametrize("seed", range(6))
def test_volumes_equal_their_definition(seed: int, window: int) -> None:
    labels, scores = case(seed)
    pr, roc = brute_volumes(labels, scores, window, n=40)
    got = volumes(labels, scores, window, n_thresholds=40)
    assert got.pr == pytest.approx(pr, abs=1e-12)
    assert got.roc == pytest.approx(roc, abs=1e-12)


def test_volumes_take_250_thresholds() -> None:
    labels, scores = case(3)
    pr, roc = brute_volumes(labels, scores, 6, n=250)
    assert vus_pr(labels, scores, 6) == pytest.approx(pr, abs=1e-12)
    assert vus_roc(labels, scores, 6) == pytest.approx(roc, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_measures_of_steps_equal_those_of_scikit_learn(seed: int) -> None:
    labels, scores = case(seed)
    assert auc_pr(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    assert auc_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = np.max(2 * precision * recall / (precision + recall + 1e-5))
    assert standard_f1(labels, scores) == pytest.approx(best)


@pytest.mark.parametrize("window", [0, 7, 20])
def test_the_labels_themselves_are_perfect(window: int) -> None:
    labels, _ = case(1)
    for name, value in measure(labels, labels, window).items():
        assert value == pytest.approx(1.0, abs=1e-5), name


@pytest.mark.parametrize("seed", range(4))
def test_only_the_order_of_scores_counts(seed: int) -> None:
    labels, scores = case(seed)
    plain = measure(labels, scores, 9, RANK_BASED)
    for changed in (100 * scores - 7, np.exp(3 * scores), np.argsort(np.argsort(scores))):
        if len(np.unique(changed)) == len(np.unique(scores)):
            assert measure(labels, changed, 9, RANK_BASED) == pytest.approx(plain)
    scaled = measure(labels, 100 * scores - 7, 9)
    assert scaled == pytest.approx(measure(labels, scores, 9))


def test_order_of_equal_scores_does_not_count() -> None:
    """Constant scores: where the anomalies lie among them changes no measure of steps."""
    labels = np.zeros(50, dtype=int)
    labels[10:15] = 1
    constant = np.full(50, 3.0)
    for marks in (labels, np.roll(labels, 20), np.random.default_rng(0).permutation(labels)):
        assert auc_roc(marks, constant) == pytest.approx(0.5)
        assert auc_pr(marks, constant) == pytest.approx(0.1)
    found = measure(labels, constant, 6)
    assert all(np.isfinite(value) for value in found.values())
    assert [found[name] for name in MEASURES[5:]] == [0.0] * 4


def test_time_reversal_changes_no_volume() -> None:
    labels, scores = case(5)
    forward, backward = (volumes(labels[::k], scores[::k], 11) for k in (1, -1))
    assert (forward.pr, forward.roc) == pytest.approx((backward.pr, backward.roc))


def test_near_hits_earn_more_than_far_ones() -> None:
    labels = np.zeros(200, dtype=int)
    labels[100:105] = 1
    values = [vus_pr(labels, np.roll(labels, shift), 20) for shift in (0, 2, 5, 8, 50)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1)


def test_mistakes_are_named() -> None:
    labels, scores = case(0)
    with pytest.raises(ValueError, match="1 of 60 scores are NaN or infinite, first at step 7"):
        auc_pr(labels, np.where(np.arange(60) == 7, np.nan, scores))
    with pytest.raises(ValueError, match=r"labels \(60,\) and scores \(59,\) must be"):
        volumes(labels, scores[1:], 3)
    with pytest.raises(ValueError, match=r"scores \(60, 1\)"):
        auc_roc(labels[:, None], scores[:, None])
    with pytest.raises(ValueError, match="hold no anomaly"):
        volumes(np.zeros(60), scores, 3)
    with pytest.raises(ValueError, match="hold only anomalies"):
        standard_f1(np.ones(60), scores)
    with pytest.raises(ValueError, match="labels must be 0 or 1; step 0 holds"):
        auc_pr(labels * 2, scores)
    with pytest.raises(ValueError, match="window must be at least 0"):
        volumes(labels, scores, -1)
    with pytest.raises(ValueError, match=r"\['F2'\] do not exist; there are VUS-PR"):
        measure(labels, scores, 3, ("F2",))


def test_inputs_are_left_alone() -> None:
    labels, scores = case(1)
    before = labels.copy(), scores.copy()
    measure(labels, scores, 12)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("anomalies", [3, 3000])
def test_a_hundred_thousand_steps_take_less_than_five_seconds(anomalies: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(100_000, dtype=int)
    for start in rng.integers(0, 99_000, anomalies):
        labels[start : start + 15] = 1
    scores = rng.normal(size=100_000)
    started = time.perf_counter()
    volumes(labels, scores, 300)
    assert time.perf_counter() - started < 5
