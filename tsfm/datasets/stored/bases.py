"""Pieces of the series of a corpus on disk, for anomalies to be put into.

What is stored is taken for normal: a detector that learns from it takes what is odd in it for
normal, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsfm.datasets.anomalies.bases import Bases, known_bases
from tsfm.datasets.stored.config import CorpusConfig
from tsfm.datasets.stored.layout import Float64, training_lengths
from tsfm.datasets.stored.windows import (
    StoredWindows,
    augmented,
    drawn_series,
    series_weights,
    standardised_rows,
)

_KNOWN = 0.5
"""Least share of values that a piece should have."""
_REDRAWS = 4


@dataclass(frozen=True)
class StoredBases:
    """The training part of the series that are long enough, ready to be drawn from.

    Parameters
    ----------
    source
        The corpus.
    cumulative
        By length of pieces, [n_series] running sum of the chances of the series; 0 for those that
        are shorter.
    """

    source: StoredWindows
    cumulative: dict[int, Float64]

    @classmethod
    def of(cls, config: CorpusConfig, lengths: Iterable[int]) -> StoredBases:
        """Open a corpus for pieces of some lengths.

        Parameters
        ----------
        config
            The corpus, and how to draw.
        lengths
            Steps of the pieces.

        Raises
        ------
        FileNotFoundError
            If there is no such corpus.
        ValueError
            If it is not the one the run began with, or no series is long enough.
        """
        source = StoredWindows.of(config)
        wanted = sorted(set(lengths))
        share = config.validation_share
        steps = training_lengths(source.corpus.column("length"), share)
        longest = int(steps.max())
        if longest < wanted[-1]:
            raise ValueError(
                f"No series of {config.path} is long enough for windows of {wanted[-1]} steps: "
                f"the longest has {longest} to train on, the last {share:g} being for validation. "
                f"Give windows.shapes of at most {longest} steps, all multiples of "
                "model.patch_length and at least 64, for example "
                '--set "windows.shapes=[{length: 64}]", or add longer series.'
            )
        n_short = int((steps < wanted[0]).sum())
        if n_short:
            warnings.warn(
                f"{n_short} of the {len(steps)} series of {config.path} are never drawn: they "
                f"have fewer than {wanted[0]} steps to train on, the shortest of windows.shapes.",
                UserWarning,
                stacklevel=2,
            )
        sums = {
            length: np.cumsum(series_weights(source.corpus, source.config, length))
            for length in wanted
        }
        return cls(source, sums)

    def rows(self, n_rows: int) -> tuple[int, int]:
        """Synthetic and stored rows of a batch of `n_rows`; a mixed one has both."""
        share = self.source.config.share
        if share == 1:
            return 0, n_rows
        synthetic = max(1, round(n_rows * (1 - share)))
        return synthetic, max(1, n_rows - synthetic)

    def draw(self, n: int, length: int, rng: torch.Generator) -> Tensor:
        """Random pieces of the training part, each inside one series.

        Parameters
        ----------
        n, length
            Number of pieces and their steps, one of the lengths given to `of`.
        rng
            Source of draws, on the CPU.

        Returns
        -------
        Tensor
            [n, length] float32, each row of mean 0 and variance 1, NaN = missing.
        """
        values = self._pieces(n, length, rng)
        for _ in range(_REDRAWS):
            rows = np.flatnonzero(np.isfinite(values).mean(1) < _KNOWN)
            if not len(rows):
                break
            values[rows] = self._pieces(len(rows), length, rng)
        config = replace(self.source.config, missing=0.0)
        return augmented(torch.from_numpy(standardised_rows(values)), config, rng)

    def _pieces(
        self, n: int, length: int, rng: torch.Generator
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        corpus, cumulative = self.source.corpus, self.cumulative[length]
        uniform = torch.rand(2, n, dtype=torch.float64, generator=rng).numpy()
        numbers = drawn_series(cumulative, uniform[0])
        (total,) = corpus.rows(numbers, "length")
        end = training_lengths(total, self.source.config.validation_share)
        starts = np.floor(uniform[1] * (end - length + 1)).astype(np.int64)
        return corpus.windows(numbers, starts, length, end)


def bridged_bases(x: Tensor) -> Bases:
    """Series [n, L] as bases, their missing steps bridged.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 1.0, torch.nan, torch.nan, 4.0, torch.nan, 0.0, 1.0]])
    >>> bases = bridged_bases(x)
    >>> bases.known.int().tolist(), bool(bases.x.isfinite().all())
    ([[1, 1, 0, 0, 1, 0, 1, 1]], True)
    """
    return replace(known_bases(bridged(x)), known=torch.isfinite(x))


def bridged(x: Tensor) -> Tensor:
    """Rows [n, L] with straight lines over gaps, level before and after; 0 where all is missing.

    Examples
    --------
    >>> bridged(torch.tensor([[torch.nan, 1.0, torch.nan, 3.0, torch.nan]])).tolist()
    [[1.0, 1.0, 2.0, 3.0, 3.0]]
    """
    length, known = x.shape[1], torch.isfinite(x)
    t = torch.arange(length, device=x.device)
    left = torch.where(known, t, -1).cummax(-1).values
    right = torch.where(known, t, length).flip(-1).cummin(-1).values.flip(-1)
    before = x.gather(1, left.clamp_min(0))
    after = x.gather(1, right.clamp_max(length - 1))
    before = torch.where(left < 0, after, before)
    after = torch.where(right >= length, before, after)
    line = torch.lerp(before, after, ((t - left) / (right - left)).clamp(0, 1).nan_to_num(0))
    return torch.where(known, x, line).nan_to_num(0)
