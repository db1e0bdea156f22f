"""Causal self-attention with normalised queries and keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.nn.rotary import rotate


class Attention(nn.Module):
    """Multi-head attention: QK-norm, rotary positions, scaled dot product; no biases.

    Source: Vaswani et al. (arXiv 1706.03762); QK-norm: Henry et al. (arXiv 2010.04245).

    Parameters
    ----------
    d_model
        Model width.
    n_heads
        Number of heads; must divide `d_model` into even head widths.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads or (d_model // n_heads) % 2:
            raise ValueError(
                f"d_model={d_model} must split into n_heads={n_heads} heads of even width."
            )
        self.n_heads = n_heads
        self.d_head = d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.q_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.k_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor) -> Tensor:
        """Mix tokens.

        Parameters
        ----------
        x
            [B, T, d_model].
        cos, sin
            Rotary angles [B, 1, T, d_head / 2].
        allowed
            [B, 1, T, T] bool, True where query (row) may see key (column).
        """
        n_rows, n_tokens, d_model = x.shape
        qkv = self.qkv(x).view(n_rows, n_tokens, 3, self.n_heads, self.d_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, d_head]
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=allowed)
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(n_rows, n_tokens, d_model))
        return projected


def causal_mask(observed: Tensor) -> Tensor:
    """Which token may look at which: earlier tokens that hold data, and itself.

    A token without a single observed value (missing stretch, padding, forecast token) is never a
    key for another token. That one rule makes padding an exact no-op and makes the forecast of a
    span independent of how many spans are forecast after it.

    Parameters
    ----------
    observed
        [B, T] bool, True where the token holds at least one observed value.

    Returns
    -------
    Tensor
        [B, 1, T, T] bool.
    """
    n_tokens = observed.shape[1]
    index = torch.arange(n_tokens, device=observed.device)
    earlier = index[:, None] > index[None, :]
    itself = index[:, None] == index[None, :]
    return ((earlier & observed[:, None, :]) | itself)[:, None]
