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
