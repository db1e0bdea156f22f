"""How a preset is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tsfm.config import from_dict
from tsfm.models.presets.config import PresetConfig, preset_config

SCHEDULES = ("cosine", "halving", "constant")


@dataclass(frozen=True)
class FinetuneConfig:
    """Optimisation of a preset.

    Examples
    --------
    >>> FinetuneConfig.of("spacetime", {"epochs": 3}).batch_size
    50
    """

    epochs: int = 20
    """Most passes over the training windows."""
    batch_size: int = 32
    """Windows per step."""
    learning_rate: float = 5e-4
    """Highest learning rate of AdamW."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices outside the state-space layers."""
    schedule: str = "cosine"
    """Learning rate over epochs: "cosine" (falls to a hundredth), "halving" (after every epoch)
    or "constant"."""
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate rises from zero."""
    patience: int = 3
    """Epochs without a better validation error after which training stops."""
    clip: float = 1.0
    """Largest gradient norm."""
    windows_per_epoch: int | None = None
    """Random windows per epoch; all by default."""
    validation_share: float = 0.2
    """Share of each series' end that is held out."""
    validation_windows: int = 2000
    """Most windows of it that are looked at, evenly spread."""
    seed: int = 0
    """Seed of weights, dropout and the order of windows."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} must be one of {', '.join(SCHEDULES)}.")
        for name in ("epochs", "batch_size", "patience", "validation_windows"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share!r} must lie in (0, 1).")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive.")

    @classmethod
    def of(cls, kind: str, values: dict[str, Any] | None = None) -> FinetuneConfig:
        """The defaults of a preset, with some values changed.

        Raises
        ------
        ValueError
            If a key is unknown or a value out of range.
        """
        return from_dict(cls, {**_DEFAULTS.get(kind, {}), **(values or {})})

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate at a (fractional) epoch."""
        rise = min(1.0, (epoch + 1e-3) / self.warmup_epochs) if self.warmup_epochs > 0 else 1.0
        if self.schedule == "halving":
            return self.learning_rate * rise * 0.5 ** math.floor(epoch)
        if self.schedule == "constant":
            return self.learning_rate * rise
        progress = min(1.0, epoch / self.epochs)
        return self.learning_rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


_DEFAULTS: dict[str, dict[str, Any]] = {
    "smamba": {"epochs": 10, "learning_rate": 5e-4, "patience": 3},
    "spacetime": {
        "epochs": 30,
        "batch_size": 50,
        "learning_rate": 5e-3,
        "weight_decay": 1e-4,
        "warmup_epochs": 1.0,
        "patience": 5,
    },
}


def read_recipe(
    path: str | Path | None,
    preset: str | None = None,
    *,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> tuple[PresetConfig, FinetuneConfig]:
    """Sizes and optimisation of a preset, from a YAML file and changes to it.

    Parameters
    ----------
    path
        File with the entries `preset`, `model` and `training`, the latter two optional; None for
        the defaults.
    preset
        "smamba" or "spacetime"; must agree with the file.
    model, training
        Fields that override the file's; None values do not count.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key is unknown, a value out of range, or no preset is named.

    Examples
    --------
    >>> model, training = read_recipe(None, "smamba", model={"prediction_length": 24})
    >>> model.prediction_length, training.schedule
    (24, 'cosine')
    """
    file = {} if path is None else yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(file, dict) or set(file) - {"preset", "model", "training"}:
        raise ValueError(f"{path} must hold the entries preset, model and training, no others.")
    kind = preset or file.get("preset")
    if kind is None or file.get("preset", kind) != kind:
        raise ValueError(f"{path} is for preset={file.get('preset')!r}, {preset!r} was asked for.")
    parts = []
    for name, changes in (("model", model), ("training", training)):
        given = {key: value for key, value in (changes or {}).items() if value is not None}
        parts.append({**(file.get(name) or {}), **given})
    return preset_config(kind, parts[0]), FinetuneConfig.of(kind, parts[1])
