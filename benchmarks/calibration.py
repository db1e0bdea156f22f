"""How often intervals hold the truth on simulated processes, with and without recalibration.

    python benchmarks/calibration.py --threads 1

Each series is forecast once, with `Forecaster(calibrate=False)` and with `calibrate=True`, and its
own simulated future is the truth. Coverage is the share of steps within the interval, its error
the standard error of the mean over series.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from common import Record, note, parser, table, timed, use_checkout

Array = np.ndarray
LEVELS = (0.025, *(k / 10 for k in range(1, 10)), 0.975)
INTERVALS = {"80%": ("0.1", "0.9"), "95%": ("0.025", "0.975")}
SEASON = 24


def ar(rng: np.random.Generator, n: int, length: int) -> Array:
    """AR(1) with coefficients from .3 to .95."""
    burn, coefficient = 200, rng.uniform(0.3, 0.95, n)
    x = rng.normal(size=(n, length + burn))
    for t in range(1, length + burn):
        x[:, t] += coefficient * x[:, t - 1]
    return 10 + x[:, burn:]


def seasonal(rng: np.random.Generator, n: int, length: int) -> Array:
    """Two harmonics of a day and a slow trend in noise of deviation 1."""
    t = np.arange(length)
    size, second = rng.uniform(0.5, 4, (n, 1)), rng.uniform(0, 1.5, (n, 1))
    angle = 2 * np.pi * t / SEASON + rng.uniform(0, 2 * np.pi, (n, 1))
    trend = rng.uniform(-0.004, 0.004, (n, 1)) * t
    return 20 + size * np.sin(angle) + second * np.sin(2 * angle) + trend + noise(rng, n, length)


def heteroscedastic(rng: np.random.Generator, n: int, length: int) -> Array:
    """A daily mean, and noise whose deviation varies 3- to 11-fold over the day."""
    angle = 2 * np.pi * np.arange(length) / SEASON + rng.uniform(0, 2 * np.pi, (n, 1))
    deviation = np.exp(rng.uniform(0.6, 1.2, (n, 1)) * np.sin(angle))
    return 5 + 2 * np.sin(2 * angle) + deviation * noise(rng, n, length)


def counts(rng: np.random.Generator, n: int, length: int) -> Array:
    """Poisson counts around 1 to 20 with a daily rate."""
    mean = np.exp(rng.uniform(0, np.log(20), (n, 1)))
    angle = 2 * np.pi * np.arange(length) / SEASON + rng.uniform(0, 2 * np.pi, (n, 1))
    rate = mean * np.exp(rng.uniform(0, 0.8, (n, 1)) * np.sin(angle))
    return rng.poisson(rate).astype(float)


def rare_counts(rng: np.random.Generator, n: int, length: int) -> Array:
    """Poisson counts around .1 to 1.5: mostly zeros."""
    rate = np.exp(rng.uniform(np.log(0.1), np.log(1.5), (n, 1)))
    return rng.poisson(np.broadcast_to(rate, (n, length))).astype(float)


def garch(rng: np.random.Generator, n: int, length: int) -> Array:
    """GARCH(1, 1) with coefficients .15 and .8: volatility comes in clusters."""
    burn = 300
    x, variance = np.zeros((n, length + burn)), np.ones(n)
    for t in range(1, length + burn):
        variance = 0.05 + 0.15 * x[:, t - 1] ** 2 + 0.8 * variance
        x[:, t] = np.sqrt(variance) * rng.normal(size=n)
    return x[:, burn:]


def doubled(rng: np.random.Generator, n: int, length: int) -> Array:
    """AR(1) whose deviation doubles within the last two fifths: not exchangeable at all."""
    start = (length * rng.uniform(0.6, 1.0, (n, 1))).astype(int)
    return (ar(rng, n, length) - 10) * np.where(np.arange(length) >= start, 2.0, 1.0)


def dependent_counts(rng: np.random.Generator, n: int, length: int) -> Array:
    """INAR(1) counts around .3 to 10: a share of .3 to .9 of what was there stays."""
    burn = 100
    mean = np.exp(rng.uniform(np.log(0.3), np.log(10), n))
    stay = rng.uniform(0.3, 0.9, n)
    x = np.zeros((n, length + burn), dtype=int)
    x[:, 0] = rng.poisson(mean)
    for t in range(1, length + burn):
        x[:, t] = rng.binomial(x[:, t - 1], stay) + rng.poisson(mean * (1 - stay))
    return x[:, burn:].astype(float)


def noise(rng: np.random.Generator, n: int, length: int) -> Array:
    """Normal numbers."""
    return rng.normal(size=(n, length))


PROCESSES: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "ar": ar,
    "seasonal": seasonal,
    "heteroscedastic": heteroscedastic,
    "counts": counts,
    "rare counts": rare_counts,
    "garch": garch,
    "doubled": doubled,
    "dependent counts": dependent_counts,
}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    words = parser(__doc__, "calibration")
    words.add_argument("--model", default="tsfm-mini", help="name or folder")
    words.add_argument("--mode", default="fast", choices=("fast", "best"), help="of Forecaster")
    words.add_argument("--processes", nargs="+", default=list(PROCESSES), choices=PROCESSES)
    words.add_argument("--histories", nargs="+", type=int, default=[512, 128], help="steps known")
    words.add_argument("--series", type=int, default=600, help="series per process")
    words.add_argument("--horizon", type=int, default=24, help="steps ahead")
    words.add_argument("--alone", action="store_true", help="one call per series: no pooling")
    words.add_argument("--seed", type=int, default=0, help="of the simulations")
    return words.parse_args()


def forecasts(options: argparse.Namespace, history: Array, calibrate: bool) -> Array:
    """Quantiles [n, H, Q] at `LEVELS`, from the front door."""
    from tsfm import Forecaster

    hours = pd.date_range("2024-01-01", periods=history.shape[1], freq="h")
    wide = pd.DataFrame(history.T, index=hours).rename(columns=str)
    forecaster = Forecaster(
        options.model,
        prediction_length=options.horizon,
        quantile_levels=LEVELS,
        mode=options.mode,
        calibrate=calibrate,
    )
    parts = [wide[[name]] for name in wide] if options.alone else [wide]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        answers = [forecaster.predict(part) for part in parts]
    columns = [str(level) for level in LEVELS]
    found = pd.concat(answers)[columns].to_numpy()
    return found.reshape(len(history), options.horizon, len(LEVELS))


def judged(truth: Array, quantiles: Array, whole: bool) -> dict[str, Any]:
    """Coverage and width of the intervals, and the pinball loss of the deciles."""
    column = {str(level): i for i, level in enumerate(LEVELS)}
    answer: dict[str, Any] = {}
    for name, ends in INTERVALS.items():
        low, high = (quantiles[..., column[end]] for end in ends)
        answer[name] = {
            **coverage((truth >= low) & (truth <= high)),
            "width": float((high - low).mean()),
        }
        if whole:  # a whole number is held by the interval of whole numbers around it, too
            inside = (truth >= np.round(low)) & (truth <= np.round(high))
            answer[name]["rounded"] = coverage(inside)["coverage"]
    error = truth[..., None] - quantiles[..., 1:-1]
    levels = np.array(LEVELS[1:-1])
    answer["pinball"] = float(np.maximum(levels * error, (levels - 1) * error).mean())
    answer["below"] = {
        str(level): float((truth <= quantiles[..., i]).mean()) for i, level in enumerate(LEVELS)
    }
    return answer


def coverage(inside: Array) -> dict[str, float]:
    """Share of steps and its standard error, both in percent."""
    each = 100 * inside.mean(axis=1)
    return {"coverage": float(each.mean()), "error": float(each.std(ddof=1) / len(each) ** 0.5)}


def one(options: argparse.Namespace, process: str, length: int) -> dict[str, Any]:
    """A process, a length of history: before and after."""
    place = list(PROCESSES).index(process)
    rng = np.random.default_rng([options.seed, place, length])
    x = PROCESSES[process](rng, options.series, length + options.horizon)
    known, truth = x[:, :length], x[:, length:]
    whole = bool((x == np.round(x)).all())
    answer: dict[str, Any] = {"process": process, "history": length}
    for name, calibrate in (("before", False), ("after", True)):
        found: list[Array] = []
        seconds = timed(lambda c=calibrate, f=found: f.append(forecasts(options, known, c)))
        answer[name] = {**judged(truth, found[0], whole), "seconds": seconds}
    note(f"{process}, {length}: {answer['before']['seconds'] + answer['after']['seconds']:.0f} s")
    return answer


def main() -> None:
    """Simulate, forecast, count, write."""
    options = arguments()
    use_checkout()
    import torch

    torch.set_num_threads(options.threads)
    record = Record("calibration", options.threads)
    rows = [one(options, name, n) for n in options.histories for name in options.processes]
    results = {
        "model": options.model,
        "mode": options.mode,
        "series": options.series,
        "horizon": options.horizon,
        "alone": options.alone,
        "seed": options.seed,
        "rows": rows,
    }
    head = ["process", "history"]
    for name in INTERVALS:
        head += [f"{name}: before", "after", "+-", "width before", "after"]
    cells = []
    for row in rows:
        line = [row["process"], row["history"]]
        for name in INTERVALS:
            before, after = row["before"][name], row["after"][name]
            line += [before["coverage"], after["coverage"], after["error"]]
            line += [before["width"], after["width"]]
        cells.append(line)
    print(table(head, cells))
    record.write(options.out, results)


if __name__ == "__main__":
    sys.exit(main())
