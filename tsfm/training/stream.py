"""The run's data as a stream that can start at any step."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import IterableDataset

from tsfm.datasets.recipes import Recipe
from tsfm.datasets.windows import WindowBatch, chunk_batches


class CorpusStream(IterableDataset[WindowBatch]):
    """Batches of step `first_step`, `first_step + 1`, ...; each depends on seed and step alone.

    Parameters
    ----------
    recipe
        The corpus.
    seed
        Seed of the run.
    first_step
        Step to start at; the chunk around it is generated again.
    device
        Where to generate.
    """

    def __init__(
        self, recipe: Recipe, seed: int, first_step: int = 0, device: str = "cpu"
    ) -> None:
        self.recipe = recipe
        self.seed = seed
        self.first_step = first_step
        self.device = device

    def __iter__(self) -> Iterator[WindowBatch]:
        chunk, skip = divmod(self.first_step, self.recipe.steps_per_chunk)
        while True:
            yield from chunk_batches(self.recipe, self.seed, chunk, self.device)[skip:]
            chunk, skip = chunk + 1, 0
