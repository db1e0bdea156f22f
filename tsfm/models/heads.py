"""Heads: from token states to the quantiles of the span after each token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.models.config import HeadConfig
from tsfm.nn.mlp import ResidualMLP
from tsfm.tokenizers.batch import TokenBatch


class QuantileHead(nn.Module):
    """Quantiles that cannot cross: a median and cumulative softplus steps outward.

    Where the tokens carry references (last value, seasonal repeats), the median is a convex
    combination of them plus a correction, both chosen per step, and corrections and widths are
    in units of the series' own one-cycle naive error. An untrained head is thus already a sober
    seasonal forecast, and training only has to learn what to add.

    Parameters
    ----------
    config
        Levels and hidden width.
    d_model
        Width of the token states.
    patch_length
        Steps per span, P.
    n_references
        References per step, K; 0 where tokens carry none.
    """

    def __init__(
        self, config: HeadConfig, d_model: int, patch_length: int, n_references: int
    ) -> None:
        super().__init__()
        levels = config.quantile_levels
        if 0.5 not in levels or list(levels) != sorted(set(levels)):
            raise ValueError(f"quantile_levels must increase and include 0.5, got {levels}.")
        if any(abs(a + b - 1) > 1e-9 for a, b in zip(levels, levels[::-1], strict=True)):
            raise ValueError(
                f"quantile_levels must be symmetric around 0.5, got {levels}: forecasts are "
                "averaged with those of the mirror image."
            )
        self.n_below = levels.index(0.5)
        self.n_levels = len(levels)
        self.patch_length = patch_length
        self.n_references = n_references
        outputs = self.n_levels + n_references
        self.mlp = ResidualMLP(d_model, config.d_hidden, patch_length * outputs)
        nn.init.zeros_(self.mlp.out.weight)
        nn.init.zeros_(self.mlp.skip.weight)
        bias = torch.zeros(patch_length, outputs)
        bias[:, 1 : self.n_levels] = math.log(math.expm1(0.3))
        with torch.no_grad():
            self.mlp.out.bias.copy_(bias.flatten())

    def forward(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Quantiles of the span after each token.

        Parameters
        ----------
        states
            [B, T, d_model].
        batch
            The tokens, for references and error scale.

        Returns
        -------
        Tensor
            [B, T, P, Q] float32 in scaled units, non-decreasing along Q.
        """
        raw = self.mlp(states).float().unflatten(-1, (self.patch_length, -1))
        median = raw[..., :1]  # [B, T, P, 1]
        steps = F.softplus(raw[..., 1 : self.n_levels])
        if batch.references is not None and batch.error_scale is not None:
            unit = batch.error_scale[:, None, None, None]
            weights = raw[..., self.n_levels :].softmax(-1)
            median = (weights * batch.references).sum(-1, keepdim=True) + unit * median
            steps = unit * steps
        below = median - steps[..., : self.n_below].cumsum(-1)
        above = median + steps[..., self.n_below :].cumsum(-1)
        return torch.cat([below.flip(-1), median, above], dim=-1)


def build_head(
    config: HeadConfig, d_model: int, patch_length: int, n_references: int
) -> QuantileHead:
    """Head of the configured kind.

    Raises
    ------
    ValueError
        If the kind, or that of the weights in the loss, is unknown.
    """
    if config.loss_weights not in ("even", "log_decay"):
        raise ValueError(
            f"loss_weights must be 'even' or 'log_decay', got {config.loss_weights!r}."
        )
    if config.name == "quantile":
        return QuantileHead(config, d_model, patch_length, n_references)
    raise ValueError(f"Unknown head {config.name!r}; choose 'quantile'.")
