"""Training and validation windows of a data set, split by time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsfm.models.presets.windows import Array, right_aligned, spread_of

Index = NDArray[np.int64]

_LARGEST_RATIO = 10.0
"""Ratio of standard deviations beyond which series do not share a unit."""


@dataclass(frozen=True)
class WindowSet:
    """Windows of one or several systems; a system is a matrix of series that end together.

    Parameters
    ----------
    systems
        Each [N, L + T] float32, L missing steps before the first.
    context_length, prediction_length
        L and H.
    train, validation
        [n, 2] system and first forecast step of every window.
    """

    systems: tuple[Tensor, ...]
    context_length: int
    prediction_length: int
    train: Index
    validation: Index

    @classmethod
    def of(
        cls,
        series: Sequence[Array],
        context_length: int,
        prediction_length: int,
        *,
        together: bool,
        standardise: bool,
        validation_share: float,
        validation_length: int | None = None,
        names: Sequence[str] | None = None,
    ) -> WindowSet:
        """Cut the windows of some series.

        The last part of every series is for validation: its windows forecast steps of that part
        only, from contexts that may reach back; training windows end before it. Where a series is
        shorter than two contexts, training also forecasts from shorter, padded contexts. A series
        that does not vary in its training part has no unit: it is left out, with a warning.

        Parameters
        ----------
        series
            Arrays, NaN = missing.
        context_length, prediction_length
            L and H.
        together
            Whether the series are the variates of one system, aligned at their ends.
        standardise
            Whether to bring each series to mean 0 and variance 1 (of its training part).
        validation_share
            Share of the steps at the end that is for validation; at least H steps.
        validation_length
            Their number, instead.
        names
            Of the series, for messages; their numbers by default.

        Raises
        ------
        ValueError
            If there is no window to train on, none to validate on, or no series varies.
        """
        matrices = [right_aligned(series)] if together else [right_aligned([x]) for x in series]
        systems: list[Tensor] = []
        train: list[Index] = []
        validation: list[Index] = []
        spreads: list[float] = []
        for number, matrix in enumerate(matrices):
            steps = matrix.shape[1]
            held_out = validation_length or max(prediction_length, round(validation_share * steps))
            end = max(0, steps - held_out)
            spreads += [spread_of(row[:end]) for row in matrix]
            matrix[np.array(spreads[-len(matrix) :]) == 0] = np.nan
            systems.append(_padded(matrix, end, context_length, standardise))
            last = end - prediction_length
            first = min(context_length, max(1, last // 2))
            present = np.asarray(np.isfinite(matrix).any(axis=0))
            for index, origins in (
                (train, range(first, last + 1)),
                (validation, range(max(end, 1), steps - prediction_length + 1)),
            ):
                kept = _with_values(present, origins, context_length, prediction_length)
                index.append(np.stack([np.full_like(kept, number), kept], axis=1))
        longest = max((matrix.shape[1] for matrix in matrices), default=0)
        if longest > 2 * prediction_length:
            _check_spreads(spreads, names, standardise)
        sets = [np.concatenate(index) for index in (train, validation)]
        if not len(sets[0]) or not len(sets[1]):
            raise ValueError(
                f"No window to {'train' if not len(sets[0]) else 'validate'} on: the longest "
                f"series has {longest} steps, prediction_length={prediction_length} needs "
                f"at least {2 * prediction_length + 1} with values, better many times more. "
                "Give longer series, or a smaller prediction_length."
            )
        return cls(tuple(systems), context_length, prediction_length, *sets)

    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """Contexts [B, N, L] and targets [B, N, H] of some windows, NaN = missing."""
        length = self.context_length + self.prediction_length
        windows = torch.stack(
            [self.systems[s][:, origin : origin + length] for s, origin in index.tolist()]
        )
        return windows[..., : self.context_length], windows[..., self.context_length :]


def evenly(index: Index, count: int) -> Index:
    """At most `count` of the windows, evenly spread.

    Examples
    --------
    >>> evenly(np.arange(10), 3).tolist()
    [0, 4, 9]
    """
    if len(index) <= count:
        return index
    return index[np.linspace(0, len(index) - 1, count).astype(int)]


def _padded(matrix: Array, end: int, before: int, standardise: bool) -> Tensor:
    """A system as float32 with missing steps before it, scaled by its first `end` steps."""
    scaled = np.array(matrix)
    for row in scaled:
        if standardise:
            row /= np.nanmax(np.abs(row), initial=1e-300)  # squares must not overflow
        known = row[:end][np.isfinite(row[:end])]
        if len(known):
            row -= known.mean()
            if standardise:
                row /= known.std() or 1.0
    padded = np.pad(scaled, ((0, 0), (before, 0)), constant_values=np.nan)
    return torch.from_numpy(padded.astype(np.float32))


def _check_spreads(
    spreads: Sequence[float], names: Sequence[str] | None, standardise: bool
) -> None:
    """Say which series do not vary in training, and which do not share a unit if they must."""
    labels = [str(i) for i in range(len(spreads))] if names is None else list(names)
    flat = [label for label, spread in zip(labels, spreads, strict=True) if spread == 0]
    if len(flat) == len(spreads):
        raise ValueError(
            f"Nothing to learn: all series ({_some(flat)}) are constant, or have less than two "
            "values, in the part they are trained on. Give series that vary before the part that "
            "is held out at their end."
        )
    if flat:
        warnings.warn(
            f"Series {_some(flat)} are constant, or have less than two values, in the part they "
            "are trained on: they count neither in the loss nor in the validation error. Drop "
            "them, or give more of their history.",
            UserWarning,
            stacklevel=4,
        )
    if standardise:
        return
    varied = [i for i, spread in enumerate(spreads) if spread > 0]
    low, high = (pick(varied, key=spreads.__getitem__) for pick in (min, max))
    if spreads[high] > _LARGEST_RATIO * spreads[low]:
        warnings.warn(
            f"scaling: mean keeps the series' units, but series {labels[high]} has a standard "
            f"deviation of {spreads[high]:.3g}, series {labels[low]} of {spreads[low]:.3g}: the "
            "former decides the training. Bring them to one unit, or take scaling: standard.",
            UserWarning,
            stacklevel=4,
        )


def _some(labels: Sequence[str]) -> str:
    """The first few labels, and how many more there are."""
    shown = ", ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"


def _with_values(
    present: NDArray[np.bool_], origins: range, context_length: int, prediction_length: int
) -> Index:
    """The origins with a value both in the context and in the steps to forecast."""
    count = np.concatenate([[0], present.cumsum()])
    at = np.arange(origins.start, max(origins.start, origins.stop), dtype=np.int64)
    before = count[at] - count[np.maximum(at - context_length, 0)]
    after = count[at + prediction_length] - count[at]
    kept: Index = at[(before > 0) & (after > 0)]
    return kept
