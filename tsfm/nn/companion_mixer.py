"""The companion state-space model as a mixer of tokens."""

from __future__ import annotations

from torch import Tensor, nn

from tsfm.nn.companion_layers import CompanionSSM
from tsfm.nn.mamba import GatedRMSNorm


class CompanionMixer(nn.Module):
    """Gated token mixer: a companion filter per channel, `out(norm(filter(u) silu(gate)))`.

    Tokens are the time steps of the filter, so all of them must last equally long. A token with
    `valid = False` (missing stretch, padding, forecast token) is a zero input to the filter, which
    runs on meanwhile, and reads what the filter answers, and itself.

    Parameters
    ----------
    d_model
        Width of input and output, and number of filters.
    d_state
        State size of every filter.
    """

    def __init__(self, d_model: int, d_state: int = 32) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.ssm = CompanionSSM(d_model, d_state=d_state, norm_floor=1.0)
        self.norm = GatedRMSNorm(d_model)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        span: Tensor | None = None,
        state: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Mix tokens from left to right.

        Parameters
        ----------
        x
            [B, L, d_model], L >= 1.
        valid
            [B, L] bool, False for read-only tokens; None if all are valid.
        span
            Must be None: a linear time-invariant filter cannot know how long a token lasts.
        state
            [B, d_model, 1, d_state] of `initial_state` or an earlier call, to go on from there;
            None to start afresh and keep no state.

        Returns
        -------
        tuple
            [B, L, d_model], and the state after the last token if one was given.

        Raises
        ------
        ValueError
            If spans are given.
        """
        if span is not None:
            raise ValueError(
                "A companion filter is time-invariant and cannot take tokens of unequal length; "
                "use a fixed-patch tokenizer, or another backbone."
            )
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        written = u if valid is None else u * valid[..., None].to(u.dtype)
        if state is None:
            filtered = self.ssm(written)
        else:
            filtered, state = self.ssm.resume(written, state)
        own = self.ssm.skip * (u - written)  # read-only tokens pass only to themselves
        projected: Tensor = self.out_proj(self.norm(filtered + own, gate).to(x.dtype))
        return projected, state

    def initial_state(self, n_rows: int) -> Tensor:
        """State of `n_rows` rows before the first token, all zeros."""
        return self.ssm.initial_state(n_rows)
