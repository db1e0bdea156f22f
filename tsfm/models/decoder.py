"""Forecast tokens apart from the context: a decoder that looks at the context's states.

The alternative to forecast tokens that pass through the stack as tokens without content.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsfm.models.config import BackboneConfig
from tsfm.nn.attention import Attention, CrossAttention, causal_bias
from tsfm.nn.mlp import SwiGLU
from tsfm.nn.rotary import AdaptiveRotary, rotary_factors
from tsfm.tokenizers.batch import TokenBatch, bounds

Turns = tuple[Tensor, Tensor]
"""Rotary factors, [B, T, 1, 1, d_head] each."""


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, attention to the context and SwiGLU, each added to the stream.

    Parameters
    ----------
    config
        Widths of the block.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.d_model
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, config.n_heads)
        self.context_norm = nn.RMSNorm(width, eps=1e-6)
        self.context = CrossAttention(width, config.n_heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width, config.d_hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = None
        if config.rotary == "adaptive":
            self.rotary = AdaptiveRotary(self.attention.d_head, config.rope_base)
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.context.out.weight)
        nn.init.zeros_(self.mlp.out.weight)

    def forward(
        self, x: Tensor, context: Tensor, valid: Tensor, turns: Turns, wanted: slice
    ) -> Tensor:
        """Mix forecast tokens.

        Parameters
        ----------
        x
            [B, S, d_model] forecast tokens.
        context
            [B, T, d_model] states of the context's tokens.
        valid
            [B, T] bool, those that may be looked at.
        turns
            Rotary factors of all T + S tokens.
        wanted
            Forecast tokens to compute.

        Returns
        -------
        Tensor
            [B, S, d_model] for the wanted tokens.
        """
        n = context.shape[1]
        past, (cos, sin) = (turns[0][:, :n], turns[1][:, :n]), (turns[0][:, n:], turns[1][:, n:])
        # every forecast token is there for the later ones, though it holds no data
        bias = causal_bias(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        mixed = self.attention(self.attention_norm(x), cos, sin, bias, wanted)
        x = x[:, wanted] + self.dropout(mixed)
        own = cos[:, wanted], sin[:, wanted]
        x = x + self.dropout(self.context(self.context_norm(x), context, own, past, valid))
        out: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return out


class DecodedBackbone(nn.Module):
    """A backbone for the context, and a decoder for the forecast tokens.

    The backbone mixes what comes before the forecast (context tokens and prompts), and its state
    is that after the context. A forecast token sees the forecast tokens before it and itself, and
    the states of context tokens that hold data; positions are time steps. So the forecast of a
    span does not depend on how many are forecast after it.

    Source: the multi-patch decoder of Kairos (arXiv 2509.25826), whose decoder tokens are copies
    of one vector; these carry features and references of what they forecast.

    Parameters
    ----------
    context
        Backbone of the context.
    config
        Its configuration, with `n_decoder_layers`.
    unit
        Steps per unit of the rotary positions.

    Raises
    ------
    ValueError
        If there is no layer.
    """

    def __init__(self, context: nn.Module, config: BackboneConfig, unit: float) -> None:
        super().__init__()
        if config.n_decoder_layers < 1:
            raise ValueError(
                f"n_decoder_layers must be at least 1, got {config.n_decoder_layers}."
            )
        self.config = config
        self.unit = unit
        self.context = context
        blocks = [DecoderBlock(config) for _ in range(config.n_decoder_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(
        self, x: Tensor, batch: TokenBatch, state: Any = None, wanted: slice = slice(None)
    ) -> tuple[Tensor, Any]:
        """Mix tokens.

        Parameters
        ----------
        x
            [B, T, d_model] embedded tokens, forecast tokens last.
        batch
            The tokens' spans and contents.
        state
            As the backbone of the context takes it.
        wanted
            Tokens, one after another, whose state is asked for.

        Returns
        -------
        tuple
            [B, T, d_model] states of the wanted tokens, and the state after the context.
        """
        n = batch.n_context
        first, stop = bounds(wanted, x.shape[1])
        needed = slice(first, stop) if stop <= n else slice(None)
        past, state = self.context(x[:, :n], batch.select(slice(n)), state, needed)
        if stop <= n:
            return past, state
        ahead = slice(max(first - n, 0), None)
        decoded = self._decode(x[:, n:stop], past, batch.select(slice(stop)), ahead)
        return torch.cat([past[:, min(first, n) :], decoded], dim=1), state

    def _decode(self, x: Tensor, context: Tensor, batch: TokenBatch, wanted: slice) -> Tensor:
        """[B, S, d_model] states of the wanted forecast tokens."""
        valid = batch.holds_data[:, : context.shape[1]]
        position = batch.position / self.unit
        d_head = self.config.d_model // self.config.n_heads
        turns = rotary_factors(position, d_head, self.config.rope_base)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            assert isinstance(block, DecoderBlock)
            if block.rotary is not None:
                assert batch.spectrum is not None  # the stack has seen to that
                turns = block.rotary(position, batch.spectrum)
            x = block(x, context, valid, turns, wanted if i == last else slice(None))
        out: Tensor = self.norm(x)
        return out
