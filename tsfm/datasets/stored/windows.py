"""Training windows out of a corpus on disk, alone or beside synthetic ones.

Chunk `i` is a pure function of corpus, recipe, seed and `i`, as in `tsfm.datasets.windows`: a
resumed run needs a step number and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from tsfm.datasets.augment import AugmentConfig, augment_series, drop_values
from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import Recipe, WindowShape
from tsfm.datasets.ring import Ring
from tsfm.datasets.stored.config import CorpusConfig
from tsfm.datasets.stored.corpus import Corpus
from tsfm.datasets.stored.layout import STRATA_FILE, Float64, Int64, training_lengths
from tsfm.datasets.windows import (
    WindowBatch,
    chunk_batches,
    chunk_shapes,
    hidden_patches,
    shorten_contexts,
)

_LEAST = 8
"""Observed values that a window should have, and two of them before the forecast."""
_REDRAWS = 4
_ROWS_AT_ONCE = 4096
_QUIET = AugmentConfig(**{field.name: 0.0 for field in fields(AugmentConfig)})


@dataclass(frozen=True)
class StoredWindows:
    """The training part of a corpus, ready to be drawn from.

    Parameters
    ----------
    corpus
        The corpus.
    config
        How to draw.
    cumulative
        [n_series] running sum of the chances of the series; eight bytes per series, the only
        thing that is held in memory.
    """

    corpus: Corpus
    config: CorpusConfig
    cumulative: Float64

    @classmethod
    def of(cls, config: CorpusConfig) -> StoredWindows:
        """Open a corpus for training.

        Raises
        ------
        FileNotFoundError
            If it, or strata that are asked for, do not exist.
        ValueError
            If the corpus is not the one the run began with, or no series can be trained on.
        """
        pinned = config.pinned()
        if config.fingerprint not in ("", pinned.fingerprint):
            raise ValueError(
                f"{config.path} is not the corpus (or has not the strata) this run began with: "
                f"its fingerprint is {pinned.fingerprint}, not {config.fingerprint}. Build it "
                "again from the same files, or start another run."
            )
        corpus = Corpus(config.path)
        return cls(corpus, pinned, np.cumsum(series_weights(corpus, pinned)))

    def draw(self, n: int, context: int, horizon: int, rng: torch.Generator) -> Tensor:
        """Random windows of the training part.

        A series is drawn by its chance, then the first step to forecast, such that every step of
        the training part can be learnt from. Short series are padded with NaN on both sides.

        Parameters
        ----------
        n
            Number of windows.
        context, horizon
            L and H in steps.
        rng
            Source of draws, on the CPU.

        Returns
        -------
        Tensor
            [n, L + H] float32, each row of mean 0 and variance 1, NaN = missing.
        """
        values = self._windows(n, context, horizon, rng)
        for _ in range(_REDRAWS):  # a gap in the data is no window to learn from
            known = np.isfinite(values)
            empty = (known.sum(1) < _LEAST) | (known[:, :context].sum(1) < 2)
            rows = np.flatnonzero(empty)
            if not len(rows):
                break
            values[rows] = self._windows(len(rows), context, horizon, rng)
        for begin in range(0, n, _ROWS_AT_ONCE):  # float64 for some rows at a time
            part = slice(begin, begin + _ROWS_AT_ONCE)
            values[part] = standardised_rows(values[part])
        return torch.from_numpy(values)

    def _windows(
        self, n: int, context: int, horizon: int, rng: torch.Generator
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        uniform = torch.rand(2, n, dtype=torch.float64, generator=rng).numpy()
        numbers = drawn_series(self.cumulative, uniform[0])
        (lengths,) = self.corpus.rows(numbers, "length")
        end = training_lengths(lengths, self.config.validation_share)
        first, last = origins(end, context, horizon)
        origin = first + np.floor(uniform[1] * (last - first + 1)).astype(np.int64)
        return self.corpus.windows(numbers, origin - context, context + horizon, end)


def drawn_series(cumulative: Float64, uniform: Float64) -> Int64:
    """Numbers of series drawn with given chances, none of chance 0.

    Parameters
    ----------
    cumulative
        [n_series] running sum of the chances.
    uniform
        [n] uniform draws from [0, 1); a product with the sum may round up to it.

    Examples
    --------
    >>> drawn_series(np.array([0.0, 2.0, 3.0, 3.0]), np.array([0.0, 0.5, 0.9, 1.0])).tolist()
    [1, 1, 2, 2]
    """
    numbers = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    last = np.searchsorted(cumulative, cumulative[-1])
    return np.minimum(numbers, last).astype(np.int64)


def origins(lengths: Int64, context: int, horizon: int) -> tuple[Int64, Int64]:
    """First and last step at which a forecast may begin, of series with so many steps.

    A full context and horizon where the series is long enough; else at least half of what there
    is as context, and at least a quarter to forecast.

    Examples
    --------
    >>> [x.tolist() for x in origins(np.array([1000, 100, 3]), 256, 32)]
    [[256, 50, 1], [968, 75, 2]]
    """
    first = np.maximum(1, np.minimum(context, lengths // 2))
    last = lengths - np.minimum(horizon, np.maximum(1, lengths // 4))
    return first, np.maximum(first, last)


def series_weights(corpus: Corpus, config: CorpusConfig, least: int = 2) -> Float64:
    """Chance of every series, not normalised; 0 for those with nothing to learn from.

    Parameters
    ----------
    corpus, config
        The corpus, and how to draw.
    least
        Steps of the training part that a series needs.

    Raises
    ------
    ValueError
        If that holds for all.
    """
    weights = np.empty(len(corpus), dtype=np.float64)
    chances = np.asarray(corpus.strata_meta["weights"]) if config.stratified else None
    strata = corpus.batches("stratum", file=STRATA_FILE) if config.stratified else None
    begin = 0
    for lengths, missing in corpus.batches("length", "missing"):
        end = training_lengths(lengths, config.validation_share)
        usable = (end >= least) & (end * (1 - missing) >= 2)
        part = np.where(usable, end.astype(np.float64) ** config.length_power, 0.0)
        if strata is not None and chances is not None:
            part *= chances[next(strata)[0]]
        weights[begin : begin + len(part)] = part
        begin += len(part)
    if not weights.any():
        raise ValueError(
            f"No series of {corpus.path} can be trained on: all have fewer than {least} steps "
            "before those for validation, hold no values, or are in strata of weight 0."
        )
    return weights


def stored_batches(
    source: StoredWindows,
    recipe: Recipe,
    seed: int,
    chunk: int,
    device: str = "cpu",
    ring: Ring | None = None,
) -> list[WindowBatch]:
    """The `recipe.steps_per_chunk` batches of one chunk, mixed by `source.config.share`.

    Every batch has `tokens_per_step` tokens; the share of rows from the corpus is rounded so that
    both sources have at least one row, unless the share is 1. Shapes and masks are the recipe's.

    Parameters
    ----------
    source
        The corpus.
    recipe
        Shapes of the windows and the synthetic part.
    seed
        Seed of the run.
    chunk
        Number of the chunk, from 0.
    device
        Where to generate the synthetic part, and where the batches are.
    ring
        The ring of the chunk before, as in `chunk_batches`.
    """
    rng = seeded("cpu", "windows", seed, chunk, 1)  # of the stored part
    share = source.config.share
    if share < 1:
        tokens = max(1, round(recipe.tokens_per_step * (1 - share)))
        part = replace(recipe, tokens_per_step=tokens)
        synthetic = chunk_batches(part, seed, chunk, device, ring)
        steps = [_shape_of(batch, recipe) for batch in synthetic]
    else:
        synthetic, steps = [], chunk_shapes(recipe, chunk, rng)
    parts: dict[tuple[int, int], Iterator[WindowBatch]] = {}
    for shape in dict.fromkeys((step.context, step.horizon) for step in steps):
        sizes = [
            _rows_of(recipe, shape, synthetic[i].values.shape[0] if synthetic else 0)
            for i, step in enumerate(steps)
            if (step.context, step.horizon) == shape
        ]
        parts[shape] = _batches(source, recipe, WindowShape(*shape, 1.0), sizes, rng)
    stored = [next(parts[step.context, step.horizon]) for step in steps]
    moved = [batch.to(torch.device(device)) for batch in stored]
    if not synthetic:
        return moved
    return [_joined(one, other) for one, other in zip(synthetic, moved, strict=True)]


def _shape_of(batch: WindowBatch, recipe: Recipe) -> WindowShape:
    horizon = batch.prediction_length // recipe.patch_length
    return WindowShape(batch.hidden.shape[1] - horizon, horizon, 1.0)


def _rows_of(recipe: Recipe, shape: tuple[int, int], n_synthetic: int) -> int:
    return max(1, recipe.tokens_per_step // sum(shape) - n_synthetic)


def _joined(one: WindowBatch, other: WindowBatch) -> WindowBatch:
    return WindowBatch(
        torch.cat([one.values, other.values]),
        one.prediction_length,
        torch.cat([one.hidden, other.hidden]),
    )


def _batches(
    source: StoredWindows,
    recipe: Recipe,
    shape: WindowShape,
    sizes: list[int],
    rng: torch.Generator,
) -> Iterator[WindowBatch]:
    """Batches of one shape with so many rows each."""
    context, horizon = (n * recipe.patch_length for n in (shape.context, shape.horizon))
    values = source.draw(sum(sizes), context, horizon, rng)
    values = augmented(values, source.config, rng)
    values = shorten_contexts(values, context, recipe.mask, rng)
    hidden = hidden_patches(len(values), shape, recipe.mask, rng)
    pairs = zip(values.split(sizes), hidden.split(sizes), strict=True)
    return iter([WindowBatch(v, horizon, h) for v, h in pairs])


def augmented(values: Tensor, config: CorpusConfig, rng: torch.Generator) -> Tensor:
    """Mixtures of complete rows, mirror images of any, and more missing values."""
    complete = torch.isfinite(values).all(1).nonzero()[:, 0]
    if config.mixup and len(complete) > 1:
        rows = augment_series(values[complete], rng, replace(_QUIET, mixup=config.mixup))
        values = values.index_copy(0, complete, rows)
    if config.flip:
        down = torch.rand(len(values), 1, generator=rng) < config.flip
        values = torch.where(down, -values, values)
    return drop_values(values, rng, replace(_QUIET, missing=config.missing, max_missing=0.4))


def standardised_rows(
    rows: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Rows of mean 0 and variance 1 by their observed values; constant ones become 0."""
    known = np.isfinite(rows)
    x = np.where(known, rows, 0).astype(np.float64)
    count = np.maximum(1, known.sum(1, keepdims=True))
    x = np.where(known, x - x.sum(1, keepdims=True) / count, 0)
    largest = np.abs(x).max(1, keepdims=True)
    x /= np.where(largest > 0, largest, 1)  # squares must neither overflow nor vanish
    spread = np.sqrt((x * x).sum(1, keepdims=True) / count)
    x /= np.where(spread > 0, spread, 1)
    return np.where(known, x, np.nan).astype(np.float32)
