"""The contract between tokenizers and everything after them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_TOLD = ("features", "references", "components", "views", "views_observed", "view_weights")
"""Optional fields of every token, [B, T, ...]."""


class Kind(IntEnum):
    """What a token stands for."""

    CONTEXT = 0
    FORECAST = 1
    REGISTER = 2
    COVARIATE = 3
    PROMPT = 4


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of a batch of series; B rows, T tokens, P values per token.

    CONTEXT spans tile [0, L) in order without gap, FORECAST spans tile [L, L + H).
    A token's state predicts the steps *after* it, so the forecast of what follows a span is read
    at its token; `features` describe the following steps.

    Rows with fewer context tokens than others are padded in front (length 0, nothing observed),
    so that the last context token has the same index in every row and forecasts are one slice.
    Prompts, which belong to no step, come before everything else.

    Parameters
    ----------
    values
        [B, T, P] float, content left-justified, 0 where nothing is observed.
    observed
        [B, T, P] bool, where `values` holds data.
    start, length
        [B, T] int64, span in steps of the original series; length 0 = padding.
    kind
        [B, T] int8, a `Kind`.
    position
        [B, T] float, span centre in steps; what rotary embeddings see.
    row
        [B] int64, which series a row belongs to.
    variate
        [B, T] int64, which variate a token belongs to.
    features
        [B, T, F] float or None, what is known of the span after each token.
    references
        [B, T, P, K] float or None, simple forecasts of the span after each token
        (last value, seasonal repeats); heads may start from them.
    error_scale
        [B] float or None, typical size of a one-cycle naive error; heads may use it as unit.
    step_token
        [B, L] int64 or None, index of the token that covers each step of the context tokens.
    spectrum
        [B, S] float or None, what frequencies the context holds, for adaptive positions.
    components
        [B, T, P, 3] float or None, trend, seasonal part and residual, which sum to `values`.
    views, views_observed
        [B, T, V] float and bool, or None: the series around each token at several sizes, one after
        another (0 where nothing is observed), and where they hold data.
    view_weights
        [B, T, G] float or None, how much each of G views counts.
    n_prompts
        Number of PROMPT tokens, the first ones.
    n_forecast
        Number of FORECAST tokens, the last ones; None where nobody has counted them.
    aux
        Scalars to log; "loss", [] or [B] and weighted already, is added to the training loss.
    """

    values: Tensor
    observed: Tensor
    start: Tensor
    length: Tensor
    kind: Tensor
    position: Tensor
    row: Tensor
    variate: Tensor
    features: Tensor | None = None
    references: Tensor | None = None
    error_scale: Tensor | None = None
    step_token: Tensor | None = None
    spectrum: Tensor | None = None
    components: Tensor | None = None
    views: Tensor | None = None
    views_observed: Tensor | None = None
    view_weights: Tensor | None = None
    n_prompts: int = 0
    n_forecast: int | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)

    @property
    def holds_data(self) -> Tensor:
        """[B, T] bool, True where a token has an observed value, or is a prompt.

        Other tokens are read-only to every backbone: nobody's answer depends on them.
        """
        observed = self.observed.any(-1)
        return observed | self.is_kind(Kind.PROMPT) if self.n_prompts else observed

    def is_kind(self, kind: Kind) -> Tensor:
        """[B, T] bool, where tokens are of a kind.

        Compiled code takes `tensor == Kind.PROMPT`, a comparison with an enum, to be False.
        """
        return self.kind == kind.value

    @property
    def n_context(self) -> int:
        """Tokens up to the last context token, with padding and prompts."""
        if self.n_forecast is not None:
            return self.kind.shape[1] - self.n_forecast
        return int((~self.is_kind(Kind.FORECAST)[0]).sum())

    def token_of_step(self) -> Tensor:
        """[B, L] int64, index of the token that covers each step of the context."""
        if self.step_token is not None:
            return self.step_token
        context = self.is_kind(Kind.CONTEXT) & (self.length > 0)
        n_steps = int(torch.where(context, self.start + self.length, 0).max())
        marks = torch.zeros(len(context), n_steps + 1, dtype=torch.int64, device=context.device)
        marks.scatter_add_(1, torch.where(context, self.start, n_steps), context.long())
        first = context.to(torch.int8).argmax(-1, keepdim=True)
        return first + marks[:, :n_steps].cumsum(-1) - 1

    def repeat(self, times: int) -> TokenBatch:
        """All rows, several times over.

        Parameters
        ----------
        times
            How often.

        Returns
        -------
        TokenBatch
            `times * B` rows; `row` still says which series each belongs to.
        """
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "aux"}
        repeated: dict[str, Any] = {
            name: torch.cat([x] * times) for name, x in tensors.items() if isinstance(x, Tensor)
        }
        return replace(self, **repeated)

    def groups(self, waste: float = 0.25) -> list[tuple[Tensor, TokenBatch]]:
        """Split rows by their number of tokens, so that little padding is left.

        Parameters
        ----------
        waste
            Share of padding among the context tokens of a row that is put up with.

        Returns
        -------
        list of (Tensor, TokenBatch)
            Indices of the rows of each group [G], and these rows without the padding they share.
        """
        assert not self.n_prompts  # they are put in front of groups
        n_context = self.n_context
        padding = ((self.length == 0) & self.is_kind(Kind.CONTEXT)).sum(-1)
        order = padding.argsort(stable=True)  # from the longest row to the shortest
        spare = padding[order].tolist()
        found, first = [], 0
        for i in range(1, len(spare) + 1):
            if i == len(spare) or spare[i] - spare[first] > waste * (n_context - spare[first]):
                rows = order[first:i]
                part = self._take(rows).select(slice(spare[first], None))
                if self.step_token is not None:
                    part = replace(part, step_token=self.step_token[rows] - spare[first])
                found.append((rows, part))
                first = i
        return found

    def _take(self, rows: Tensor) -> TokenBatch:
        """Some of the rows."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "aux"}
        picked: dict[str, Any] = {
            name: x[rows] for name, x in tensors.items() if isinstance(x, Tensor)
        }
        return replace(self, **picked)

    def with_prompts(self, count: int) -> TokenBatch:
        """The same rows with prompts in front.

        They cover no step and stand, as to their position, at the first observed one.

        Parameters
        ----------
        count
            Prompts per row.

        Returns
        -------
        TokenBatch
            B rows of `count` further tokens.
        """
        assert not self.n_prompts
        token = self.observed.any(-1).to(torch.int8).argmax(-1, keepdim=True)  # [B, 1]
        step = self.observed.to(torch.int8).argmax(-1).gather(1, token)
        where = (self.start.gather(1, token) + step).to(self.position.dtype)
        names = ("values", "observed", *_TOLD, "start", "length", "variate", "kind")
        parts: dict[str, Any] = {}
        for name in names:
            whole = getattr(self, name)
            if whole is not None:
                parts[name] = F.pad(whole, (0, 0) * (whole.ndim - 2) + (count, 0))
        parts["kind"][:, :count] = Kind.PROMPT
        parts["position"] = torch.cat([where.expand(-1, count), self.position], dim=1)
        if self.step_token is not None:
            parts["step_token"] = self.step_token + count
        return replace(self, **parts, n_prompts=count)

    def select(self, tokens: slice) -> TokenBatch:
        """The same rows with some of their tokens.

        Parameters
        ----------
        tokens
            Which tokens of every row.

        Returns
        -------
        TokenBatch
            B rows.
        """
        if tokens == slice(None):
            return self
        names = ("values", "observed", "start", "length", "kind", "position", "variate")
        parts = {name: getattr(self, name)[:, tokens] for name in names}
        for name in _TOLD:
            whole = getattr(self, name)
            parts[name] = None if whole is None else whole[:, tokens]
        ahead = self.n_forecast
        if ahead is not None:
            first, stop = bounds(tokens, self.kind.shape[1])
            ahead = max(stop - max(first, self.kind.shape[1] - ahead), 0)
        chosen = range(self.kind.shape[1])[tokens] if self.n_prompts else ()
        prompts = sum(index < self.n_prompts for index in chosen)
        return replace(self, **parts, step_token=None, n_prompts=prompts, n_forecast=ahead)


def bounds(tokens: slice, n_tokens: int) -> tuple[int, int]:
    """First of some successive tokens, and the one after the last.

    Unlike `slice.indices` it leaves the sizes of compiled code symbolic.

    Parameters
    ----------
    tokens
        Which tokens; its stride must be 1.
    n_tokens
        Tokens there are.

    Returns
    -------
    tuple of int
        Both between 0 and `n_tokens`.

    Examples
    --------
    >>> bounds(slice(-3, None), 8)
    (5, 8)
    """
    assert tokens.step in (None, 1)
    first = 0 if tokens.start is None else tokens.start
    stop = n_tokens if tokens.stop is None else tokens.stop
    first = max(first + n_tokens, 0) if first < 0 else min(first, n_tokens)
    stop = max(stop + n_tokens, 0) if stop < 0 else min(stop, n_tokens)
    return first, max(first, stop)
