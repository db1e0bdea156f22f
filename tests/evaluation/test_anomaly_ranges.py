"""F-measures over ranges against their definitions, one threshold at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tsfm.evaluation.anomaly_metrics import label_runs
from tsfm.evaluation.anomaly_ranges import (
    affiliation_f1,
    event_f1,
    point_adjusted_f1,
    range_f1,
)


def case(seed: int, length: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(length, dtype=int)
    for start in rng.integers(0, length, 3):
        labels[start : start + rng.integers(1, 8)] = 1
    scores = rng.random(length) + 0.4 * labels
    return labels, np.round(scores, 1) if seed % 2 else scores


def grid(scores: np.ndarray) -> list[np.ndarray]:
    """Flagged steps at each threshold, without the last, which flags nothing."""
    return [scores > level for level in np.linspace(scores.min(), scores.max(), 100)[:-1]]


def ranges(mask: np.ndarray) -> list[tuple[int, int]]:
    starts, ends = label_runs(mask.astype(bool))
    return [(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]


def harmonic(p: float, r: float) -> float:
    return 2 * p * r / (p + r) if p + r else 0.0


def adjusted(labels: np.ndarray, flagged: np.ndarray) -> float:
    full = flagged.copy()
    for a, b in ranges(labels):
        full[a:b] |= flagged[a:b].any()
    true = (full & (labels == 1)).sum()
    return harmonic(true / full.sum(), true / labels.sum())


def event(labels: np.ndarray, flagged: np.ndarray) -> float:
    recall = np.mean([flagged[a:b].any() for a, b in ranges(labels)])
    return harmonic(labels[flagged].mean(), recall)


def by_range(labels: np.ndarray, flagged: np.ndarray) -> float:
    def overlap(mine: np.ndarray, other: np.ndarray) -> tuple[float, float]:
        exists, shares = [], []
        for a, b in ranges(mine):
            pieces = sum(x < b and a < y for x, y in ranges(other))
            exists.append(other[a:b].any())
            shares.append(other[a:b].mean() / max(pieces, 1))
        return float(np.mean(exists)), float(np.mean(shares))

    touched, share = overlap(labels, flagged)
    return harmonic(overlap(flagged, labels)[1], 0.2 * touched + 0.8 * share)


def affiliation(labels: np.ndarray, flagged: np.ndarray, fine: int = 16) -> float:
    """By sums over a fine grid of time; zones end halfway between anomalies."""
    events = ranges(labels)
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(events)]
    bounds = [0.0, *middles, float(len(labels))]
    time = (np.arange(len(labels) * fine) + 0.5) / fine
    mask, truth = np.repeat(flagged, fine), np.repeat(labels == 1, fine)
    precision, recall = [], []
    for k, (start, stop) in enumerate(events):
        zone = (time > bounds[k]) & (time < bounds[k + 1])
        size = bounds[k + 1] - bounds[k]
        own = truth & zone
        predicted = mask & zone
        if predicted.any():
            d = np.maximum(np.maximum(start - time[predicted], time[predicted] - stop), 0)
            left = np.maximum(start - d - bounds[k], 0)
            right = np.maximum(bounds[k + 1] - stop - d, 0)
            precision.append(np.mean(np.where(d == 0, 1.0, (left + right) / size)))
            edges = [(max(a, bounds[k]), min(b, bounds[k + 1])) for a, b in ranges(flagged)]
            edges = [(a, b) for a, b in edges if a < b]
            y = time[own]
            d = np.min([np.maximum(np.maximum(a - y, y - b), 0) for a, b in edges], axis=0)
            left = np.maximum(y - d - bounds[k], 0)
            right = np.maximum(bounds[k + 1] - y - d, 0)
            recall.append(np.mean(np.where(d == 0, 1.0, (left + right) / size)))
        else:
            recall.append(0.0)
    return harmonic(float(np.mean(precision)), float(np.mean(recall)))


PAIRS = {
    "point-adjusted": (point_adjusted_f1, adjusted),
    "event": (event_f1, event),
    "range": (range_f1, by_range),
    "affiliation": (affiliation_f1, affiliation),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PAIRS)
def test_best_over_the_grid_equals_the_definition(name: str, seed: int) -> None:
    ours, definition = PAIRS[name]
    labels, scores = case(seed)
    expected = max(definition(labels, flagged) for flagged in grid(scores))
    assert ours(labels, scores) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_shift_and_scale_of_scores_change_nothing(name: str) -> None:
    ours, _ = PAIRS[name]
    labels, scores = case(4)
    assert ours(labels, 8 * scores) == pytest.approx(ours(labels, scores), abs=1e-12)


def test_point_adjustment_flatters_noise() -> None:
    """Why it is no headline: noise looks excellent where an anomaly is long."""
    labels = np.zeros(4000, dtype=int)
    labels[1000:1800] = 1
    noise = np.random.default_rng(0).random(4000)
    assert point_adjusted_f1(labels, noise) > 0.9
    assert range_f1(labels, noise) < 0.4


@pytest.mark.parametrize("name", PAIRS)
def test_mistakes_are_named(name: str) -> None:
    ours, _ = PAIRS[name]
    with pytest.raises(ValueError, match="NaN or infinite"):
        ours([0, 1, 0], [0.0, np.nan, 1.0])
    with pytest.raises(ValueError, match="no anomaly"):
        ours([0, 0, 0], [0.0, 1.0, 2.0])
