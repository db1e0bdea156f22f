"""Step sizes for contexts longer than those a Mamba block was trained on.

A head forgets as the sum of its step sizes grows. Some heads forget so slowly that they bridge a
whole training context; on a longer one their sum outgrows all that was seen in training, and they
forget as well. Here their steps are limited, so that the sum stays what it was.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

LongContext = Literal["filter", "rescale"]
"""How the steps of long rows are limited: leave out the smallest, or shorten all alike."""

_PER_OCTAVE, _OCTAVES = 8, 8
"""The table of thresholds has eight lengths per doubling, up to 256 times the trained one."""


class StepLimiter(nn.Module):
    """Keeps the steps of long rows to the trained sum in the heads that remember a whole context.

    A head is global if a state fed over the whole trained length L still keeps more than `theta`
    of itself, `exp(A B) > theta`; its budget B is the sum of its steps over that length. On a row
    of S > L valid tokens the rule "filter" sets its steps up to g(S) to 0, where g(S) is the
    threshold above which S steps as seen at calibration sum to B; such a token neither decays nor
    feeds the state. The rule "rescale" multiplies the steps by `L / S` instead. Other heads, and
    rows of at most the trained length, stay as they are, bit for bit. What counts is the number
    of valid tokens in one call, not the padded length: tokens taken one by one from a state are
    never limited, and a long row handed over in short parts is not either.

    Until `calibrate` is called nothing is limited. The outcome is kept in small buffers, so that
    it is saved and loaded with the weights.

    Source: "LongMamba" (arXiv 2504.16053), section 4, for budgets, global heads and the filter.

    Parameters
    ----------
    n_heads
        Number of step sizes per token: heads of Mamba-2, channels of Mamba-1.
    rule
        "filter" or "rescale".

    Raises
    ------
    ValueError
        If the rule is unknown.

    Attributes
    ----------
    trained_tokens
        Scalar, L; 0 before calibration.
    budget
        [n_heads], B.
    kept
        [n_heads], `exp(A B)`.
    is_global
        [n_heads] bool.
    thresholds
        [65, n_heads], g(S) for S / L = 1, 2^(1/8), ... 256; between them the next one holds.

    Examples
    --------
    >>> limiter = StepLimiter(1)
    >>> limiter.calibrate(torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1), -torch.ones(1))
    >>> limiter(torch.tensor([0.1, 0.4, 0.2, 0.3, 0.1, 0.4, 0.2, 0.3]).view(1, 8, 1)).flatten()
    tensor([0.0000, 0.4000, 0.0000, 0.0000, 0.0000, 0.4000, 0.0000, 0.0000])
    """

    trained_tokens: Tensor
    budget: Tensor
    kept: Tensor
    is_global: Tensor
    thresholds: Tensor

    def __init__(self, n_heads: int, rule: LongContext = "filter") -> None:
        super().__init__()
        if rule not in get_args(LongContext):
            known = ", ".join(get_args(LongContext))
            raise ValueError(f"Unknown rule {rule!r} for long contexts; choose one of {known}.")
        self.rule = rule
        self.register_buffer("trained_tokens", torch.tensor(0.0))
        self.register_buffer("budget", torch.zeros(n_heads))
        self.register_buffer("kept", torch.zeros(n_heads))
        self.register_buffer("is_global", torch.zeros(n_heads, dtype=torch.bool))
        self.register_buffer("thresholds", torch.zeros(_PER_OCTAVE * _OCTAVES + 1, n_heads))

    def forward(self, dt: Tensor, valid: Tensor | None = None) -> Tensor:
        """Limited step sizes.

        Parameters
        ----------
        dt
            [B, L, n_heads], 0 where not valid.
        valid
            [B, L] bool; None if all are valid.

        Returns
        -------
        Tensor
            [B, L, n_heads].
        """
        if valid is None:
            n_tokens = torch.full_like(dt[:, 0, 0], dt.shape[1])
        else:
            n_tokens = valid.sum(1).to(dt.dtype)
        limited = (n_tokens > self.trained_tokens)[:, None] & self.is_global  # [B, H]
        if self.rule == "rescale":
            share = (self.trained_tokens / n_tokens)[:, None]
            return dt * share.where(limited, 1.0)[:, None]
        threshold = self._threshold(n_tokens).where(limited, -1.0)
        return dt.masked_fill(dt <= threshold[:, None], 0.0)

    def _threshold(self, n_tokens: Tensor) -> Tensor:
        """g(S) [B, n_heads] for rows with S = `n_tokens` [B] valid tokens."""
        octaves = (n_tokens / self.trained_tokens.clamp_min(1.0)).clamp_min(1.0).log2()
        entry = (_PER_OCTAVE * octaves).ceil().clamp(max=len(self.thresholds) - 1)
        return self.thresholds[entry.long()]

    @torch.no_grad()
    def calibrate(self, dt: Tensor, A: Tensor, theta: float = 0.05) -> None:
        """Set budgets and thresholds from steps that were seen on rows of the trained length.

        Parameters
        ----------
        dt
            [n, L, n_heads], positive: n rows of valid tokens.
        A
            [n_heads] or [n_heads, N], negative; of N states per head the slowest counts.
        theta
            What a global head keeps at least.

        Raises
        ------
        ValueError
            If there is no row, or `theta` is not between 0 and 1.
        """
        if not (dt.shape[0] and dt.shape[1]):
            raise ValueError("There are no tokens to calibrate with.")
        if not 0 < theta < 1:
            raise ValueError(f"theta must lie between 0 and 1, got {theta}.")
        budget = dt.double().sum(1).mean(0)  # [H]
        slowest = A if A.ndim == 1 else A.amax(1)
        kept = torch.exp(slowest.double() * budget)
        largest = dt.double().flatten(0, 1).sort(0, descending=True).values  # [n L, H]
        sums = largest.cumsum(0).T.contiguous()
        octaves = torch.arange(len(self.thresholds), device=dt.device) / _PER_OCTAVE
        allowed = sums[:, -1:] / torch.exp2(octaves.double())  # [H, R] what the rows may sum to
        first_beyond = torch.searchsorted(sums, allowed, right=True).T  # [R, H]
        self.thresholds.copy_(largest.gather(0, first_beyond.clamp(max=len(largest) - 1)))
        self.budget.copy_(budget)
        self.kept.copy_(kept)
        self.is_global.copy_(kept > theta)
        self.trained_tokens.fill_(dt.shape[1])
