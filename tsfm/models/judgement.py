"""What a detector says of a series, in the terms of thresholds and pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Aggregation = Literal["max", "mean"] | int

SHORTEST = 8
"""Steps below which a series has no context to be out of line with."""
NEVER = -10.0
"""Score of a channel that never changes: log odds of 1 to 22,000."""
LONGEST = 4096
"""Window of models that do not say what theirs is."""

_NORMAL = 1.4826
_FLOOR = 0.01
_AT_ONCE = 32
"""Trailing windows that are read together."""


class Scores(Protocol):
    """What a model's `score` returns: [L, C] each, see `tsfm.models.Detection`."""

    @property
    def score(self) -> Array:
        """How far each step is out of line."""

    @property
    def expected(self) -> Array:
        """What it would be otherwise."""

    @property
    def scale(self) -> Array:
        """Size of ordinary deviations."""


class DetectionModel(Protocol):
    """Anything that scores arrays: a `Detector`, or your own object like it.

    It may have a `max_context` (steps of its longest window), a `calibration`, and a
    `score_windows` that answers to windows [n, L, C] with n such answers.
    """

    def score(self, values: Array, *, window: int | None, progress: bool) -> Scores:
        """Scores each step of a series [L, C] in the light of all others."""


@dataclass(frozen=True)
class Judged:
    """Steps of a series as a detector sees them.

    Parameters
    ----------
    score
        [L, C] log odds of an anomaly; NaN where there is no value, or too little context.
    expected
        [L, C] what the series would be without anomaly.
    spread
        [L, C] usual distance of the values from `expected`: 1.4826 times the median of its size,
        which is a standard deviation if they are normal; at least a hundredth of the model's
        scale.
    """

    score: Array
    expected: Array
    spread: Array

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> Judged:
        """Of steps that cannot be judged."""
        return cls(*(np.full(shape, np.nan) for _ in range(3)))


def longest_window(model: DetectionModel, context_length: int | None) -> int:
    """Steps that are read at once."""
    longest = int(getattr(model, "max_context", LONGEST))
    return longest if context_length is None else min(longest, context_length)


def judge(
    model: DetectionModel, values: Array, window: int | None = None, *, progress: bool = False
) -> Judged:
    """Judge every step of a series by what lies on both sides of it.

    Parameters
    ----------
    model
        The detector.
    values
        [L, C], NaN where missing. Fewer than 8 steps are not judged.
    window
        Steps read at once; the model's longest by default.
    progress
        Whether to show a progress bar.
    """
    if len(values) < SHORTEST:
        return Judged.nothing(values.shape)
    return _judged(values, model.score(values, window=window, progress=progress))


def _judged(values: Array, answer: Scores) -> Judged:
    """A model's answer to a series [L, C] in the terms of thresholds and pictures."""
    score = answer.score.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of channels without any value
        distance = np.nanmedian(np.abs(values - answer.expected), axis=0)
        usual = np.nanmedian(answer.scale, axis=0)
        constant = np.nanmax(values, axis=0) == np.nanmin(values, axis=0)
    spread = np.broadcast_to(np.maximum(_NORMAL * distance, _FLOOR * usual), values.shape)
    score[:, constant] = np.where(np.isnan(score[:, constant]), np.nan, NEVER)
    return Judged(score, answer.expected, spread)


def judge_trailing(
    model: DetectionModel,
    values: Array,
    window: int,
    delay: int = 0,
    *,
    first: int = 0,
    progress: bool = False,
) -> Judged:
    """Judge each step as an alert would have to: without what follows, but for `delay` steps.

    Each step is read in a window that ends `delay` steps after it: a pass per step, and answers
    that never change. The last `delay` steps are not judged yet, nor is a step whose window has
    fewer than 8.

    Parameters
    ----------
    model, values, progress
        As in `judge`.
    window
        Steps read at once, `delay` included.
    delay
        Steps waited for.
    first
        Step to begin with.

    Returns
    -------
    Judged
        Of the steps from `first` on; NaN for those that are not judged.
    """
    from tqdm.auto import tqdm

    whole = Judged.nothing((len(values) - first, values.shape[1]))
    start = max(first, SHORTEST - 1 - delay)
    with tqdm(total=len(values) - first, disable=not progress, unit="step", desc="score") as bar:
        for begin in range(start, len(values) - delay, _AT_ONCE):
            steps = range(begin, min(begin + _AT_ONCE, len(values) - delay))
            seen = [values[max(0, s + delay + 1 - window) : s + delay + 1] for s in steps]
            for step, one in zip(steps, _each(model, seen), strict=True):
                for total, part in zip(_fields(whole), _fields(one), strict=True):
                    total[step - first] = part[-1 - delay]
            bar.update(steps[-1] + 1 - first - bar.n)
    return whole


def _each(model: DetectionModel, windows: list[Array]) -> Iterator[Judged]:
    """Judge windows, together where they are equally long and the model can."""
    together = getattr(model, "score_windows", None)
    if together is None or len({len(one) for one in windows}) > 1:
        yield from (judge(model, one) for one in windows)
    else:
        answers = together(np.stack(windows))
        yield from (_judged(*pair) for pair in zip(windows, answers, strict=True))


def _fields(judged: Judged) -> tuple[Array, Array, Array]:
    return judged.score, judged.expected, judged.spread


def of_measured_channels(scores: Array, values: Array) -> Array:
    """Scores in which on/off channels have none, unless there are no others; both [L, C].

    A channel of at most two different values says what was switched. Switching is no deviation
    from a usual course, so beside channels that measure something it is read as context only.

    Examples
    --------
    >>> values = np.array([[0.0, 1.5], [0.0, 1.7], [1.0, 1.6]])
    >>> of_measured_channels(np.ones((3, 2)), values)[0].tolist()
    [nan, 1.0]
    """
    measured = np.array([len(np.unique(one[np.isfinite(one)])) > 2 for one in values.T])
    if measured.all() or not measured.any():
        return scores
    return np.where(measured, scores, np.nan)


def combine_channels(scores: Array, aggregation: Aggregation) -> Array:
    """One score per step, [L], from those of its channels [L, C].

    Parameters
    ----------
    scores
        NaN where a channel has no value; NaN remains only where all have none.
    aggregation
        "max", "mean", or k for the mean of the k highest.

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, np.nan], [3.0, 2.0, 1.0]])
    >>> [combine_channels(scores, how).tolist() for how in ("max", "mean", 2)]
    [[4.0, 3.0], [2.5, 2.0], [2.5, 2.5]]
    """
    ranked = -np.sort(-scores, axis=1)  # NaN last
    kept = {"max": 1, "mean": scores.shape[1]}.get(str(aggregation), aggregation)
    ranked = ranked[:, : int(kept)]
    known = np.isfinite(ranked)
    total = np.where(known, ranked, 0).sum(axis=1)
    empty = np.full(len(scores), np.nan)
    mean: Array = np.divide(total, known.sum(axis=1), out=empty, where=known.any(axis=1))
    return mean
