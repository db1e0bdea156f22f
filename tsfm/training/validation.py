"""Held-out synthetic series, scored family by family against a seasonal-naive forecast."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tsfm.datasets.corpus import held_out
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.synthetic import all_families
from tsfm.models.network import ForecastingNetwork
from tsfm.models.quantiles import pinball
from tsfm.models.scaler import Scale


@dataclass(frozen=True)
class FamilyScore:
    """Score of one family.

    Parameters
    ----------
    name, group
        The family.
    loss
        Mean pinball loss over the trained levels, times two, over the mean absolute difference of
        successive context values: a scaled CRPS.
    coverage
        Share of values inside the outermost trained interval.
    """

    name: str
    group: str
    loss: float
    coverage: float


@torch.inference_mode()
def validate(
    network: ForecastingNetwork,
    recipe: Recipe,
    *,
    n: int = 24,
    context: int = 512,
    horizon: int = 96,
) -> list[FamilyScore]:
    """Score a network on held-out series of every family.

    Parameters
    ----------
    network
        The network; its weights and mode are left as they are.
    recipe
        The corpus.
    n
        Series per family.
    context, horizon
        Lengths in steps; the context must be a multiple of the patch length.
    """
    device = next(network.parameters()).device
    levels = torch.tensor(network.config.head.quantile_levels, device=device)
    scores = []
    for name, series in held_out(recipe, n, context + horizon, str(device)):
        past, future = series[:, :context], series[:, context:, None]
        observed = torch.ones_like(past, dtype=torch.bool)
        scale = Scale.of(past, observed)
        quantiles = scale.inverse(network(scale.forward(past), observed, horizon)).float()
        error = future - quantiles
        losses = pinball(error, levels).mean((1, 2))
        naive = past.diff(dim=-1).abs().mean(-1).clamp_min(0.05)
        inside = (future >= quantiles[..., :1]) & (future <= quantiles[..., -1:])
        group = all_families()[name].group
        loss = float((2 * losses / naive).clamp(max=50).mean())
        scores.append(FamilyScore(name, group, loss, float(inside.float().mean())))
    return scores
