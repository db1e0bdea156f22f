"""Decomposed patches: fixed patches that also carry trend, seasonal part and residual."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsfm.tokenizers.ahead import RowDescription
from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.decomposition import decompose
from tsfm.tokenizers.fixed import FixedPatchTokenizer


class DecomposedTokenizer(FixedPatchTokenizer):
    """Cut a series into fixed patches and tell trend, seasonal part and residual apart.

    The batches are those of `FixedPatchTokenizer`, with `TokenBatch.components` besides. The
    season of a row is the short lag that `describe` finds: that of the calendar where the series
    repeats itself there, else the shortest good repeat, or none. Like the references it is looked
    for in the whole context.

    Source: the decomposition of S2IP-LLM (Pan et al., arXiv 2403.05798) is the centred one. There
    a step knows of the steps half a window after it and of all later seasons, so only the last
    context token can learn to forecast; the causal one has no such limit.

    Parameters
    ----------
    patch_length, n_cycles, references
        As in `FixedPatchTokenizer`.
    causal
        Whether a step's components may depend on earlier steps and itself only.
    trend_width
        Steps of the rolling mean that is the trend; None for the row's season, or a patch where
        it has none.

    Examples
    --------
    >>> import torch
    >>> z = torch.sin(torch.arange(240.0) * 2 * torch.pi / 24)[None]
    >>> batch = DecomposedTokenizer(24).tokenize(z, torch.ones_like(z) > 0, 24)
    >>> [round(float(part.abs().amax()), 1) for part in batch.components[0, -2].unbind(-1)]
    [0.0, 1.0, 0.1]
    """

    def __init__(
        self,
        patch_length: int = 32,
        n_cycles: int = 4,
        references: bool = True,
        causal: bool = True,
        trend_width: int | None = None,
    ) -> None:
        super().__init__(patch_length, n_cycles, references)
        if trend_width is not None and trend_width < 1:
            raise ValueError(f"trend_width must be at least 1, got {trend_width}.")
        self.causal = causal
        self.trend_width = trend_width
        self.looks_ahead = not causal

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
        """Turn scaled series into tokens; as `FixedPatchTokenizer.tokenize`, with components."""
        known, mask = torch.where(observed, z, 0), observed
        if hidden is not None:
            n_context = -(-z.shape[1] // self.patch_length)
            known, mask = self._blank(known, observed, hidden[:, :n_context])
        if row is None:
            row = self.describe(known, mask, season)
        batch = super().tokenize(
            z, observed, prediction_length, hidden, season, row, advanced, newest
        )
        components = self._components(known, mask, row.lags.short, batch.values.shape[1], newest)
        return replace(batch, components=components)

    def _components(
        self, z: Tensor, observed: Tensor, season: Tensor, n_tokens: int, newest: int | None
    ) -> Tensor:
        """[B, T, P, 3] components of each token, left-justified like its values."""
        if self.trend_width is None:
            width = torch.where(season > 1, season, self.patch_length)
        else:
            width = torch.full_like(season, self.trend_width)
        parts = decompose(z, observed, width, season, self.causal)
        n_context = -(-z.shape[1] // self.patch_length)
        skipped = 0 if newest is None else n_context - newest
        cuts = [self._cut(x, observed, n_context, n_tokens + skipped)[0] for x in parts]
        return torch.stack(cuts, dim=-1)[:, skipped:]
