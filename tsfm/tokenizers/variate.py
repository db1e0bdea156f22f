"""Variate tokens: one token per series of a system, its whole window."""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch


class VariateTokenizer(Tokenizer):
    """Make one token of every variate's whole window.

    Other than the rows of other tokenizers, a row is a system of N series over the same steps, and
    its tokens stand beside each other: all of them begin at step 0, and `TokenBatch.variate` says
    which is which. A forecast is read at the tokens themselves, however long it is, so there are
    no forecast tokens.

    Source: Liu et al., "iTransformer" (arXiv 2310.06625); Wang et al., "Is Mamba Effective for
    Time Series Forecasting?" (arXiv 2403.11144).

    Parameters
    ----------
    context_length
        Steps of a window, L.

    Examples
    --------
    >>> import torch
    >>> z = torch.randn(2, 3, 24)
    >>> batch = VariateTokenizer(24).tokenize(z, torch.ones_like(z) > 0, 12)
    >>> batch.values.shape, batch.variate[0].tolist(), batch.length[0].tolist()
    (torch.Size([2, 3, 24]), [0, 1, 2], [24, 24, 24])
    """

    def __init__(self, context_length: int) -> None:
        super().__init__(context_length, n_cycles=0, references=False)

    def tokenize(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        season: Tensor | None = None,
    ) -> TokenBatch:
        """Turn scaled windows into tokens.

        Parameters
        ----------
        z, observed
            [B, N, L] scaled values and mask; masked values are ignored.
        prediction_length
            Steps to forecast; it makes no difference.
        hidden
            Must be None: a token has no parts that could be hidden.
        season
            Season lengths known from the calendar; these tokens are told of none.

        Returns
        -------
        TokenBatch
            N context tokens per row.

        Raises
        ------
        ValueError
            If the windows have other shapes, or patches are to be hidden.
        """
        if hidden is not None:
            raise ValueError("Variate tokens are whole windows; hidden patches need another kind.")
        if z.ndim != 3 or z.shape[-1] != self.patch_length or observed.shape != z.shape:
            raise ValueError(
                f"Windows and their mask must be [B, N, {self.patch_length}], got "
                f"{list(z.shape)} and {list(observed.shape)}."
            )
        n_rows, n_variates, length = z.shape
        start = torch.zeros(n_rows, n_variates, dtype=torch.int64, device=z.device)
        return TokenBatch(
            values=torch.where(observed, z, 0),
            observed=observed,
            start=start,
            length=torch.full_like(start, length),
            kind=torch.full_like(start, Kind.CONTEXT, dtype=torch.int8),
            position=torch.full_like(start, (length - 1) / 2, dtype=torch.float32),
            row=torch.arange(n_rows, device=z.device),
            variate=torch.arange(n_variates, device=z.device).expand(n_rows, -1),
        )

    def n_tokens(self, length: int) -> int:
        """Tokens of a window per variate: one."""
        return 1

    def to_steps(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Spread token states [B, N, D] over the steps of their windows: [B, N, L, D]."""
        return states[:, :, None].expand(-1, -1, batch.values.shape[-1], -1)
