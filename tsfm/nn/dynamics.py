"""Projections to B and C that decide whether tokens drift apart or die out with depth."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Dynamics = Literal["positive", "negative", "mixed"]
"""Sign of the eigenvalues of `S_C^T S_B`: "mixed" has as many of either sign."""

_SMALLEST_STRENGTH = 0.7


class SignedProjection(nn.Module):
    """Linear map without bias whose outputs B and C form a matrix of known sign.

    With `B_t = S_B x_t` and `C_t = S_C x_t` a token reads another with weight
    `x_t^T (S_C^T S_B) x_s`. Seen over depth, all tokens shrink to 0 if that matrix has only
    negative eigenvalues, which hurts; with a positive one they do not. Here
    `S_C = U` and `S_B = diag(d) U`, where U is upper triangular with ones on its diagonal and
    `|d| = softplus(strength) + 0.7`, so that `S_C^T S_B = U^T diag(d) U` has rank `d_state` and as
    many positive and negative eigenvalues as d has entries of that sign.

    Source: "Demystifying the Token Dynamics of Deep Selective State Space Models"
    (arXiv 2410.03292), section 4.

    Parameters
    ----------
    d_in
        Width of the input.
    d_state
        Width N of B and C, at most `d_in`.
    dynamics
        Sign of d: "positive", "negative" (to see what it does) or "mixed".
    n_before, n_after
        Numbers of unconstrained outputs before B and after C.
    n_groups
        Pairs of B and C, G.

    Raises
    ------
    ValueError
        If the sign is unknown, or the state is wider than the input.

    Attributes
    ----------
    free
        [n_before + n_after, d_in] parameter, rows of the unconstrained outputs.
    mixing
        [G, N, d_in] parameter; only what lies above the diagonal is used.
    strength
        [G, N] parameter.

    Examples
    --------
    >>> S_B, S_C = SignedProjection(6, 3).state_projections()
    >>> bool(torch.linalg.eigvalsh(S_C.mT @ S_B).min() > -1e-6)
    True
    """

    signs: Tensor

    def __init__(
        self,
        d_in: int,
        d_state: int,
        dynamics: Dynamics = "positive",
        n_before: int = 0,
        n_after: int = 0,
        n_groups: int = 1,
    ) -> None:
        super().__init__()
        if dynamics not in get_args(Dynamics):
            known = ", ".join(get_args(Dynamics))
            raise ValueError(f"Unknown token dynamics {dynamics!r}; choose one of {known}.")
        if d_state > d_in:
            raise ValueError(
                f"Signed token dynamics need d_state <= {d_in}, the width B and C are "
                f"projected from; got {d_state}."
            )
        self.n_before = n_before
        bound = d_in**-0.5  # as nn.Linear
        self.free = nn.Parameter(torch.empty(n_before + n_after, d_in).uniform_(-bound, bound))
        self.mixing = nn.Parameter(torch.empty(n_groups, d_state, d_in).uniform_(-bound, bound))
        self.strength = nn.Parameter(torch.zeros(n_groups, d_state))
        self.strength._no_weight_decay = True  # type: ignore[attr-defined]
        signs = torch.ones(d_state) if dynamics != "negative" else -torch.ones(d_state)
        if dynamics == "mixed":
            signs[1::2] = -1
        self.register_buffer("signs", signs, persistent=False)

    def state_projections(self) -> tuple[Tensor, Tensor]:
        """S_B and S_C, [G, N, d_in] each."""
        above = self.mixing.triu(1)
        S_C = above + torch.eye(*above.shape[1:], dtype=above.dtype, device=above.device)
        d = self.signs * (F.softplus(self.strength) + _SMALLEST_STRENGTH)
        return d[..., None] * S_C, S_C

    @property
    def weight(self) -> Tensor:
        """[n_before + 2 G N + n_after, d_in], what an `nn.Linear` in its place would hold."""
        S_B, S_C = (part.flatten(0, 1) for part in self.state_projections())
        return torch.cat([self.free[: self.n_before], S_B, S_C, self.free[self.n_before :]])

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., d_in] to [..., n_before + 2 G N + n_after]."""
        return F.linear(x, self.weight)
