"""What a pretraining run is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from tsfm.config import from_dict, read_yaml, to_dict
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.ring import ring_device
from tsfm.datasets.stored.config import CorpusConfig
from tsfm.models.config import ModelConfig

FOLDER = "configs/pretrain"
"""Where files of runs are."""

OPTIMIZERS = ("adamw", "muon", "normuon")


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser, schedule and averaging."""

    name: str = "adamw"
    """"adamw"; or "muon" or "normuon" for the backbone's matrices, with AdamW for the rest."""
    learning_rate: float = 2e-3
    """Constant learning rate of AdamW after the warm-up."""
    matrix_learning_rate: float = 0.02
    """The same of Muon and NorMuon, for the backbone's matrices."""
    momentum: float = 0.95
    """Decay of Muon's and NorMuon's momentum."""
    weight_decay: float = 0.05
    """Decoupled weight decay of matrices, times their learning rate."""
    betas: tuple[float, ...] = (0.9, 0.95)
    """AdamW's moment decays; the second is that of NorMuon's row moments, too."""
    clip: float = 1.0
    """Largest gradient norm."""
    warmup_steps: int = 300
    """Steps of linear warm-up."""
    final_fraction: float = 0.02
    """Learning rate at the end of a decay branch, as a share of the constant one."""
    average: float = 0.998
    """Decay of the exponential moving average that is evaluated and released."""
    last_k: int = 0
    """Snapshots of a decay branch whose mean is released instead; 0 for the moving average."""
    last_k_share: float = 0.25
    """Share of the decay, at its end, that these snapshots are spread over."""

    def __post_init__(self) -> None:
        """Check name and ranges."""
        if self.name not in OPTIMIZERS:
            known = ", ".join(map(repr, OPTIMIZERS))
            raise ValueError(f"Unknown optimizer {self.name!r}; choose one of {known}.")
        if len(self.betas) != 2:
            raise ValueError(f"optimizer.betas must be two numbers, got {list(self.betas)}.")
        below_one = {f"betas[{i}]": beta for i, beta in enumerate(self.betas)}
        below_one |= {"momentum": self.momentum, "average": self.average}
        for name, value in below_one.items():
            if not 0 <= value < 1:
                raise ValueError(f"optimizer.{name} must be in [0, 1), got {value}.")
        for name in ("learning_rate", "matrix_learning_rate", "weight_decay", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"optimizer.{name} must be 0 or more, got {value}.")
        for name in ("warmup_steps", "last_k"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"optimizer.{name} must be a whole number from 0, got {value}.")
        if not 0 < self.last_k_share <= 1:
            raise ValueError(f"optimizer.last_k_share must be in (0, 1], got {self.last_k_share}.")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(
                f"optimizer.final_fraction must be in [0, 1], got {self.final_fraction}."
            )


