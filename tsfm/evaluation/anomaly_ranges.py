"""F-measures that see anomalies as ranges: point-adjusted, event, range-based and affiliation.

Each is the best over 100 thresholds, evenly spaced from the lowest to the highest score; a step is
flagged where its score is above the threshold. So, unlike areas under curves, these measures
depend on the spacing of the scores. Where all scores are equal, nothing is flagged and each is 0.
The arguments and their errors are those of `tsfm.evaluation.anomaly_metrics.check_scores`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tsfm.evaluation.anomaly_metrics import (
    BoolArray,
    FloatArray,
    IntArray,
    check_scores,
    label_runs,
)

GRID = 100
"""Thresholds of each measure."""

RANGE_ALPHA = 0.2
"""Weight of existence, against overlap, in the range-based recall."""

_TINY = 1e-15


def point_adjusted_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Best F1 where one flagged step of an anomaly counts for all of it.

    Random scores reach high values on long anomalies; it is here to compare with older papers.
    Source: Xu et al. (2018), "Unsupervised anomaly detection via variational auto-encoder for
    seasonal KPIs in web applications", WWW.

    Parameters
    ----------
    labels, scores
        `[L]` each.

    Examples
    --------
    >>> point_adjusted_f1([0, 1, 1, 1, 0], [0.1, 0.2, 0.9, 0.3, 0.2])
    1.0
    """
    flags, values = check_scores(labels, scores)
    rank = _ranks(values)
    starts, ends = label_runs(flags)
    true = _above(_highest(rank, starts, ends), ends - starts + 1)
    false = _above(rank[~flags])
    return float(np.max(2 * true / (true + false + flags.sum())))


def event_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Best harmonic mean of the share of anomalies touched and the precision of single steps.

    Source: Garg et al. (2021), "An evaluation of anomaly detection and diagnosis in multivariate
    time series", IEEE TNNLS (the composite F-score).

    Parameters
    ----------
    labels, scores
        `[L]` each.

    Examples
    --------
    >>> event_f1([0, 1, 1, 0, 1], [0.1, 0.9, 0.2, 0.3, 0.1])
    0.66
    """
    flags, values = check_scores(labels, scores)
    rank = _ranks(values)
    starts, ends = label_runs(flags)
    recall = _above(_highest(rank, starts, ends)) / len(starts)
    precision = _above(rank[flags]) / np.maximum(_above(rank), 1)
    return float(np.max(_harmonic(precision, recall)))


def range_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Best F1 of range-based precision and recall (flat bias, reciprocal cardinality).

    The recall of an anomaly is 0.2 if it was touched, plus 0.8 times the share of it that was
    flagged divided by the number of flagged ranges it was cut into; precision is the same with
    the roles exchanged and overlap alone. Source: Tatbul et al. (2018), "Precision and recall for
    time series", NeurIPS.

    Parameters
    ----------
    labels, scores
        `[L]` each.

    Examples
    --------
    >>> range_f1([0, 1, 1, 0, 0], [0.1, 0.9, 0.9, 0.2, 0.1])
    1.0
    """
    flags, values = check_scores(labels, scores)
    rank = _ranks(values)
    runs = label_runs(flags)
    before = _Counter(flags, runs[0])
    best = 0.0
    for level in range(int(rank.max())):
        predicted = rank > level
        found = label_runs(predicted)
        touched, overlap = _Counter(predicted, found[0]).overlap(*runs)
        recall = RANGE_ALPHA * touched + (1 - RANGE_ALPHA) * overlap
        _, precision = before.overlap(*found)
        best = max(best, float(_harmonic(precision, recall)))
    return best


class _Counter:
    """Counts steps and ranges of a mask inside other ranges."""

    def __init__(self, mask: BoolArray, starts: IntArray) -> None:
        self.mask = mask
        self.steps = np.concatenate([[0], np.cumsum(mask)])
        self.starts = starts

    def overlap(self, starts: IntArray, ends: IntArray) -> tuple[float, float]:
        """Means over ranges: touched or not; share covered over the number of covering ranges."""
        covered = self.steps[ends + 1] - self.steps[starts]
        opened = np.searchsorted(self.starts, [starts + 1, ends + 1])
        pieces = opened[1] - opened[0] + self.mask[starts]
        share = covered / (ends - starts + 1) / np.maximum(pieces, 1)
        return float(np.mean(covered > 0)), float(np.mean(share))


