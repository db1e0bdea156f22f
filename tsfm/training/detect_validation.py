"""Held-out labelled windows: how well a detector ranks, what it finds, when it cries wolf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from tsfm.datasets.anomalies import KIND_NAMES, AnomalyRecipe, LabelledBatch, anomaly_batch
from tsfm.datasets.corpus import seeded
from tsfm.models.detecting import DetectingNetwork, standardised
from tsfm.training.task import Scores

_VALIDATION_SEED = 20_231_117
_ROWS = 16
_RARE = 1e-3
"""Share of normal steps that the stricter of two thresholds lets through."""


@dataclass(frozen=True)
class Judged:
    """Labelled windows and what a network says of them, all [rows, L]; a row is a channel.

    Parameters
    ----------
    kind
        Type of anomaly, 0 for none.
    logit
        The network's.
    error
        Distance of the network's reconstruction from the course without anomaly, scaled.
    """

    kind: Tensor
    logit: Tensor
    error: Tensor


@torch.inference_mode()
def judge(network: DetectingNetwork, batch: LabelledBatch) -> Judged:
    """Let a network judge labelled windows, each on its own scale."""
    parts = []
    for start in range(0, len(batch.values), _ROWS):
        rows = slice(start, start + _ROWS)
        values = batch.values[rows]
        observed = torch.isfinite(values)
        z, scale = standardised(values, observed)
        answer = network(z, observed)
        target = scale.forward(batch.expected[rows].flatten(0, 1))
        error = (answer.expected.flatten(0, 1) - target).abs()
        kind = torch.where(observed, batch.kind[rows], 0).flatten(0, 1)
        parts.append((kind, answer.logit.flatten(0, 1), error))
    return Judged(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))


def event_peaks(kind: Tensor, logit: Tensor) -> tuple[Tensor, Tensor]:
    """Type and highest logit of every event, a run of steps of one type in one row.

    Parameters
    ----------
    kind, logit
        [rows, L].

    Returns
    -------
    tuple of Tensor
        [E] int64 and [E] float.

    Examples
    --------
    >>> kind = torch.tensor([[0, 3, 3, 0, 2], [2, 0, 0, 0, 0]])
    >>> found = event_peaks(kind, torch.tensor([[9.0, 1, 5, 9, 4], [6, 9, 9, 9, 9]]))
    >>> [part.tolist() for part in found]
    [[3, 2, 2], [5.0, 4.0, 6.0]]
    """
    marked = kind > 0
    begins = marked.clone()
    begins[:, 1:] &= kind[:, 1:] != kind[:, :-1]
    number = begins.flatten().cumsum(0) - 1
    inside = marked.flatten()
    peak = torch.full((int(begins.sum()),), -torch.inf)
    peak = peak.scatter_reduce(0, number[inside], logit.flatten()[inside].float(), "amax")
    return kind[begins].long(), peak


def validate_detector(
    network: DetectingNetwork,
    recipe: AnomalyRecipe,
    *,
    n: int = 384,
    length: int = 1024,
    wide: tuple[int, int] = (24, 8),
) -> Scores:
    """Score a network on windows of a stream training never draws from.

    Parameters
    ----------
    network
        The network; its weights and mode are left as they are.
    recipe
        The corpus.
    n, length
        Windows of one channel, and their steps.
    wide
        Windows of several channels, and how many channels; none of either for no such windows.

    Returns
    -------
    Scores
        By type of anomaly: events, the share of them found by a logit above 0, and by one that
        only a thousandth of the normal steps of one-channel windows exceeds. Among the metrics
        are `average_precision` of steps, `false_alarms`, the share of windows without anomaly
        that have a logit above 0, and `expected_error`, that of the reconstruction at anomalous
        steps, in scaled units.
    """
    device = str(next(network.parameters()).device)
    rng = seeded(device, "validation", _VALIDATION_SEED, length)
    one = judge(network, anomaly_batch(recipe, n, 1, length, rng))
    metrics = {"average_precision": _precision(one)}
    sets = [one]
    if min(wide) > 0:
        rng = seeded(device, "validation", _VALIDATION_SEED, length, *wide)
        many = judge(network, anomaly_batch(recipe, *wide, length, rng))
        metrics["average_precision_wide"] = _precision(many)
        sets.append(many)
    normal = one.kind == 0
    clean = normal.all(-1)
    alarms = (one.logit[clean] > 0).any(-1).float()
    metrics["false_alarms"] = float(alarms.mean()) if len(alarms) else 0.0
    metrics["expected_error"] = float(one.error[~normal].mean()) if not normal.all() else 0.0
    strict = float(np.quantile(one.logit[normal].float().numpy(), 1 - _RARE))
    found = [event_peaks(part.kind, part.logit) for part in sets]
    kinds, peaks = (torch.cat(part) for part in zip(*found, strict=True))
    metrics["recall"] = float((peaks > 0).float().mean()) if len(peaks) else 0.0
    metrics["recall_1_in_1000"] = float((peaks > strict).float().mean()) if len(peaks) else 0.0
    rows = []
    for index in kinds.unique().tolist():
        of_kind = peaks[kinds == index]
        shares = [f"{float((of_kind > level).float().mean()):.3f}" for level in (0.0, strict)]
        rows.append((KIND_NAMES[index], str(len(of_kind)), *shares))
    return Scores(("kind", "events", "recall", "recall_1_in_1000"), rows, metrics)


def _precision(judged: Judged) -> float:
    """Area under the precision-recall curve of steps; 0 without an anomaly."""
    labels = (judged.kind > 0).flatten()
    if not labels.any():
        return 0.0
    return float(average_precision_score(labels.numpy(), judged.logit.flatten().float().numpy()))
