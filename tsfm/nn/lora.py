"""Low-rank updates of weight matrices: trained beside frozen weights, then merged into them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """Adds `alpha / rank * up @ down` to a matrix; nothing at first, for `up` starts at zero.

    Source: Hu et al., "LoRA" (arXiv 2106.09685).

    Parameters
    ----------
    weight
        The matrix [out, in], for its shape, dtype and device.
    rank
        Columns of `up` and rows of `down`; at most the smaller side of the matrix is used.
    alpha
        Size of the update, whatever the rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rank = min(rank, *weight.shape)
        self.scale = alpha / rank
        bound = math.sqrt(3 / weight.shape[1])  # rows of unit length, on average
        self.down = nn.Parameter(torch.empty_like(weight[:rank]).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.zeros_like(weight[:, :rank]))

    def forward(self, weight: Tensor) -> Tensor:
        """The matrix with its update, [out, in]."""
        return weight + self.scale * (self.up @ self.down)


def add_low_rank(module: nn.Module, rank: int, alpha: float) -> list[nn.Parameter]:
    """Give every linear layer of a module a low-rank update of its weight matrix.

    The update is a parametrisation: whoever reads `layer.weight` gets the sum.

    Parameters
    ----------
    module
        Changed in place.
    rank, alpha
        As in `LowRankUpdate`.

    Returns
    -------
    list
        The parameters of the updates. All others are left as they are, to be frozen by the caller.

    Raises
    ------
    ValueError
        If the rank is below one, or the module has no linear layer.

    Examples
    --------
    >>> layer = nn.Sequential(nn.Linear(8, 4))
    >>> [tuple(p.shape) for p in add_low_rank(layer, rank=2, alpha=4.0)]
    [(2, 8), (4, 2)]
    """
    if rank < 1:
        raise ValueError(f"rank={rank} must be at least 1.")
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise ValueError("The module has no linear layer to update.")
    added: list[nn.Parameter] = []
    for layer in layers:
        update = LowRankUpdate(layer.weight.detach(), rank, alpha)
        parametrize.register_parametrization(layer, "weight", update)
        added += update.parameters()
    return added


def merge_low_rank(module: nn.Module) -> None:
    """Turn the sums of weights and updates into plain weights, in place; the updates are gone.

    Parameters
    ----------
    module
        As `add_low_rank` left it.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
