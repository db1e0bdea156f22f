"""Mamba-1 and Mamba-2 blocks that skip missing tokens, stream, and know how long a token lasts.

Parameters have the layout and the names of the mamba-ssm package, so weights can be exchanged.

A token with `valid = False` (padding, missing stretch, forecast token) is read-only, as in
`tsfm.nn.attention`: it reads what valid tokens wrote before it, and itself, but writes nothing.
Neither the state nor the short convolution of any other token can tell that it is there; the
convolution of a token after a gap continues with the last valid tokens before the gap. Outputs of
other tokens and the state are therefore the same with and without it, wherever it stands. What it
holds must be finite all the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.nn.bidirectional import Bidirectional, mirrored, take
from tsfm.nn.dynamics import Dynamics, SignedProjection
from tsfm.nn.longcontext import LongContext, StepLimiter
from tsfm.nn.scan import selective_scan, ssd, widened

__all__ = [
    "Bidirectional",
    "GatedRMSNorm",
    "Mamba1",
    "Mamba2",
    "MambaState",
    "mirrored",
    "short_convolution",
    "take",
]

_DT_MIN, _DT_MAX, _DT_FLOOR = 1e-3, 0.1, 1e-4
"""Initial step sizes are log-uniform from 1e-3 to 0.1: the block remembers 10 to 1000 tokens."""


class MambaState(NamedTuple):
    """What a block remembers of the valid tokens so far.

    Parameters
    ----------
    conv
        [B, channels, d_conv - 1], inputs of the short convolution at the last valid tokens.
    ssm
        State of the scan: [B, E, N] in Mamba-1, [B, H, P, N] in Mamba-2.
    """

    conv: Tensor
    ssm: Tensor


class Mamba1(nn.Module):
    """Selective state-space block: short convolution, selective scan, gate.

    Source: Gu and Dao, "Mamba" (arXiv 2312.00752), section 3.4.

    Parameters
    ----------
    d_model
        Width of input and output.
    d_state
        States per channel, N.
    d_conv
        Tokens the short convolution sees, at least 2.
    expand
        Inner width E as a multiple of `d_model`.
    dt_rank
        Rank of the step-size projection; None for `d_model / 16`, rounded up.
    dynamics
        Sign of the eigenvalues of `S_C^T S_B`, see `SignedProjection`, whose parameters then stand
        in place of those of `x_proj`; None leaves them free, as mamba-ssm does.
    long_context
        Rule of a `StepLimiter`, which does nothing until it is calibrated; None for none.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        dynamics: Dynamics | None = None,
        long_context: LongContext | None = None,
    ) -> None:
        super().__init__()
        self.d_inner = expand * d_model
        self.d_state = d_state
        self.dt_rank = dt_rank or math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = _depthwise(self.d_inner, d_conv)
        self.x_proj: nn.Module
        if dynamics is None:
            self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        else:
            self.x_proj = SignedProjection(self.d_inner, d_state, dynamics, self.dt_rank)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        with torch.no_grad():
            self.dt_proj.bias.copy_(_initial_dt_bias(self.d_inner))
        decays = torch.arange(1.0, d_state + 1).expand(self.d_inner, -1)
        self.A_log = _undecayed(decays.log())  # [E, N]
        self.D = _undecayed(torch.ones(self.d_inner))
        self.step_limiter = StepLimiter(self.d_inner, long_context) if long_context else None
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        span: Tensor | None = None,
        state: MambaState | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Mix tokens from left to right.

        Parameters
        ----------
        x
            [B, L, d_model], L >= 1.
        valid
            [B, L] bool, False for read-only tokens (see the module); None if all are valid.
        span
            [B, L] non-negative float, how long each token lasts relative to an ordinary one. It
            multiplies the step size, which is accurate to first order: while a span is short
            compared to the memory, `span dt |A| << 1`. None for 1.
        state
            What an earlier call returned, to go on from there; None to start afresh.

        Returns
        -------
        tuple of Tensor and MambaState
            [B, L, d_model], and the state after the last token.
        """
        state = state or self.initial_state(x.shape[0])
        inner, gate = self.in_proj(x).chunk(2, dim=-1)  # [B, L, E] each
        inner, tail = short_convolution(inner, self.conv1d, state.conv, valid)
        inner = F.silu(inner)
        widths = [self.dt_rank, self.d_state, self.d_state]
        low_rank, B, C = self.x_proj(inner).split(widths, dim=-1)
        dt = _step_sizes(self.dt_proj(low_rank), valid, span, self.step_limiter)
        y, ssm = selective_scan(inner, dt, _negative_exp(self.A_log), B, C, self.D, state.ssm)
        projected: Tensor = self.out_proj(y * F.silu(gate))
        return projected, MambaState(tail, ssm)

    def step(
        self,
        x: Tensor,
        state: MambaState,
        valid: Tensor | None = None,
        span: Tensor | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Mix in one token: `forward` with x [B, d_model], valid [B] and span [B]."""
        y, state = self(x[:, None], *_with_time(valid, span), state)
        return y[:, 0], state

    def initial_state(self, n_rows: int) -> MambaState:
        """State of `n_rows` rows before the first token, all zeros."""
        conv = self.A_log.new_zeros(n_rows, self.d_inner, self.conv1d.kernel_size[0] - 1)
        return MambaState(conv, self.A_log.new_zeros(n_rows, *self.A_log.shape))


