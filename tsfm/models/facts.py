"""What tokens are told besides their contents: features and references."""

from __future__ import annotations

from torch import Tensor

from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import TokenBatch


def token_facts(batch: TokenBatch) -> list[Tensor]:
    """What tokens are told besides their contents, each [B, T, .]."""
    facts = [] if batch.features is None else [batch.features]
    return facts if batch.references is None else [*facts, batch.references.flatten(2)]


def n_facts(tokenizer: Tokenizer) -> int:
    """How many numbers `token_facts` tells a token."""
    return tokenizer.n_features + tokenizer.patch_length * tokenizer.n_references
