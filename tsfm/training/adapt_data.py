"""Windows of the caller's series for fine-tuning a pretrained model, split by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsfm.training.finetune_data import Index, evenly

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AdaptBatch:
    """Training windows.

    Parameters
    ----------
    context
        [B, L] float64 in the series' units, NaN = missing; L a multiple of the patch length.
    target
        [B, H] the steps to forecast.
    season
        [B] season lengths that the calendar suggests, 0 for none.
    """

    context: Tensor
    target: Tensor
    season: Tensor

    def to(self, device: torch.device) -> AdaptBatch:
        """The same batch on another device."""
        return AdaptBatch(*(x.to(device) for x in (self.context, self.target, self.season)))


@dataclass(frozen=True)
class AdaptWindows:
    """Windows of some series, each of them with a part for training and a later one held out.

    Parameters
    ----------
    series
        Arrays in their own units, NaN = missing.
    ends
        [N] step of each series at which the held-out part begins.
    firsts, counts
        [N] first origin (first forecast step) of each series' training windows, and their number.
    validation
        [n, 2] series and origin of the held-out windows, which do not overlap.
    context_length, prediction_length
        L and H in steps.
    patch_length
        Of the model.
    max_horizon
        Steps that the model forecasts in one pass.
    seasons
        [N] season lengths in steps that the calendar suggests, 0 for none.
    """

    series: tuple[Array, ...]
    ends: Index
    firsts: Index
    counts: Index
    validation: Index
    context_length: int
    prediction_length: int
    patch_length: int
    max_horizon: int
    seasons: tuple[int, ...]

    @classmethod
    def of(
        cls,
        series: Sequence[Array],
        context_length: int,
        prediction_length: int,
        *,
        patch_length: int,
        max_horizon: int,
        validation_share: float,
        validation_windows: int,
        seasons: Sequence[int] | None = None,
    ) -> AdaptWindows:
        """Cut the windows of some series.

        The last part of every series is held out: windows that are validated forecast steps of
        that part only, from contexts that may reach back; training windows end before it. Origins
        of held-out windows are H + 1 steps apart, so that they go through all hours of a day.

        Parameters
        ----------
        series
            Arrays without leading gaps, NaN = missing.
        context_length, prediction_length
            L and H.
        patch_length, max_horizon
            Of the model.
        validation_share
            Share of the steps at the end that is held out; at least H steps.
        validation_windows
            Most windows of it, evenly spread.
        seasons
            Season length of every series, 0 for none; none by default.

        Raises
        ------
        ValueError
            If there is no window to train on, or none to validate on.
        """
        horizon = prediction_length
        lengths = np.array([len(x) for x in series], dtype=np.int64)
        held_out = np.maximum(horizon, np.round(validation_share * lengths).astype(np.int64))
        ends = np.maximum(0, lengths - held_out)
        last = ends - horizon
        firsts = np.minimum(context_length, np.maximum(1, last // 2))
        counts = np.maximum(0, last - firsts + 1)
        kept = [
            _origins(x, number, int(end), context_length, horizon)
            for number, (x, end) in enumerate(zip(series, ends, strict=True))
        ]
        validation = np.concatenate(kept) if kept else np.empty((0, 2), dtype=np.int64)
        if not counts.sum() or not len(validation):
            raise ValueError(
                f"No window to {'validate' if counts.sum() else 'train'} on: the longest series "
                f"has {lengths.max(initial=0)} steps, prediction_length={horizon} needs at least "
                f"{2 * horizon + 1} with values, better many times more. Give longer series, or a "
                "smaller prediction_length."
            )
        return cls(
            tuple(series),
            ends,
            firsts,
            counts,
            evenly(validation, validation_windows),
            context_length,
            prediction_length,
            patch_length,
            max_horizon,
            tuple(seasons or [0] * len(series)),
        )

    @property
    def n_train(self) -> int:
        """Number of training windows."""
        return int(self.counts.sum())

    def draw(self, count: int, rng: np.random.Generator) -> Index:
        """Series and origin [count, 2] of different training windows, in random order."""
        flat = rng.choice(self.n_train, size=min(count, self.n_train), replace=False)
        stops = self.counts.cumsum()
        number = np.searchsorted(stops, flat, side="right")
        origin = flat - (stops - self.counts)[number] + self.firsts[number]
        return np.stack([number, origin], axis=1)

    def draw_context_length(self, shortest: int, rng: np.random.Generator) -> int:
        """Steps of the contexts of a batch: L, or from `shortest` to L, evenly in proportion.

        Both are as likely. Each length begins at other steps of a season and shows more or less of
        it; that one forecast comes out of all of them is worth learning.
        """
        ratio = max(1.0, self.context_length / shortest)
        shorter = round(self.context_length / ratio ** rng.random())
        return shorter if rng.random() < 0.5 else self.context_length

    def batch(
        self, index: Index, rng: np.random.Generator, context_length: int | None = None
    ) -> AdaptBatch:
        """Training windows, half of them upside down.

        A forecast is the mean over a series and its mirror image, so both are trained.

        Parameters
        ----------
        index
            [B, 2] of `draw`.
        rng
            Decides what is turned.
        context_length
            At most so many steps of the contexts, if not all.
        """
        horizon = min(self.prediction_length, self.max_horizon)
        steps = context_length or self.context_length
        longest = min(steps, int(index[:, 1].max()))
        length = -(-longest // self.patch_length) * self.patch_length
        values = np.full((len(index), length + horizon), np.nan)
        for row, (number, origin) in zip(values, index.tolist(), strict=True):
            window = self.series[number][max(0, origin - steps) : origin + horizon]
            row[len(row) - len(window) :] = window
        values *= np.where(rng.random((len(index), 1)) < 0.5, -1.0, 1.0)
        both = torch.from_numpy(values)
        season = torch.tensor([self.seasons[number] for number in index[:, 0].tolist()])
        return AdaptBatch(both[:, :length], both[:, length:], season)


def _origins(x: Array, number: int, end: int, context_length: int, horizon: int) -> Index:
    """Origins of the held-out windows of a series, the last window first, [n, 2].

    Those without a value in the context, or in the steps to forecast, do not count.
    """
    stride = horizon + (horizon > 1)
    origins = np.arange(len(x) - horizon, max(end, 1) - 1, -stride, dtype=np.int64)
    count = np.concatenate([[0], np.isfinite(x).cumsum()])
    before = count[origins] - count[np.maximum(origins - context_length, 0)]
    after = count[origins + horizon] - count[origins]
    kept = origins[(before > 0) & (after > 0)]
    return np.stack([np.full_like(kept, number), kept], axis=1)
