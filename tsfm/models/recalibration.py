"""Recalibration: quantiles corrected by how they did on the series' own past.

A model forecasts earlier stretches of the series it is about to forecast. How far the true values
lay from each quantile there, in units of the forecast's own spread, says by how much that quantile
is to be moved now (`tsfm.models.conformal`). A forecast that is wide where the series is restless
stays so.

What is promised. Were the scores of the windows and those of the steps to come exchangeable, each
level would hold on average. Those of a time series are not: windows follow and may overlap each
other, and the process may change. What remains is approximate, and is measured on simulated
processes by `benchmarks/calibration.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsfm.models.conformal import between_centres, centres, corrections

Array = NDArray[np.float64]
Forecast = Callable[[list[Array], NDArray[np.intp]], Array]
"""From histories and the numbers `[n]` of their series to quantiles `[n, steps, Q]`."""

LEVELS = (0.005, 0.01, 0.025, 0.05, *(k / 10 for k in range(1, 10)), 0.95, 0.975, 0.99, 0.995)
"""Levels that are corrected; others are interpolated, as those of a model are."""
WINDOWS = 16
"""Back-tests per series, at most."""
ENOUGH = 8.0
"""Windows that do not overlap from which on the errors of a series stand alone."""
FEW = 4.0
"""Fewer of them are worth a warning."""

_LOW, _MEDIAN, _HIGH = (LEVELS.index(level) for level in (0.1, 0.5, 0.9))
_FEWEST_STEPS = 8
_SHORTEST_HISTORY = 16
_NARROWEST = 0.05
"""Least spread, relative to the mean one of the series, that errors are measured in."""
_POOLED = 64
"""Series whose windows are pooled, at most."""
_AT_ONCE = 4_000_000
_AGES = np.arange(float(WINDOWS))[::-1]


@dataclass(frozen=True)
class Windows:
    """Where the back-tests of a series lie.

    Parameters
    ----------
    cuts
        Steps from the start of each window to the end of the series, falling.
    stride
        Steps from one to the next.
    steps
        Steps of each.
    """

    cuts: tuple[int, ...]
    stride: int
    steps: int

    @classmethod
    def of(cls, length: int, horizon: int, longest: int) -> Windows:
        """The last windows of a series that leave enough history before them.

        A window has as many steps as the forecast, or 8 for shorter ones. Before the first one
        stay 16 steps, or a third of what the model can read if that is more. Up to 16 windows are
        side by side where there is room; else they overlap by up to three quarters.

        Parameters
        ----------
        length
            Steps of the series.
        horizon
            Steps to forecast.
        longest
            Steps that the model can read.

        Examples
        --------
        >>> Windows.of(500, 24, 2048).cuts[-1], len(Windows.of(500, 24, 2048).cuts)
        (24, 16)
        >>> Windows.of(30, 24, 2048).cuts
        ()
        """
        steps = max(horizon, _FEWEST_STEPS)
        room = length - steps - max(_SHORTEST_HISTORY, min(length, longest) // 3)
        if room < 0:
            return cls((), steps, steps)
        stride = min(max(room // (WINDOWS - 1), -(-steps // 4)), steps)
        count = min(WINDOWS, room // stride + 1)
        return cls(tuple(steps + stride * k for k in range(count))[::-1], stride, steps)


@dataclass(frozen=True)
class Recalibration:
    """By how much to move the quantiles of N series.

    Parameters
    ----------
    horizon
        Steps to forecast, H.
    shifts
        `[N, S, Q]` corrections from each series' own windows, at `centres(horizon)` and `LEVELS`,
        in units of the spread from quantile .1 to .9.
    windows
        `[N]` windows they rest on, counted as if they did not overlap.
    narrowest
        `[N]` least spread, in the unit of the series.
    pooled
        `[S, Q]` corrections from windows of many series.
    pooled_windows
        Windows these rest on.
    """

    horizon: int
    shifts: Array
    windows: Array
    narrowest: Array
    pooled: Array
    pooled_windows: float

    @classmethod
    def empty(cls, n_series: int, horizon: int) -> Recalibration:
        """Of series that nothing is known of: it changes nothing."""
        blank = np.zeros((n_series, len(centres(horizon)), len(LEVELS)))
        none = np.zeros(n_series)
        return cls(horizon, blank, none, none.copy(), np.zeros(blank.shape[1:]), 0.0)

    @property
    def own_share(self) -> Array:
        """`[N]` weight of a series' own errors: 1 from 8 windows on, less in proportion below."""
        return np.minimum(self.windows / ENOUGH, 1.0)

    @property
    def pooled_share(self) -> float:
        """Weight of the pooled errors in what is left; the rest is no correction at all."""
        return min(self.pooled_windows / ENOUGH, 1.0)

    def put(self, rows: NDArray[np.intp], other: Recalibration) -> Recalibration:
        """With other findings for some of the series; the pool is that which rests on more."""
        shifts, windows, narrowest = (
            part.copy() for part in (self.shifts, self.windows, self.narrowest)
        )
        shifts[rows], windows[rows], narrowest[rows] = (
            other.shifts,
            other.windows,
            other.narrowest,
        )
        pool = max(other, self, key=lambda one: one.pooled_windows)
        return Recalibration(
            self.horizon, shifts, windows, narrowest, pool.pooled, pool.pooled_windows
        )

    def apply(self, quantiles: Array, rows: NDArray[np.intp]) -> Array:
        """Move quantiles.

        Parameters
        ----------
        quantiles
            `[n, H, Q]` at `LEVELS`, in the unit of the series.
        rows
            `[n]` their numbers.

        Returns
        -------
        ndarray
            `[n, H, Q]`, non-decreasing along levels (sorted, which only brings them closer to the
            true ones: Chernozhukov, Fernandez-Val and Galichon, arXiv 0704.3649).
        """
        own = self.own_share[rows, None, None]
        shift = own * self.shifts[rows] + (1 - own) * self.pooled_share * self.pooled
        spread = _spread(quantiles, self.narrowest[rows])
        moved = quantiles + spread[..., None] * between_centres(shift, self.horizon)
        return np.asarray(np.sort(moved, axis=-1))


