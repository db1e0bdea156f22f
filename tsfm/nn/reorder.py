"""Letting a recurrence choose the order of tokens that have none, such as variates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Reordered(nn.Module):
    """Shows tokens to a block in order of increasing importance, and puts its answers back.

    A recurrence remembers what came last best. Each token gets a score, the tokens are sorted by
    it with a permutation P that is differentiable in the scores, the block reads `P x`, and the
    answers return to their places as `P^T y`. However the tokens are given, the block reads them
    in the same order, so the answers come in the order of the tokens and do not otherwise depend
    on it. Only for tokens without an order of their own: time must never be reordered.

    Source: "Demystifying the Token Dynamics of Deep Selective State Space Models"
    (arXiv 2410.03292), section 4, with the sort of Prillo and Eisenschlos, "SoftSort"
    (arXiv 2006.16038).

    Parameters
    ----------
    block
        Reads [B, L, d_model] tokens, with `valid` and `span`, and returns a tuple whose first
        entry has the same shape; such as `Mamba1`, `Mamba2` or `Bidirectional`.
    d_model
        Width of a token.
    temperature
        Softness tau of the sort, in units of a score: well below the distance between scores P is
        a permutation, well above it mixes neighbours.

    Examples
    --------
    >>> from tsfm.nn.mamba import Mamba1
    >>> mixer = Reordered(Mamba1(8, d_state=2), 8)
    >>> y, _ = mixer(torch.randn(1, 5, 8))
    >>> y.shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, block: nn.Module, d_model: int, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.block = block
        self.importance = nn.Linear(d_model, 1, bias=False)
        self.temperature = temperature

    def forward(
        self, x: Tensor, valid: Tensor | None = None, span: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Mix tokens without regard to their order.

        Parameters
        ----------
        x
            [B, L, d_model].
        valid
            [B, L] bool; tokens that are not valid come after all others. None if all are valid.
        span
            [B, L] relative durations, handed on with the tokens; None for 1.

        Returns
        -------
        tuple of Tensor and None
            [B, L, d_model], and no state.
        """
        score = self.importance(x).squeeze(-1).float()
        P = soft_permutation(score, self.temperature, valid).to(x.dtype)  # [B, L, L]
        if valid is not None:
            valid = torch.arange(x.shape[1], device=x.device) < valid.sum(1, keepdim=True)
        if span is not None:
            span = (P @ span[..., None].to(P.dtype)).squeeze(-1)
        y: Tensor = self.block(P @ x, valid, span)[0]
        return P.mT @ y, None


def soft_permutation(score: Tensor, temperature: float, valid: Tensor | None = None) -> Tensor:
    """Row-stochastic matrices P that sort scores, the largest last.

    `P_ij = softmax_j(-|s_(i) - s_j| / tau)`, where `s_(i)` is the i-th smallest score.

    Source: "SoftSort" (arXiv 2006.16038), equation 2, here in increasing order.

    Parameters
    ----------
    score
        [B, L].
    temperature
        tau, positive; P tends to a permutation as it tends to 0 if no scores are equal.
    valid
        [B, L] bool; valid tokens are sorted among themselves, the others follow in their order.

    Returns
    -------
    Tensor
        [B, L, L].

    Examples
    --------
    >>> soft_permutation(torch.tensor([[3.0, 1.0, 2.0]]), 0.01)[0].round().tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if valid is None:
        ordered = score.sort(-1).values
        return torch.softmax(-(ordered[..., None] - score[..., None, :]).abs() / temperature, -1)
    score = score.masked_fill(~valid, math.inf)
    ordered, index = torch.sort(score, dim=-1, stable=True)
    ordered, known = ordered.masked_fill(ordered.isinf(), 0.0), score.masked_fill(~valid, 0.0)
    distance = (ordered[..., None] - known[..., None, :]).abs()
    distance = distance.masked_fill(~valid[..., None, :], math.inf)
    place = torch.arange(score.shape[-1], device=score.device)
    follows = place >= valid.sum(-1, keepdim=True)  # [B, L] rows of tokens that are not valid
    fixed = torch.where(place == index[..., None], 0.0, math.inf)
    distance = torch.where(follows[..., None], fixed, distance)
    return torch.softmax(-distance / temperature, -1)
