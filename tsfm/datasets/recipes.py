"""Corpus recipes: which families, in which shares, cut into which windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tsfm.config import from_dict, read_yaml, to_dict
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
class Stage:
    """Windows of a stretch of the training steps."""

    until: int
    """Step, from 0, at which the next stage begins."""
    windows: tuple[WindowShape, ...]
    """Shapes of training windows before it."""


@dataclass(frozen=True)
class RingConfig:
    """Series that are kept and used several times, see `tsfm.datasets.ring`.

    Raises
    ------
    ValueError
        If a number lies outside its range.

    Examples
    --------
    >>> RingConfig(series=4096, refresh=0.125).segments
    8
    """

    series: int = 8192
    """Series in the ring; rounded up to a multiple of the number of segments."""
    refresh: float = 0.0625
    """Share of them that is replaced before every chunk, rounded to one over a whole number."""
    length: int | None = None
    """Steps per series; None: those of the recipe's longest window."""
    strided: float = 0.5
    """Share of the windows that take every k-th step of a longer stretch, k log-uniform."""
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of what is kept. 16 bits halve the memory and round short windows of smooth
    series: windows that move less than .004 (fp16) or .03 (bf16) of their series are not used."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where series are generated and kept; "auto": on the GPU if there is one. A run that resumes
    needs the kind of device it began with."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.refresh <= 1:
            raise ValueError(f"ring.refresh is {self.refresh}; it must lie in (0, 1].")
        if self.series < self.segments:
            raise ValueError(
                f"ring.series is {self.series}, but a {self.refresh:g} of them is replaced at a "
                f"time: give at least {self.segments}."
            )
        if not 0 <= self.strided <= 1:
            raise ValueError(f"ring.strided is {self.strided}; give a number from 0 to 1.")

    @property
    def segments(self) -> int:
        """Parts that are replaced in turn."""
        return max(1, round(1 / self.refresh))


@dataclass(frozen=True)
class ShortConfig:
    """Series that are short by nature, such as yearly ones, instead of pieces of long ones.

    Raises
    ------
    ValueError
        If the share is none, or the lengths are not in order.
    """

    share: float = 0.2
    """Share of the windows."""
    shortest: int = 13
    """Fewest steps, context and forecast together."""
    longest: int = 200
    """Most steps."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"short.share is {self.share}; give a number from 0 to 1.")
        if not 5 <= self.shortest <= self.longest:
            raise ValueError(
                f"short.shortest is {self.shortest} and short.longest {self.longest}; "
                "5 <= shortest <= longest is needed."
            )


@dataclass(frozen=True)
class Recipe:
    """A synthetic corpus, complete but for the seed."""

    name: str
    """Name shown in logs and cards."""
    families: dict[str, float]
    """Weight of each generator family; they need not sum to one."""
    windows: tuple[WindowShape, ...]
    """Shapes of training windows."""
    curriculum: tuple[Stage, ...] = ()
    """Stages with windows of their own, in order; `windows` are those of all steps after them."""
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
    ring: RingConfig | None = None
    """Series kept and used several times; None: every series is used once."""
    short: ShortConfig | None = None
    """Series that are short by nature; None: none but those whose context is cut."""
    directed: tuple[str, ...] = ()
    """Families whose series are never reversed in time, such as those that decay."""

    def __post_init__(self) -> None:
        """Check that every stage of the curriculum has steps and windows."""
        begin = 0
        for i, stage in enumerate(self.curriculum):
            where = f"curriculum[{i}] of recipe {self.name!r}"
            if not isinstance(stage.until, int) or stage.until <= begin:
                raise ValueError(
                    f"{where} ends at step {stage.until}, but begins at step {begin}: each stage "
                    "begins where the one before it ends. List them in order, with whole steps "
                    "that rise."
                )
            if not any(shape.weight > 0 for shape in stage.windows):
                raise ValueError(f"{where} has no windows: give it at least one with a weight.")
            begin = stage.until

    @property
    def shapes(self) -> tuple[WindowShape, ...]:
        """Every shape of window that any step may have, each once."""
        stages = (*(stage.windows for stage in self.curriculum), self.windows)
        return tuple(dict.fromkeys(shape for windows in stages for shape in windows))

    def windows_at(self, step: int) -> tuple[WindowShape, ...]:
        """Shapes of the windows that a training step, from 0, may have."""
        return next((s.windows for s in self.curriculum if step < s.until), self.windows)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe from YAML.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is no mapping in YAML, or a key or a family is unknown.
        """
        return cls.from_dict(read_yaml(path, "recipe", "datasets"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Build from plain values; unknown keys and families are errors."""
        from tsfm.datasets.synthetic import all_families

        recipe = from_dict(cls, values)
        unknown = sorted({*recipe.families, *recipe.directed} - set(all_families()))
        if unknown:
            raise ValueError(
                f"Unknown generator family {unknown[0]!r} in recipe {recipe.name!r}; "
                f"there are {', '.join(all_families())}."
            )
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary."""
        return to_dict(self)
