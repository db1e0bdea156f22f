"""Series to tokens: the `TokenBatch` contract and the tokenizers that fill it."""

from tsfm.tokenizers.ahead import RowDescription
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch
from tsfm.tokenizers.decomposed import DecomposedTokenizer
from tsfm.tokenizers.entropy import EntropyTokenizer
from tsfm.tokenizers.fixed import FixedPatchTokenizer
from tsfm.tokenizers.mixture import MixtureTokenizer
from tsfm.tokenizers.variate import VariateTokenizer

__all__ = [
    "DecomposedTokenizer",
    "EntropyTokenizer",
    "FixedPatchTokenizer",
    "Kind",
    "MixtureTokenizer",
    "RowDescription",
    "TokenBatch",
    "Tokenizer",
    "VariateTokenizer",
]
