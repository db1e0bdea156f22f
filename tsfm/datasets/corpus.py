"""An endless synthetic corpus: chunk `i` is a pure function of recipe, seed and `i`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tsfm.datasets.augment import augment_series
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.synthetic import Family, all_families
from tsfm.datasets.synthetic.base import standardise

if TYPE_CHECKING:
    from tsfm.datasets.ring import Ring

_STREAMS = {"series": 0, "windows": 1, "validation": 2, "ring": 3}
_VALIDATION_SEED = 20_231_117


def seeded(device: torch.device | str, stream: str, *numbers: int) -> torch.Generator:
    """Generator whose state depends on the stream's name and the numbers alone.

    Parameters
    ----------
    device
        Where draws are made.
    stream
        "series", "windows", "validation" or "ring": with the same numbers they share no draws.
    numbers
        Seed, chunk or step numbers.
    """
    state = _STREAMS[stream] + 0x9E3779B97F4A7C15
    for number in numbers:  # splitmix64 over the sequence
        state = (state ^ (number + 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state >> 1)


def generate(recipe: Recipe, n: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw series from the recipe's mixture, before augmentation.

    Parameters
    ----------
    recipe
        Families and weights.
    n, length
        Number and length of series.
    rng
        Source of every draw; its device is where the series are built.

    Returns
    -------
    tuple of Tensor
        [n, length] float32 with each row standardised, and [n] index into `recipe.families`.
    """
    families = all_families()
    names = list(recipe.families)
    weights = torch.tensor([recipe.families[name] for name in names])
    n_blocks = -(-n // recipe.block)
    picks = torch.multinomial(
        weights.to(rng.device) / weights.sum(), n_blocks, replacement=True, generator=rng
    )
    parts, labels = [], []
    for index in picks.unique().tolist():
        count = int((picks == index).sum()) * recipe.block
        parts.append(_checked(families[names[index]], count, length, rng))
        labels.append(torch.full((count,), index, device=rng.device))
    order = torch.randperm(n_blocks * recipe.block, generator=rng, device=rng.device)[:n]
    return torch.cat(parts)[order], torch.cat(labels)[order]


def held_out(
    recipe: Recipe, n: int, length: int, device: str = "cpu"
) -> Iterator[tuple[str, Tensor]]:
    """Series of every family from a stream training never draws from.

    Parameters
    ----------
    recipe
        The corpus.
    n, length
        Series per family and their length.
    device
        Where to generate.
    """
    for index, name in enumerate(recipe.families):
        rng = seeded(device, "validation", _VALIDATION_SEED, index)
        yield name, standardise(all_families()[name].sample(n, length, rng).float())


def corpus_chunk(
    recipe: Recipe, n: int, length: int, rng: torch.Generator, ring: Ring | None = None
) -> Tensor:
    """Series as the network sees them: generated, mixed and augmented; [n, length].

    Parameters
    ----------
    recipe
        The corpus.
    n, length
        Number and length of series.
    rng
        Source of every draw.
    ring
        Series to cut windows from, instead of generating them.
    """
    series, labels = (
        generate(recipe, n, length, rng) if ring is None else ring.draw(n, length, rng)
    )
    if not recipe.directed:
        return augment_series(series, rng, recipe.augment)
    names = [*recipe.families]
    fixed = [names.index(name) for name in recipe.directed if name in names]
    directed = torch.isin(labels, torch.tensor(fixed, device=labels.device))
    return augment_series(series, rng, recipe.augment, directed=directed)


def _checked(family: Family, n: int, length: int, rng: torch.Generator) -> Tensor:
    """One family's series, standardised; a non-finite value is a bug worth stopping for."""
    series = family.sample(n, length, rng).float()
    if not torch.isfinite(series).all():
        raise RuntimeError(f"Generator family {family.name!r} produced a non-finite value.")
    return standardise(series)
