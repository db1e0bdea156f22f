"""Rotary position embedding on real-valued positions (time steps, not token indices)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_factors(position: Tensor, d_head: int, base: float) -> tuple[Tensor, Tensor]:
    """Factors that rotate queries and keys; see `rotate`.

    Source: Su et al., "RoFormer" (arXiv 2104.09864).

    Parameters
    ----------
    position
        [B, T] positions, any real numbers; only differences matter to attention.
    d_head
        Width of one head (even).
    base
        Ratio of the slowest to the fastest wavelength.

    Returns
    -------
    tuple of Tensor
        Factors of a vector and of its swapped halves, each [B, T, 1, 1, d_head]; the second
        carries the sign, so that a rotation is one multiplication and one fused multiply-add.
    """
    exponent = torch.arange(0, d_head, 2, device=position.device, dtype=torch.float32) / d_head
    angle = position.float()[:, :, None, None, None] * base**-exponent  # [B, T, 1, 1, d_head/2]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of the last axis of `x` [B, T, ..., d_head] by the given angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([b, a], dim=-1), sin)
