"""Series to tokens: the `TokenBatch` contract and the tokenizers that fill it."""

from tsfm.tokenizers.ahead import RowDescription
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch
from tsfm.tokenizers.fixed import FixedPatchTokenizer

__all__ = ["FixedPatchTokenizer", "Kind", "RowDescription", "TokenBatch", "Tokenizer"]
