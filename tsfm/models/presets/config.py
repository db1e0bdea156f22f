"""Frozen configurations of the presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from tsfm.config import from_dict

Scaling = Literal["standard", "mean"]
LossUnit = Literal["series", "window"]


@dataclass(frozen=True)
class SMambaConfig:
    """S-Mamba: one token per variate, Mamba over the variates in both directions.

    The defaults are sized for a CPU. Source: Wang et al., "Is Mamba Effective for Time Series
    Forecasting?" (arXiv 2403.11144).

    Examples
    --------
    >>> SMambaConfig(prediction_length=24).kind
    'smamba'
    """

    context_length: int = 96
    """Steps of history the network reads; shorter ones are padded as missing."""
    prediction_length: int = 96
    """Steps forecast in one pass."""
    d_model: int = 128
    """Width of a variate's token."""
    n_layers: int = 2
    """Number of blocks."""
    d_hidden: int = 128
    """Width of the feed-forward layers."""
    mixer: str = "mamba1"
    """Block over the variates: "mamba1" or "mamba2"."""
    d_state: int = 16
    """States per channel of the mixer."""
    d_conv: int = 2
    """Variates the mixer's short convolution sees."""
    expand: int = 1
    """Inner width of the mixer as a multiple of `d_model`."""
    bidirectional: bool = True
    """Whether a second mixer reads the variates from last to first."""
    reorder: bool = False
    """Whether every block sorts the variates by a learnt importance before it reads them, so that
    forecasts do not depend on the order in which they are given."""
    dropout: float = 0.1
    """Share of activations dropped in training."""
    name: str = "smamba"
    """Name shown in tables."""

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_sizes(self)
        if self.mixer not in ("mamba1", "mamba2"):
            raise ValueError(f"mixer={self.mixer!r} must be 'mamba1' or 'mamba2'.")

    @property
    def kind(self) -> str:
        """Which preset this configures."""
        return "smamba"

    @property
    def scaling(self) -> Scaling:
        """Windows are brought to mean zero and variance one."""
        return "standard"


@dataclass(frozen=True)
class SpaceTimeConfig:
    """SpaceTime: filters, companion state-space layers, and a closed loop for any horizon.

    The defaults are sized for a CPU. Source: Zhang et al., "Effectively Modeling Time Series with
    Simple Discrete State Spaces" (arXiv 2303.09489).

    Examples
    --------
    >>> SpaceTimeConfig(prediction_length=24).d_model
    32
    """

    context_length: int = 336
    """Steps of history the network reads; shorter ones are padded as missing."""
    prediction_length: int = 96
    """Steps forecast in training; forecasts may be of any length."""
    n_kernels: int = 4
    """Learnt filters of the first block; each serves all preprocessing filters (published: 16)."""
    d_state: int = 64
    """State size of every companion matrix."""
    differences: tuple[int, ...] = (0, 1, 2, 3)
    """Orders of the differencing filters before the first block."""
    average_widths: tuple[int, ...] = (4, 12, 24, 48)
    """Steps of the moving averages whose residuals are further inputs."""
    n_extra_blocks: int = 0
    """Blocks after the first, with a filter per channel."""
    scaling: Scaling = "standard"
    """Per window: "standard" divides by the standard deviation, "mean" only subtracts the mean
    (as published; series of other units than the training data are then not understood)."""
    loss_unit: LossUnit = "series"
    """Unit of the errors in the loss: "series" as in the data (as published), "window" each
    window's standard deviation, so that a few windows with extreme values do not decide the
    training. Only with `scaling` "standard" do they differ."""
    one_step_weight: float = 1.0
    """Weight of the two one-step terms of the loss beside the forecast's own (published: 1)."""
    autoregression: int = 0
    """Order of a linear autoregression of the differences, fitted in closed form before training;
    the network then learns a correction to its roll-out. Fewer than `context_length`; 0 for none
    (as published)."""
    dropout: float = 0.25
    """Share of activations dropped in training."""
    name: str = "spacetime"
    """Name shown in tables."""

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_sizes(self)
        if self.scaling not in ("standard", "mean"):
            raise ValueError(f"scaling={self.scaling!r} must be 'standard' or 'mean'.")
        if self.loss_unit not in ("series", "window"):
            raise ValueError(f"loss_unit={self.loss_unit!r} must be 'series' or 'window'.")
        if not 0 <= self.one_step_weight < math.inf:
            raise ValueError(
                f"one_step_weight={self.one_step_weight!r} must be finite and not negative."
            )
        if self.autoregression >= self.context_length:
            raise ValueError(
                f"autoregression={self.autoregression} must be less than context_length="
                f"{self.context_length}: a context has one difference less than values."
            )
        if not self.differences and not self.average_widths:
            raise ValueError("differences and average_widths are both empty; (0,) is the least.")

    @property
    def kind(self) -> str:
        """Which preset this configures."""
        return "spacetime"

    @property
    def d_model(self) -> int:
        """Number of channels."""
        return self.n_kernels * (len(self.differences) + len(self.average_widths))


PresetConfig = SMambaConfig | SpaceTimeConfig

_MAY_BE_ZERO = ("n_extra_blocks", "autoregression")

CONFIGS: dict[str, type[SMambaConfig] | type[SpaceTimeConfig]] = {
    "smamba": SMambaConfig,
    "spacetime": SpaceTimeConfig,
}


def preset_config(kind: str, values: dict[str, Any] | None = None) -> PresetConfig:
    """Configuration of a preset by name, with the defaults for what is not given.

    Raises
    ------
    ValueError
        If there is no such preset, or a key is unknown.

    Examples
    --------
    >>> preset_config("spacetime", {"prediction_length": 24}).context_length
    336
    """
    if kind not in CONFIGS:
        raise ValueError(f"preset={kind!r} does not exist; take one of {', '.join(CONFIGS)}.")
    return from_dict(CONFIGS[kind], values or {})


def _check_sizes(config: SMambaConfig | SpaceTimeConfig) -> None:
    """Raise a ValueError where a size is no whole number of at least one."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type == "int" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{field.name}={value!r} must be a whole number.")
        least = 0 if field.name in _MAY_BE_ZERO else 1
        if field.type == "int" and value < least:
            raise ValueError(f"{field.name}={value!r} must be at least {least}.")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout={config.dropout!r} must lie in [0, 1).")
