"""Backbones: stacks of mixers from embedded tokens to token states.

A transformer looks tokens up; companion and Mamba backbones carry a state from token to token, so
they can also go on from where they stopped, one token at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tsfm.models.config import BackboneConfig
from tsfm.models.decoder import DecodedBackbone
from tsfm.nn.attention import Attention, causal_bias
from tsfm.nn.bidirectional import Bidirectional, take
from tsfm.nn.companion_mixer import CompanionMixer
from tsfm.nn.mamba import Mamba1, Mamba2
from tsfm.nn.mlp import SwiGLU
from tsfm.nn.rotary import AdaptiveRotary, rotary_factors
from tsfm.tokenizers.batch import Kind, TokenBatch

_ORDINARY_SPAN = 32.0
"""Steps a token is expected to last: unit of the rotary positions and of Mamba's step sizes."""

Mixer = CompanionMixer | Mamba1 | Mamba2

State = tuple[Any, ...]
"""What every block of a recurrent backbone remembers; each entry holds tensors [B, ...]."""


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
        if config.rotary == "adaptive":
            self.rotary = AdaptiveRotary(self.attention.d_head, config.rope_base)
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.mlp.out.weight)

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
        self.config = config
        self.blocks = nn.ModuleList([TransformerBlock(config) for _ in range(config.n_layers)])
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

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
        bias = causal_bias(batch.holds_data)
        last = len(self.blocks) - 1
        for i, (block, (cos, sin)) in enumerate(zip(self.blocks, self._turns(batch), strict=True)):
            x = block(x, cos, sin, bias, wanted if i == last else slice(None))
        return self.norm(x), None

    def _turns(self, batch: TokenBatch) -> list[tuple[Tensor, Tensor]]:
        """Rotary factors of every block."""
        position = batch.position / _ORDINARY_SPAN
        if self.config.rotary == "fixed":
            d_head = self.config.d_model // self.config.n_heads
            return len(self.blocks) * [rotary_factors(position, d_head, self.config.rope_base)]
        if batch.spectrum is None:
            raise ValueError(
                "Adaptive rotary frequencies need the spectrum of each series, which these tokens "
                "do not carry; set `with_spectrum` of their tokenizer, or use rotary='fixed'."
            )
        blocks = (block for block in self.blocks if isinstance(block, TransformerBlock))
        return [block.rotary(position, batch.spectrum) for block in blocks]


class RecurrentBlock(nn.Module):
    """Pre-norm recurrent mixer and SwiGLU, each added to the stream.

    Parameters
    ----------
    mixer
        A `CompanionMixer`, `Mamba1` or `Mamba2`, or two of them that read in both directions.
    config
        Widths of the block.
    """

    def __init__(self, mixer: Mixer | Bidirectional, config: BackboneConfig) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mixer = mixer
        self.mlp_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mlp = SwiGLU(config.d_model, config.d_hidden)
        self.dropout = nn.Dropout(config.dropout)
        both = isinstance(mixer, Bidirectional)
        for part in mixer.children() if both else (mixer,):
            assert isinstance(part.out_proj, nn.Linear)
            nn.init.zeros_(part.out_proj.weight)
        nn.init.zeros_(self.mlp.out.weight)

    def forward(
        self,
        x: Tensor,
        valid: Tensor,
        span: Tensor | None,
        state: Any,
        wanted: slice = slice(None),
    ) -> tuple[Tensor, Any]:
        """Map [B, T, d_model] to the same shape, or to the wanted tokens of it; and the state."""
        mixed, state = self.mixer(self.mixer_norm(x), valid, span, state)
        x = (x + self.dropout(mixed))[:, wanted]
        return x + self.dropout(self.mlp(self.mlp_norm(x))), state


