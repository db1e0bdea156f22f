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
    """Kind of tokenizer; "fixed" cuts equal patches, "decomposed" also splits what they hold,
    "entropy" cuts where the next step is hard to foresee, "mixture" where a router says so."""
    patch_length: int = 32
    """Steps forecast after each token; of the fixed tokenizer also the steps per token."""
    n_cycles: int = 4
    """Significant periodogram cycles whose phase each token is told; 0 switches them off."""
    references: bool = True
    """Whether tokens carry last value and seasonal repeats, which the head starts from."""
    embedding: Literal["flat", "adaptive", "decomposed", "componentwise", "mixture"] = "flat"
    """How contents become vectors: one map of all values, or queries that look at their patch; of
    decomposed patches one map of all components, or one of each; "mixture" fuses views of several
    sizes."""
    align: Literal["start", "end"] = "start"
    """Where the contents of a short token stand in the width of the longest (flat embedding): from
    the first place on, or up to the last, so that what came last stands in the same place."""
    d_step: int = 64
    """Width of a step's vector (adaptive embedding)."""
    n_step_heads: int = 4
    """Heads of the attention to steps (adaptive embedding)."""
    prefix_attention: bool = False
    """Whether tokens also look at the steps of earlier tokens (adaptive embedding); costs time and
    memory of tokens times steps instead of steps."""
    prefix_window: int = 96
    """Tokens, up to the own one, whose steps a token then looks at."""
    causal_decomposition: bool = True
    """Whether the components of a step know nothing of later ones (tokenizer "decomposed")."""
    trend_width: int | None = None
    """Steps of the rolling mean that is the trend of decomposed patches; None for the row's
    season, or a patch where it has none."""
    n_prompts: int = 0
    """Prompts put in front of the tokens, retrieved by what the whole context holds."""
    n_anchors: int = 128
    """Anchors that prompts are chosen from."""
    d_anchors: int | None = None
    """Width of the anchors, from which they are projected; None for `d_model`."""
    anchors: str | None = None
    """Matrix of anchors to start from, a file .npy or .safetensors, which sets their number and
    width; None for random orthogonal ones. Saved models hold it and no longer name the file."""
    prompt_weight: float = 0.05
    """Weight in the training loss of the mean cosine between contexts and their prompts."""
    patch_sizes: tuple[int, ...] = (128, 64, 32)
    """Steps per token that a router chooses from, each a multiple of the next ("mixture")."""
    n_null_experts: int = 2
    """Experts of the router that stand for no size."""
    top_experts: int = 3
    """Experts, of both kinds, that the router chooses per block of the largest size."""
    expert_shares: tuple[float, ...] = ()
    """Shares of the routed weight that training balances towards, of every size and then every
    null expert; empty for equal shares."""
    aligned_views: bool = False
    """Whether a token sees its whole block, as published, and so steps after it; by default the
    views of several sizes end with the token."""
    steps_per_token: float = 64.0
    """Mean steps per token that the training of a router aims at; 0 for no such aim."""
    min_length: int = 4
    """Steps of the shortest token ("entropy")."""
    max_length: int = 64
    """Steps of the longest token ("entropy")."""
    rule: Literal[
        "threshold", "increase", "quantile", "top_k", "equal_surprise", "equal_share"
    ] = "quantile"
    """What scores make a token start ("entropy"); see `tsfm.tokenizers.boundaries`."""
    rule_value: float = 0.9
    """The rule's threshold, level, rate, budget or mean length ("entropy")."""
    scorer: str = "tsfm-entropy"
    """What scores the steps ("entropy"): a trained scorer, by the name of a shipped one or its
    folder, or "surprise", which needs no training. Saved models hold its weights."""


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
    forecast_tokens: Literal["masked", "decoded"] = "masked"
    """Who mixes the forecast tokens: the stack itself, as tokens without content, or a decoder
    that looks at the states of the context."""
    n_decoder_layers: int = 1
    """Number of blocks of that decoder."""
    dropout: float = 0.0
    """Share of block outputs dropped in training."""
    rotary: Literal["fixed", "adaptive"] = "fixed"
    """Rotary frequencies (transformer): the same for all series, or chosen by their spectrum."""


@dataclass(frozen=True)
class HeadConfig:
    """From token states to quantiles."""

    name: str = "quantile"
    """Kind of head."""
    quantile_levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Trained levels, increasing, symmetric around 0.5."""
    d_hidden: int = 256
    """Width of the head's hidden layer."""
    loss_weights: Literal["even", "log_decay"] = "even"
    """Weights of the steps in the training loss: all alike, or fewer the further ahead."""


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
