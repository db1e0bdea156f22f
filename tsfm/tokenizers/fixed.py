"""Fixed patches: every token covers the same number of steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.batch import Kind, TokenBatch
from tsfm.tokenizers.references import N_REFERENCES, simple_forecasts
from tsfm.tokenizers.seasonality import RepeatLags, cycle_features, detrend, find_cycles

_ROW_FEATURES = 8
_TOKEN_FEATURES = 2
_SMALLEST_ERROR = 0.01


@dataclass(frozen=True)
class RowDescription:
    """What a context says about its series as a whole.

    It may outlive the context: tokens of later steps are then told the same about their series,
    with the cycles running on.

    Parameters
    ----------
    lags
        Lags at which the series repeats itself, all [B].
    cycles
        [B, n_cycles, 4] of `significant_cycles`, phases at the end of the context.
    features
        [B, 8] what the variogram says, on scales of order one.
    """

    lags: RepeatLags
    cycles: Tensor
    features: Tensor

    @property
    def error_scale(self) -> Tensor:
        """[B] typical size of a one-cycle naive error."""
        lags = self.lags
        best = torch.minimum(lags.step_error, torch.minimum(lags.short_error, lags.long_error))
        return best.clamp_min(_SMALLEST_ERROR)


class FixedPatchTokenizer:
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

    def __init__(self, patch_length: int = 32, n_cycles: int = 4, references: bool = True) -> None:
        self.patch_length = patch_length
        self.n_cycles = n_cycles
        self.references = references

    @property
    def n_features(self) -> int:
        """Width of `TokenBatch.features`."""
        return 4 * self.n_cycles + (_ROW_FEATURES + _TOKEN_FEATURES if self.references else 0)

    @property
    def n_references(self) -> int:
        """Number of simple forecasts per step."""
        return N_REFERENCES if self.references else 0

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
        features, references, error_scale = self._look_ahead(
            z, observed, end, known, row, advanced
        )
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
        )

    def describe(
        self, z: Tensor, observed: Tensor, season: Tensor | None = None
    ) -> RowDescription:
        """What a context says about its series as a whole.

        Parameters
        ----------
        z, observed
            [B, L] scaled values (0 where missing) and mask.
        season
            As in `tokenize`.

        Returns
        -------
        RowDescription
            B rows.

        Examples
        --------
        >>> import torch
        >>> z = torch.sin(torch.arange(240.0) * 2 * torch.pi / 24)[None]
        >>> FixedPatchTokenizer().describe(z, torch.ones(1, 240) > 0).lags.short
        tensor([24])
        """
        lags, cycles = find_cycles(detrend(z, observed), observed, self.n_cycles, season)
        return RowDescription(lags, cycles, _row_features(lags, observed))

    def with_mirror_image(self, batch: TokenBatch) -> TokenBatch:
        """Add the rows of the negated series.

        The same as tokenizing `cat([z, -z])`, but a series and its mirror image share their
        cycles, so that these are looked for only once.

        Parameters
        ----------
        batch
            Tokens of `tokenize(z, ...)`, B rows.

        Returns
        -------
        TokenBatch
            2B rows, first those of z, then those of -z.

        Examples
        --------
        >>> import torch
        >>> tokenizer = FixedPatchTokenizer(2)
        >>> batch = tokenizer.tokenize(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2) > 0, 2)
        >>> tokenizer.with_mirror_image(batch).values[:, 0].tolist()
        [[1.0, 2.0], [-1.0, -2.0]]
        """
        both = batch.repeat(2)
        sign = torch.ones_like(both.values[:, :1, :1])
        sign[len(batch.row) :] = -1
        features, references = both.features, both.references
        if features is not None:
            odd = 2 * self.n_cycles  # value and quadrature of each cycle change sign
            features = torch.cat([sign * features[..., :odd], features[..., odd:]], dim=-1)
        if references is not None:
            references = sign[..., None] * references
        return replace(both, values=sign * both.values, features=features, references=references)

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

    def _look_ahead(
        self,
        z: Tensor,
        observed: Tensor,
        end: Tensor,
        known: Tensor,
        row: RowDescription | None,
        advanced: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Features [B, T, F], references [B, T, P, K] and error scale [B] of the spans ahead."""
        if row is None or not self.n_features:
            return None, None, None
        ahead = end.expand(z.shape[0], -1)  # [B, T] start of the span after each token
        since = ahead - z.shape[1] if advanced is None else ahead - z.shape[1] + advanced[:, None]
        parts = [cycle_features(row.cycles, since.to(z.dtype))]
        if not self.references:
            return parts[0], None, None
        parts.append(row.features[:, None].expand(-1, end.shape[0], -1))
        seen = F.pad(observed.cumsum(-1), (1, 0)).gather(1, known.clamp(max=z.shape[1]))
        per_token = [
            torch.log1p((ahead - known).to(z.dtype)) / 5,
            torch.log1p(seen.to(z.dtype)) / 8,
        ]
        parts.append(torch.stack(per_token, dim=-1))
        references = simple_forecasts(z, observed, ahead, known, self.patch_length, row.lags)
        return torch.cat(parts, dim=-1), references, row.error_scale


def _row_features(lags: RepeatLags, observed: Tensor) -> Tensor:
    """[B, 8] what the variogram says about a row, on scales of order one."""
    floor = 1e-3
    unit = torch.log(lags.spread + floor)
    return torch.stack(
        [
            torch.log(lags.step_error + floor) - unit,
            torch.log(lags.short_error + floor) - unit,
            torch.log(lags.long_error + floor) - unit,
            unit,
            lags.long_dip,
            torch.log2(lags.short.clamp_min(1).to(unit.dtype)) / 10,
            torch.log2(lags.long.clamp_min(1).to(unit.dtype)) / 10,
            torch.log1p(observed.sum(-1).to(unit.dtype)) / 8,
        ],
        dim=-1,
    )
