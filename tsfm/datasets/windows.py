"""Training windows: which step sees which piece of the corpus, and what is hidden from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from tsfm.datasets.augment import drop_values
from tsfm.datasets.corpus import corpus_chunk, seeded
from tsfm.datasets.recipes import MaskConfig, Recipe, WindowShape
from tsfm.datasets.ring import Ring
from tsfm.datasets.short import put_short
from tsfm.datasets.synthetic.base import bernoulli, log_uniform, randint, uniform


@dataclass(frozen=True)
class WindowBatch:
    """One training batch.

    Parameters
    ----------
    values
        [B, L + H] float32, context and horizon, NaN = missing.
    prediction_length
        H, a multiple of the patch length.
    hidden
        [B, T] bool, context patches hidden from the network; T counts all patches.
    """

    values: Tensor
    prediction_length: int
    hidden: Tensor

    def to(self, device: torch.device) -> WindowBatch:
        """The same batch on another device."""
        return WindowBatch(self.values.to(device), self.prediction_length, self.hidden.to(device))

    def rows(self, part: slice) -> WindowBatch:
        """Some of the windows."""
        return WindowBatch(self.values[part], self.prediction_length, self.hidden[part])


def chunk_batches(
    recipe: Recipe, seed: int, chunk: int, device: str = "cpu", ring: Ring | None = None
) -> list[WindowBatch]:
    """The `recipe.steps_per_chunk` batches of one chunk.

    Parameters
    ----------
    recipe
        The corpus.
    seed
        Seed of the run.
    chunk
        Number of the chunk, from 0.
    device
        Where to generate.
    ring
        The ring of the chunk before, which saves making the whole ring of a recipe that has one;
        the batches are the same without it.
    """
    rng = seeded(device, "windows", seed, chunk)
    if recipe.ring is not None:
        ring = (ring or Ring(recipe, seed, device)).at(chunk)
    by_shape: dict[WindowShape, Iterator[WindowBatch]] = {}
    shapes = chunk_shapes(recipe, chunk, rng)
    stages = dict.fromkeys(map(recipe.windows_at, _steps(recipe, chunk)))
    for shape in dict.fromkeys(shape for windows in stages for shape in windows):
        if shape in shapes:
            by_shape[shape] = _shape_batches(recipe, shape, shapes.count(shape), rng, ring)
    return [next(by_shape[shape]) for shape in shapes]


def chunk_shapes(recipe: Recipe, chunk: int, rng: torch.Generator) -> list[WindowShape]:
    """Draw the shape of every step of one chunk, by the stages of the curriculum it falls into.

    Parameters
    ----------
    recipe
        The corpus.
    chunk
        Number of the chunk, from 0.
    rng
        Source of draws.
    """
    shapes: list[WindowShape] = []
    for windows, stretch in groupby(_steps(recipe, chunk), recipe.windows_at):
        weights = torch.tensor([shape.weight for shape in windows], device=rng.device)
        n_steps = len(list(stretch))
        draws = torch.multinomial(weights, n_steps, replacement=True, generator=rng)
        shapes += [windows[index] for index in draws.tolist()]
    return shapes


def _steps(recipe: Recipe, chunk: int) -> range:
    """Training steps that a chunk serves."""
    return range(chunk * recipe.steps_per_chunk, (chunk + 1) * recipe.steps_per_chunk)


def _shape_batches(
    recipe: Recipe, shape: WindowShape, n_steps: int, rng: torch.Generator, ring: Ring | None
) -> Iterator[WindowBatch]:
    """`n_steps` batches of one window shape, from freshly generated series or those of a ring."""
    n_patches = shape.context + shape.horizon
    n_rows = max(1, recipe.tokens_per_step // n_patches)
    series = corpus_chunk(recipe, n_rows * n_steps, n_patches * recipe.patch_length, rng, ring)
    if recipe.short is not None:
        series = put_short(recipe, series, shape.context * recipe.patch_length, rng)
    values = drop_values(series, rng, recipe.augment)
    values = shorten_contexts(values, shape.context * recipe.patch_length, recipe.mask, rng)
    hidden = hidden_patches(values.shape[0], shape, recipe.mask, rng)
    horizon = shape.horizon * recipe.patch_length
    batches = [
        WindowBatch(v, horizon, h)
        for v, h in zip(values.split(n_rows), hidden.split(n_rows), strict=True)
    ]
    return iter(batches)


def shorten_contexts(
    values: Tensor, context: int, config: MaskConfig, rng: torch.Generator
) -> Tensor:
    """Make a share of the contexts shorter by blanking their beginning.

    Parameters
    ----------
    values
        [B, L + H] windows.
    context
        L in steps.
    config
        Share of rows to shorten.
    rng
        Source of draws.
    """
    n_rows = values.shape[0]
    length = log_uniform(rng, 4, context, n_rows).long()
    length = torch.where(bernoulli(rng, config.short_context, n_rows), length, context)
    steps = torch.arange(values.shape[1], device=values.device)
    return torch.where(steps < context - length[:, None], torch.nan, values)


def hidden_patches(
    n_rows: int, shape: WindowShape, config: MaskConfig, rng: torch.Generator
) -> Tensor:
    """Contiguous stretches of context patches to hide, [n_rows, context + horizon] bool.

    Source: contiguous patch masking of TiRex (arXiv 2505.23719): one pass learns all horizons.
    """
    n_patches = shape.context + shape.horizon
    share = uniform(rng, 0, config.hidden_share, n_rows)
    share = share * bernoulli(rng, config.hidden_rows, n_rows)
    longest = min(config.hidden_span, max(1, shape.context // 2))
    span = randint(rng, 1, longest + 1, n_rows)
    # a stretch starts at a patch with a rate that gives the wanted share
    starts = torch.rand(n_rows, n_patches, generator=rng, device=rng.device)
    starts = starts < (share / span)[:, None]
    index = torch.arange(n_patches, device=rng.device)
    latest = torch.where(starts, index, -n_patches).cummax(-1).values
    hidden = index - latest < span[:, None]
    return hidden & (index >= 1) & (index < shape.context)
