"""Streams: time and memory of 10,000 one-point updates, and deviation from forecasts from scratch.

python benchmarks/streaming.py --model tsfm-mini-mamba
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ROOT, Record, make_series, note, parser, summary, table, use_checkout

HORIZON = 48
BLOCK = 250
Job = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "streaming")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="name or folder of the model")
    which.add_argument("--random", metavar="BACKBONE", help="random weights with this one instead")
    p.add_argument("--updates", type=int, default=10_000, help="one-point updates (10000)")
    p.add_argument("--rows", type=int, default=1_000, help="of Forecaster.update (1000)")
    p.add_argument("--history", type=int, default=2_048, help="points known before (2048)")
    p.add_argument("--scratch", type=int, default=40, help="forecasts from scratch timed (40)")
    p.add_argument("--per-family", type=int, default=2, help="held-out series of each (2)")
    p.add_argument("--contexts", type=int, nargs="*", default=[512, 2048], help="(512 2048)")
    p.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "benchmarks")
    p.add_argument("--figure", type=Path, help="where a picture goes")
    p.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="seconds that count")
    return p.parse_args()


def load(options: argparse.Namespace) -> Any:
    """The model to measure."""
    from tsfm.models import TSFM, ModelConfig

    if not options.random:
        return TSFM.from_pretrained(options.model, device="cpu")
    mini = ModelConfig.preset("mini")
    backbone = dataclasses.replace(mini.backbone, name=options.random)
    return TSFM.from_config(dataclasses.replace(mini, backbone=backbone))


def resident_mb() -> float:
    """Memory this process holds now, in MB (10^6 bytes); 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) * 1024 / 1e6 for x in lines if x.startswith("VmRSS")), 0.0)


