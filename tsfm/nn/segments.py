"""Sums, maxima and softmax over the steps of each token, in memory linear in the steps.

Steps are grouped by an index [B, L] that names the token of each step; nothing of size T x L is
ever made, and no shape depends on data. On a GPU the order in which a group is summed is not
fixed, so that sums may differ in their last bits from call to call, unless PyTorch is told to use
deterministic algorithms.
"""

from __future__ import annotations

import torch
from torch import Tensor


def flat_index(index: Tensor, n_segments: int) -> Tensor:
    """Group numbers [B, L] of every row as those [B * L] of one long row.

    Parameters
    ----------
    index
        [B, L] int64, from 0 to `n_segments - 1`.
    n_segments
        Groups per row, T.

    Returns
    -------
    Tensor
        [B * L] int64, from 0 to `B * T - 1`.
    """
    rows = torch.arange(len(index), device=index.device)[:, None]
    return (index + n_segments * rows).flatten()


def spread(values: Tensor, index: Tensor) -> Tensor:
    """Give every step what belongs to its group.

    Parameters
    ----------
    values
        [B, T, ...].
    index
        [B, L] int64, group of each step.

    Returns
    -------
    Tensor
        [B, L, ...].

    Examples
    --------
    >>> spread(torch.tensor([[5.0, 7.0]]), torch.tensor([[0, 0, 1]])).tolist()
    [[5.0, 5.0, 7.0]]
    """
    found = values.flatten(0, 1).index_select(0, flat_index(index, values.shape[1]))
    return found.unflatten(0, index.shape)


def segment_sum(values: Tensor, index: Tensor, n_segments: int) -> Tensor:
    """Sum over the steps of each group.

    Parameters
    ----------
    values
        [B, L, ...] float.
    index
        [B, L] int64, group of each step.
    n_segments
        Groups per row, T.

    Returns
    -------
    Tensor
        [B, T, ...]; 0 for groups without steps.

    Examples
    --------
    >>> segment_sum(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 0, 2]]), 3).tolist()
    [[3.0, 0.0, 4.0]]
    """
    total = values.new_zeros(len(index) * n_segments, *values.shape[2:])
    total = total.index_add(0, flat_index(index, n_segments), values.flatten(0, 1))
    return total.unflatten(0, (len(index), n_segments))


def segment_max(
    values: Tensor, index: Tensor, n_segments: int, mask: Tensor | None = None
) -> Tensor:
    """Maximum over the steps of each group; equal maxima share the gradient.

    Parameters
    ----------
    values
        [B, L, ...] float.
    index
        [B, L] int64, group of each step.
    n_segments
        Groups per row, T.
    mask
        [B, L] bool, steps that count; None for all.

    Returns
    -------
    Tensor
        [B, T, ...]; 0 for groups without steps that count.

    Examples
    --------
    >>> segment_max(torch.tensor([[-1.0, -2.0, 4.0]]), torch.tensor([[0, 0, 2]]), 3).tolist()
    [[-1.0, 0.0, 4.0]]
    """
    shown = values if mask is None else values.masked_fill(~_like(mask, values), -torch.inf)
    with torch.no_grad():
        flat = shown.flatten(0, 1)
        where = _like(flat_index(index, n_segments), flat).expand_as(flat)
        largest = values.new_full((len(index) * n_segments, *values.shape[2:]), -torch.inf)
        largest = largest.scatter_reduce(0, where, flat, "amax").unflatten(0, (-1, n_segments))
        largest = torch.where(largest.isfinite(), largest, 0)
    if not (values.requires_grad and torch.is_grad_enabled()):
        return largest
    # scatter_reduce has a slow backward pass; this adds exactly 0 with the right gradient
    hit = shown.detach() == spread(largest, index)
    share = hit / spread(segment_sum(hit.to(values.dtype), index, n_segments), index).clamp_min(1)
    return largest + segment_sum((values - values.detach()) * share, index, n_segments)


def segment_softmax(
    scores: Tensor, index: Tensor, n_segments: int, mask: Tensor | None = None
) -> Tensor:
    """Softmax among the steps of each group.

    Parameters
    ----------
    scores
        [B, L, ...] float.
    index
        [B, L] int64, group of each step.
    n_segments
        Groups per row, T.
    mask
        [B, L] bool, steps that count; None for all.

    Returns
    -------
    Tensor
        [B, L, ...] weights that sum to 1 in every group with steps that count; 0 for other steps.

    Examples
    --------
    >>> segment_softmax(torch.zeros(1, 3), torch.tensor([[0, 0, 1]]), 2).tolist()
    [[0.5, 0.5, 1.0]]
    """
    if mask is not None:
        scores = scores.masked_fill(~_like(mask, scores), -torch.inf)
    shift = segment_max(scores.detach(), index, n_segments, mask)
    weights = (scores - spread(shift, index)).exp()
    total = segment_sum(weights, index, n_segments)
    total = torch.where(total > 0, total, 1)  # groups that count nothing
    return weights / spread(total, index)


def _like(x: Tensor, values: Tensor) -> Tensor:
    """The tensor with as many axes as `values`."""
    return x.reshape(*x.shape, *[1] * (values.ndim - x.ndim))
