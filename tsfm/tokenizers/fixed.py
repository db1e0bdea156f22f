"""Fixed patches: every token covers the same number of steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.ahead import RowDescription
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch


class FixedPatchTokenizer(Tokenizer):
    """Cut a series into patches of `patch_length` steps.

    When the context is not a multiple of the patch length the first token is the short one, so
    the last context token always ends where the forecast begins.

    Parameters
    ----------
    patch_length
        Steps per token, P.
    n_cycles
        Periodogram cycles described to each token; 0 switches the phase features off.
    references
        Whether tokens carry the simple forecasts of `simple_forecasts`.

    Examples
    --------
    >>> import torch
    >>> z = torch.arange(70.0)[None]
    >>> batch = FixedPatchTokenizer(32).tokenize(z, torch.ones_like(z, dtype=torch.bool), 40)
    >>> batch.length.tolist()
    [[6, 32, 32, 32, 8]]
    """

    even_spans = True

    def tokenize(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        season: Tensor | None = None,
        row: RowDescription | None = None,
        advanced: Tensor | None = None,
        newest: int | None = None,
    ) -> TokenBatch:
        """Turn scaled series into tokens.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask; masked values are ignored.
        prediction_length
            Steps to forecast, H.
        hidden
            [B, T] bool, context tokens to be treated as unknown (training only): their values
            are blanked and nothing inside or after a hidden run up to its end is used for them.
        season
            [B] season lengths known from the calendar, 0 for none; see `find_repeat_lags`.
        row
            What to tell the tokens about their series; by default what `describe` finds.
        advanced
            [B] steps by which the context has grown since `row` was found; None for none.
        newest
            Make only that many of the last context tokens; None for all.

        Returns
        -------
        TokenBatch
            `ceil(L / P) + ceil(H / P)` tokens per row, without the context tokens not wanted.
        """
        span_start, span_length, kind = self._spans(z.shape[1], prediction_length, z.device)
        n_rows, n_tokens = z.shape[0], len(kind)
        n_context = -(-z.shape[1] // self.patch_length)
        z = torch.where(observed, z, 0)
        values, mask = self._cut(z, observed, n_context, n_tokens)
        if hidden is not None:
            mask = mask & ~hidden[..., None]
            values = torch.where(mask, values, 0)
        end = span_start + span_length
        # [B, T]: the step up to which a token's forecast of the next span may use the series
        known = torch.where(mask.any(-1), end, 0).cummax(-1).values
        if hidden is not None:
            z, observed = self._blank(z, observed, hidden[:, :n_context])
        if newest is not None:
            wanted = slice(n_context - newest, None)
            values, mask, known = values[:, wanted], mask[:, wanted], known[:, wanted]
            span_start, span_length, kind, end = (
                x[wanted] for x in (span_start, span_length, kind, end)
            )
        if row is None and self.n_features:
            row = self.describe(z, observed, season)
        features, references, error_scale = self.ahead.of(z, observed, end, known, row, advanced)
        return TokenBatch(
            values=values,
            observed=mask,
            start=span_start.expand(n_rows, -1),
            length=span_length.expand(n_rows, -1),
            kind=kind.expand(n_rows, -1),
            position=(span_start + (span_length - 1) / 2).expand(n_rows, -1),
            row=torch.arange(n_rows, device=z.device),
            variate=torch.zeros(n_rows, len(kind), dtype=torch.int64, device=z.device),
            features=features,
            references=references,
            error_scale=error_scale,
            step_token=self._step_token(z, newest),
            spectrum=self.spectrum(z, observed),
            n_forecast=n_tokens - n_context,
        )

    def _step_token(self, z: Tensor, newest: int | None) -> Tensor:
        """[B, L] index of the token of each step, of the context tokens that are made."""
        patch = self.patch_length
        n_steps = z.shape[1] if newest is None else min(newest * patch, z.shape[1])
        token = (torch.arange(n_steps, device=z.device) + -n_steps % patch) // patch
        return token.expand(len(z), -1)

    def to_steps(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Spread token states [B, T, D] over the steps of their CONTEXT spans: [B, L, D]."""
        n_context = int((batch.kind[0] == Kind.CONTEXT).sum())
        return states[:, :n_context].repeat_interleave(batch.length[0, :n_context], dim=1)

    def _spans(
        self, length: int, horizon: int, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Start, length and kind of the T spans of one row."""
        patch = self.patch_length
        first = length % patch
        lengths = [first] * bool(first) + [patch] * (length // patch)
        n_context = len(lengths)
        lengths += [patch] * (horizon // patch) + [horizon % patch] * bool(horizon % patch)
        span_length = torch.tensor(lengths, dtype=torch.int64, device=device)
        kind = torch.full_like(span_length, Kind.FORECAST, dtype=torch.int8)
        kind[:n_context] = Kind.CONTEXT
        return span_length.cumsum(0) - span_length, span_length, kind

    def _cut(
        self, z: Tensor, observed: Tensor, n_context: int, n_tokens: int
    ) -> tuple[Tensor, Tensor]:
        """[B, T, P] contents, left-justified in a short first token, empty in forecast tokens."""
        first = z.shape[1] % self.patch_length
        gap = self.patch_length - first if first else 0
        after = (n_tokens - n_context) * self.patch_length

        def shape(x: Tensor) -> Tensor:
            if gap:
                x = torch.cat([x[:, :first], x.new_zeros(x.shape[0], gap), x[:, first:]], dim=1)
            return F.pad(x, (0, after)).unflatten(1, (n_tokens, self.patch_length))

        return shape(z), shape(observed)

    def _blank(self, z: Tensor, observed: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Remove the values of hidden tokens from the series."""
        steps = hidden.repeat_interleave(self.patch_length, dim=1)[:, -z.shape[1] :]
        observed = observed & ~steps
        return torch.where(observed, z, 0), observed