def timed(call: Callable[[], object], clock: str) -> float:
    """Seconds of one call, on the wall or of the processor."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    started = now()
    call()
    return now() - started


def one_by_one(options: argparse.Namespace, model: Any) -> Job:
    """Update by one point and forecast, again and again; now and then from scratch as well."""
    import numpy as np

    n = options.history + options.updates
    series = np.array(make_series(1, n)[0])
    stream = model.stream([series[: options.history]], [24])
    update, forecast, memory, scratch = [], [], [], []
    every = max(1, options.updates // options.scratch)
    for k in range(options.updates):
        t = options.history + k
        update.append(timed(lambda t=t: stream.update([[series[t]]]), options.clock))
        forecast.append(timed(lambda: stream.forecast(HORIZON), options.clock))
        if k % BLOCK == BLOCK - 1:
            memory.append(resident_mb())
        if k % every == every - 1:
            known = series[: t + 1]
            scratch.append(
                timed(
                    lambda known=known: model.forecast([known], HORIZON, season_lengths=[24]),
                    options.clock,
                )
            )
    both = [a + b for a, b in zip(update, forecast, strict=True)]
    blocks = [both[i : i + BLOCK] for i in range(0, options.updates, BLOCK)]
    return {
        "jobs": [
            {"job": "update with one point", **summary(update)},
            {"job": f"forecast of {HORIZON} steps after it", **summary(forecast)},
            {"job": "update and forecast, mean", "n": len(both), **_always(statistics.mean(both))},
            {"job": "the same from scratch", **summary(scratch)},
        ],
        "block": BLOCK,
        "mean_seconds_by_block": [statistics.mean(block) for block in blocks],
        "median_seconds_by_block": [statistics.median(block) for block in blocks],
        "scratch_seconds": scratch,
        "resident_mb_by_block": memory,
        "state_mb": sum(x.numel() * x.element_size() for x in stream.state_dict().values()) / 1e6,
    }


def _always(value: float) -> dict[str, float]:
    return dict.fromkeys(("median", "p90", "min", "max"), value)


def rows(options: argparse.Namespace, model: Any) -> list[Job]:
    """One-row tables through `Forecaster.update` and `predict`."""
    import pandas as pd

    from tsfm import Forecaster

    n = options.history + options.rows
    hours = pd.date_range("2020-01-01", periods=n, freq="h")
    table = pd.DataFrame({"timestamp": hours, "target": make_series(1, n)[0]})
    forecaster = Forecaster(model, prediction_length=HORIZON).fit(table[: options.history])
    update, predict = [], []
    for t in range(options.history, n):
        update.append(timed(lambda t=t: forecaster.update(table[t : t + 1]), options.clock))
        predict.append(timed(forecaster.predict, options.clock))
    return [
        {"job": "Forecaster.update with one row", **summary(update)},
        {"job": "Forecaster.predict after it", **summary(predict)},
    ]


def panel(options: argparse.Namespace, context: int, steps: int) -> list[tuple[str, Any]]:
    """Held-out synthetic series and, where they are long enough, the classics."""
    import numpy as np

    from tsfm.datasets.corpus import held_out
    from tsfm.datasets.recipes import Recipe

    n = context + steps
    recipe = Recipe.load(ROOT / "datasets" / "synthetic.yaml")
    found = [
        ("synthetic", one.astype(float))
        for _, block in held_out(recipe, options.per_family, n)
        for one in block.numpy()
    ]
    file = options.data / "lsf" / "classics.parquet"
    if not file.is_file():
        note(f"{file} is not there: deviations on synthetic series only")
        return found
    import pandas as pd

    for target in pd.read_parquet(file, columns=["target"])["target"]:
        x = np.asarray(target, dtype=float)
        starts = {0, (len(x) - n) // 2, len(x) - n} if len(x) >= n else ()
        found += [("classics", x[start : start + n]) for start in sorted(starts)]
    return found


def deviations(options: argparse.Namespace, model: Any, context: int) -> Job:
    """How far forecasts from a stream are from those from scratch, in widths of the interval.

    Each series is followed in one phase, a patch at a time, so that each forecast is made with
    the oldest statistics that the stream allows. The deviation is the mean absolute difference of
    the deciles over the mean width of the 80% interval from scratch.
    """
    import numpy as np

    from tsfm.models import Stream

    patch = model.config.tokenizer.patch_length
    steps = context // 4
    series = panel(options, context, steps)
    stream = Stream(model, [x[:context] for _, x in series], non_negative=False, max_memory=2e10)
    stream.forecast(HORIZON)
    found, ages = [], []
    for k in range(patch, steps + 1, patch):
        stream.update([x[context + k - patch : context + k] for _, x in series])
        streamed = stream.forecast(HORIZON).quantiles
        known = [x[: context + k] for _, x in series]
        wanted = model.forecast(known, HORIZON, non_negative=False).quantiles
        width = np.maximum((wanted[..., -1] - wanted[..., 0]).mean(1), 1e-12)
        found.append(np.abs(streamed - wanted).mean((1, 2)) / width)
        phases = [stream._reader.phases.find(i, context + k) for i in range(len(series))]
        ages.append([context + k - phase.anchored for phase in phases])
    deviation, age = np.array(found), np.array(ages)
    source = np.array([name for name, _ in series])
    gone_on = age > 0
    return {
        "context": context,
        "series": len(series),
        "read_as_a_whole": float((~gone_on).mean()),
        "max_age": stream._reader.max_age,
        "max_drift": stream._reader.max_drift,
        **{
            name: spread(deviation[:, rows], gone_on[:, rows])
            for name, rows in (
                ("all", source == source),
                *((name, source == name) for name in sorted(set(source))),
            )
        },
        "by_age": [
            {"age": int(a), **spread(deviation, age == a)} for a in np.unique(age[gone_on])
        ],
    }


def spread(deviation: Any, chosen: Any) -> dict[str, float]:
    """Mean, median and 95th percentile."""
    import numpy as np

    part = deviation[chosen]
    p50, p95 = np.quantile(part, [0.5, 0.95])
    return {"n": len(part), "mean": float(part.mean()), "median": float(p50), "p95": float(p95)}


def draw(results: dict[str, Any], path: Path) -> None:
    """Time, memory and deviation, side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    run = results["one_by_one"]
    at = [(i + 1) * run["block"] for i in range(len(run["mean_seconds_by_block"]))]
    left.plot(
        at, [1e3 * x for x in run["mean_seconds_by_block"]], label=f"stream, mean of {BLOCK}"
    )
    left.plot(
        at, [1e3 * x for x in run["median_seconds_by_block"]], label=f"stream, median of {BLOCK}"
    )
    n = len(run["scratch_seconds"])
    every = at[-1] / n
    scratch = [1e3 * x for x in run["scratch_seconds"]]
    left.plot([(i + 1) * every for i in range(n)], scratch, ".", color="grey", label="scratch")
    left.set(title="update and forecast", xlabel="updates", ylabel="ms", ylim=(0, None))
    left.legend(frameon=False)
    middle.plot(at[: len(run["resident_mb_by_block"])], run["resident_mb_by_block"])
    middle.set(title="memory of the process", xlabel="updates", ylabel="MB", ylim=(0, None))
    for part in results["deviations"]:
        ages = [0, *(entry["age"] for entry in part["by_age"])]
        for name, style in (("mean", "-"), ("p95", ":")):
            values = [0, *(entry[name] for entry in part["by_age"])]
            right.plot(ages, values, style, marker=".", label=f"{part['context']}, {name}")
    right.axhline(0.1, color="grey", linewidth=0.8)
    right.set(title="deviation / width of the 80% interval", xlabel="age of the statistics, steps")
    right.set_ylim(0, None)
    right.legend(frameon=False, title="context", loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    note(f"wrote {path}")


def main() -> None:
    options = arguments()
    use_checkout()
    import torch

    torch.set_num_threads(options.threads)
    record = Record("streaming", options.threads)
    model = load(options)
    results: dict[str, Any] = {
        "model": {"name": model.config.name, "backbone": model.config.backbone.name},
        "horizon": HORIZON,
        "clock": options.clock,
        "one_by_one": one_by_one(options, model) if options.updates else {"jobs": []},
        "rows": rows(options, model) if options.rows else [],
        "deviations": [deviations(options, model, n) for n in options.contexts],
    }
    jobs = [*results["one_by_one"]["jobs"], *results["rows"]]
    cells: Callable[[Job], list[Any]] = lambda job: [  # noqa: E731
        job["job"],
        job["n"],
        *(1e3 * job[name] for name in ("median", "p90", "max")),
    ]
    print(table(["job", "n", "median ms", "p90 ms", "max ms"], [cells(job) for job in jobs]))
    lines = [
        [
            part["context"],
            name,
            part[name]["n"],
            *(part[name][s] for s in ("mean", "median", "p95")),
        ]
        for part in results["deviations"]
        for name in ("all", "classics", "synthetic")
        if name in part
    ]
    if lines:
        print(table(["context", "series", "forecasts", "mean", "median", "p95"], lines))
    record.write(options.out, results)
    if options.figure and options.updates:
        draw(results, options.figure)


if __name__ == "__main__":
    sys.exit(main())