@dataclass(frozen=True)
class RunConfig:
    """What all runs of `tsfm pretrain` have in common; each task has a class of its own."""

    model: Any
    """The model to train."""
    recipe: Any
    """The synthetic corpus."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedule."""
    max_steps: int = 100_000
    """Steps at which the trunk ends."""
    seed: int = 0
    """Seed of initialisation and data."""
    precision: str = "auto"
    """"auto" (bf16 where the processor multiplies it natively), "bf16" or "fp32"."""
    compile: bool = False
    """Whether to compile the network (needs a C++ compiler on CPU; about twice as fast)."""
    checkpoint_minutes: float = 3.0
    """Minutes between checkpoints."""
    validate_every: int = 2000
    """Steps between validations; 0 switches them off."""
    log_every: int = 20
    """Steps between log lines."""
    devices: int = 1
    """Processes on each machine; each has a GPU of its own, where there are any. The rows of every
    batch are divided among the processes of all machines, which changes nothing but rounding, the
    draws of dropout, and which tokens a tokenizer with `steps_per_token` may use."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """How several processes work together, by Lightning's name: "ddp" for models that use all
    parameters in every step, "ddp_find_unused_parameters_true" for others, "auto" for either."""
    corpus: CorpusConfig | None = None
    """A corpus on disk to train on, alone or beside the synthetic one; a folder in YAML, or a
    mapping of its settings."""
    task: str = "forecast"
    """What is learnt."""

    @classmethod
    def load(cls, path: str | Path, overrides: dict[str, Any] | None = None) -> Self:
        """Read a run from YAML.

        `model` may be a size ("mini") or a mapping with a `preset`; `recipe` may be the path of a
        recipe, relative to the file, or a mapping with such a path as `base` and other entries.

        Parameters
        ----------
        path
            YAML file.
        overrides
            Values by dotted key, e.g. `{"optimizer.learning_rate": 1e-3}`.

        Raises
        ------
        ValueError
            If a file is no mapping in YAML, or a key is unknown.
        FileNotFoundError
            If the file or its recipe does not exist.
        """
        path = Path(path)
        values = read_yaml(path, "config", FOLDER)
        overrides = overrides or {}
        values |= {key: value for key, value in overrides.items() if "." not in key}
        presets = get_type_hints(cls)["model"].preset
        values["model"] = _model_values(values.get("model", "mini"), presets)
        values["recipe"] = _recipe_values(values.get("recipe"), path.parent)
        if values.get("corpus") is not None:
            values["corpus"] = _corpus_values(values["corpus"], path.parent)
        dotted = {key: value for key, value in overrides.items() if "." in key}
        return cls.from_dict(_overridden(values, dotted))

    def replace(self, overrides: dict[str, Any]) -> Self:
        """The same run with other values by dotted key.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        return self.from_dict(_overridden(self.to_dict(), overrides))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain values; unknown keys and names are errors."""
        return from_dict(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary."""
        return to_dict(self)

    def pinned(self) -> Self:
        """The run with the present contents of its corpus on disk, which a resumed run needs."""
        return self if self.corpus is None else replace(self, corpus=self.corpus.pinned())


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """A run of `tsfm pretrain` that trains a forecaster."""

    model: ModelConfig
    """The model to train."""
    recipe: Recipe
    """The synthetic corpus, and the shapes of the windows."""
    task: Literal["forecast"] = "forecast"
    """What is learnt."""
    horizon_share: float | None = None
    """Share of a window's loss that its horizon has, the rest being that of the context tokens,
    which forecast what follows each of them; None: as large as its share of the steps."""

    def __post_init__(self) -> None:
        """Check that corpus and model cut series into the same patches."""
        if self.horizon_share is not None and not 0 <= self.horizon_share <= 1:
            raise ValueError(f"horizon_share must be in [0, 1], got {self.horizon_share}.")
        if self.recipe.patch_length != self.model.tokenizer.patch_length:
            raise ValueError(
                f"recipe.patch_length is {self.recipe.patch_length} but "
                f"model.tokenizer.patch_length is {self.model.tokenizer.patch_length}; "
                "they must be equal."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain values; unknown keys and families are errors."""
        config = super().from_dict(values)
        Recipe.from_dict(config.recipe.to_dict())
        return config

    def pinned(self) -> Self:
        """The run with the contents of its corpus on disk and the device of its ring."""
        config, ring = self, self.recipe.ring
        if ring is not None:
            placed = replace(ring, device=ring_device(self.recipe))
            config = replace(config, recipe=replace(self.recipe, ring=placed))
        return super(PretrainConfig, config).pinned()


def _overridden(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Nested `values` (changed in place) with other entries by dotted key."""
    for key, value in overrides.items():
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise ValueError(f"Cannot set {key!r}: {parent!r} is a single value.")
        target[last] = value
    return values


def _recipe_values(recipe: Any, folder: Path) -> Any:
    """Plain values of a recipe given as a file, as changes to one (`base`), or in full."""
    changes = {"base": recipe} if isinstance(recipe, str) else recipe
    if not isinstance(changes, dict) or "base" not in changes:
        return recipe
    values = read_yaml(folder / changes["base"], "recipe", "datasets")
    return {**values, **{key: value for key, value in changes.items() if key != "base"}}


def _corpus_values(corpus: Any, folder: Path) -> Any:
    """Plain values of a corpus given as a folder or in full; paths are relative to the file."""
    values = {"path": corpus} if isinstance(corpus, str) else corpus
    if isinstance(values, dict) and "path" in values:
        values = {**values, "path": str((folder / values["path"]).resolve())}
    return values


def _model_values(model: str | dict[str, Any], preset: Callable[[str], Any]) -> dict[str, Any]:
    """Plain values of a model given as a size or as changes to one."""
    if isinstance(model, str):
        return dict(preset(model).to_dict())
    changes = dict(model)
    values = dict(preset(changes.pop("preset", "mini")).to_dict())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = {**values[key], **value}
        else:
            values[key] = value
    return values
