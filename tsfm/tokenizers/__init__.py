"""Series to tokens: the `TokenBatch` contract and the tokenizers that fill it."""

from tsfm.tokenizers.batch import Kind, TokenBatch
from tsfm.tokenizers.fixed import FixedPatchTokenizer, RowDescription

__all__ = ["FixedPatchTokenizer", "Kind", "RowDescription", "TokenBatch"]
