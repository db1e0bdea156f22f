"""How series of different lengths share a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import torch

_SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths that contexts are padded to: few enough to fill batches, at most a third of it empty."""
_TOKENS_WORTH_A_PASS = 96
"""Tokens that take about as long as a pass does whatever it reads (measured on a CPU)."""
_TOKENS_PER_PASS = 16_384
_TOKENS_PER_PASS_ON_CPU = 4_096
"""Small enough that freed memory is used again, and not fetched anew from the system."""


def tokens_per_pass(device: torch.device) -> int:
    """Tokens that a pass of the network reads at most, of all series together."""
    return _TOKENS_PER_PASS_ON_CPU if device.type == "cpu" else _TOKENS_PER_PASS


@lru_cache(maxsize=4096)
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


def shared_lengths(
    lengths: Sequence[int], longest: int, patch_length: int, mirrored: bool = True
) -> list[int]:
    """Padded lengths of contexts that are read together, so that they take few passes.

    Few contexts are padded further, to the next length that others have anyway, where that is
    cheaper than a pass of their own.

    Parameters
    ----------
    lengths
        Their steps, each at most `longest`.
    longest, patch_length
        As in `padded_length`.
    mirrored
        Whether the mirror images are read, too.

    Examples
    --------
    >>> shared_lengths([2000, 400, 90, 90], 2048, 32), shared_lengths([400, 90] * 9, 2048, 32)[:2]
    ([2048, 512, 512, 512], [512, 96])
    """
    padded = [padded_length(length, longest, patch_length) for length in lengths]
    final = merged(Counter(padded), patch_length, mirrored)
    return [final[size] for size in padded]


def merged(rows: Mapping[int, int], unit: int, mirrored: bool = True) -> dict[int, int]:
    """Where rows of each size go: to the next size that there is if they are too few for a pass.

    Parameters
    ----------
    rows
        How many rows there are of each size.
    unit
        Size of a token.
    mirrored
        Whether rows are read with their mirror images.

    Examples
    --------
    >>> merged({1: 2, 3: 1}, 1), merged({1: 99, 3: 1}, 1)
    ({3: 3, 1: 3}, {3: 3, 1: 1})
    """
    count, distinct = dict(rows), sorted(rows)
    worth = _TOKENS_WORTH_A_PASS * unit // (1 + mirrored)
    joins: dict[int, int] = {}
    for size, larger in pairwise(distinct):
        if count[size] * (larger - size) <= worth:
            count[larger] += count[size]
            joins[size] = larger
    final: dict[int, int] = {}
    for size in reversed(distinct):
        final[size] = final[joins[size]] if size in joins else size
    return final


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text
