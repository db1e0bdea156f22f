"""Backbones: stacks of mixers from embedded tokens to token states."""

from __future__ import annotations

from torch import Tensor, nn

from tsfm.models.config import BackboneConfig
from tsfm.nn.attention import Attention, causal_bias
from tsfm.nn.mlp import SwiGLU
from tsfm.nn.rotary import rotary_factors
from tsfm.tokenizers.batch import TokenBatch

_STEPS_PER_TURN = 32.0
"""Steps over which the fastest rotary pair turns by one radian."""


class TransformerBlock(nn.Module):
    """Pre-norm attention and SwiGLU, each added to the stream.

    Parameters
    ----------
    config
        Widths of the block.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.attention = Attention(config.d_model, config.n_heads)
        self.mlp_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mlp = SwiGLU(config.d_model, config.d_hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        bias: Tensor,
        wanted: slice = slice(None),
    ) -> Tensor:
        """Map [B, T, d_model] to the same shape, or to the wanted tokens of it."""
        looked_up = self.attention(self.attention_norm(x), cos, sin, bias, wanted)
        x = x[:, wanted] + self.dropout(looked_up)
        mixed: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return mixed


class TransformerBackbone(nn.Module):
    """Causal transformer whose rotary positions are time steps.

    Parameters
    ----------
    config
        Depth and widths.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if config.n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {config.n_layers}.")
        self.config = config
        blocks = [TransformerBlock(config) for _ in range(config.n_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)
        for block in blocks:
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.mlp.out.weight)

    def forward(
        self, x: Tensor, batch: TokenBatch, state: None = None, wanted: slice = slice(None)
    ) -> tuple[Tensor, None]:
        """Mix tokens.

        Parameters
        ----------
        x
            [B, T, d_model] embedded tokens.
        batch
            The tokens' positions and contents.
        state
            Transformers keep no recurrent state; must be None.
        wanted
            Tokens whose state is asked for; the last block is spared the others.

        Returns
        -------
        tuple
            [B, T, d_model] states of the wanted tokens, and None.
        """
        if state is not None:
            raise ValueError("A transformer keeps no recurrent state; state must be None.")
        d_head = self.config.d_model // self.config.n_heads
        position = batch.position / _STEPS_PER_TURN
        cos, sin = rotary_factors(position, d_head, self.config.rope_base)
        bias = causal_bias(batch.holds_data)
        for block in self.blocks[:-1]:
            x = block(x, cos, sin, bias)
        return self.norm(self.blocks[-1](x, cos, sin, bias, wanted)), None


def build_backbone(config: BackboneConfig) -> TransformerBackbone:
    """Backbone of the configured kind.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if config.name == "transformer":
        return TransformerBackbone(config)
    raise ValueError(f"Unknown backbone {config.name!r}; choose 'transformer'.")