def affiliation_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Best F1 of affiliation precision and recall.

    Time is cut into zones halfway between anomalies. In each zone, distances between flagged time
    and the anomaly are turned into the probability that a point drawn at random in the zone would
    be no closer. Precision averages over flagged time and then over zones with any, recall over
    the anomaly's time and then over all zones. Random scores reach about 0.68. Source: Huet et al.
    (2022), "Local evaluation of time series anomaly detection algorithms", KDD.

    Parameters
    ----------
    labels, scores
        `[L]` each; step i is the time from i to i + 1.

    Notes
    -----
    All integrands are linear on quarters of a step, so midpoints are exact. Precision needs one
    pass over the series for all thresholds, recall one search among the flagged steps for each.

    Examples
    --------
    >>> affiliation_f1([0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0])
    1.0
    """
    flags, values = check_scores(labels, scores)
    rank = _ranks(values)
    zones = _Zones(flags)
    precision = zones.precision(rank)
    best = 0.0
    for level in range(int(rank.max())):
        recall = zones.recall(np.flatnonzero(rank > level))
        best = max(best, float(_harmonic(precision[level], recall)))
    return best


class _Zones:
    """One zone of time per anomaly: `[low, high)` around `[start, stop)`."""

    def __init__(self, flags: BoolArray) -> None:
        starts, ends = label_runs(flags)
        self.start, self.stop = starts.astype(np.float64), ends + 1.0
        middle = (self.stop[:-1] + self.start[1:]) / 2
        self.low = np.concatenate([[0.0], middle])
        self.high = np.concatenate([middle, [float(len(flags))]])
        self.steps = np.flatnonzero(flags)
        self.owner = np.searchsorted(starts, self.steps, side="right") - 1  # zone of each step

    def precision(self, rank: IntArray) -> FloatArray:
        """Mean precision over the zones with any flagged time, per threshold `[GRID]`."""
        middle = np.arange(2 * len(rank)) / 2 + 0.25  # half steps: zones end at them
        zone = np.searchsorted(self.low, middle, side="right") - 1
        away = np.maximum(self.start[zone] - middle, middle - self.stop[zone])
        chance = np.where(away > 0, self._no_closer(away, zone), 1.0)
        cell = zone * (GRID + 1) + np.repeat(rank, 2)
        size = len(self.low) * (GRID + 1)
        total, count = (
            np.bincount(cell, weights=weights, minlength=size).reshape(-1, GRID + 1)
            for weights in (chance, None)
        )
        above = np.cumsum(total[:, ::-1], axis=1)[:, ::-1][:, 1:]  # [zones, GRID]
        flagged = np.cumsum(count[:, ::-1], axis=1)[:, ::-1][:, 1:]
        per_zone = above / np.maximum(flagged, 1)
        return np.asarray(per_zone.sum(axis=0) / np.maximum((flagged > 0).sum(axis=0), 1))

    def _no_closer(self, away: FloatArray, zone: IntArray) -> FloatArray:
        """Chance that a random point of a zone is at least so far from its anomaly."""
        left = np.maximum(self.start[zone] - away - self.low[zone], 0.0)
        right = np.maximum(self.high[zone] - self.stop[zone] - away, 0.0)
        return np.asarray((left + right) / (self.high[zone] - self.low[zone]))

    def recall(self, flagged: IntArray) -> float:
        """Mean recall over all zones, given the flagged steps in order (at least one)."""
        low, high = self.low[self.owner], self.high[self.owner]
        place = np.searchsorted(flagged, self.steps)
        padded = np.concatenate([[-np.inf], flagged, [np.inf]])
        hit = padded[place + 1] == self.steps
        left, right = padded[place] + 1.0, padded[place + 1]  # nearest edges of flagged time
        left = np.where(left > low, left, -np.inf)
        right = np.where(right < high, right, np.inf)
        time = self.steps[:, None] + (np.arange(4) + 0.5) / 4  # quarter steps
        away = np.minimum(time - left[:, None], right[:, None] - time)
        chance = np.maximum(time - away - low[:, None], 0.0)
        chance += np.maximum(high[:, None] - time - away, 0.0)
        per_step = np.where(hit, 1.0, chance.mean(axis=1) / (high - low))
        per_zone = np.bincount(self.owner, weights=per_step, minlength=len(self.low))
        return float(np.mean(per_zone / (self.stop - self.start)))


def _ranks(scores: FloatArray) -> IntArray:
    """Thresholds of the grid that lie below each score: it is flagged at those."""
    grid = np.linspace(scores.min(), scores.max(), GRID)
    return np.searchsorted(grid, scores, side="left")


def _above(rank: IntArray, weights: IntArray | None = None) -> FloatArray:
    """How many (or how much) is flagged at each threshold `[GRID]`."""
    counts = np.bincount(rank, weights=weights, minlength=GRID + 1)
    return np.cumsum(counts[::-1])[::-1][1:].astype(np.float64)


def _highest(rank: IntArray, starts: IntArray, ends: IntArray) -> IntArray:
    """Highest rank inside each range."""
    bounds = np.stack([starts, ends + 1], axis=1).ravel()
    return np.asarray(np.maximum.reduceat(np.append(rank, 0), bounds)[::2])


def _harmonic(precision: FloatArray | float, recall: FloatArray | float) -> FloatArray | float:
    return 2 * precision * recall / (precision + recall + _TINY)
