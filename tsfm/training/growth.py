"""Begin a larger transformer where a smaller one stands: the same forecasts, and room to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tsfm.models.config import ModelConfig
from tsfm.models.network import ForecastingNetwork

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
"""What is added to the residual stream."""


def misfit(small: ModelConfig, large: ModelConfig) -> str | None:
    """Why a model cannot grow into another, as part of a sentence; None if it can.

    Parameters
    ----------
    small, large
        Their configurations.

    Examples
    --------
    >>> misfit(ModelConfig.preset("nano"), ModelConfig.preset("mini"))
    'its attention heads have 16 channels instead of 32'
    >>> misfit(ModelConfig.preset("mini"), ModelConfig.preset("small")) is None
    True
    """
    before, after = small.backbone, large.backbone
    if before.name != "transformer" or small.tokenizer.embedding != "flat":
        return "only transformers on flat embeddings grow"
    heads = [backbone.d_model // backbone.n_heads for backbone in (before, after)]
    if heads[0] != heads[1]:
        return f"its attention heads have {heads[0]} channels instead of {heads[1]}"
    sizes = {
        "d_embed": (small.d_embed, large.d_embed),
        "head.d_hidden": (small.head.d_hidden, large.head.d_hidden),
        "n_layers": (before.n_layers, after.n_layers),
        "d_model": (before.d_model, after.d_model),
        "d_hidden": (before.d_hidden, after.d_hidden),
    }
    for name, (old, new) in sizes.items():
        if old > new:
            return f"its {name} is {old}, the run's {new}"
    widened = replace(
        before,
        n_layers=after.n_layers,
        n_heads=after.n_heads,
        d_model=after.d_model,
        d_hidden=after.d_hidden,
    )
    if widened != after or small.tokenizer != large.tokenizer:
        return "it differs in more than its size"
    if small.head.quantile_levels != large.head.quantile_levels:
        return "it forecasts other quantile levels"
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
        if not adds and name.endswith("out.weight"):
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
