"""Measures of anomaly scores against step-level labels, as TSB-AD defines them.

Nine measures under the names of TSB-AD's tables. The headline is VUS-PR, which asks for no
threshold and forgives a score that is right a few steps too early or too late. The three measures
without buffers (AUC-PR, AUC-ROC, Standard-F1) look at single steps; the four F-measures over
ranges live in `tsfm.evaluation.anomaly_ranges`. All are functions of arrays: labels `[L]` (0 or 1)
and scores `[L]` (higher is more anomalous). None is defined without an anomaly, nor without a
normal step: both raise. Scores that are all equal are allowed and score what ignorance does.

Source: Liu and Paparrizos (2024), "The elephant in the room: towards a reliable time-series
anomaly detection benchmark", NeurIPS; Paparrizos et al. (2022), "Volume under the surface: a new
accuracy evaluation measure for time-series anomaly detection", PVLDB 15(11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

VUS_THRESHOLDS = 250
"""Order statistics of the scores that serve as thresholds of the volumes."""

F1_EPSILON = 1e-5
"""Added to precision + recall by the published Standard-F1, so a perfect one is 0.999995."""

MEASURES = (
    "VUS-PR",
    "VUS-ROC",
    "AUC-PR",
    "AUC-ROC",
    "Standard-F1",
    "PA-F1",
    "Event-based-F1",
    "R-based-F1",
    "Affiliation-F",
)
"""All measures, the headline first. PA-F1 flatters random scores and is no headline."""


def check_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Labels as booleans and scores as float64, after checking both.

    Parameters
    ----------
    labels
        `[L]`, 0 = normal, 1 = anomalous.
    scores
        `[L]`, finite.

    Raises
    ------
    ValueError
        If the shapes differ or are not one-dimensional, a label is neither 0 nor 1, a score is
        NaN or infinite, or the labels lack an anomaly or a normal step.
    """
    marks, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if marks.ndim != 1 or marks.shape != values.shape:
        raise ValueError(
            f"labels {marks.shape} and scores {values.shape} must be two arrays of one dimension "
            "and the same length: one label and one score per step"
        )
    flags = marks.astype(bool)
    if not np.array_equal(marks, flags):
        bad = int(np.flatnonzero(marks != flags)[0])
        raise ValueError(f"labels must be 0 or 1; step {bad} holds {marks[bad]!r}")
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"{int((~finite).sum())} of {len(values)} scores are NaN or infinite, first at step "
            f"{int((~finite).argmax())}; give every step a finite score, 0 where nothing is known"
        )
    if not flags.any() or flags.all():
        which = "no anomaly" if not flags.any() else "only anomalies"
        raise ValueError(
            f"the labels of these {len(flags)} steps hold {which}: no measure is defined; leave "
            "the series out, or score a part of it that holds both"
        )
    return flags, values