def measure(
    forecast: Forecast,
    series: Sequence[Array],
    horizon: int,
    longest: int,
    *,
    together: bool = False,
) -> Recalibration:
    """Back-test a model on the past of some series.

    Parameters
    ----------
    forecast
        Gives at least `max(horizon, 8)` steps, see `Forecast`; bounded neither below nor above.
    series
        N histories, NaN = missing.
    horizon
        Steps to forecast.
    longest
        Steps that the model can read.
    together
        Whether the model must see all series at once, ending at one time.

    Returns
    -------
    Recalibration
        Of the N series.

    Examples
    --------
    Quantiles that are twice as wide as they should be:

    >>> from statistics import NormalDist
    >>> z = np.array([NormalDist(0, 2).inv_cdf(level) for level in LEVELS])
    >>> history = np.random.default_rng(0).normal(size=400)
    >>> found = measure(lambda past, rows: np.tile(z, (len(past), 8, 1)), [history], 8, 400)
    >>> raw = np.tile(z, (1, 8, 1))
    >>> calm = found.apply(raw, np.array([0]))
    >>> bool((calm[..., -1] - calm[..., 0] < 0.7 * (raw[..., -1] - raw[..., 0])).all())
    True
    """
    answer = Recalibration.empty(len(series), horizon)
    starts = [int(np.isfinite(x).argmax()) if np.isfinite(x).any() else len(x) for x in series]
    lengths = [len(x) - start for x, start in zip(series, starts, strict=True)]
    shortest = [min(lengths)] * len(lengths) if together and lengths else lengths
    plans = [Windows.of(length, horizon, longest) for length in shortest]
    usable = np.array([i for i, plan in enumerate(plans) if plan.cuts], dtype=np.intp)
    steps = max(horizon, _FEWEST_STEPS)
    chunk = len(usable) if together else max(1, _AT_ONCE // (WINDOWS * steps * len(LEVELS)))
    kept: list[tuple[Array, float]] = []
    for begin in range(0, len(usable), max(chunk, 1)):
        rows = usable[begin : begin + chunk]
        tests = _BackTests.of(forecast, series, rows, [plans[i] for i in rows], longest, together)
        answer = answer.put(rows, tests.judge(horizon))
        room = max(1, _POOLED * len(rows) // len(usable))
        chosen = np.unique(np.linspace(0, len(rows) - 1, room).astype(np.intp)).tolist()
        kept += [(tests.scores[i], float(tests.independent[i])) for i in chosen]
    if not kept or len(series) < 2:
        return answer
    union = np.concatenate([scores for scores, _ in kept])[None]
    total = np.array([sum(independent for _, independent in kept)])
    ages = np.tile(_AGES, len(kept))
    pooled = corrections(union, LEVELS, horizon, total, np.array([True]), ages)[0]
    return Recalibration(
        horizon, answer.shifts, answer.windows, answer.narrowest, pooled, float(total[0])
    )


@dataclass(frozen=True)
class _BackTests:
    """Scores `[n, K, B, Q]` of the windows of some series, oldest first, and what they rest on."""

    scores: Array
    independent: Array
    narrowest: Array
    discrete: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        forecast: Forecast,
        series: Sequence[Array],
        rows: NDArray[np.intp],
        plans: list[Windows],
        longest: int,
        together: bool,
    ) -> _BackTests:
        """Forecast every window, in as few calls as may be."""
        steps = plans[0].steps
        quantiles = np.full((len(rows), WINDOWS, steps, len(LEVELS)), np.nan)
        truth = np.full((len(rows), WINDOWS, steps), np.nan)
        jobs: list[tuple[int, int, Array]] = []
        for n, (i, plan) in enumerate(zip(rows.tolist(), plans, strict=True)):
            for k, cut in enumerate(plan.cuts, start=WINDOWS - len(plan.cuts)):
                past = series[i][: len(series[i]) - cut]
                if np.isfinite(past[-longest:]).any():
                    truth[n, k] = series[i][len(past) :][:steps]
                    jobs.append((n, k, past))
        calls = [[job for job in jobs if job[1] == k] for k in range(WINDOWS)]
        for call in calls if together else [jobs]:
            if call:
                places = tuple(np.array([job[:2] for job in call]).T)
                found = forecast([job[2] for job in call], rows[places[0]])
                quantiles[places] = found[:, :steps]
        return cls.score(truth, quantiles, plans)

    @classmethod
    def score(cls, truth: Array, quantiles: Array, plans: list[Windows]) -> _BackTests:
        """Errors of each quantile in units of the forecast's spread."""
        known = np.isfinite(truth) & np.isfinite(quantiles).all(axis=-1)
        width = np.where(known, quantiles[..., _HIGH] - quantiles[..., _LOW], 0.0)
        count = known.sum(axis=(1, 2))
        narrowest = _NARROWEST * width.sum(axis=(1, 2)) / np.maximum(count, 1)
        spread = _spread(quantiles, narrowest[:, None])
        scores = np.where(known[..., None], truth[..., None] - quantiles, np.nan)
        scores /= spread[..., None]
        # a step within several windows is one value, not several equal ones
        first, step = np.arange(WINDOWS)[:, None], np.arange(truth.shape[2])
        starts = [first * plan.stride for plan in plans]
        places = [(start + step)[here] for start, here in zip(starts, known, strict=True)]
        values = [one[here] for one, here in zip(truth, known, strict=True)]
        n_steps = np.array([len(np.unique(x)) for x in places])
        n_values = np.array([len(np.unique(x)) for x in values])
        return cls(scores, n_steps / truth.shape[2], narrowest, 2 * n_values <= n_steps)

    def judge(self, horizon: int) -> Recalibration:
        """What the scores of each series by itself say."""
        found = corrections(self.scores, LEVELS, horizon, self.independent, self.discrete, _AGES)
        blank = np.zeros(found.shape[1:])
        return Recalibration(horizon, found, self.independent, self.narrowest, blank, 0.0)


def _spread(quantiles: Array, narrowest: Array) -> Array:
    """`[..., H]` from quantile .1 to .9, at least `narrowest` `[...]`; 1 where both are zero."""
    width = quantiles[..., _HIGH] - quantiles[..., _LOW]
    spread = np.fmax(width, narrowest[..., None])
    return np.where(spread > 0, spread, 1.0)
