"""Frozen configuration of a detecting model, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tsfm.config import from_dict, to_dict
from tsfm.models.config import BackboneConfig


@dataclass(frozen=True)
class DetectorConfig:
    """A complete detecting model.

    Examples
    --------
    >>> config = DetectorConfig.preset("mini")
    >>> DetectorConfig.from_dict(config.to_dict()) == config
    True
    """

    name: str = "custom"
    """Name shown in tables and cards."""
    task: Literal["detect"] = "detect"
    """What the model answers."""
    patch_length: int = 8
    """Steps per token; short, because events may last a single step."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The stack of mixers, of which recurrent ones read in both directions."""
    channels_every: int = 2
    """Channels look at each other after every so many blocks; 0 for never. A model that has never
    seen several channels in training should not let them."""
    d_embed: int = 128
    """Width of the hidden layer of the token embedding."""
    d_step: int = 32
    """Width of the state of a single step."""
    d_head: int = 64
    """Width of the hidden layer of each head."""
    kinds: tuple[str, ...] = ()
    """Names of the types of anomaly the auxiliary head tells apart; empty for no such head."""
    max_context: int = 4096
    """Longest window, in steps, seen in training; longer series are read window by window."""

    def __post_init__(self) -> None:
        """Check sizes, and that the backbone has no option that only forecasts have."""
        for name in ("patch_length", "d_embed", "d_step", "d_head"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.channels_every < 0:
            raise ValueError(f"channels_every must be 0 or more, got {self.channels_every}.")
        if self.max_context < self.patch_length or self.max_context % self.patch_length:
            raise ValueError(
                f"max_context={self.max_context} must be a multiple of "
                f"patch_length={self.patch_length}."
            )
        plain = BackboneConfig()
        for name in ("forecast_tokens", "rotary", "long_context"):
            if getattr(self.backbone, name) != getattr(plain, name):
                raise ValueError(
                    f"backbone.{name}={getattr(self.backbone, name)!r} is an option of models "
                    f"that forecast; a detector has {getattr(plain, name)!r}."
                )

    @property
    def n_kinds(self) -> int:
        """Number of types of anomaly told apart."""
        return len(self.kinds)

    @classmethod
    def preset(cls, size: str) -> DetectorConfig:
        """Configuration of a named size.

        Parameters
        ----------
        size
            "tiny" (tests), "nano" (0.55M parameters) or "mini" (2.2M).

        Raises
        ------
        ValueError
            If the size is unknown.
        """
        if size not in _SIZES:
            raise ValueError(f"Unknown detector size {size!r}; choose one of {', '.join(_SIZES)}.")
        d_model, n_layers, n_heads, d_hidden, d_step, d_head = _SIZES[size]
        return cls(
            name=f"tsfm-detector-{size}",
            backbone=BackboneConfig(
                d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_hidden=d_hidden
            ),
            d_embed=d_model,
            d_step=d_step,
            d_head=d_head,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary for JSON or YAML."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        """Inverse of `to_dict`; missing keys take their defaults.

        Raises
        ------
        ValueError
            If a key is unknown, or a value is out of range.
        """
        return from_dict(cls, values)


_SIZES: dict[str, tuple[int, int, int, int, int, int]] = {
    # d_model, n_layers, n_heads, d_hidden, d_step, d_head
    "tiny": (32, 2, 2, 64, 8, 16),
    "nano": (96, 4, 3, 256, 24, 32),
    "mini": (160, 6, 5, 432, 32, 64),
}
