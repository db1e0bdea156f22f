"""What `mode="best"` costs beside `mode="fast"`, and what each part of inference is worth.

    python benchmarks/inference_stack.py --only cost
    python benchmarks/inference_stack.py --only ablation --threads 1 --panel ../shared/benchmarks

`cost` times both modes in turns, so that whatever else runs slows both: seconds of wall clock and
of processor time, the tokens that the network reads, and the ratios. `ablation` scores networks
without and with each part on held-out synthetic series and on the classics panel.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import Record, make_series, note, parser, summary, table, use_checkout
from inference_arms import (
    ARMS,
    Reading,
    Remembering,
    Widening,
    classics_score,
    held_out_cases,
    synthetic_scores,
)

PARTS = ("cost", "ablation")
CASES = (
    (1000, 512, 48),
    (100, 2048, 96),
    (1, 2048, 96),
    (1000, 96, 24),
    (100, 512, 720),
    (1000, 48, 12),
    (1000, 128, 24),
)
"""Series, steps of context, steps ahead."""
GOAL = 12.0
"""Times the cost of `fast` that `best` may have."""
MODES = ("fast", "best")


class Turn(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "inference_stack")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--model", default="tsfm-mini", help="name or folder of the model")
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    p.add_argument("--turns", type=int, default=5, help="timed turns per case (5)")
    p.add_argument("--cases", type=int, nargs="+", help="numbers of the cases to time (all)")
    p.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="arms to run")
    p.add_argument("--panel", type=Path, help="folder of lsf/classics.parquet")
    p.add_argument("--per-family", type=int, default=8, help="series per family and length (8)")
    p.add_argument("--seed", type=int, default=20_261_121, help="of the held-out series")
    return p.parse_args()


def cost(options: argparse.Namespace, model: Any) -> list[dict[str, Any]]:
    """Both modes in turns, case by case."""
    chosen = options.cases or range(len(CASES))
    return [one_case(options, model, *CASES[i]) for i in chosen]


def one_case(
    options: argparse.Namespace, model: Any, n: int, length: int, horizon: int
) -> dict[str, Any]:
    """A number of series, a context and a horizon."""
    series = [np.array(x) for x in make_series(n, length)]
    repeats = 10 if n == 1 else 1  # a turn of one series is short
    for mode in MODES:  # warm
        model.forecast(series[: max(1, n // 10)], horizon, mode=mode)
    turns: dict[str, list[Turn]] = {mode: [] for mode in MODES}
    reading = {}
    for mode in MODES:
        with Reading(model) as found:
            model.forecast(series, horizon, mode=mode)
        reading[mode] = found
    for _ in range(options.turns):
        for mode in MODES:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                model.forecast(series, horizon, mode=mode)
            turns[mode].append(
                Turn((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)
            )
    ratios = {
        kind: summary(
            [
                getattr(best, kind) / getattr(fast, kind)
                for fast, best in zip(turns["fast"], turns["best"], strict=True)
            ]
        )
        for kind in Turn._fields
    }
    note(f"{n} x {length} -> {horizon}: {ratios['wall']['median']:.1f} times")
    return {
        "series": n,
        "context": length,
        "horizon": horizon,
        "goal": GOAL,
        "tokens": {mode: reading[mode].tokens for mode in MODES},
        "passes": {mode: reading[mode].passes for mode in MODES},
        "token_ratio": reading["best"].tokens / reading["fast"].tokens,
        "ratio": ratios,
        "seconds": {
            mode: {
                kind: summary([getattr(turn, kind) for turn in turns[mode]])
                for kind in Turn._fields
            }
            for mode in MODES
        },
    }


def ablation(options: argparse.Namespace, model: Any) -> list[dict[str, Any]]:
    """Every arm on held-out synthetic series and on the panel."""
    model = Remembering(model)
    arms = {name: ARMS[name] for name in options.arms}
    rows: dict[str, dict[str, Any]] = {name: {"arm": name} for name in arms}
    for name in arms:
        if "widened" in name:  # fitted on other series
            others = held_out_cases(options.per_family, options.seed + 1)
            widening = Widening.fit(model, arms[name], others, "by level" in name)
            model.forget()
            arms[name] = dataclasses.replace(arms[name], widening=widening)
            rows[name]["factors"] = np.round(widening.factors, 2).tolist()
    cases = held_out_cases(options.per_family, options.seed)
    scores = synthetic_scores(model, arms, cases)
    for name, arm in arms.items():
        row = rows[name]
        row["synthetic"] = scores[name].summary()
        if "best" in scores:
            row["synthetic"]["beyond_best"] = paired(scores[name].loss - scores["best"].loss)
        if options.panel:
            row["classics"] = classics_score(model, arm, options.panel)
        note(f"{name}: {row['synthetic']['loss']:.4f} {row.get('classics')}")
    return list(rows.values())


def paired(difference: np.ndarray) -> dict[str, float]:
    """Mean difference of losses and its standard error."""
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    return {"mean": float(difference.mean()), "error": error}


def cost_table(cases: list[dict[str, Any]]) -> str:
    """One row per case."""
    head = ["series x context -> horizon", "fast s", "best s", "wall", "processor", "tokens"]
    rows = []
    for case in cases:
        wall = {mode: case["seconds"][mode]["wall"]["median"] for mode in MODES}
        rows.append(
            [
                f"{case['series']} x {case['context']} -> {case['horizon']}",
                *wall.values(),
                case["ratio"]["wall"]["median"],
                case["ratio"]["cpu"]["median"],
                case["token_ratio"],
            ]
        )
    return table([*head, "goal"], [[*row, GOAL] for row in rows])


def ablation_table(rows: list[dict[str, Any]]) -> str:
    """One row per arm."""
    head = ["", "synthetic loss", "beyond best", "covers", "MASE", "CRPS", "covers", "cost"]
    fast = next((row["synthetic"]["tokens"] for row in rows if row["arm"] == "fast"), None)
    lines = []
    for row in rows:
        own, panel = row["synthetic"], row.get("classics", {})
        beyond = own.get("beyond_best")
        lines.append(
            [
                row["arm"],
                f"{own['loss']:.3f}",
                f"{beyond['mean']:+.3f} ± {beyond['error']:.3f}" if beyond else None,
                f"{own['coverage']:.3f}",
                *(
                    f"{panel[key]:.4f}" if key in panel else None
                    for key in ("mase", "crps", "coverage")
                ),
                own["tokens"] / fast if fast else None,
            ]
        )
    return table(head, lines)


def main() -> None:
    """Runs the parts, prints the tables and writes the JSON."""
    options = arguments()
    use_checkout()
    import torch

    from tsfm.models import TSFM

    torch.set_num_threads(options.threads)
    record = Record("inference_stack", options.threads)
    model = TSFM.from_pretrained(options.model, device="cpu")
    results: dict[str, Any] = {"model": model.config.name}
    if "cost" in options.only:
        results["cost"] = cost(options, model)
        print(cost_table(results["cost"]))
    if "ablation" in options.only:
        results["ablation"] = {
            "seed": options.seed,
            "per_family": options.per_family,
            "rows": ablation(options, model),
        }
        print(ablation_table(results["ablation"]["rows"]))
    record.write(options.out, results)


if __name__ == "__main__":
    main()
