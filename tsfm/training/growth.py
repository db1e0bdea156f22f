"""Begin a larger transformer where a smaller one stands: the same forecasts, and room to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tsfm.config import by_dotted_key
from tsfm.models.config import ModelConfig
from tsfm.models.network import ForecastingNetwork

_SIZES = {
    "d_embed",
    "head.d_hidden",
    "backbone.n_layers",
    "backbone.n_heads",
    "backbone.d_model",
    "backbone.d_hidden",
}
"""Settings that may rise."""
_WITHOUT_WEIGHTS = {
    "name",
    "max_context",
    "max_horizon",
    "head.loss_weights",
    "backbone.dropout",
    "backbone.d_state",
    "backbone.expand",
    "backbone.d_conv",
}
"""Settings that may differ, because no weight of a transformer depends on them."""
_PACKED = {"qkv.weight": 3, "gate_up.weight": 2}
"""Matrices that stand one above another in one tensor, and how many."""
_READ = ("qkv.weight", "gate_up.weight", "head.mlp.hidden.weight", "head.mlp.skip.weight")
"""Matrices that take the residual stream; new channels of it are zero at first."""
_ADDED = (
    "embedding.out.weight",
    "embedding.out.bias",
    "embedding.skip.weight",
    "attention.out.weight",
    "mlp.out.weight",
)
"""What is added to the residual stream; that of the head has as many rows as before."""


def misfit(small: ModelConfig, large: ModelConfig) -> str | None:
    """Why a model cannot grow into another, as part of a sentence; None if it can.

    Parameters
    ----------
    small, large
        Their configurations.

    Examples
    --------
    >>> misfit(ModelConfig.preset("nano"), ModelConfig.preset("mini"))
    'its attention heads have 16 channels, those of the run 32'
    >>> misfit(ModelConfig.preset("mini"), ModelConfig.preset("small")) is None
    True
    """
    backbone, tokenizer = small.backbone, small.tokenizer
    if backbone.name != "transformer" or backbone.forecast_tokens != "masked":
        return "only transformers with masked forecast tokens grow"
    if tokenizer.embedding != "flat" or tokenizer.n_prompts:
        return "only models with a flat embedding and no prompts grow"
    before, after = (by_dotted_key(config.to_dict()) for config in (small, large))
    for key in before:
        if key in _SIZES:
            if before[key] > after[key]:
                return f"its {key} is {before[key]}, that of the run only {after[key]}"
        elif key not in _WITHOUT_WEIGHTS and before[key] != after[key]:
            return f"its {key} is {before[key]!r}, that of the run {after[key]!r}"
    heads = [config.backbone.d_model // config.backbone.n_heads for config in (small, large)]
    if heads[0] != heads[1]:
        return f"its attention heads have {heads[0]} channels, those of the run {heads[1]}"
    return None


@torch.no_grad()
def grown(small: ForecastingNetwork, fresh: ForecastingNetwork) -> dict[str, Tensor]:
    """Weights with which a larger network forecasts what a smaller one does.

    New channels of the residual stream hold zeros, new heads and hidden units are not listened
    to yet, and new blocks, which read like the block before them, add nothing yet. What they are
    multiplied by is random where that keeps the forecasts, so that all of them learn.

    Source: function-preserving growth after Net2Net (arXiv 1511.05641); blocks that begin as
    silent copies as in LLaMA Pro (arXiv 2401.02415).

    Parameters
    ----------
    small
        The network to begin with.
    fresh
        A network of the larger size, just initialised; it is not changed.

    Returns
    -------
    dict
        State of the larger network. Its forecasts equal those of `small` but for rounding.

    Raises
    ------
    ValueError
        If `small` cannot grow into that size; see `misfit`.
    """
    reason = misfit(small.config, fresh.config)
    if reason is not None:
        raise ValueError(f"{small.config.name} cannot grow into {fresh.config.name}: {reason}.")
    before, after = small.state_dict(), fresh.state_dict()
    stretch = small.config.backbone.d_model / fresh.config.backbone.d_model
    silent = _silent_copies(small.config.backbone.n_layers, fresh.config.backbone.n_layers)
    for name, source, adds in _sources(after, silent):
        old, new = before[source], after[name]
        if name.endswith("norm.weight") and old.shape != new.shape:  # of the residual stream
            old, new = old * math.sqrt(stretch), new * math.sqrt(stretch)
        after[name] = _placed(old, new, name)
        if not adds and name.endswith(_ADDED):
            after[name] = torch.zeros_like(new)
    return after


def _silent_copies(few: int, many: int) -> list[tuple[int, bool]]:
    """For each block of the larger network: whose copy it is, and whether it adds its answer."""
    whose = [i * few // many for i in range(many)]
    return [(block, i == 0 or whose[i - 1] != block) for i, block in enumerate(whose)]


def _sources(
    names: dict[str, Tensor], blocks: list[tuple[int, bool]]
) -> Iterator[tuple[str, str, bool]]:
    """Every tensor of the larger network, the one it grows from, and whether its block adds."""
    for name in names:
        if not name.startswith("backbone.blocks."):
            yield name, name, True
            continue
        _, _, index, rest = name.split(".", 3)
        whose, adds = blocks[int(index)]
        yield name, f"backbone.blocks.{whose}.{rest}", adds


def _placed(old: Tensor, new: Tensor, name: str) -> Tensor:
    """The old tensor in the first places of the new one, and there what keeps the forecasts."""
    if old.shape == new.shape:
        return old.clone()
    packed = next((n for suffix, n in _PACKED.items() if name.endswith(suffix)), 1)
    old, answer = (x.unflatten(0, (packed, -1)).clone() for x in (old, new))
    rows = old.shape[1]
    if name.endswith(_ADDED):
        answer[:, rows:] = 0  # new channels
    if old.ndim == 2:
        answer[:, :rows] = old
    else:
        if not name.endswith(_READ):
            answer[:, :rows, old.shape[2] :] = 0  # new units, not listened to
        answer[:, :rows, : old.shape[2]] = old
    return answer.flatten(0, 1)