def label_runs(flags: BoolArray) -> tuple[IntArray, IntArray]:
    """First and last step of each run of True, in order.

    Examples
    --------
    >>> label_runs(np.array([True, True, False, True]))
    (array([0, 3]), array([1, 3]))
    """
    edges = np.diff(flags.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def auc_pr(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: precision at each distinct score, weighted by the recall it adds.

    Parameters
    ----------
    labels, scores
        `[L]` each; see `check_scores`, also for the errors.

    Examples
    --------
    >>> auc_pr([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.83
    """
    hits, flagged = _counts(*check_scores(labels, scores))
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / flagged))


def auc_roc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the receiver operating characteristic; 0.5 for random or constant scores.

    Examples
    --------
    >>> auc_roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    hits, flagged = _counts(*check_scores(labels, scores))
    false = np.concatenate([[0], flagged - hits])
    true = np.concatenate([[0], hits])
    return float(_trapezoids(true / true[-1], false / false[-1]))


def standard_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Best F1 of single steps over all thresholds, in its published form (`F1_EPSILON`).

    Examples
    --------
    >>> standard_f1([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.799...
    """
    hits, flagged = _counts(*check_scores(labels, scores))
    precision, recall = hits / flagged, hits / hits[-1]
    return float(np.max(2 * precision * recall / (precision + recall + F1_EPSILON)))


def _counts(flags: BoolArray, scores: FloatArray) -> tuple[IntArray, IntArray]:
    """Anomalies and steps at or above each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    return np.cumsum(flags[order])[last], last + 1


@dataclass(frozen=True)
class Volumes:
    """The two volumes under the surface.

    Parameters
    ----------
    pr, roc
        VUS-PR and VUS-ROC.
    """

    pr: float
    roc: float


def volumes(
    labels: ArrayLike, scores: ArrayLike, window: int, *, n_thresholds: int = VUS_THRESHOLDS
) -> Volumes:
    """VUS-PR and VUS-ROC: means over buffers 0..window of range-aware areas.

    With buffer w every anomaly is widened by w // 2 steps on each side, whose soft label is
    `sqrt(1 - d / w)` at distance d; where two anomalies reach, soft labels add up to at most 1.
    Flagged soft labels count as true positives and, by half, as anomalies to be found; recall is
    multiplied by the share of widened anomalies (merged where they overlap) that were touched.
    The thresholds are order statistics of the scores.

    Parameters
    ----------
    labels, scores
        `[L]` each; see `check_scores`, also for the errors.
    window
        Largest buffer W in steps, at least 0; TSB-AD takes the period of the series.
    n_thresholds
        Thresholds on each curve.

    Raises
    ------
    ValueError
        If `window` is negative or there is no threshold.

    Notes
    -----
    Steps are binned once by the first threshold that flags them and by their distance to the
    anomalies. A buffer is then one product of a vector and a table, and its widened anomalies
    grow from those of the buffer before: O(L log L + W^2 * n_thresholds), no pass over the series
    per threshold or buffer. At most two soft labels need looking at, as each is above 0.7.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 1, 1, 0, 0, 0])
    >>> volumes(labels, labels, window=4)
    Volumes(pr=1.0, roc=1.0)
    >>> late = volumes(labels, np.roll(labels, 1), window=4)
    >>> late.pr > auc_pr(labels, np.roll(labels, 1))
    True
    """
    flags, values = check_scores(labels, scores)
    if window < 0 or n_thresholds < 1:
        raise ValueError(
            f"window must be at least 0 and n_thresholds at least 1, got {window}, {n_thresholds}"
        )
    places = np.linspace(0, len(values) - 1, n_thresholds).astype(np.int64)
    negated = np.sort(-values)[places]
    first = np.searchsorted(negated, -values, side="left")  # [L], the threshold that flags it
    flagged = np.cumsum(np.bincount(first, minlength=n_thresholds))  # [T]
    soft, touched = _widen(flags, first, int(window), n_thresholds)  # [W + 1, T] each
    n_anomalous = int(flags.sum())
    true = np.cumsum(np.bincount(first[flags], minlength=n_thresholds)) + soft
    wanted = n_anomalous + soft / 2
    recall = np.minimum(true / wanted, 1.0) * touched
    fallout = (flagged - true) / (len(flags) - wanted)
    pr = np.sum(np.diff(recall, axis=1, prepend=0.0) * true / flagged, axis=1)
    height = np.pad(recall, ((0, 0), (1, 0)))
    height = np.pad(height, ((0, 0), (0, 1)), constant_values=1.0)
    width = np.pad(fallout, ((0, 0), (1, 0)))
    width = np.pad(width, ((0, 0), (0, 1)), constant_values=1.0)
    roc = _trapezoids(height, width)
    return Volumes(pr=float(pr.mean()), roc=float(roc.mean()))


def _trapezoids(height: FloatArray, place: FloatArray) -> FloatArray:
    """Area below the points of each row, along the last axis."""
    return np.asarray(np.sum(np.diff(place) * (height[..., 1:] + height[..., :-1]) / 2, axis=-1))


def vus_pr(labels: ArrayLike, scores: ArrayLike, window: int) -> float:
    """The headline: `volumes(labels, scores, window).pr`."""
    return volumes(labels, scores, window).pr


def vus_roc(labels: ArrayLike, scores: ArrayLike, window: int) -> float:
    """`volumes(labels, scores, window).roc`."""
    return volumes(labels, scores, window).roc


def _widen(
    flags: BoolArray, first: IntArray, window: int, n_thresholds: int
) -> tuple[FloatArray, FloatArray]:
    """Per buffer and threshold: flagged soft labels, share of widened anomalies touched."""
    starts, ends = label_runs(flags)
    half = window // 2
    steps, near, second = _distances(flags, starts, ends, half)
    bins = first[steps]
    cells = np.bincount(near * n_thresholds + bins, minlength=(half + 1) * n_thresholds)
    table = cells.reshape(half + 1, n_thresholds).astype(np.float64)  # steps at each distance
    certain = np.zeros(n_thresholds)  # steps that two anomalies reach: label 1
    by_second = np.argsort(second, kind="stable")
    bounds = np.searchsorted(second[by_second], np.arange(half + 2))
    padded = np.append(first, n_thresholds)
    earliest = np.minimum.reduceat(padded, np.stack([starts, ends + 1], axis=1).ravel())[::2]
    soft = np.zeros((window + 1, n_thresholds))
    touched = np.zeros((window + 1, n_thresholds))
    for reach in range(half + 1):
        moved = by_second[bounds[reach] : bounds[reach + 1]]
        np.subtract.at(table, (near[moved], bins[moved]), 1.0)
        np.add.at(certain, bins[moved], 1.0)
        for index in (np.maximum(starts - reach, 0), np.minimum(ends + reach, len(first) - 1)):
            earliest = np.minimum(earliest, first[index])
        opens = np.flatnonzero(np.append(True, ends[:-1] + reach < starts[1:] - reach))
        groups = np.minimum.reduceat(earliest, opens)
        share = np.cumsum(np.bincount(groups, minlength=n_thresholds)) / len(opens)
        distance = np.arange(1, reach + 1)
        for buffer in range(2 * reach, min(2 * reach + 1, window) + 1):
            touched[buffer] = share
            if reach:
                soft[buffer] = np.sqrt(1 - distance / buffer) @ table[1 : reach + 1] + certain
    return np.cumsum(soft, axis=1), touched


def _distances(
    flags: BoolArray, starts: IntArray, ends: IntArray, half: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Normal steps within `half` of an anomaly, their distance to the nearest and the next one."""
    far = 4 * len(flags) + half
    normal = np.flatnonzero(~flags)
    left = np.concatenate([[-far, -far], ends])
    right = np.concatenate([starts, [len(flags) + far] * 2])
    run = np.searchsorted(starts, normal)
    before, after = normal - left[run + 1], right[run] - normal
    near = np.minimum(before, after)
    second = np.minimum(np.maximum(before, after), normal - left[run])
    second = np.minimum(second, right[run + 1] - normal)
    inside = near <= half
    return normal[inside], near[inside], second[inside]


def measure(
    labels: ArrayLike, scores: ArrayLike, window: int, measures: tuple[str, ...] = MEASURES
) -> dict[str, float]:
    """Several measures at once.

    Parameters
    ----------
    labels, scores
        `[L]` each; see `check_scores`, also for the errors.
    window
        Largest buffer of the volumes; see `volumes`.
    measures
        Which, by their names in `MEASURES`.

    Raises
    ------
    ValueError
        If a name does not exist.

    Examples
    --------
    >>> measure([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], window=2, measures=("AUC-ROC", "AUC-PR"))
    {'AUC-ROC': 0.75, 'AUC-PR': 0.83}
    """
    from tsfm.evaluation import anomaly_ranges as ranges

    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ValueError(f"measures {unknown} do not exist; there are {', '.join(MEASURES)}")
    simple: dict[str, Any] = {
        "AUC-PR": auc_pr,
        "AUC-ROC": auc_roc,
        "Standard-F1": standard_f1,
        "PA-F1": ranges.point_adjusted_f1,
        "Event-based-F1": ranges.event_f1,
        "R-based-F1": ranges.range_f1,
        "Affiliation-F": ranges.affiliation_f1,
    }
    found: dict[str, float] = {}
    if any(name.startswith("VUS") for name in measures):
        both = volumes(labels, scores, window)
        found = {"VUS-PR": both.pr, "VUS-ROC": both.roc}
    return {
        name: found[name] if name in found else simple[name](labels, scores) for name in measures
    }
