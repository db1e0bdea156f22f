"""The task of detecting anomalies: per-step labels and the clean course of synthetic series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.datasets.labelled_windows import LabelledWindowBatch, labelled_batches
from tsfm.datasets.stored.bases import StoredBases
from tsfm.models.detecting import DetectingNetwork, standardised
from tsfm.training.detect_config import DetectionLoss, PretrainDetectorConfig
from tsfm.training.detect_validation import validate_detector
from tsfm.training.stream import ChunkStream
from tsfm.training.task import Mean, Scores, Task, alone


def detection_loss(
    network: DetectingNetwork,
    batch: LabelledWindowBatch,
    weights: DetectionLoss,
    mean: Mean = alone,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a batch, the sum of what a detector is to learn.

    - *label*: binary cross-entropy of the steps the network sees, with label smoothing and a focal
      weight (Lin et al., arXiv 1708.02002) that spends less on steps which are clear. The steps of
      short events count more (`event_weights`). Steps that are missing, hidden or outside of the
      window are no normal steps: they do not count.
    - *hidden*, *seen*: Huber loss of the reconstruction in scaled units. Its target is the course
      without anomaly, so that the network learns what should be there and not to copy what is.
      Steps that are hidden or missing count as *hidden*, the others lightly as *seen*.
    - *kind*: cross-entropy of the type, at the anomalous steps that the network sees.

    Windows are put on their scale as at inference, by what the network sees of them.

    Parameters
    ----------
    network
        The network to train.
    batch
        Windows with missing values as NaN.
    weights
        Weights of the parts.
    mean
        Of the processes that share the batch: each divides by what is counted in all of them.

    Returns
    -------
    tuple
        The weighted sum, a scalar, and the parts by name.
    """
    covered = batch.hidden.repeat_interleave(network.config.patch_length, dim=-1)
    seen = torch.isfinite(batch.values) & ~covered
    inside = torch.isfinite(batch.expected)
    z, scale = standardised(batch.values, seen)
    answer = network(z, seen)
    expected = torch.where(inside, batch.expected, 0).flatten(0, 1)
    target = scale.forward(expected).view(z.shape)
    off = F.huber_loss(answer.expected, target, reduction="none")
    gone, marked = inside & ~seen, seen & batch.labels & (batch.kind > 0)
    counts = mean(torch.stack([x.sum() for x in (seen, gone, marked)]).float())
    n_seen, n_gone, n_marked = torch.where(counts > 0, counts, 1)
    parts = {
        "label": _sum(_label_loss(answer.logit, batch.labels, weights), seen) / n_seen,
        "hidden": _sum(off, gone) / n_gone,
        "seen": _sum(off, seen) / n_seen,
    }
    total = parts["label"] + weights.hidden_weight * parts["hidden"]
    total = total + weights.seen_weight * parts["seen"]
    if weights.kind_weight and network.config.kinds:
        logits = network.kind_logits(answer.state[marked])
        wrong = F.cross_entropy(logits, batch.kind[marked].long() - 1, reduction="sum")
        parts["kind"] = wrong / n_marked
        total = total + weights.kind_weight * parts["kind"]
    return total, {name: part.detach() for name, part in parts.items()}


def _label_loss(logit: Tensor, labels: Tensor, weights: DetectionLoss) -> Tensor:
    """Focal cross-entropy of every step, of the shape of `logit`."""
    label = labels.to(logit.dtype)
    smooth = label * (1 - weights.smoothing) + weights.smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logit, smooth, reduction="none")
    if weights.focal:
        loss = loss * (logit.sigmoid() - label).abs() ** weights.focal
    loss = loss * (1 + (weights.positive_weight - 1) * label)
    return loss * event_weights(labels, weights.short_length, weights.short_exponent)


def event_weights(labels: Tensor, short_length: int, exponent: float) -> Tensor:
    """Weight of every step, [..., L]: more than 1 in events of fewer than `short_length` steps.

    Events are runs of labels, whether their steps are seen or not: a gap makes no event shorter.

    Examples
    --------
    >>> event_weights(torch.tensor([[False, True, False, True, True]]), 4, 0.5).tolist()[0]
    [1.0, 2.0, 1.0, 1.4142135381698608, 1.4142135381698608]
    """
    begins = labels.clone()
    begins[..., 1:] &= ~labels[..., :-1]
    event = begins.flatten().cumsum(0) * labels.flatten()  # from 1 on; 0 outside of events
    size = torch.bincount(event)[event].view(labels.shape)
    weight = (short_length / size).clamp_min(1) ** exponent
    return torch.where(labels, weight, 1.0)


def _sum(values: Tensor, counted: Tensor) -> Tensor:
    """Sum of the counted values."""
    return torch.where(counted, values, 0).sum()


@dataclass(frozen=True)
class Detecting(Task):
    """Learn which steps are out of line with their own context.

    Parameters
    ----------
    config
        The run.
    """

    config: PretrainDetectorConfig

    def network(self) -> DetectingNetwork:
        """A fresh network."""
        return DetectingNetwork(self.config.model)

    def batches(self, first_step: int) -> ChunkStream[LabelledWindowBatch]:
        """Labelled windows from a step on."""
        config = self.config
        patch = config.model.patch_length
        make = partial(
            labelled_batches,
            config.recipe,
            config.windows,
            patch,
            config.seed,
            stored=self._stored(),
        )
        return ChunkStream(make, config.windows.steps_per_chunk, first_step)

    def _stored(self) -> StoredBases | None:
        """Series on disk to put anomalies into, if there are any."""
        if self.config.corpus is None:
            return None
        lengths = (shape.length for shape in self.config.windows.shapes)
        return StoredBases.of(self.config.corpus, lengths)

    @property
    def rests(self) -> bool:
        """Whether channels have nothing to look at in some windows, or types are not learnt."""
        config = self.config
        untyped = bool(config.model.kinds) and not config.loss.kind_weight
        return untyped or any(shape.channels == 1 for shape in config.windows.shapes)

    def rows_per_batch(self) -> dict[str, int]:
        """Rows by length and channels."""
        windows = self.config.windows
        return {
            f"{shape.length} steps of {shape.channels} channel(s)": windows.n_rows(shape)
            for shape in windows.shapes
        }

    def loss(
        self, network: DetectingNetwork, batch: LabelledWindowBatch, mean: Mean = alone
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`detection_loss` with the run's weights."""
        return detection_loss(network, batch, self.config.loss, mean)

    def validate(self, network: DetectingNetwork) -> Scores:
        """Ranking, recall by type and false alarms on held-out windows."""
        return validate_detector(network, self.config.recipe)
