"""How series of different lengths share a pass."""

from __future__ import annotations

_SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths that contexts are padded to: few enough to fill batches, at most a third of it empty."""


def padded_length(length: int, longest: int, patch_length: int) -> int:
    """The length a context is padded to on the left.

    Parameters
    ----------
    length
        Its steps, at most `longest`.
    longest
        Steps the network can see.
    patch_length
        Padded lengths are multiples of it.
    """
    limit = -(-longest // patch_length) * patch_length
    fitting = [size for size in _SIZES if length <= size <= limit and size % patch_length == 0]
    return fitting[0] if fitting else limit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text
