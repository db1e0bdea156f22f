"""How a pretrained model is fine-tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tsfm.config import from_dict, read_yaml
from tsfm.training.finetune_config import FOLDER, check_numbers

Method = Literal["lora", "full", "head"]
METHODS = ("lora", "full", "head")

_WHOLE = {
    "rank": 1,
    "epochs": 1,
    "batch_size": 1,
    "windows_per_epoch": 1,
    "warmup_steps": 0,
    "patience": 1,
    "validation_windows": 1,
    "shortest_context": 1,
    "seed": 0,
}
_REAL: dict[str, tuple[float, float, str]] = {
    "alpha": (0.0, math.inf, "be positive and finite"),
    "learning_rate": (0.0, math.inf, "be positive and finite"),
    "clip": (0.0, math.inf, "be positive and finite"),
    "weight_decay": (0.0, math.inf, "be finite and not negative"),
    "margin": (0.0, math.inf, "be finite and not negative"),
    "average": (0.0, 1.0, "lie in [0, 1)"),
    "validation_share": (0.0, 1.0, "lie in (0, 1)"),
}
_MAY_BE_ZERO = ("weight_decay", "margin", "average")


@dataclass(frozen=True)
class AdaptConfig:
    """What of a pretrained model is trained, and how.

    Examples
    --------
    >>> AdaptConfig.of("full").learning_rate < AdaptConfig.of("lora").learning_rate
    True
    """

    method: Method = "lora"
    """What is trained: low-rank updates of the backbone's matrices, all weights, or the head."""
    rank: int = 8
    """Rank of the updates (method "lora")."""
    alpha: float = 16.0
    """Their size, whatever the rank (method "lora")."""
    epochs: int = 20
    """Most epochs."""
    windows_per_epoch: int = 1024
    """Random training windows per epoch; all of them where there are fewer."""
    batch_size: int = 32
    """Windows per step."""
    learning_rate: float = 2e-3
    """Highest learning rate of AdamW; it falls to a hundredth along a cosine."""
    warmup_steps: int = 10
    """Steps in which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay of what is trained."""
    average: float = 0.98
    """Decay of the running average of the weights that is validated and kept; 0 for none."""
    shortest_context: int = 128
    """Half of the batches have contexts as long as those that forecasts read, the others at least
    so many steps of them, evenly spread in proportion."""
    patience: int = 3
    """Epochs without a better validation after which training stops."""
    clip: float = 1.0
    """Largest gradient norm."""
    validation_share: float = 0.2
    """Share of each series' end that is held out."""
    validation_windows: int = 256
    """Most windows of it that are looked at, evenly spread."""
    margin: float = 1.0
    """Standard errors by which the best epoch must beat the zero-shot model, or this is kept."""
    seed: int = 0
    """Seed of the updates, and of the windows and their order."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} must be one of {', '.join(METHODS)}.")
        check_numbers(self, _WHOLE, _REAL, _MAY_BE_ZERO)

    @classmethod
    def of(cls, method: str, values: dict[str, Any] | None = None) -> AdaptConfig:
        """The defaults of a method, with some values changed.

        Raises
        ------
        ValueError
            If the method or a key is unknown, or a value out of range.
        """
        return from_dict(cls, {**_DEFAULTS.get(method, {}), "method": method, **(values or {})})

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate at a step of `n_steps`."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        progress = min(1.0, step / n_steps)
        return self.learning_rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


_DEFAULTS: dict[str, dict[str, Any]] = {"full": {"learning_rate": 3e-4}}
"""Where a method's best settings are others; measured by `benchmarks/finetuning.py`."""


def read_adaptation(
    path: str | Path | None,
    method: str | None = None,
    training: dict[str, Any] | None = None,
) -> AdaptConfig:
    """How to fine-tune, from a YAML file and changes to it.

    Parameters
    ----------
    path
        File with the entry `training`; None for the defaults.
    method
        "lora", "full" or "head"; that of the file, else "lora", if None.
    training
        Fields that override the file's; None values do not count.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key is unknown or a value out of range.

    Examples
    --------
    >>> read_adaptation(None, "head", {"epochs": 3}).epochs
    3
    """
    file = {} if path is None else read_yaml(path, "config", FOLDER, optional=True)
    if "preset" in file:
        raise ValueError(
            f"{path} is for preset={file['preset']!r}; a pretrained model takes a file with the "
            "entry training alone, like configs/finetune/pretrained.yaml."
        )
    if set(file) - {"training"}:
        raise ValueError(f"{path} must hold the entry training, no others.")
    entries = file.get("training") or {}
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: training must hold names and values, got {entries!r}.")
    given = {key: value for key, value in (training or {}).items() if value is not None}
    chosen = method or entries.get("method", "lora")
    return AdaptConfig.of(chosen, {**entries, **given, "method": chosen})
