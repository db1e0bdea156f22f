"""How a preset is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsfm.config import from_dict, read_yaml
from tsfm.models.presets.config import PresetConfig, preset_config

FOLDER = "configs/finetune"
"""Where files of settings are."""

SCHEDULES = ("cosine", "halving", "constant")

_WHOLE = {
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
    "validation_windows": 1,
    "windows_per_epoch": 1,
    "seed": 0,
}
"""Whole numbers, and the least they may be."""

_REAL: dict[str, tuple[float, float, str]] = {
    "learning_rate": (0.0, math.inf, "be positive and finite"),
    "clip": (0.0, math.inf, "be positive and finite"),
    "weight_decay": (0.0, math.inf, "be finite and not negative"),
    "warmup_epochs": (0.0, math.inf, "be finite and not negative"),
    "validation_share": (0.0, 1.0, "lie in (0, 1)"),
}
"""Numbers: the least and the bound above that they stay below, in figures and in words."""

_MAY_BE_ZERO = ("weight_decay", "warmup_epochs")


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
        check_numbers(self, _WHOLE, _REAL, _MAY_BE_ZERO, may_be_none=("windows_per_epoch",))

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


def check_numbers(
    config: object,
    whole: dict[str, int],
    real: dict[str, tuple[float, float, str]],
    may_be_zero: tuple[str, ...] = (),
    may_be_none: tuple[str, ...] = (),
) -> None:
    """Refuse numbers of a configuration that are out of range.

    Parameters
    ----------
    config
        Its fields are looked at.
    whole
        Names of whole numbers, and the least they may be.
    real
        Names of other numbers, the least they may be, the bound that they stay below, and the
        range in words.
    may_be_zero
        Real numbers that may be equal to their least.
    may_be_none
        Whole numbers that may be left out.

    Raises
    ------
    ValueError
        If one is out of range; the message names it.
    """
    for name, least in whole.items():
        value = getattr(config, name)
        if name in may_be_none and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
    for name, (low, high, words) in real.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r} must be a number.")
        inside = low <= value < high and (value > low or name in may_be_zero)
        if not inside:
            raise ValueError(f"{name}={value!r} must {words}.")


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
    file = {} if path is None else read_yaml(path, "config", FOLDER, optional=True)
    if set(file) - {"preset", "model", "training"}:
        raise ValueError(f"{path} must hold the entries preset, model and training, no others.")
    kind = preset or file.get("preset")
    if kind is None or file.get("preset", kind) != kind:
        raise ValueError(f"{path} is for preset={file.get('preset')!r}, {preset!r} was asked for.")
    parts = []
    for name, changes in (("model", model), ("training", training)):
        given = {key: value for key, value in (changes or {}).items() if value is not None}
        entries = file.get(name) or {}
        if not isinstance(entries, dict):
            raise ValueError(f"{path}: {name} must hold names and values, got {entries!r}.")
        parts.append({**entries, **given})
    return preset_config(kind, parts[0]), FinetuneConfig.of(kind, parts[1])
