"""Train the presets on the classic long-horizon sets and score all test windows, seed by seed.

python benchmarks/longterm.py --data ../shared/benchmarks --runs smamba-ETTh1 --seeds 0 1 2

Runs that the results file holds already are skipped, so the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import ROOT, Record, note, parser, table, use_checkout

use_checkout()


@dataclass(frozen=True)
class Run:
    """A data set, a preset's configuration file and the lengths of the windows."""

    dataset: str
    config: str
    context_length: int
    prediction_length: int
    variates: tuple[str, ...] | None = None


RUNS = {
    "smamba-ETTh1": Run("ETTh1", "smamba-etth1", 96, 96),
    "spacetime-ETTh1-OT": Run("ETTh1", "spacetime-etth1", 336, 720, ("OT",)),
    "smamba-ETTm1": Run("ETTm1", "smamba-ettm1", 96, 96),
    "smamba-weather": Run("weather", "smamba-weather", 96, 96),
    "spacetime-ETTm1-OT": Run("ETTm1", "spacetime-ettm1", 336, 96, ("OT",)),
    "spacetime-weather-OT": Run("weather", "spacetime-weather", 336, 96, ("OT",)),
}


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "longterm")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.set_defaults(threads=1)
    p.add_argument("--data", type=Path, default=os.environ.get("TSFM_BENCHMARKS"))
    p.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="which (all)")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds (0 1 2)")
    p.add_argument("--max-minutes", type=float, help="stop each training after so many minutes")
    answer = p.parse_args()
    if answer.data is None:
        p.error("give --data DIR or set TSFM_BENCHMARKS")
    return answer


def measure(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one preset, score it and its baselines, and say where this was done."""
    import numpy as np
    import torch

    from tsfm.evaluation.longterm import LongTermTask, report, score
    from tsfm.training.finetune import finetune
    from tsfm.training.finetune_config import read_recipe

    torch.set_num_threads(options.threads)
    record, run = Record("longterm", options.threads), RUNS[name]
    lengths = {"context_length": run.context_length, "prediction_length": run.prediction_length}
    task = LongTermTask.load(options.data, run.dataset, variates=run.variates, **lengths)
    path = ROOT / "configs" / "finetune" / f"{run.config}.yaml"
    config, settings = read_recipe(path, model=lengths, training={"seed": seed})
    result = finetune(
        list(task.history),
        config,
        settings,
        validation_length=task.validation_length,
        max_minutes=options.max_minutes,
        device="cpu",
        progress=True,
    )
    scores = report(task, config.kind, result.model.points, "cpu", {}).scores
    orders = []
    if result.model.network.mixes_variates:
        rng = np.random.default_rng(seed)
        for _ in range(5):
            order = rng.permutation(len(task.variates))
            orders.append(
                score(task, lambda x, h, o=order: result.model.points(x, h, order=o)).mse
            )
    return {
        **record.facts,
        "run": name,
        "seed": seed,
        "task": asdict(run),
        "model": asdict(config),
        "training": asdict(settings),
        "n_parameters": result.model.n_parameters,
        "n_windows_train": result.n_windows,
        "epochs": [asdict(epoch) for epoch in result.history],
        "best_epoch": result.best.number,
        "stopped": result.stopped,
        "scores": {key: asdict(value) for key, value in scores.items()},
        "mse_of_5_random_orders": orders,
        "std_over_orders": float(np.std(orders)) if orders else None,
    }


def read(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The results so far."""
    return json.loads(options.out.read_text()) if options.out.is_file() else []


def main() -> None:
    """Work through the queue; append every result at once."""
    options = arguments()
    for name in options.runs:
        for seed in options.seeds:
            if not any((entry["run"], entry["seed"]) == (name, seed) for entry in read(options)):
                note(f"{name}, seed {seed}")
                entry = measure(name, seed, options)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                # read again: another process may have added its own meanwhile
                options.out.write_text(json.dumps([*read(options), entry], indent=1) + "\n")
    rows = []
    for entry in read(options):
        kind = entry["run"].split("-")[0]
        own, linear = entry["scores"][kind], entry["scores"]["linear"]
        rows.append([entry["run"], entry["seed"], own["mse"], own["mae"], linear["mse"]])
    print(table(["run", "seed", "MSE", "MAE", "linear MSE"], rows))


if __name__ == "__main__":
    main()
