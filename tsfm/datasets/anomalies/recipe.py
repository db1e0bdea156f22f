"""What a labelled corpus is made of: base series, anomaly types, how many, how strong."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tsfm.config import from_dict, read_yaml, to_dict
from tsfm.datasets.augment import AugmentConfig
from tsfm.datasets.synthetic.base import Family

_PROBABILITIES = (
    "wave_share",
    "clean",
    "sensor",
    "seasonal",
    "weak",
    "endogenous",
    "correlation_break",
    "commands",
    "missing",
)


def _quiet_augment() -> AugmentConfig:
    """Augmentations that vary a base series without adding what looks like an anomaly."""
    quiet: dict[str, Any] = {f.name: 0.0 for f in fields(AugmentConfig)}
    quiet |= {"flip": 0.2, "modulate": 0.1, "quantise": 0.08, "upsample": 0.25, "noise": 0.15}
    return AugmentConfig(**{**quiet, "max_missing": 0.4})


@dataclass(frozen=True)
class Negatives:
    """Share of base series with features that look unusual but are normal, hence unlabelled."""

    regular_spikes: float = 0.05
    """Spikes every period, 5-10 times the usual amplitude or of the size of the season."""
    holidays: float = 0.06
    """Every so many cycles one cycle looks different."""
    bursts: float = 0.05
    """The same burst again and again at equal distances."""
    noisy_hours: float = 0.08
    """More noise in a fixed part of every cycle."""
    slow_trend: float = 0.12
    """A slow trend of several standard deviations."""
    machine_states: float = 0.04
    """Levels that follow one another in a fixed pattern."""


@dataclass(frozen=True)
class Visibility:
    """From which size on a change is labelled; see `tsfm.datasets.anomalies.visibility`."""

    point: float = 4.0
    """Size of a change of one step, in units of local noise."""
    long: float = 0.8
    """The same for changes of many steps."""
    exponent: float = 0.35
    """A change of n steps needs `max(long, point * n ** -exponent)`."""
    jump: float = 5.0
    """Size of a sudden jump, in units of usual step-to-step differences."""


@dataclass(frozen=True)
class AnomalyRecipe:
    """A labelled corpus, complete but for the seed.

    Raises
    ------
    ValueError
        If a share lies outside [0, 1], a weight is negative, or a name is unknown.

    Examples
    --------
    >>> AnomalyRecipe(clean=0.5).clean
    0.5
    """

    name: str = "anomalies"
    """Name shown in logs and cards."""
    families: dict[str, float] = field(default_factory=lambda: {"waves": 1.0, "multi_season": 1.0})
    """Weight of each generator family among the base series that are no plain waves."""
    wave_share: float = 0.45
    """Share of base series that are waves of known parameters."""
    waves: dict[str, float] = field(
        default_factory=lambda: {"sine": 0.3, "square": 0.05, "triangle": 0.05, "wavelet": 0.3}
    )
    """Weight of each waveform among them."""
    types: dict[str, float] = field(default_factory=dict)
    """Weights that replace the default one of an anomaly type; 0 switches it off."""
    clean: float = 0.35
    """Share of samples without any anomaly."""
    local_counts: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    """Weights of 0, 1, 2, ... local anomalies in a series."""
    sensor: float = 0.4
    """Chance of an anomaly of the group "sensor"."""
    seasonal: float = 0.65
    """Chance of a seasonal anomaly in a periodic series."""
    weak: float = 0.2
    """Share of local anomalies of .3-4 noise units, many of them below what is labelled."""
    strength: float = 1.0
    """Factor on the size of all local and sensor anomalies."""
    max_share: float = 0.35
    """Largest share of labelled steps in a channel."""
    visibility: Visibility = field(default_factory=Visibility)
    """From which size on a change is labelled."""
    negatives: Negatives = field(default_factory=Negatives)
    """Features that look unusual but are normal."""
    endogenous: float = 0.5
    """Multivariate: share of anomalies that propagate to other channels."""
    correlation_break: float = 0.15
    """Multivariate: share of anomalies where a channel stops following its causes."""
    commands: float = 0.0
    """Multivariate: share of samples with on/off commands, unlabelled, among their channels."""
    missing: float = 0.0
    """Share of channels with a stretch of missing values (NaN, not labelled)."""
    block: int = 32
    """Series drawn from one family at a time; fewer, larger blocks generate faster."""
    augment: AugmentConfig = field(default_factory=_quiet_augment)
    """Augmentations of the base series; those that add jumps, spikes or gaps must be off."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        for name in _PROBABILITIES:
            _check_share(name, getattr(self, name))
        for f in fields(Negatives):
            _check_share(f"negatives.{f.name}", getattr(self.negatives, f.name))
        if not 0.05 <= self.max_share <= 0.5:
            raise ValueError(f"AnomalyRecipe.max_share is {self.max_share}; give .05 to .5")
        if self.endogenous + self.correlation_break > 1:
            raise ValueError(
                "AnomalyRecipe.endogenous and correlation_break add up to more than 1"
            )
        if self.strength <= 0 or self.block < 1:
            raise ValueError("AnomalyRecipe.strength and block must be positive")
        _check_weights("local_counts", {str(i): w for i, w in enumerate(self.local_counts)})
        self._check_names()
        for name in ("spikes", "shift", "hold", "integrate", "pool", "missing"):
            if getattr(self.augment, name) > 0:
                raise ValueError(
                    f"AnomalyRecipe.augment.{name} must be 0: it adds unlabelled anomalies or gaps"
                )

    def _check_names(self) -> None:
        from tsfm.datasets.anomalies.catalogue import all_types
        from tsfm.datasets.anomalies.waves import SHAPES
        from tsfm.datasets.synthetic import all_families

        families: dict[str, Family] = all_families()
        known = {"families": [*families], "waves": [*SHAPES], "types": [*all_types()]}
        for key, names in known.items():
            weights: dict[str, float] = getattr(self, key)
            unknown = sorted(set(weights) - set(names))
            if unknown:
                raise ValueError(
                    f"Unknown name {unknown[0]!r} in AnomalyRecipe.{key}; "
                    f"there are {', '.join(names)}."
                )
            if key != "types" or weights:
                _check_weights(key, weights, may_be_zero=key == "types")

    @classmethod
    def load(cls, path: str | Path) -> AnomalyRecipe:
        """Read a recipe from YAML.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is no mapping in YAML, or a key or a name is unknown.
        """
        return cls.from_dict(read_yaml(path, "recipe", "datasets"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AnomalyRecipe:
        """Build from plain values; unknown keys and names are errors."""
        return from_dict(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for YAML."""
        return to_dict(self)


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"AnomalyRecipe.{name} is {value}; give a number from 0 to 1")


def _check_weights(name: str, weights: dict[str, float], *, may_be_zero: bool = False) -> None:
    if any(weight < 0 for weight in weights.values()):
        raise ValueError(f"AnomalyRecipe.{name} has a negative weight")
    if not may_be_zero and sum(weights.values()) <= 0:
        raise ValueError(f"AnomalyRecipe.{name} needs at least one positive weight")
