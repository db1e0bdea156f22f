"""The run's data as a stream that can start at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from torch.utils.data import IterableDataset

from tsfm.datasets.recipes import Recipe
from tsfm.datasets.ring import Ring
from tsfm.datasets.stored.config import CorpusConfig
from tsfm.datasets.stored.windows import StoredWindows, stored_batches
from tsfm.datasets.windows import WindowBatch, chunk_batches

Batch = TypeVar("Batch")


class ChunkStream(IterableDataset[Batch]):
    """Batches of step `first_step`, `first_step + 1`, ..., which are made in chunks.

    Parameters
    ----------
    make
        Gives the batches of a chunk by its number, from 0; they depend on that alone.
    steps_per_chunk
        How many it gives.
    first_step
        Step to start at; the chunk around it is generated again.
    """

    def __init__(
        self, make: Callable[[int], Sequence[Batch]], steps_per_chunk: int, first_step: int = 0
    ) -> None:
        self.make = make
        self.steps_per_chunk = steps_per_chunk
        self.first_step = first_step

    def __iter__(self) -> Iterator[Batch]:
        chunk, skip = divmod(self.first_step, self.steps_per_chunk)
        while True:
            yield from self.make(chunk)[skip:]
            chunk, skip = chunk + 1, 0


class CorpusStream(ChunkStream[WindowBatch]):
    """Windows to forecast in; each batch depends on seed and step alone.

    Parameters
    ----------
    recipe
        The corpus.
    seed
        Seed of the run.
    first_step
        Step to start at.
    device
        Where to generate.
    """

    def __init__(
        self, recipe: Recipe, seed: int, first_step: int = 0, device: str = "cpu"
    ) -> None:
        ring = Ring(recipe, seed, device) if recipe.ring is not None else None
        make = partial(chunk_batches, recipe, seed, device=device, ring=ring)
        super().__init__(make, recipe.steps_per_chunk, first_step)


class StoredStream(ChunkStream[WindowBatch]):
    """Windows of a corpus on disk, beside those of the synthetic one by its share.

    Parameters
    ----------
    recipe
        The synthetic part, and the shapes of all windows.
    corpus
        The corpus on disk.
    seed
        Seed of the run.
    first_step
        Step to start at.
    device
        Where to generate.

    Raises
    ------
    FileNotFoundError
        If there is no such corpus.
    ValueError
        If it is not the one the run began with.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: CorpusConfig,
        seed: int,
        first_step: int = 0,
        device: str = "cpu",
    ) -> None:
        both = recipe.ring is not None and corpus.share < 1
        ring = Ring(recipe, seed, device) if both else None
        source = StoredWindows.of(corpus)
        make = partial(stored_batches, source, recipe, seed, device=device, ring=ring)
        super().__init__(make, recipe.steps_per_chunk, first_step)
