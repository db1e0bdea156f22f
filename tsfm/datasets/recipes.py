"""Corpus recipes: which families, in which shares, cut into which windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tsfm.config import from_dict, to_dict
from tsfm.datasets.augment import AugmentConfig


@dataclass(frozen=True)
class WindowShape:
    """One shape of training window."""

    context: int
    """Context length in patches."""
    horizon: int
    """Steps to forecast, in patches."""
    weight: float
    """Share of training steps with this shape."""


@dataclass(frozen=True)
class MaskConfig:
    """What is hidden from the network inside a window."""

    short_context: float = 0.3
    """Share of rows whose context is cut to a random length."""
    hidden_rows: float = 0.5
    """Share of rows with hidden stretches inside the context."""
    hidden_share: float = 0.4
    """Largest share of context patches hidden."""
    hidden_span: int = 16
    """Longest hidden stretch, in patches."""


@dataclass(frozen=True)
class Recipe:
    """A synthetic corpus, complete but for the seed."""

    name: str
    """Name shown in logs and cards."""
    families: dict[str, float]
    """Weight of each generator family; they need not sum to one."""
    windows: tuple[WindowShape, ...]
    """Shapes of training windows."""
    patch_length: int = 32
    """Steps per patch."""
    tokens_per_step: int = 6144
    """Context plus forecast tokens in one training batch; sets its number of rows."""
    steps_per_chunk: int = 64
    """Training steps served by one round of generation."""
    block: int = 48
    """Rows drawn from one family at a time; fewer, larger blocks generate faster."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Probabilities of the augmentations."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    """What is hidden inside a window."""

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe from YAML.

        Raises
        ------
        ValueError
            If a key or a family is unknown.
        """
        return cls.from_dict(yaml.safe_load(Path(path).read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Build from plain values; unknown keys and families are errors."""
        from tsfm.datasets.synthetic import all_families

        recipe = from_dict(cls, values)
        unknown = sorted(set(recipe.families) - set(all_families()))
        if unknown:
            raise ValueError(
                f"Unknown generator family {unknown[0]!r} in recipe {recipe.name!r}; "
                f"there are {', '.join(all_families())}."
            )
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary."""
        return to_dict(self)
