"""How high a detector scores where nothing is wrong: the table behind default thresholds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsfm.config import from_dict, to_dict

Array = NDArray[np.float64]

FILE = "calibration.json"
"""Where it lies, beside a checkpoint's `config.json`."""

FORMAT_VERSION = 1
FALSE_ALARMS = 0.004
"""Share of the calibration's clean series that the default threshold lets raise anything. Where 6
of 1,536 do, it is less than the promised 1 % of all with a confidence of 99 %."""

_LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002,
           0.001, 0.0005, 0.0002, 0.0001, 0.00005, 0.00002, 0.00001)  # fmt: skip
_TAIL_SHARE = 0.2
_TAIL_COUNT = 2_000
"""The tail is fitted to at most this share and this number of the highest scores."""
_HEAVIEST = 0.5
_GRID = 257
"""Scores that are tried at once in the search for a threshold."""


@dataclass(frozen=True)
class Distribution:
    """Upper tail of scores: tabulated, and beyond the table a generalised Pareto tail.

    Parameters
    ----------
    n
        Numbers it was made of.
    levels
        Tail probabilities, falling.
    values
        Score that a further number like these exceeds with at most that probability, rising.
    shape, scale
        Tail beyond the last value: `p (1 + shape (x - value) / scale) ** (-1 / shape)`;
        exponential for `shape` 0.
    """

    n: int
    levels: tuple[float, ...]
    values: tuple[float, ...]
    shape: float
    scale: float

    @classmethod
    def of(cls, scores: ArrayLike) -> Distribution:
        """Tabulate finite scores.

        The value at level p is the k-th highest of n scores, k = floor(p (n + 1)): a further
        score exchangeable with them exceeds it with a probability of k / (n + 1) at most. A value
        that several levels share is kept once, at the share of scores that are as high. Levels
        that only the highest score reaches are left to the tail, which is fitted by
        probability-weighted moments (Hosking and Wallis 1987) and never lighter than exponential.

        Raises
        ------
        ValueError
            Fewer than 20 scores.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> found = Distribution.of(rng.exponential(size=9_999))
        >>> round(found.quantile(0.01), 1), found.survival(np.array([0.0, 1e9])).tolist()
        (4.6, [1.0, 0.0001])
        """
        ranked = np.sort(np.asarray(scores, dtype=np.float64)[np.isfinite(scores)])[::-1]
        n = len(ranked)
        if n < 20:
            raise ValueError(f"A distribution needs at least 20 finite scores, got {n}.")
        levels, values = _knots(ranked)
        count = min(_TAIL_COUNT, max(10, int(_TAIL_SHARE * n)))
        start = ranked[count]
        shape, scale = _pareto(ranked[:count][::-1] - start)
        scale += shape * (values[-1] - float(start)) if values[-1] > start else 0.0
        return cls(n, tuple(levels), tuple(values), shape, max(scale, 1e-9))

    def quantile(self, probability: float) -> float:
        """Score exceeded with a probability; beyond the table by the tail."""
        if probability < self.levels[-1]:
            ratio = math.log(self.levels[-1] / max(probability, 1e-300))
            growth = math.expm1(self.shape * ratio) / self.shape if self.shape else ratio
            return self.values[-1] + self.scale * growth
        at = np.interp(-math.log(probability), -np.log(self.levels), self.values)
        return float(at)

    def survival(self, scores: Array) -> Array:
        """Probability that a score like these is as high; 1 / (n + 1) at least."""
        excess = np.maximum(scores - self.values[-1], 0) / self.scale
        beyond = np.log1p(self.shape * excess) / self.shape if self.shape else excess
        table = np.interp(scores, self.values, np.log(self.levels), left=0.0)
        p = np.exp(np.where(scores > self.values[-1], np.log(self.levels[-1]) - beyond, table))
        return np.asarray(np.where(np.isnan(scores), np.nan, np.maximum(p, 1 / (self.n + 1))))


def _knots(ranked: Array) -> tuple[list[float], list[float]]:
    """Levels, falling, and values, rising without ties, of scores in falling order."""
    n = len(ranked)
    known: dict[float, float] = {}
    for level in _LEVELS:
        place = math.floor(level * (n + 1))
        if place < 2:
            break
        value = float(ranked[min(place, n) - 1])
        as_high = n - int(np.searchsorted(ranked[::-1], value, side="left"))
        known.setdefault(value, max(level, as_high / (n + 1)))
    return list(known.values()), list(known)


