"""What a pretraining run of a detector is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from tsfm.datasets.anomalies import KIND_NAMES, AnomalyRecipe
from tsfm.datasets.labelled_windows import LabelledWindows
from tsfm.models.detector_config import DetectorConfig
from tsfm.training.config import RunConfig


@dataclass(frozen=True)
class DetectionLoss:
    """Weights and shape of the detector's loss; see `tsfm.training.detecting.detection_loss`."""

    smoothing: float = 0.02
    """Label smoothing: no step is anomalous or normal with more than 1 - smoothing / 2."""
    focal: float = 0.0
    """Exponent of the focal weight `|p - label| ** focal`; 0 for plain cross-entropy. Beyond 0 the
    other parts weigh more beside it, as it makes the cross-entropy several times smaller."""
    positive_weight: float = 1.0
    """Factor on anomalous steps; beyond 1 a logit of 0 means less than even odds."""
    short_length: int = 64
    """Events of fewer steps count more, as an outlier of one step would hardly count otherwise."""
    short_exponent: float = 0.5
    """Each of the n steps of such an event counts `(short_length / n) ** short_exponent` times; 0
    for all alike."""
    hidden_weight: float = 0.2
    """Weight of the reconstruction of steps the network does not see."""
    seen_weight: float = 0.05
    """Weight of the reconstruction of steps it sees."""
    kind_weight: float = 0.03
    """Weight of telling the type of anomalous steps."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"loss.smoothing must be in [0, 1), got {self.smoothing}.")
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"loss.{name} must not be negative, got {value}.")


@dataclass(frozen=True)
class PretrainDetectorConfig(RunConfig):
    """A run of `tsfm pretrain` that trains a detector."""

    model: DetectorConfig
    """The model to train; left empty, its `kinds` become those of the corpus."""
    recipe: AnomalyRecipe
    """The labelled synthetic corpus, and what is put into the series of `corpus`."""
    task: Literal["detect"] = "detect"
    """What is learnt."""
    windows: LabelledWindows = field(default_factory=LabelledWindows)
    """How the corpus is cut into batches."""
    loss: DetectionLoss = field(default_factory=DetectionLoss)
    """Weights and shape of the loss."""

    def __post_init__(self) -> None:
        """Check that model, corpus and windows go together."""
        if self.model.kinds and self.model.kinds != KIND_NAMES[1:]:
            raise ValueError(
                "model.kinds are not the types of anomaly that the corpus has; leave them out."
            )
        patch, longest = self.model.patch_length, self.model.max_context
        for shape in self.windows.shapes:
            if shape.length % patch or shape.length > longest:
                raise ValueError(
                    f"{shape}: the length must be a multiple of model.patch_length={patch} and "
                    f"at most model.max_context={longest}."
                )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain values; unknown keys and names are errors."""
        config = super().from_dict(values)
        if config.loss.kind_weight and not config.model.kinds:
            config = replace(config, model=replace(config.model, kinds=KIND_NAMES[1:]))
        return config
