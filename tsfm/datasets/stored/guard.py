"""Leakage guard: finds series that hold a stretch of an evaluation set, in whatever unit.

A stretch is described by the ratios of successive differences,
`d[t+1] / (|d[t]| + |d[t+1]|)` in [-1, 1]: they do not change when a series is shifted or
multiplied. The ratios are rounded to 17 levels, and `window - 2` of them in a row are hashed.
Evaluation series are hashed at every `window // 2` steps (upside down, too), other series at every
step, so that a copy of `3 * window // 2` complete steps is found wherever it begins.

Caught: whole series and pieces of them, shifted, scaled, negated, embedded in a longer series.
Not caught: copies that were resampled, smoothed, noised or rounded to few digits; stretches
shorter than the window, with missing values in every window, or with too few levels to tell series
apart (constant, a straight line, steps, rare counts): such windows are not hashed, because
unrelated series share them. Series of a simple closed form (a noise-free sine) are found equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsfm.datasets.stored.layout import Float64

UInt64 = NDArray[np.uint64]

_LEVELS = 8.3
"""Ratios are rounded to multiples of 1/8.3: no simple fraction lies on the edge between two."""
_CODES = 17
_DISTINCT = 8
"""Different levels that a window must show to be worth comparing."""
_BLOCK = 1 << 16
"""Windows compared at a time: intermediate results stay in the processor's cache."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_WORDS = np.random.default_rng(20_231_117).integers(0, 2**64, _CODES, dtype=np.uint64)
_ONES = np.array([bin(i).count("1") for i in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class Leak:
    """What a series shares with the evaluation sets.

    Parameters
    ----------
    evaluation
        The set it shares most with.
    hits
        Windows found in any of them.
    """

    evaluation: str
    hits: int


class LeakageGuard:
    """Finds series that hold windows of evaluation sets.

    Parameters
    ----------
    evaluation
        Name of the set and values of every evaluation series.
    window
        Steps per compared window, at least 12.

    Raises
    ------
    ValueError
        If the window is too short, or no evaluation series has a window to compare.

    Examples
    --------
    >>> test = np.random.default_rng(0).normal(size=200).cumsum()
    >>> guard = LeakageGuard([("test", test)])
    >>> other = np.random.default_rng(1).normal(size=500).cumsum()
    >>> guard.check(other) is None
    True
    >>> other[200:300] = 40 - 3 * test[50:150]
    >>> guard.check(other).evaluation
    'test'
    """

    def __init__(self, evaluation: Iterable[tuple[str, Float64]], window: int = 32) -> None:
        if window < 12:
            raise ValueError(f"window={window} is too short to tell series apart; give >= 12.")
        self.window = window
        self.names: list[str] = []
        self.n_series = self.n_unprotected = 0
        hashes: list[UInt64] = []
        owners: list[NDArray[np.uint16]] = []
        for name, values in evaluation:
            if name not in self.names:
                self.names.append(name)
            found = _evaluation_hashes(values, window)
            self.n_series += 1
            self.n_unprotected += not len(found)
            hashes.append(found)
            owners.append(np.full(len(found), self.names.index(name), dtype=np.uint16))
        if not hashes or not sum(map(len, hashes)):
            raise ValueError(
                f"None of the {self.n_series} evaluation series has {window} complete steps that "
                "could be told from others: nothing can be excluded. Give others, or a shorter "
                "window."
            )
        self._hashes, first = np.unique(np.concatenate(hashes), return_index=True)
        self._owners = np.concatenate(owners)[first]
        # a table of the leading bits: most windows of other series end there
        self._bits = max(8, min(27, len(self._hashes).bit_length() + 4))
        self._present = np.zeros(1 << self._bits, dtype=bool)
        self._present[self._lead(self._hashes)] = True

    def _lead(self, hashes: UInt64) -> UInt64:
        return hashes >> np.uint64(64 - self._bits)

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values for the description of a corpus."""
        return {
            "window": self.window,
            "evaluation": self.names,
            "n_series": self.n_series,
            "n_windows": len(self._hashes),
            "n_unprotected": self.n_unprotected,
        }

    def check(self, values: Float64) -> Leak | None:
        """What a series shares with the evaluation sets; None if nothing.

        Parameters
        ----------
        values
            [length] in any unit, NaN = missing.
        """
        counts = np.zeros(len(self.names), dtype=np.int64)
        for begin in range(0, max(1, len(values) - self.window + 1), _BLOCK):
            piece = values[begin : begin + _BLOCK + self.window - 1]
            hashes, usable = window_hashes(piece, self.window)
            hashes = hashes[usable]
            hashes = hashes[self._present[self._lead(hashes)]]
            place = np.searchsorted(self._hashes, hashes)
            place[place == len(self._hashes)] = 0
            place = place[self._hashes[place] == hashes]
            counts += np.bincount(self._owners[place], minlength=len(counts))
        if not counts.any():
            return None
        return Leak(self.names[int(counts.argmax())], int(counts.sum()))


def window_hashes(values: Float64, window: int, sign: int = 1) -> tuple[UInt64, NDArray[np.bool_]]:
    """Hash of every window of a series, and which of them can be compared.

    Parameters
    ----------
    values
        [length], NaN = missing.
    window
        Steps per window.
    sign
        -1 for the hashes of the series upside down.

    Returns
    -------
    tuple of ndarray
        [length - window + 1] both; empty for a shorter series.
    """
    if len(values) < window:
        return np.empty(0, np.uint64), np.empty(0, bool)
    values = values.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        difference = sign * np.diff(values)
        rounding = 1e-12 * np.abs(values[1:])
        difference[np.abs(difference) <= rounding] = 0
        size = np.abs(difference[1:]) + np.abs(difference[:-1])
        ratio = np.where(size > 0, difference[1:] / size, 0.0)
        missing = ~np.isfinite(ratio) | ~np.isfinite(difference[:-1])
    code = np.rint(np.where(missing, 0, ratio) * _LEVELS).astype(np.int64) + _CODES // 2
    n = window - 2  # ratios per window
    power, inverse = _powers(len(code) + 1)
    total = np.concatenate([[np.uint64(0)], np.cumsum(_WORDS[code] * power[:-1])])
    hashes = (total[n:] - total[:-n]) * inverse[: len(total) - n]
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    gaps = np.concatenate([[0], np.cumsum(missing)])
    usable = (gaps[n:] == gaps[:-n]) & (_distinct(code, n) >= _DISTINCT)
    return hashes, usable


@lru_cache(maxsize=8)
def _powers(n: int) -> tuple[UInt64, UInt64]:
    """Powers of the base and of its inverse modulo 2**64, for a polynomial of a word per level."""
    powers = []
    for base in (int(_BASE), pow(int(_BASE), -1, 2**64)):
        factors = np.full(n, base, dtype=np.uint64)
        factors[0] = 1
        powers.append(np.cumprod(factors))
    return powers[0], powers[1]


def _evaluation_hashes(values: Float64, window: int) -> UInt64:
    """Hashes at every half window and at the end, of the series and of its mirror image."""
    found = []
    for begin in range(0, max(1, len(values) - window + 1), _BLOCK):
        piece = values[begin : begin + _BLOCK + window - 1]
        for sign in (1, -1):
            hashes, usable = window_hashes(piece, window, sign)
            chosen = np.zeros(len(hashes), dtype=bool)
            chosen[(-begin) % (window // 2) :: window // 2] = True
            chosen[-1:] = True
            found.append(hashes[chosen & usable])
    return np.concatenate(found)


def _distinct(code: NDArray[np.int64], n: int) -> NDArray[np.uint8]:
    """Number of different codes among every `n` in a row."""
    seen = np.left_shift(np.uint32(1), code.astype(np.uint32))
    width = 1
    while width < n:  # the windows of a step may overlap: a code counts once anyway
        step = min(width, n - width)
        seen = seen[:-step] | seen[step:]
        width += step
    count: NDArray[np.uint8] = _ONES[seen.view(np.uint8)].reshape(-1, 4).sum(1, dtype=np.uint8)
    return count
