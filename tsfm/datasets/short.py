"""Series that are short by nature, placed into windows as missing before and after."""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.datasets.corpus import corpus_chunk
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.synthetic.base import log_uniform, uniform

_LENGTHS = 4
"""Lengths per call: rows of a length are generated together."""


def put_short(recipe: Recipe, windows: Tensor, context: int, rng: torch.Generator) -> Tensor:
    """Replace a share of the windows by series that are generated at a short length.

    A tenth to four tenths of a short series is to be forecast, at most the window's horizon; it
    ends there and begins where it begins, with missing values around it.

    Parameters
    ----------
    recipe
        The corpus; `recipe.short` says how many and how long.
    windows
        [n, L + H] windows; changed in place.
    context
        L in steps.
    rng
        Source of draws.
    """
    assert recipe.short is not None
    n, total = windows.shape
    chosen = torch.nonzero(uniform(rng, 0, 1, n) < recipe.short.share)[:, 0]
    longest = min(recipe.short.longest, context)
    lengths = log_uniform(rng, min(recipe.short.shortest, longest), longest + 0.99, _LENGTHS)
    for rows, length in zip(chosen.tensor_split(_LENGTHS), lengths.long().tolist(), strict=True):
        if not rows.numel():
            continue
        series = corpus_chunk(recipe, rows.numel(), length, rng)  # [m, length]
        share = uniform(rng, 0.1, 0.4, rows.numel())
        ahead = (share * length).long().clamp(1, total - context)
        step = torch.arange(total, device=windows.device) - context - ahead[:, None] + length
        inside = (step >= 0) & (step < length)
        placed = series.gather(1, step.clamp(0, length - 1))
        windows[rows] = torch.where(inside, placed, torch.nan)
    return windows
