"""The contract between tokenizers and everything after them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor


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
        [B, L] int64 or None, index of the token that covers each step of the context.
    spectrum
        [B, S] float or None, what frequencies the context holds, for adaptive positions.
    components
        [B, T, P, 3] float or None, trend, seasonal part and residual, which sum to `values`.
    n_prompts
        Number of PROMPT tokens, the first ones.
    aux
        Scalars to log or to add to the loss.
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
    n_prompts: int = 0
    aux: dict[str, Tensor] = field(default_factory=dict)

    @property
    def holds_data(self) -> Tensor:
        """[B, T] bool, True where a token has an observed value, or is a prompt.

        Other tokens are read-only to every backbone: nobody's answer depends on them.
        """
        observed = self.observed.any(-1)
        return observed | (self.kind == Kind.PROMPT) if self.n_prompts else observed

    @property
    def n_context(self) -> int:
        """Tokens up to the last context token, with padding and prompts."""
        return int((self.kind[0] != Kind.FORECAST).sum())

    def token_of_step(self) -> Tensor:
        """[B, L] int64, index of the token that covers each step of the context."""
        if self.step_token is not None:
            return self.step_token
        context = (self.kind == Kind.CONTEXT) & (self.length > 0)
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
        padding = ((self.length == 0) & (self.kind == Kind.CONTEXT)).sum(-1)
        order = padding.argsort(stable=True)  # from the longest row to the shortest
        spare = padding[order].tolist()
        found, first = [], 0
        for i in range(1, len(spare) + 1):
            if i == len(spare) or spare[i] - spare[first] > waste * (n_context - spare[first]):
                rows = order[first:i]
                found.append((rows, self._take(rows).select(slice(spare[first], None))))
                first = i
        return found

    def _take(self, rows: Tensor) -> TokenBatch:
        """Some of the rows."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "aux"}
        picked: dict[str, Any] = {
            name: x[rows] for name, x in tensors.items() if isinstance(x, Tensor)
        }
        return replace(self, **picked)

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
        for name in ("features", "references", "components"):
            whole = getattr(self, name)
            parts[name] = None if whole is None else whole[:, tokens]
        chosen = range(self.kind.shape[1])[tokens] if self.n_prompts else ()
        prompts = sum(index < self.n_prompts for index in chosen)
        return replace(self, **parts, step_token=None, n_prompts=prompts)
