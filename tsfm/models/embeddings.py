"""Embeddings: from the contents of tokens to the vectors a backbone mixes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsfm.models.config import ModelConfig
from tsfm.nn.mlp import ResidualMLP
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import TokenBatch


def token_facts(batch: TokenBatch) -> list[Tensor]:
    """What tokens are told besides their contents, each [B, T, .]."""
    facts = [] if batch.features is None else [batch.features]
    return facts if batch.references is None else [*facts, batch.references.flatten(2)]


class FlatEmbedding(ResidualMLP):
    """One map from values, mask, features and references to the token's vector.

    Parameters
    ----------
    tokenizer
        What makes the tokens.
    d_hidden, d_model
        Widths of the hidden layer and of the answer.
    """

    def __init__(self, tokenizer: Tokenizer, d_hidden: int, d_model: int) -> None:
        told = tokenizer.n_features + tokenizer.patch_length * tokenizer.n_references
        super().__init__(2 * tokenizer.max_length + told, d_hidden, d_model)

    def forward(self, batch: TokenBatch) -> Tensor:  # type: ignore[override]
        """[B, T, d_model]."""
        parts = [batch.values, batch.observed.to(batch.values.dtype), *token_facts(batch)]
        return super().forward(torch.cat(parts, dim=-1))


def build_embedding(config: ModelConfig, tokenizer: Tokenizer) -> nn.Module:
    """Embedding of the configured kind; called with a batch it gives [B, T, d_model].

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    d_model = config.backbone.d_model
    if config.tokenizer.embedding == "flat":
        return FlatEmbedding(tokenizer, config.d_embed, d_model)
    raise ValueError(f"Unknown embedding {config.tokenizer.embedding!r}; choose 'flat'.")
