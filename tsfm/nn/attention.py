"""Attention with normalised queries and keys: among tokens, and to other tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.nn.rotary import rotate

_FUSED_BEYOND = 256
"""Tokens beyond which CPU training, too, uses the fused kernel (memory grows with T squared)."""


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

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        bias: Tensor,
        wanted: slice = slice(None),
    ) -> Tensor:
        """Mix tokens.

        Parameters
        ----------
        x
            [B, T, d_model].
        cos, sin
            Rotary factors [B, T, 1, 1, d_head].
        bias
            [B, 1, T, T] added to the scores of query (row) and key (column), or [B, 1, 1, T] where
            all queries share it; see `causal_bias` and `open_bias`.
        wanted
            Tokens to compute; all of them are looked at.

        Returns
        -------
        Tensor
            [B, T, d_model] for the wanted tokens.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, self.d_head))  # [B, T, 3, heads, d_head]
        gain = torch.stack([self.q_norm.weight, self.k_norm.weight])[:, None]  # [2, 1, d_head]
        qk = F.rms_norm(qkv[:, :, :2].float(), (self.d_head,), eps=1e-6) * gain
        qk = rotate(qk, cos, sin).to(qkv.dtype)  # [B, T, 2, heads, d_head]
        q, k = qk.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, d_head]
        v = qkv[:, :, 2].transpose(1, 2)
        per_query = bias if bias.shape[2] == 1 else bias[:, :, wanted]
        mixed = _attend(q[:, :, wanted], k, v, per_query.to(q.dtype))
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class CrossAttention(nn.Module):
    """Multi-head attention of some tokens to others: QK-norm, rotary positions; no biases.

    Source: as `Attention`.

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
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.kv = nn.Linear(d_model, 2 * d_model, bias=False)
        self.q_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.k_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        others: Tensor,
        turns: tuple[Tensor, Tensor],
        turns_of_others: tuple[Tensor, Tensor],
        valid: Tensor,
    ) -> Tensor:
        """Look at other tokens.

        Parameters
        ----------
        x
            [B, S, d_model] tokens that look.
        others
            [B, T, d_model] tokens that are looked at.
        turns, turns_of_others
            Rotary factors of both, [B, S or T, 1, 1, d_head] each.
        valid
            [B, T] bool, tokens that may be looked at.

        Returns
        -------
        Tensor
            [B, S, d_model]; 0 in rows without a token to look at.
        """
        q = self.q(x).unflatten(-1, (1, self.n_heads, self.d_head))  # [B, S, 1, heads, d_head]
        kv = self.kv(others).unflatten(-1, (2, self.n_heads, self.d_head))
        k, v = kv[:, :, :1], kv[:, :, 1].transpose(1, 2)
        q, k = (
            rotate(F.rms_norm(y.float(), (self.d_head,), norm.weight, 1e-6), *angles)
            for y, norm, angles in ((q, self.q_norm, turns), (k, self.k_norm, turns_of_others))
        )
        q, k = (y[:, :, 0].transpose(1, 2).to(v.dtype) for y in (q, k))  # [B, heads, ., d_head]
        anything = valid.any(-1)[:, None]  # [B, 1]
        bias = torch.zeros(valid.shape, dtype=q.dtype, device=q.device)
        bias = bias.masked_fill(~valid & anything, -torch.inf)[:, None, None]
        mixed = _attend(q, k, v, bias.expand(-1, -1, q.shape[2], -1))
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return torch.where(anything[..., None], projected, 0)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention of queries [B, heads, S, d_head] over T keys and values.

    The fused CPU kernel's backward pass costs more than a third of a training step at T <= 100
    tokens, where the plain matrix form is several times faster; everywhere else the fused kernel.
    """
    if q.is_cpu and q.requires_grad and q.shape[2] <= _FUSED_BEYOND:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        weights = (scores.float() + bias).softmax(-1)
        return weights.to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def causal_bias(observed: Tensor) -> Tensor:
    """Attention bias that lets a token look at earlier tokens that hold data, and at itself.

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
        [B, 1, T, T] float: 0 where the query (row) may look at the key (column), else -inf.
    """
    n_tokens = observed.shape[1]
    index = torch.arange(n_tokens, device=observed.device)
    earlier = index[:, None] > index[None, :]
    itself = index[:, None] == index[None, :]
    allowed = (earlier & observed[:, None, :]) | itself
    bias = torch.zeros(allowed.shape, device=observed.device)
    return bias.masked_fill(~allowed, -torch.inf)[:, None]


def open_bias(observed: Tensor) -> Tensor:
    """Attention bias that lets every token look at all tokens that hold data, on either side.

    A token without data is never a key, so padding and missing stretches are exact no-ops to the
    others. In a row without any data all tokens are keys; nobody asks for their answer.

    Parameters
    ----------
    observed
        [B, T] bool, True where the token holds at least one observed value.

    Returns
    -------
    Tensor
        [B, 1, 1, T] float: 0 for keys that may be looked at, else -inf.

    Examples
    --------
    >>> open_bias(torch.tensor([[True, False], [False, False]]))[:, 0, 0].tolist()
    [[0.0, -inf], [0.0, 0.0]]
    """
    closed = ~observed & observed.any(-1, keepdim=True)
    bias = torch.zeros(observed.shape, device=observed.device)
    return bias.masked_fill(closed, -torch.inf)[:, None, None]
