"""Prediction intervals for point forecasts: quantiles of the errors on held-out windows.

Split-conformal prediction with the absolute error as score (Vovk et al., "Algorithmic Learning in
a Random World", 2005; Lei et al., arXiv 1604.04173): the central interval of coverage p at step h
is the point forecast plus and minus the ceil((n + 1) p)-th smallest of n errors at that step. The
errors are counted in units of each window's scale. Were the windows exchangeable, the interval
would hold a new value with probability p at least, averaged over series; those of a time series
overlap and drift, so that this holds approximately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tsfm.models.conformal import conformal_quantiles

Array = NDArray[np.float64]

COVERAGES = (*(i / 20 for i in range(1, 20)), 0.98, 0.99, 0.995)
"""Coverages at which the half-widths are kept."""

_STUDENT = np.array([3.0777, 1.8856, 1.6377, 1.5332, 1.4759, 1.4398, 1.4149])
"""90 % quantiles of Student's distribution with 1 to 7 degrees of freedom."""
_STUDENT_LIMIT = 1.2816
"""That of the normal distribution."""


@dataclass(frozen=True)
class Intervals:
    """Half-widths of central intervals by step and coverage.

    Parameters
    ----------
    half_widths
        [H, len(COVERAGES)] in units of the window's scale, non-decreasing along coverages.

    Examples
    --------
    >>> errors = np.abs(np.random.default_rng(0).normal(size=(999, 1)))
    >>> intervals = Intervals.of(errors)
    >>> offsets = intervals.offsets((0.1, 0.5, 0.9), prediction_length=4)
    >>> offsets.shape, float(offsets[0, 1])
    ((4, 3), 0.0)
    """

    half_widths: Array

    @classmethod
    def of(cls, errors: Array) -> Intervals:
        """Half-widths from errors on held-out windows.

        A coverage that needs more than the n errors there are takes the largest one, enlarged as
        the tail of a normal distribution would be.

        Parameters
        ----------
        errors
            [n, H] absolute errors in units of each window's scale; NaN = unknown.

        Raises
        ------
        ValueError
            If no error is known.
        """
        if not np.isfinite(errors).any():
            raise ValueError(
                "No held-out value is known, so no interval can be given: hold out a part of "
                "the series with values."
            )
        rows: list[Array | None] = [_half_widths(column) for column in errors.T]
        known = [row for row in rows if row is not None]
        filled, last = [], known[0]
        for row in rows:
            last = last if row is None else row
            filled.append(last)
        return cls(np.stack(filled))

    def offsets(self, levels: Sequence[float], prediction_length: int) -> Array:
        """What to add to a point forecast of scale one: [prediction_length, Q].

        Symmetric about the level 0.5, whose offset is zero; between the kept coverages and beyond
        them linear in the normal score, so monotone in the level. Steps h beyond the H that were
        measured are at least as wide as any measured step and grow like sqrt(h / H), as a random
        walk does; this is an assumption, not a measurement.

        Parameters
        ----------
        levels
            Quantile levels in (0, 1).
        prediction_length
            Steps wanted.
        """
        scores = np.array([0.0, *map(_score, COVERAGES)])
        wanted = np.array([_score(abs(2 * level - 1)) for level in levels])
        rows = np.pad(self.half_widths, ((0, 0), (1, 0)))  # coverage zero has width zero
        half = np.stack([np.interp(wanted, scores, row) for row in rows])
        half *= np.maximum(wanted / scores[-1], 1.0)
        measured = len(half)
        beyond = np.arange(measured + 1, prediction_length + 1)
        grown = half.max(axis=0) * np.sqrt(beyond / measured)[:, None]
        widths = np.concatenate([half, grown])[:prediction_length]
        signed: Array = widths * np.sign(np.array(levels) - 0.5)
        return signed


def widening(counts: NDArray[np.int64]) -> Array:
    """Factor on a standard deviation of a few values, that of 80 % intervals of normal ones.

    The interval for a further normal value from the mean and (biased) standard deviation of n is
    sqrt((n + 1) / (n - 1)) times Student's quantile wide, instead of the normal one. From 8
    values on, and for a single one, whose deviation is zero anyway, the factor is one.

    Examples
    --------
    >>> widening(np.array([1, 2, 5, 100])).round(2).tolist()
    [1.0, 4.16, 1.47, 1.0]
    """
    known = np.where((counts > 1) & (counts < 8), counts, 8)
    ratio = np.sqrt((known + 1) / (known - 1)) * _STUDENT[known - 2] / _STUDENT_LIMIT
    factor: Array = np.where(known < 8, ratio, 1.0)
    return factor


def _half_widths(errors: Array) -> Array | None:
    """Half-widths [len(COVERAGES)] from the errors [n] of one step; None if none is known."""
    n = int(np.isfinite(errors).sum())
    if n == 0:
        return None
    half = conformal_quantiles(errors, COVERAGES)
    largest = _score(n / (n + 1))  # from here on coverages need more errors than there are
    stretch = np.array([max(_score(p) / largest, 1.0) for p in COVERAGES])
    return np.maximum.accumulate(half * stretch)


def _score(coverage: float) -> float:
    """Half-width of the central interval of a standard normal distribution."""
    return NormalDist().inv_cdf((1 + min(coverage, 1 - 1e-15)) / 2)
