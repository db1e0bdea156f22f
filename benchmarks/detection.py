"""Time and memory of anomaly detection, beside a matrix profile and isolation forests of windows.

python benchmarks/detection.py --model tsfm-detector-mini
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import (
    ROOT,
    Record,
    environment,
    note,
    parser,
    peak_memory_mb,
    summary,
    table,
    timed,
    use_checkout,
)

WINDOW = 144
"""Steps of a subsequence: the period of the series."""
TREES = 100
METHODS = ("detect", "score", "matrix-profile", "sub-iforest")
GOALS = {"seconds": 10.0, "peak_mb": 2000.0}
"""Of the detector: for `--points`, and for `--long`."""
Job = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "detection")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--model", default="tsfm-detector-mini", help="name or folder of the detector")
    p.add_argument("--points", type=int, default=100_000, help="steps of the series (100000)")
    p.add_argument("--long", type=int, default=1_000_000, help="steps of a long one; 0: none")
    p.add_argument("--rounds", type=int, default=3, help="turns of every method (3)")
    p.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, help="methods to time")
    p.add_argument("--worker", choices=METHODS, help=argparse.SUPPRESS)
    return p.parse_args()


def make_values(n: int) -> Any:
    """[n] a day of 144 steps, a week, noise, a slow drift, and an outlier every 9,973 steps."""
    import numpy as np

    rng = np.random.default_rng(0)
    t = np.arange(n)
    values = 10 * np.sin(2 * np.pi * t / WINDOW) + 3 * np.sin(2 * np.pi * t / (7 * WINDOW))
    values += rng.normal(size=n) + 0.02 * rng.normal(size=n).cumsum()
    values[4_999::9_973] += 25
    return values


def method(name: str, model: str, threads: int) -> Callable[[Any], object]:
    """What is timed: a call with values [n]."""
    import numpy as np

    if name == "matrix-profile":
        import stumpy

        return lambda values: stumpy.stump(values, WINDOW)
    if name == "sub-iforest":
        from sklearn.ensemble import IsolationForest

        def forest(values: Any) -> object:
            windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
            trees = IsolationForest(n_estimators=TREES, n_jobs=threads, random_state=0)
            return trees.fit(windows).score_samples(windows)

        return forest
    use_checkout()
    if name == "score":
        from tsfm.models import Detector

        detector = Detector.from_pretrained(model, device="cpu")
        return lambda values: detector.score(values)
    import pandas as pd

    import tsfm

    estimator = tsfm.AnomalyDetector(model)

    def detect(values: Any) -> object:
        times = pd.date_range("2020-01-01", periods=len(values), freq="10min")
        return estimator.detect(pd.DataFrame({"timestamp": times, "value": values}))

    return detect


def work(name: str, options: argparse.Namespace) -> None:
    """One process: time one call after a small one, and tell on stdout."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(options.threads)
    call = method(name, options.model, options.threads)
    call(make_values(10 * WINDOW))  # compilation and loading do not count
    values = make_values(options.points)
    before = peak_memory_mb()
    seconds = timed(lambda: call(values))
    print(json.dumps({"seconds": seconds, "peak_mb": peak_memory_mb(), "before_mb": before}))


def ask(name: str, points: int, options: argparse.Namespace) -> Job:
    """Run one method on a series in a fresh process."""
    words = ["--worker", name, "--model", options.model, "--points", str(points)]
    limits = {**environment(options.threads), "NUMBA_NUM_THREADS": str(options.threads)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), *words, "--threads", str(options.threads)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=limits,
    )
    answer: Job = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Run everything and write it down."""
    options = arguments()
    if options.worker:
        work(options.worker, options)
        return
    record = Record("detection", options.threads)
    runs: dict[str, list[Job]] = {name: [] for name in options.only}
    for turn in range(options.rounds):
        for name, found in runs.items():
            found.append(ask(name, options.points, options))
            note(f"turn {turn + 1}: {name} {found[-1]['seconds']:.2f} s")
    jobs = [
        {
            "job": f"{name}: {options.points:,} points",
            **summary([one["seconds"] for one in found]),
            "goal": GOALS["seconds"] if name == "detect" else None,
            "peak_mb": max(one["peak_mb"] for one in found),
            "peak_mb_goal": None,
        }
        for name, found in runs.items()
    ]
    if options.long and "detect" in runs:
        one = ask("detect", options.long, options)
        jobs.append(
            {
                "job": f"detect: {options.long:,} points",
                **summary([one["seconds"]]),
                "goal": None,
                "peak_mb": one["peak_mb"],
                "peak_mb_goal": GOALS["peak_mb"],
            }
        )
    medians = {
        name: statistics.median(one["seconds"] for one in found) for name, found in runs.items()
    }
    ratios = {
        name: seconds / medians["detect"]
        for name, seconds in medians.items()
        if name != "detect" and "detect" in medians
    }
    columns = ("job", "median", "min", "max", "goal", "peak_mb", "peak_mb_goal")
    print(table(columns, [[one[key] for key in columns] for one in jobs]))
    print()
    print(table(("method", "times as long as detect"), list(ratios.items())))
    record.write(options.out, {"jobs": jobs, "times_as_long_as_detect": ratios})


if __name__ == "__main__":
    main()
