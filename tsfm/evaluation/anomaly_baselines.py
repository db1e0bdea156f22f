"""Simple scorers of anomalies: the controls that any detector has to beat.

A scorer takes values `[L, C]` and the end of the training part, and answers with one score per
step `[L]`, higher where the series is more anomalous. Those here look at the whole series (but for
the windowed Gaussian, which sees only the past) and ignore the training part. Several channels
are scored one by one; their scores are standardised (mean 0, standard deviation 1; constant ones
become 0) and averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsfm.evaluation.anomaly_metrics import FloatArray

Detector = Callable[[NDArray[np.floating], int], NDArray[np.floating]]
"""`(values [L, C], train_end) -> scores [L]`, higher is more anomalous."""

PERIOD_STEPS = 20_000
PERIOD_LAGS = 400
DEFAULT_PERIOD = 125

_CELLS = 4_000_000
"""Numbers in one block of windows."""


def period(values: NDArray[np.floating]) -> int:
    """Lag of the strongest autocorrelation peak, as TSB-AD finds the period of a series.

    Looks at the first 20,000 steps and at lags 4 to 400; 125 where there is no peak, or where the
    strongest one lies below lag 6 or above lag 303.

    Parameters
    ----------
    values
        `[L]`, finite.

    Examples
    --------
    >>> period(np.sin(2 * np.pi * np.arange(1000) / 24))
    24
    """
    head = np.asarray(values, dtype=np.float64)[:PERIOD_STEPS]
    head = head - head.mean()
    spectrum = np.fft.rfft(head, 2 * len(head))
    power = np.fft.irfft(np.abs(spectrum) ** 2)[: min(PERIOD_LAGS + 1, len(head))]
    if not power[0] > 0:
        return DEFAULT_PERIOD
    base = 3
    curve = power[base:] / power[0]
    peaks = np.flatnonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] > curve[2:])) + 1
    if not len(peaks):
        return DEFAULT_PERIOD
    best = int(peaks[np.argmax(curve[peaks])])
    return best + base if base <= best <= 300 else DEFAULT_PERIOD


def absolute_difference(values: FloatArray) -> FloatArray:
    """Size of the step from the value before; 0 for the first."""
    return np.abs(np.diff(values, prepend=values[0]))


def absolute_deviation(values: FloatArray) -> FloatArray:
    """Distance to the median of the series."""
    return np.abs(values - np.median(values))


def z_score(values: FloatArray) -> FloatArray:
    """Distance to the mean of the series, in standard deviations; 0 if it is constant."""
    return np.abs(_standardise(values))


def rolling_z_score(values: FloatArray) -> FloatArray:
    """Distance to the mean of a centred window, in its standard deviations.

    The window is four periods long (`period`), cut at both ends of the series.
    """
    half = 2 * period(values)
    centred = values - values.mean()
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    sums, squares = (np.concatenate([[0.0], np.cumsum(power)]) for power in (centred, centred**2))
    mean = (sums[high] - sums[low]) / (high - low)
    variance = (squares[high] - squares[low]) / (high - low) - mean**2
    floor = 1e-12 * max(float(np.var(centred)), 1e-300)  # rounding, in a window without spread
    return np.asarray(np.abs(centred - mean) / np.sqrt(np.maximum(variance, floor)))


def sub_pca(values: FloatArray) -> FloatArray:
    """Principal components of all windows of one period: TSB-AD's Sub-PCA.

    Every window is standardised position by position. Its score is the sum over components of the
    distance between the window and the unit vector of the component, divided by the component's
    share of variance; the sign of a component is such that its largest entry is positive. Scores
    stand at the centre of their window, and the first and last are repeated to the ends. Source:
    Shyu et al. (2003), "A novel anomaly detection scheme based on principal component classifier".
    """
    length = min(period(values), len(values) // 2)
    if length < 2 or not np.ptp(values) > 0:
        return np.zeros(len(values))
    windows = np.lib.stride_tricks.sliding_window_view(values, length)  # [N, W]
    blocks = np.array_split(windows, -(-windows.size // _CELLS))
    mean = windows.mean(axis=0)
    spread = np.sqrt(sum(np.square(block - mean).sum(axis=0) for block in blocks) / len(windows))
    spread[spread == 0] = 1.0
    gram = np.zeros((length, length))
    for block in blocks:
        z = (block - mean) / spread
        gram += z.T @ z
    strength, vectors = np.linalg.eigh(gram)
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(length)])
    weight = 1 / np.maximum(strength / strength.sum(), 1e-15)
    parts = []
    for block in blocks:
        z = (block - mean) / spread
        square = np.square(z).sum(axis=1, keepdims=True) - 2 * z @ vectors + 1
        parts.append(np.sqrt(np.maximum(square, 0)) @ weight)
    scores = np.concatenate(parts)
    return np.pad(scores, (length // 2, length - 1 - length // 2), mode="edge")


def windowed_gaussian(values: FloatArray) -> FloatArray:
    """One minus the normal tail probability of each value, given the values before it.

    Mean and standard deviation are those of all past values up to 6,400, then of a window of 6,400
    that moves in jumps of 100. Sees only the past. NAB's detector of that name.
    """
    size, jump = 6400, 100
    now = np.arange(len(values))
    low = np.maximum((now - size) // jump * jump, 0)
    high = np.where(now <= size, now, low + size)
    centred = values - values.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(x)]) for x in (centred, centred**2))
    count = np.maximum(high - low, 1)
    mean = (sums[high] - sums[low]) / count
    variance = (squares[high] - squares[low]) / count - mean**2
    flat = variance <= 1e-12 * np.maximum(squares[high] - squares[low], 1e-300) / count
    spread = np.where(flat, 1e-6, np.sqrt(np.where(flat, 1.0, variance)))
    z = np.abs(centred - mean) / spread / math.sqrt(2)
    scores = 1 - 0.5 * np.array([math.erfc(value) for value in z])
    scores[0] = 0.0
    return scores


def matrix_profile(values: FloatArray) -> FloatArray:
    """Distance of every window of one period to its nearest neighbour elsewhere in the series.

    z-normalised, by `stumpy`; scores stand at the centre of their window, and the first and last
    are repeated to the ends. Source: Yeh et al. (2016), "Matrix profile I".

    Raises
    ------
    ImportError
        `stumpy` is not installed.
    """
    try:
        from stumpy import stump
    except ImportError as error:
        raise ImportError(
            "the baseline matrix-profile needs stumpy: pip install stumpy"
        ) from error
    length = min(period(values), len(values) // 4)
    if length < 3 or not np.ptp(values) > 0:
        return np.zeros(len(values))
    distance = np.asarray(stump(values, length)[:, 0], dtype=np.float64)
    distance = np.nan_to_num(distance, posinf=0.0)
    return np.pad(distance, (length // 2, length - 1 - length // 2), mode="edge")


def random_scores(values: FloatArray) -> FloatArray:
    """Uniform noise, the same for every series of a length."""
    return np.random.default_rng(0).random(len(values))


CHANNEL_SCORERS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "sub-pca": sub_pca,
    "abs-diff": absolute_difference,
    "abs-deviation": absolute_deviation,
    "z-score": z_score,
    "rolling-z-score": rolling_z_score,
    "windowed-gaussian": windowed_gaussian,
    "matrix-profile": matrix_profile,
    "random": random_scores,
}
"""Baselines by name: each scores one channel `[L]`."""


@dataclass(frozen=True)
class Scorer:
    """A baseline as a detector.

    Parameters
    ----------
    name
        One of `CHANNEL_SCORERS`.

    Examples
    --------
    >>> Scorer("abs-diff")(np.array([[1.0], [1.0], [4.0]]), 0)
    array([0., 0., 3.])
    """

    name: str

    def __call__(self, values: NDArray[np.floating], train_end: int) -> FloatArray:
        """Scores `[L]` of values `[L, C]`.

        Raises
        ------
        ValueError
            If a value is NaN or infinite.
        """
        array = np.asarray(values, dtype=np.float64)
        if not np.isfinite(array).all():
            step = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise ValueError(
                f"the value at step {step} is missing or infinite, and baseline {self.name!r} "
                "knows no gaps; fill it first"
            )
        score = CHANNEL_SCORERS[self.name]
        if array.shape[1] == 1:
            return score(array[:, 0])
        return np.asarray(np.mean([_standardise(score(channel)) for channel in array.T], axis=0))


def _standardise(values: FloatArray) -> FloatArray:
    spread = values.std()
    if not spread > 1e-12 * np.abs(values).max():
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / spread)


def scorer_named(name: str) -> Scorer:
    """The detector of a name.

    Parameters
    ----------
    name
        One of `CHANNEL_SCORERS`.

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> scorer_named("sub-pca")
    Scorer(name='sub-pca')
    """
    if name not in CHANNEL_SCORERS:
        raise ValueError(f"no baseline {name!r}; there are {', '.join(CHANNEL_SCORERS)}")
    return Scorer(name)