class RecurrentBackbone(nn.Module):
    """Stack of state-space mixers that goes on from where it stopped.

    Tokens without data (missing stretches, padding, forecast tokens) are read-only: no other
    token's answer depends on them. A Mamba state stands still meanwhile; a companion filter runs
    on without input.

    Parameters
    ----------
    config
        Kind, depth and widths.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        blocks = [RecurrentBlock(build_mixer(config), config) for _ in range(config.n_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(
        self,
        x: Tensor,
        batch: TokenBatch,
        state: State | None = None,
        wanted: slice = slice(None),
    ) -> tuple[Tensor, State | None]:
        """Mix tokens from left to right.

        Parameters
        ----------
        x
            [B, T, d_model] embedded tokens.
        batch
            The tokens' spans and contents.
        state
            What `initial_state` or an earlier call gave, to go on from there; None to start afresh
            and keep no state.
        wanted
            Tokens whose state is asked for.

        Returns
        -------
        tuple
            [B, T, d_model] states of the wanted tokens, and the recurrent state after the last
            token if one was given.

        Raises
        ------
        ValueError
            If the tokens of a companion backbone do not last equally long.
        """
        span = self._relative_spans(batch)
        moved = None
        if batch.n_prompts and self.config.name == "companion":
            assert state is None  # prompts are not continued
            moved = _after_padding(batch)
            x = take(x, moved)
        states = (None,) * len(self.blocks) if state is None else state
        valid, last, after = batch.holds_data, len(self.blocks) - 1, []
        if moved is not None:
            valid, last = valid.gather(1, moved), len(self.blocks)
        for i, (block, before) in enumerate(zip(self.blocks, states, strict=True)):
            x, now = block(x, valid, span, before, wanted if i == last else slice(None))
            after.append(now)
        if moved is not None:
            x = take(x, moved.argsort(dim=1))[:, wanted]
        return self.norm(x), None if state is None else tuple(after)

    def step(self, x: Tensor, batch: TokenBatch, state: State) -> tuple[Tensor, State]:
        """Mix in one token: `forward` for x [B, 1, d_model], at a cost without regard to T."""
        y, after = self(x, batch, state)
        return y, after

    def initial_state(self, n_rows: int) -> State:
        """State of `n_rows` rows before the first token."""
        mixers = (block.mixer for block in self.blocks if isinstance(block, RecurrentBlock))
        return tuple(m.initial_state(n_rows) for m in mixers if not isinstance(m, Bidirectional))

    def _relative_spans(self, batch: TokenBatch) -> Tensor | None:
        """[B, T] lengths in ordinary spans; None for filters, which need equal ones."""
        if self.config.name != "companion":
            spans = batch.length / _ORDINARY_SPAN
            return spans.masked_fill(batch.is_kind(Kind.PROMPT), 1.0) if batch.n_prompts else spans
        lengths = batch.length[:, batch.n_prompts :]
        if not torch.compiler.is_compiling() and lengths.shape[1] > 2:
            inner = lengths[:, 1:-1]  # the first and the last span may be short
            if bool((inner != inner.amax()).any()):
                raise ValueError(
                    "The tokens last unequally long, which a companion backbone cannot tell; use "
                    "the tokenizer 'fixed' or the backbone 'mamba2'."
                )
        return None


def _after_padding(batch: TokenBatch) -> Tensor:
    """[B, T] order of the tokens in which prompts come right before the first with data.

    A filter runs on without input: prompts ahead of padding would fade with its length.
    """
    n = batch.n_prompts
    place = torch.arange(batch.kind.shape[1], device=batch.kind.device)
    empty = batch.holds_data[:, n:].to(torch.int8).argmax(-1, keepdim=True)  # [B, 1] in front
    order = torch.where(place < empty + n, place - empty, place)
    return torch.where(place < empty, place + n, order)


def _companion(config: BackboneConfig) -> Mixer:
    return CompanionMixer(config.d_model, config.d_state)


def _mamba1(config: BackboneConfig) -> Mixer:
    return Mamba1(
        config.d_model,
        config.d_state,
        config.d_conv,
        config.expand,
        dynamics=config.token_dynamics,
        long_context=config.long_context,
    )


def _mamba2(config: BackboneConfig) -> Mixer:
    width = config.expand * config.d_model
    if width % config.n_heads:
        raise ValueError(f"n_heads={config.n_heads} must divide the inner width {width}.")
    return Mamba2(
        config.d_model,
        config.d_state,
        config.d_conv,
        config.expand,
        d_head=width // config.n_heads,
        dynamics=config.token_dynamics,
        long_context=config.long_context,
    )


_MIXERS: dict[str, Callable[[BackboneConfig], Mixer]] = {
    "companion": _companion,
    "mamba1": _mamba1,
    "mamba2": _mamba2,
}


def build_mixer(config: BackboneConfig) -> Mixer:
    """One recurrent mixer of the configured kind, which reads from left to right."""
    return _MIXERS[config.name](config)


def build_backbone(
    config: BackboneConfig,
) -> TransformerBackbone | RecurrentBackbone | DecodedBackbone:
    """Backbone of the configured kind, with a decoder if there is to be one.

    Raises
    ------
    ValueError
        If the kind is unknown, or a size is out of range.
    """
    if config.forecast_tokens not in ("masked", "decoded"):
        raise ValueError(
            f"forecast_tokens must be 'masked' or 'decoded', got {config.forecast_tokens!r}."
        )
    stack = _build_stack(config)
    if config.forecast_tokens == "masked":
        return stack
    return DecodedBackbone(stack, config, _ORDINARY_SPAN)


def check_stack(config: BackboneConfig) -> None:
    """Refuse a stack that cannot be built.

    Raises
    ------
    ValueError
        If the kind is unknown, a size is out of range, or an option belongs to another kind.
    """
    if config.n_layers < 1:
        raise ValueError(f"n_layers must be at least 1, got {config.n_layers}.")
    if config.name not in ("mamba1", "mamba2"):
        for switch in ("token_dynamics", "long_context"):
            if getattr(config, switch):
                raise ValueError(
                    f"{switch}={getattr(config, switch)!r} is an option of the backbones mamba1 "
                    f"and mamba2, not of {config.name!r}."
                )
    if config.rotary not in ("fixed", "adaptive"):
        raise ValueError(f"rotary must be 'fixed' or 'adaptive', got {config.rotary!r}.")
    if config.name != "transformer" and config.rotary != "fixed":
        raise ValueError(
            f"rotary={config.rotary!r} is an option of the transformer, which alone rotates by "
            f"position; a {config.name!r} backbone tells order by its state."
        )
    if config.name != "transformer" and config.name not in _MIXERS:
        known = ", ".join(["transformer", *_MIXERS])
        raise ValueError(f"Unknown backbone {config.name!r}; choose one of {known}.")


def _build_stack(config: BackboneConfig) -> TransformerBackbone | RecurrentBackbone:
    """The mixers alone."""
    check_stack(config)
    return (
        TransformerBackbone(config) if config.name == "transformer" else RecurrentBackbone(config)
    )
