"""Weights of the steps of a forecast in the training loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.tokenizers.batch import Kind, TokenBatch


def log_decay_weights(n_steps: int) -> Tensor:
    """Weights of the steps i = 1 ... H ahead, in proportion to `ln H - ln i`, which sum to 1.

    Source: the training loss of Kairos (arXiv 2509.25826), with i from 1 + 1e-5 to H - 1e-3 so
    that the last weight is not 0. There the weights are divided by H instead of their sum, which
    comes to 0.974 for H = 128 and to 0.994 for H = 720.

    Parameters
    ----------
    n_steps
        Steps ahead, H, at least 1.

    Returns
    -------
    Tensor
        [H] float32, decreasing, positive.

    Examples
    --------
    >>> weights = log_decay_weights(128)
    >>> round(float(weights.sum()), 2), bool((weights.diff() < 0).all())
    (1.0, True)
    """
    if n_steps == 1:
        return torch.ones(1)
    steps = torch.linspace(1 + 1e-5, n_steps - 1e-3, n_steps, dtype=torch.float64)
    weights = math.log(n_steps) - steps.log()
    return (weights / weights.sum()).float()


def log_decay(batch: TokenBatch, patch_length: int, prediction_length: int) -> Tensor:
    """Weights of the steps after each token: the further ahead of what is known, the less.

    Parameters
    ----------
    batch
        Tokens whose following steps are targets.
    patch_length
        Steps forecast after each token, P.
    prediction_length
        Steps after the context, H; weights are those of `log_decay_weights(H)`.

    Returns
    -------
    Tensor
        [B, T, P]. A token of the context forecasts from its own end, a forecast token from the end
        of the context.
    """
    ahead = torch.where(batch.is_kind(Kind.FORECAST), batch.length, 0).cumsum(-1)
    step = ahead[..., None] + torch.arange(patch_length, device=ahead.device)
    n_steps = max(prediction_length, patch_length)
    weights = log_decay_weights(n_steps).to(ahead.device)
    return weights[step.clamp(max=n_steps - 1)]


def shared_out(weight: Tensor, n_context: int, horizon_share: float) -> Tensor:
    """Weights of steps with a given sum over the horizon, the rest over the context.

    Parameters
    ----------
    weight
        [B, T, P] weights of the steps after each token, 0 where there is no target.
    n_context
        Context tokens; what follows the last of them is the horizon.
    horizon_share
        Sum over the horizon, from 0 to 1.

    Returns
    -------
    Tensor
        [B, T, P], summing to 1 in rows with targets on both sides, and to less in others.

    Examples
    --------
    >>> shared_out(torch.ones(1, 4, 1), n_context=4, horizon_share=0.7).flatten()
    tensor([0.1000, 0.1000, 0.1000, 0.7000])
    """
    ahead = torch.arange(weight.shape[1], device=weight.device) >= n_context - 1
    parts = [
        share * part / part.sum((1, 2), keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
        for share, part in (
            (horizon_share, weight * ahead[:, None]),
            (1 - horizon_share, weight * ~ahead[:, None]),
        )
    ]
    return parts[0] + parts[1]
