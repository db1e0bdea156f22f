"""Embedding of mixture-of-size patches: views of several sizes, fused by the router's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.models.facts import n_facts, token_facts
from tsfm.nn.mlp import ResidualMLP
from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.mixture import MixtureTokenizer


class MixtureEmbedding(ResidualMLP):
    """One map of every size's view, weighted by the router, and of features and references.

    Each view enters with its mask and a constant, times its weight, so that every size has first
    layers and biases of its own and all share one pair of matrix products. Views of weight 0 are
    not seen at all; a token without any still knows its features and references. The router learns
    through the weights.

    Source: "Kairos" (arXiv 2509.25826), fused multi-granularity embedding.

    Parameters
    ----------
    tokenizer
        What makes the tokens.
    d_hidden, d_model
        Widths of the hidden layer and of the answer.

    Examples
    --------
    >>> tokenizer = MixtureTokenizer()
    >>> batch = tokenizer.tokenize(torch.randn(2, 512), torch.ones(2, 512) > 0, 64)
    >>> MixtureEmbedding(tokenizer, 32, 16)(batch).shape == (*batch.kind.shape, 16)
    True
    """

    def __init__(self, tokenizer: MixtureTokenizer, d_hidden: int, d_model: int) -> None:
        told = n_facts(tokenizer)
        contents = sum(2 * size + 1 for size in tokenizer.sizes)
        super().__init__(contents + told, d_hidden, d_model)
        self.sizes = tokenizer.sizes

    def forward(self, batch: TokenBatch) -> Tensor:  # type: ignore[override]
        """[B, T, d_model].

        Raises
        ------
        ValueError
            If the tokens carry no views.
        """
        if batch.views is None or batch.views_observed is None or batch.view_weights is None:
            raise ValueError(
                "The mixture embedding fuses views of several sizes, which these tokens do not "
                "carry; make them with the tokenizer 'mixture'."
            )
        weights = batch.view_weights.split(1, dim=-1)
        spread = zip(weights, self.sizes, strict=True)
        weight = torch.cat([one.expand(-1, -1, size) for one, size in spread], dim=-1)
        parts = [weight * batch.views, weight * batch.views_observed, batch.view_weights]
        return super().forward(torch.cat([*parts, *token_facts(batch)], dim=-1))
