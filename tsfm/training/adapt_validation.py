"""How much a fine-tuned model gains on held-out windows, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsfm.models.pipeline import TSFM
from tsfm.models.quantiles import pinball
from tsfm.training.adapt_data import AdaptWindows

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """What a model gains over the zero-shot model, as a share of that one's loss.

    Parameters
    ----------
    mean
        Mean over series of the relative fall of the loss; negative where the model is worse.
    error
        Standard error of the mean; infinite where a single window cannot tell.
    """

    mean: float
    error: float


@dataclass(frozen=True)
class HeldOut:
    """The held-out windows, and what the zero-shot model makes of them.

    Parameters
    ----------
    windows
        The windows.
    base
        [n] losses of the zero-shot model.
    """

    windows: AdaptWindows
    base: Array

    @classmethod
    def of(cls, windows: AdaptWindows, model: TSFM) -> HeldOut:
        """Score the zero-shot model."""
        return cls(windows, window_losses(model, windows))

    def gain(self, model: TSFM) -> Gain:
        """What another model gains over the zero-shot model."""
        losses = window_losses(model, self.windows)
        return relative_gain(self.base, losses, self.windows.validation)


def window_losses(model: TSFM, windows: AdaptWindows) -> Array:
    """Mean pinball loss, times two, of each held-out window: [n], in the unit of its series.

    The forecasts are those of `TSFM.forecast(..., mode="fast")` at the trained levels.

    Parameters
    ----------
    model
        Any pretrained model.
    windows
        The windows.
    """
    index, horizon = windows.validation.tolist(), windows.prediction_length
    contexts = [windows.series[i][max(0, o - windows.context_length) : o] for i, o in index]
    contexts = [x[np.isfinite(x).argmax() :] for x in contexts]
    quantiles = model.quantiles(contexts, horizon, seasons=[windows.seasons[i] for i, _ in index])
    truth = np.stack([windows.series[i][o : o + horizon] for i, o in index])
    levels = np.array(model.config.head.quantile_levels)
    losses = 2 * np.asarray(pinball(truth[..., None] - quantiles, levels)).mean(-1)
    answer: Array = np.nanmean(losses, axis=1)
    return answer


def relative_gain(base: Array, losses: Array, index: NDArray[np.int64]) -> Gain:
    """Mean and standard error of the relative fall of some losses.

    Every series counts alike: its losses are divided by the mean of its base losses. A series
    whose base loss is nothing does not count. Windows of one series follow each other, and those
    of one time share its events. So the standard error is that over places in time, counted from
    the ends of the series, or over series, whichever are more.

    Parameters
    ----------
    base, losses
        [n] losses of the zero-shot and of the other model.
    index
        [n, 2] series and origin of every window, latest first within each series.

    Examples
    --------
    >>> index = np.array([[0, 30], [0, 20], [0, 10]])
    >>> gain = relative_gain(np.array([1.0, 1.0, 1.0]), np.array([0.9, 0.8, 1.0]), index)
    >>> round(gain.mean, 3), round(gain.error, 3)
    (0.1, 0.058)
    """
    numbers, series = np.unique(index[:, 0], return_inverse=True)
    unit = np.bincount(series, base) / np.bincount(series)
    usable = unit[series] > 0
    if not usable.any():
        return Gain(0.0, math.inf)
    share = 1 / np.bincount(series[usable], minlength=len(numbers)).clip(1)
    weight = share[series] * usable / len(np.unique(series[usable]))  # they sum to one
    fall = np.where(usable, (base - losses) / np.where(usable, unit[series], 1), 0)
    mean = float(weight @ fall)
    first = np.concatenate([[True], series[1:] != series[:-1]])
    starts = np.flatnonzero(first)
    place = np.arange(len(series)) - starts[np.cumsum(first) - 1]
    groups = max((place[usable], series[usable]), key=lambda g: len(np.unique(g)))
    _, group = np.unique(groups, return_inverse=True)
    parts = np.bincount(group, (weight * (fall - mean))[usable])  # they sum to zero
    n = len(parts)
    error = math.sqrt(float(parts @ parts) * n / (n - 1)) if n > 1 else math.inf
    return Gain(mean, error)
