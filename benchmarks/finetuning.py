"""Fine-tune pretrained models on ETTh1 and on random walks, and score windows that come later.

python benchmarks/finetuning.py --data ../shared/benchmarks --seeds 0 1
python benchmarks/finetuning.py --runs walk-12 --context-length 128 --seeds 0 1
python benchmarks/finetuning.py --data ../shared/benchmarks --runs ETTh1-24 --part inner

The first 60 % of the series are given to `Forecaster.finetune`, which holds out the last fifth of
them. Scored are windows of the last 20 %. Nothing is to be chosen by these: `--part inner` does
the same within the first 60 % (its first four fifths are given, its last fifth is scored). Runs
that the results file holds already are skipped, so the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

from common import Record, note, parser, table, use_checkout

use_checkout()

STEPS = 14_400
"""Steps of ETTh1 that count: twenty months of 30 days, as usual."""

STRIDE = 25
"""Steps between scored windows: so that they begin at every hour of the day."""

PARTS = {"inner": (0.48, 0.48, 0.6), "test": (0.6, 0.8, 1.0)}
"""Shares of the steps: the end of what is given, and first and end of what is scored."""


DEFAULT_RUNS = ["ETTh1-12", "ETTh1-24", "ETTh1-48", "ETTh1-96"]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "finetuning")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.set_defaults(threads=1)
    p.add_argument("--data", type=Path, default=os.environ.get("TSFM_BENCHMARKS"))
    p.add_argument("--runs", nargs="+", default=DEFAULT_RUNS, help="series-horizon")
    p.add_argument("--model", default="tsfm-mini", help="what is fine-tuned (tsfm-mini)")
    p.add_argument("--methods", nargs="+", default=["lora"])
    p.add_argument("--seeds", nargs="+", type=int, default=[0], help="of training and walks (0)")
    p.add_argument("--context-length", type=int, default=512, help="steps read (512)")
    p.add_argument("--part", choices=PARTS, default="test", help="steps that are scored (test)")
    p.add_argument("--config", type=Path, help="YAML for finetune; the defaults without it")
    return p.parse_args()


def series_of(name: str, seed: int, data: Path | None) -> Any:
    """Hourly series as columns of a table."""
    import numpy as np
    import pandas as pd

    if name == "walk":
        steps = np.random.default_rng(1000 + seed).normal(size=(4000, 7))
        columns, values = [f"walk {i}" for i in range(7)], steps.cumsum(0)
    else:
        if data is None:
            raise SystemExit("give --data DIR or set TSFM_BENCHMARKS")
        file = next(p for p in (data / "lsf", data) if (p / f"{name}.parquet").is_file())
        source = pd.read_parquet(file / f"{name}.parquet")
        columns = list(source["dim_name"])
        values = np.stack([np.asarray(x, dtype=float)[:STEPS] for x in source["target"]], axis=1)
    hours = pd.date_range("2016-07-01", periods=len(values), freq="h", name="time")
    return pd.DataFrame(values, index=hours, columns=columns)


def score(model: Any, values: Any, part: str, horizon: int, context_length: int) -> dict[str, Any]:
    """Weighted quantile loss of all windows together, and of every series on its own."""
    import numpy as np

    low, high = (round(share * len(values)) for share in PARTS[part][1:])
    origins = range(low, high - horizon + 1, STRIDE)
    cuts = [(i, o) for i in range(values.shape[1]) for o in origins]
    contexts = [values[max(0, o - context_length) : o, i] for i, o in cuts]
    levels = np.arange(1, 10) / 10
    answer = model.forecast(
        contexts,
        horizon,
        levels.tolist(),
        season_lengths=[24] * len(cuts),
        context_length=context_length,
    )
    actual = np.stack([values[o : o + horizon, i] for i, o in cuts])
    error = actual[..., None] - answer.quantiles
    loss = 2 * np.maximum(levels * error, (levels - 1) * error).mean(-1)
    shape = (values.shape[1], -1)
    one = loss.reshape(shape).sum(1) / np.abs(actual).reshape(shape).sum(1)
    return {
        "crps": float(loss.sum() / np.abs(actual).sum()),
        "crps_by_series": one.tolist(),
        "mae": float(np.abs(actual - answer.median).mean()),
        "coverage_80": float(
            ((actual >= answer.quantiles[..., 0]) & (actual <= answer.quantiles[..., -1])).mean()
        ),
        "n_windows": len(cuts),
    }


def measure(run: str, method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune one model; score it and its zero-shot self on what comes later."""
    import torch

    from tsfm import Forecaster
    from tsfm.loading import load_model

    torch.set_num_threads(options.threads)
    record = Record("finetuning", options.threads)
    name, horizon = run.rsplit("-", 1)
    frame = series_of(name, seed, options.data)
    zero_shot = Forecaster(
        options.model,
        prediction_length=int(horizon),
        context_length=options.context_length,
        random_state=seed,
        device="cpu",
        verbose=1,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = frame.iloc[: round(PARTS[options.part][0] * len(frame))]
        tuned = zero_shot.finetune(first, method=method, config=options.config)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    lengths = int(horizon), options.context_length
    before, after = (
        score(load_model(f.model, "cpu"), frame.to_numpy(), options.part, *lengths)
        for f in (zero_shot, tuned)
    )
    pairs = zip(after["crps_by_series"], before["crps_by_series"], strict=True)
    ratios = [one / other for one, other in pairs]
    return {
        **record.facts,
        "run": run,
        "model": options.model,
        "method": method,
        "seed": seed,
        "part": options.part,
        "context_length": options.context_length,
        "settings": settings(method, seed, options),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "finetuned": tuned.finetuned_,
        "training": tuned.training_.to_dict("records"),
        "zero_shot": before,
        "fine_tuned": after,
        "gain": 1 - after["crps"] / before["crps"],
        "gain_mean_over_series": 1 - sum(ratios) / len(ratios),
    }


def settings(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All settings of a training."""
    from dataclasses import asdict

    from tsfm.training.adapt_config import read_adaptation

    return asdict(read_adaptation(options.config, method, {"seed": seed}))


def read(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The results so far."""
    return json.loads(options.out.read_text()) if options.out.is_file() else []


def done(entry: dict[str, Any], run: str, method: str, seed: int, o: argparse.Namespace) -> bool:
    """Whether an entry holds what is to be measured."""
    wanted = (run, o.model, o.part, o.context_length, settings(method, seed, o))
    keys = ("run", "model", "part", "context_length", "settings")
    return tuple(entry[key] for key in keys) == wanted


def main() -> None:
    """Work through the queue; append every result at once."""
    options = arguments()
    for seed in options.seeds:
        for run in options.runs:
            for method in options.methods:
                if any(done(entry, run, method, seed, options) for entry in read(options)):
                    continue
                note(f"{run}, {method}, seed {seed}")
                entry = measure(run, method, seed, options)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                # read again: another process may have added its own meanwhile
                options.out.write_text(json.dumps([*read(options), entry], indent=1) + "\n")
    keys = ("run", "context_length", "method", "seed", "part", "finetuned")
    rows = [
        [
            *(entry[key] for key in keys),
            entry["zero_shot"]["crps"],
            entry["fine_tuned"]["crps"],
            f"{entry['gain']:.1%}",
            entry["cpu_seconds"],
        ]
        for entry in read(options)
    ]
    print(table([*keys, "CRPS before", "after", "gain", "CPU s"], rows))


if __name__ == "__main__":
    main()
