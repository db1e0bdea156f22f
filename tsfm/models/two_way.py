"""`TwoWayBackbone`: blocks that look to both sides in time, and across channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsfm.models.backbone import RecurrentBlock, TransformerBlock, build_mixer, check_stack
from tsfm.models.config import BackboneConfig
from tsfm.nn.attention import Attention, open_bias
from tsfm.nn.bidirectional import Bidirectional
from tsfm.nn.rotary import rotary_factors


class ChannelAttention(nn.Module):
    """Every token looks at the tokens of all channels at the same time.

    Without positions, so that channels in another order get the same answers in that order.

    Parameters
    ----------
    d_model, n_heads
        Width of the tokens and number of heads.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(d_model, eps=1e-6)
        self.attention = Attention(d_model, n_heads)
        nn.init.zeros_(self.attention.out.weight)

    def forward(self, x: Tensor, holds_data: Tensor) -> Tensor:
        """Map tokens [B, C, T, d_model], of which [B, C, T] hold data, to the same shape."""
        tokens = x.transpose(1, 2).flatten(0, 1)  # [B T, C, d_model]
        bias = open_bias(holds_data.transpose(1, 2).flatten(0, 1))
        place = torch.zeros(1, x.shape[1], device=x.device)  # the same for all: no rotation
        cos, sin = rotary_factors(place, self.attention.d_head, 1.0)
        mixed = self.attention(self.norm(tokens), cos, sin, bias)
        added: Tensor = x + mixed.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
        return added


class TwoWayBackbone(nn.Module):
    """Stack of blocks in which tokens see what came before them and what comes after.

    Transformer blocks are those of the forecaster without its causal bias; recurrent mixers come
    in pairs, one for each direction. Tokens without data are read-only: no other token's answer
    depends on them.

    Parameters
    ----------
    config
        Kind, depth and widths.
    channels_every
        Channels look at each other after every so many blocks; 0 for never.

    Examples
    --------
    >>> import torch
    >>> from tsfm.models.config import BackboneConfig
    >>> backbone = TwoWayBackbone(BackboneConfig(d_model=16, n_heads=2), channels_every=2)
    >>> backbone(torch.randn(2, 3, 5, 16), torch.ones(2, 3, 5) > 0).shape
    torch.Size([2, 3, 5, 16])
    """

    def __init__(self, config: BackboneConfig, channels_every: int = 0) -> None:
        super().__init__()
        check_stack(config)
        self.config = config
        self.channels_every = channels_every
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.n_layers))
        n_mixers = config.n_layers // channels_every if channels_every else 0
        self.channel_mixers = nn.ModuleList(
            ChannelAttention(config.d_model, config.n_heads) for _ in range(n_mixers)
        )
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(self, x: Tensor, holds_data: Tensor) -> Tensor:
        """Mix tokens.

        Parameters
        ----------
        x
            [B, C, T, d_model] embedded tokens of equal length.
        holds_data
            [B, C, T] bool, tokens with an observed value.

        Returns
        -------
        Tensor
            [B, C, T, d_model] states.
        """
        shape = x.shape
        valid = holds_data.flatten(0, 1)
        bias = open_bias(valid)
        position = torch.arange(shape[2], device=x.device, dtype=torch.float32)[None]
        d_head = self.config.d_model // self.config.n_heads
        cos, sin = rotary_factors(position, d_head, self.config.rope_base)
        x = x.flatten(0, 1)  # [B C, T, d_model]
        for i, block in enumerate(self.blocks, start=1):
            if isinstance(block, TransformerBlock):
                x = block(x, cos, sin, bias)
            else:
                x, _ = block(x, valid, None, None)
            if shape[1] > 1 and self.channels_every and i % self.channels_every == 0:
                mixer = self.channel_mixers[i // self.channels_every - 1]
                x = mixer(x.view(shape), holds_data).flatten(0, 1)
        normed: Tensor = self.norm(x)
        return normed.view(shape)


def _block(config: BackboneConfig) -> TransformerBlock | RecurrentBlock:
    """A block that reads in both directions."""
    if config.name == "transformer":
        return TransformerBlock(config)
    return RecurrentBlock(Bidirectional(build_mixer(config), build_mixer(config)), config)
