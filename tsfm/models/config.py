"""Frozen configurations of every part of a model, and their JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tsfm.config import from_dict, to_dict

FORMAT_VERSION = 1


@dataclass(frozen=True)
class TokenizerConfig:
    """How a series becomes tokens."""

    name: str = "fixed"
    """Kind of tokenizer; "fixed" cuts equal patches."""
    patch_length: int = 32
    """Steps forecast after each token; of the fixed tokenizer also the steps per token."""
    n_cycles: int = 4
    """Significant periodogram cycles whose phase each token is told; 0 switches them off."""
    references: bool = True
    """Whether tokens carry last value and seasonal repeats, which the head starts from."""
    embedding: Literal["flat", "adaptive"] = "flat"
    """How contents become vectors: one map of all values, or queries that look at their patch."""


@dataclass(frozen=True)
class BackboneConfig:
    """The stack of mixers between tokens and head."""

    name: str = "transformer"
    """Kind of mixer: "transformer", "companion", "mamba1" or "mamba2"."""
    d_model: int = 160
    """Width of a token's state."""
    n_layers: int = 4
    """Number of blocks."""
    n_heads: int = 5
    """Heads per block, of attention and of Mamba-2."""
    d_hidden: int = 432
    """Width of the SwiGLU hidden layer."""
    rope_base: float = 1000.0
    """Ratio of the slowest to the fastest rotary wavelength (transformer)."""
    d_state: int = 64
    """State size of the recurrent mixers, per channel."""
    expand: int = 1
    """Inner width of the Mamba mixers as a multiple of `d_model`."""
    d_conv: int = 4
    """Tokens that the short convolution of the Mamba mixers sees."""
    token_dynamics: Literal["positive", "negative", "mixed"] | None = None
    """Sign of the eigenvalues of `S_C^T S_B` in the Mamba mixers; None leaves them free."""
    long_context: Literal["filter", "rescale"] | None = None
    """How the Mamba mixers limit their steps beyond the trained context, once calibrated by
    `tsfm.models.longcontext.calibrate_long_context`; None for not at all."""
    dropout: float = 0.0
    """Share of block outputs dropped in training."""


@dataclass(frozen=True)
class HeadConfig:
    """From token states to quantiles."""

    name: str = "quantile"
    """Kind of head."""
    quantile_levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Trained levels, increasing, symmetric around 0.5."""
    d_hidden: int = 256
    """Width of the head's hidden layer."""


@dataclass(frozen=True)
class ModelConfig:
    """A complete forecasting model.

    Examples
    --------
    >>> config = ModelConfig.preset("mini")
    >>> ModelConfig.from_dict(config.to_dict()) == config
    True
    """

    name: str = "custom"
    """Name shown in tables and cards."""
    task: str = "forecast"
    """What the model answers."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """How a series becomes tokens."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The stack of mixers."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """From states to quantiles."""
    d_embed: int = 256
    """Width of the hidden layer of the token embedding."""
    max_context: int = 2048
    """Longest context, in steps, seen in training; longer ones are cut to it."""
    max_horizon: int = 1024
    """Steps forecast in one pass; longer horizons continue from their own quantile paths."""

    @classmethod
    def preset(cls, size: str) -> ModelConfig:
        """Configuration of a named size.

        Parameters
        ----------
        size
            "tiny" (tests), "nano" (about 0.3M parameters), "mini" (1.5M) or "small" (5M).

        Raises
        ------
        ValueError
            If the size is unknown.
        """
        if size not in _SIZES:
            raise ValueError(f"Unknown model size {size!r}; choose one of {', '.join(_SIZES)}.")
        d_model, n_layers, n_heads, d_hidden, d_embed = _SIZES[size]
        return cls(
            name=f"tsfm-{size}",
            backbone=BackboneConfig(
                d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_hidden=d_hidden
            ),
            head=HeadConfig(d_hidden=d_embed),
            d_embed=d_embed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary for JSON or YAML."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`; missing keys take their defaults.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        return from_dict(cls, values)


_SIZES: dict[str, tuple[int, int, int, int, int]] = {
    # d_model, n_layers, n_heads, d_hidden, d_embed
    "tiny": (32, 2, 2, 64, 32),
    "nano": (80, 3, 5, 208, 96),
    "mini": (160, 4, 5, 432, 256),
    "small": (256, 6, 8, 672, 384),
}