class Mamba2(nn.Module):
    """Mamba-2 block: short convolution, state-space dual scan, gated normalisation.

    Source: Dao and Gu, "Transformers are SSMs" (arXiv 2405.21060), section 7.

    Parameters
    ----------
    d_model
        Width of input and output.
    d_state
        Width N of B and C.
    d_conv
        Tokens the short convolution sees, at least 2.
    expand
        Inner width E as a multiple of `d_model`.
    d_head
        Width P of a head; must divide E.
    n_groups
        Number of B, C pairs, shared by equally many heads each; must divide the number of heads.
    dynamics
        Sign of the eigenvalues of `S_C^T S_B`, see `SignedProjection`, whose parameters then stand
        in place of those of `in_proj`, ahead of the short convolution; None leaves them free, as
        mamba-ssm does.
    long_context
        Rule of a `StepLimiter`, which does nothing until it is calibrated; None for none.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        d_head: int = 64,
        n_groups: int = 1,
        dynamics: Dynamics | None = None,
        long_context: LongContext | None = None,
    ) -> None:
        super().__init__()
        self.d_inner = expand * d_model
        self.n_heads, rest = divmod(self.d_inner, d_head)
        if rest or self.n_heads % n_groups:
            raise ValueError(
                f"The inner width {self.d_inner} must split into heads of width d_head={d_head}, "
                f"and these into n_groups={n_groups} equal groups."
            )
        self.d_state, self.d_head, self.n_groups = d_state, d_head, n_groups
        self.d_conv_channels = self.d_inner + 2 * n_groups * d_state
        self.in_proj: nn.Module
        if dynamics is None:
            d_projected = self.d_inner + self.d_conv_channels + self.n_heads
            self.in_proj = nn.Linear(d_model, d_projected, bias=False)
        else:
            self.in_proj = SignedProjection(
                d_model, d_state, dynamics, 2 * self.d_inner, self.n_heads, n_groups
            )
        self.conv1d = _depthwise(self.d_conv_channels, d_conv)
        self.dt_bias = _undecayed(_initial_dt_bias(self.n_heads))
        self.A_log = _undecayed(torch.empty(self.n_heads).uniform_(1, 16).log())
        self.D = _undecayed(torch.ones(self.n_heads))
        self.step_limiter = StepLimiter(self.n_heads, long_context) if long_context else None
        self.norm = GatedRMSNorm(self.d_inner, n_groups)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        span: Tensor | None = None,
        state: MambaState | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Mix tokens from left to right; arguments and results as in `Mamba1.forward`."""
        state = state or self.initial_state(x.shape[0])
        widths = [self.d_inner, self.d_conv_channels, self.n_heads]
        gate, mixed, dt = self.in_proj(x).split(widths, dim=-1)
        mixed, tail = short_convolution(mixed, self.conv1d, state.conv, valid)
        groups = self.n_groups * self.d_state
        inner, B, C = F.silu(mixed).split([self.d_inner, groups, groups], dim=-1)
        y, ssm = ssd(
            inner.unflatten(-1, (self.n_heads, self.d_head)),
            _step_sizes(dt + self.dt_bias, valid, span, self.step_limiter),
            _negative_exp(self.A_log),
            B.unflatten(-1, (self.n_groups, self.d_state)),
            C.unflatten(-1, (self.n_groups, self.d_state)),
            self.D,
            state.ssm,
        )
        projected: Tensor = self.out_proj(self.norm(y.flatten(-2), gate))
        return projected, MambaState(tail, ssm)

    def step(
        self,
        x: Tensor,
        state: MambaState,
        valid: Tensor | None = None,
        span: Tensor | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Mix in one token: `forward` with x [B, d_model], valid [B] and span [B]."""
        y, state = self(x[:, None], *_with_time(valid, span), state)
        return y[:, 0], state

    def initial_state(self, n_rows: int) -> MambaState:
        """State of `n_rows` rows before the first token, all zeros."""
        conv = self.A_log.new_zeros(n_rows, self.d_conv_channels, self.conv1d.kernel_size[0] - 1)
        ssm = self.A_log.new_zeros(n_rows, self.n_heads, self.d_head, self.d_state)
        return MambaState(conv, ssm)


class GatedRMSNorm(nn.Module):
    """`norm(y silu(z)) w`: the gate comes before the normalisation, which is per group.

    Parameters
    ----------
    width
        Width of input and output.
    n_groups
        Equal parts of the width that are normalised on their own.
    """

    def __init__(self, width: int, n_groups: int = 1) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:
        """Map y [..., width] and gate [..., width] to [..., width]."""
        gated = widened(y) * F.silu(widened(gate))
        parts = gated.unflatten(-1, (self.n_groups, -1))
        normed = F.rms_norm(parts, parts.shape[-1:], eps=1e-5).flatten(-2)
        return (normed * self.weight).to(y.dtype)


def short_convolution(
    x: Tensor, conv: nn.Conv1d, tail: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Causal depthwise convolution over valid tokens.

    Each token, valid or not, is convolved with the `W - 1` valid tokens that precede it.

    Parameters
    ----------
    x
        [B, L, channels].
    conv
        Holds weight [channels, 1, W], the current token last, and bias.
    tail
        [B, channels, W - 1], the valid tokens before the first.
    valid
        [B, L] bool; None if all are valid.

    Returns
    -------
    tuple of Tensor
        Convolved tokens [B, L, channels], and the tail after the last token.
    """
    length, reach = x.shape[1], tail.shape[2]
    written = x
    if valid is not None:
        first_valid = torch.sort(~valid, dim=1, stable=True).indices
        written = take(x, first_valid)  # valid tokens in order, then the others
    history = torch.cat([tail.to(x.dtype), written.mT], 2)  # [B, channels, W - 1 + L]
    weight = conv.weight.to(x.dtype)
    past = F.conv1d(history, weight[..., :-1], conv.bias, groups=conv.groups).mT  # [B, L + 1, ...]
    if valid is None:
        past, tail = past[:, :-1], history[..., length:]
    else:
        count = valid.cumsum(1)
        past = take(past, count - valid.long())
        end = count[:, -1:] + torch.arange(reach, device=x.device)
        tail = take(history.mT, end).mT
    return past + x * weight[:, 0, -1], tail


def _step_sizes(
    raw: Tensor, valid: Tensor | None, span: Tensor | None, step_limiter: StepLimiter | None
) -> Tensor:
    """Step sizes [B, L, heads]: positive, in proportion to the span, 0 for read-only tokens."""
    dt = F.softplus(widened(raw))
    if span is not None:
        dt = dt * span[..., None].to(dt.dtype)
    if valid is not None:
        dt = dt.masked_fill(~valid[..., None], 0.0)
    if step_limiter is not None:
        dt = step_limiter(dt, valid)
    return dt


def _with_time(*per_row: Tensor | None) -> list[Tensor | None]:
    """Give [B] tensors a time axis of length 1."""
    return [None if tensor is None else tensor[:, None] for tensor in per_row]


def _depthwise(channels: int, width: int) -> nn.Conv1d:
    """Parameters of the short convolution; `short_convolution` computes it."""
    if width < 2:
        raise ValueError(f"d_conv={width} must be at least 2.")
    return nn.Conv1d(channels, channels, width, groups=channels)


def _initial_dt_bias(count: int) -> Tensor:
    """Biases [count] whose softplus is log-uniform between the smallest and largest step."""
    exponents = torch.empty(count).uniform_(math.log(_DT_MIN), math.log(_DT_MAX))
    dt = exponents.exp().clamp(min=_DT_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))  # inverse of softplus


def _negative_exp(A_log: Tensor) -> Tensor:
    return -widened(A_log).exp()


def _undecayed(value: Tensor) -> nn.Parameter:
    """Parameter marked, as mamba-ssm marks it, to go without weight decay."""
    parameter = nn.Parameter(value.clone())
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