def _pareto(excess: Array) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto tail, from excesses in rising order."""
    n = len(excess)
    mean = float(excess.mean())
    if not mean > 0:
        return 0.0, 1e-9
    weighted = float((excess * (1 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    shape = min(max(2 - mean / max(mean - 2 * weighted, 1e-12), 0.0), _HEAVIEST)
    return shape, mean * (1 - shape)


@dataclass(frozen=True)
class Table:
    """Scores of clean series of several lengths, read in one way.

    Parameters
    ----------
    causal, delay
        Whether steps were judged without what follows, but for `delay` steps.
    lengths
        Steps per series, rising.
    steps, maxima
        Of each length: the scores of single steps, and the highest score of each series.
    window
        Steps that were read at once, at most; 0 if not known, that is as many as the model takes.
    """

    causal: bool
    delay: int
    lengths: tuple[int, ...]
    steps: tuple[Distribution, ...]
    maxima: tuple[Distribution, ...]
    window: int = 0

    @classmethod
    def of(
        cls,
        scores: dict[int, Array],
        *,
        causal: bool = False,
        delay: int = 0,
        window: int = 0,
    ) -> Table:
        """Tabulate scores of clean series, [n, length] for each length."""
        lengths = tuple(sorted(scores))
        steps = tuple(Distribution.of(scores[length].ravel()) for length in lengths)
        maxima = tuple(Distribution.of(np.nanmax(scores[length], axis=1)) for length in lengths)
        return cls(causal, delay, lengths, steps, maxima, window)

    def threshold(
        self, length: int, n_channels: int = 1, false_alarms: float = FALSE_ALARMS
    ) -> float:
        """Score that at most a share of clean series of a length exceeds anywhere, at least 0.

        A step is no anomaly if it is more likely none. Between the lengths of the table it is
        interpolated over their logarithm. A series longer than the model's window is held to the
        threshold of a window: what is promised holds for each stretch as long as that. Where the
        window is not known, a series of m times the longest length counts as m series, as do m
        channels: the share is divided by m.
        """
        length = min(length, self.window) if self.window else length
        share = false_alarms / (n_channels * self._times(length))
        low, high, part = self._between(length)
        under, over = (self.maxima[i].quantile(share) for i in (low, high))
        return max(0.0, under * (1 - part) + over * part)

    def step_threshold(self, probability: float, length: int, n_channels: int = 1) -> float:
        """Score above which the p-values of steps are at most a probability.

        Infinite where no p-value is as small, -infinite where all of them are.
        """
        lowest, highest = self.p_values(np.array([np.inf, -np.inf]), length, n_channels)
        if lowest > probability:
            return math.inf
        if highest <= probability:
            return -math.inf
        low = min(one.values[0] for one in self.steps) - 1
        high, step = max(one.values[-1] for one in self.steps), 1.0
        while self.p_values(np.array([high]), length, n_channels)[0] > probability:
            high, step = high + step, 2 * step
        while low < (low + high) / 2 < high:  # until no number lies between
            grid = np.linspace(low, high, _GRID)
            small = self.p_values(grid, length, n_channels) <= probability
            first = int(small.argmax())
            low, high = float(grid[first - 1]), float(grid[first])
        return low

    def p_values(self, scores: Array, length: int, n_channels: int = 1) -> Array:
        """Probability that a clean step of a series of a length scores as high."""
        p: Array = np.minimum(1.0, n_channels * self._survival(self.steps, scores, length))
        return p

    def peak_p_value(self, peak: float, length: int, n_channels: int = 1) -> float:
        """Probability that a clean series of a length has a peak as high."""
        p = float(self._survival(self.maxima, np.asarray(peak), length))
        return min(1.0, n_channels * self._times(length) * p)

    def _times(self, length: int) -> float:
        return max(1.0, length / self.lengths[-1])

    def _survival(self, kind: Sequence[Distribution], scores: Array, length: int) -> Array:
        """Survival at a length: the geometric mean of those at the lengths around it."""
        low, high, part = self._between(length)
        under, over = kind[low].survival(scores), kind[high].survival(scores)
        return np.asarray(under ** (1 - part) * over**part)

    def _between(self, length: int) -> tuple[int, int, float]:
        """Places of the lengths around one, and how far it is from the first to the second."""
        last = len(self.lengths) - 1
        place = float(np.interp(np.log(length), np.log(self.lengths), np.arange(last + 1)))
        low = int(place)
        return low, min(low + 1, last), place - low


@dataclass(frozen=True)
class Calibration:
    """What is known of a detector's scores on clean series.

    Parameters
    ----------
    tables
        One per way of reading.
    recipe
        Name of the corpus whose clean series were scored.
    seed
        Seed of the draws.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = Table.of({n: rng.normal(size=(200, n)) for n in (16, 64)})
    >>> known = Calibration((table,), "noise", 0).table()
    >>> known.threshold(16) < known.threshold(32) < known.threshold(10_000)
    True
    """

    tables: tuple[Table, ...]
    recipe: str
    seed: int

    def table(self, *, causal: bool = False, delay: int = 0) -> Table | None:
        """The table of a way of reading; of causal ones that of the longest delay up to this."""
        fitting = [one for one in self.tables if one.causal == causal and one.delay <= delay]
        return max(fitting, key=lambda one: one.delay, default=None)

    def save(self, folder: str | Path) -> None:
        """Write `calibration.json` into a checkpoint's folder."""
        values = {"format_version": FORMAT_VERSION, **to_dict(self)}
        text = json.dumps(values, indent=None, separators=(",", ":"))
        (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Calibration | None:
        """Read what `save` wrote; None if there is nothing.

        Raises
        ------
        ValueError
            It was written by a newer version, or has unknown keys.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return None
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{file} has format_version {version}, this package reads {FORMAT_VERSION}. "
                "Install the version of the package that wrote it."
            )
        return from_dict(cls, values)
