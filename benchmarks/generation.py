"""Time the synthetic corpus: series per second per family, the mixture, its share of training.

python benchmarks/generation.py
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path
from typing import Any

from common import (
    ROOT,
    Record,
    note,
    parser,
    peak_memory_mb,
    summary,
    table,
    timed,
    use_checkout,
)

use_checkout()

import torch  # noqa: E402

from tsfm.datasets.corpus import corpus_chunk, generate, seeded  # noqa: E402
from tsfm.datasets.recipes import Recipe, RingConfig, WindowShape  # noqa: E402
from tsfm.datasets.ring import Ring  # noqa: E402
from tsfm.datasets.synthetic import Family, all_families  # noqa: E402
from tsfm.datasets.windows import chunk_batches  # noqa: E402
from tsfm.training.memory import keep_freed_memory  # noqa: E402

GOAL = 2000
"""Series of 2,048 steps per second, mean over the mixture, on two cores."""


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "generation")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--recipe", type=Path, default=ROOT / "datasets/synthetic.yaml")
    p.add_argument("--config", type=Path, default=ROOT / "configs/pretrain/mini.yaml")
    p.add_argument("--families", nargs="+", metavar="NAME", help="these only (all)")
    p.add_argument("--n", type=int, default=256, help="series per call of a family (256)")
    p.add_argument("--mixture-n", type=int, default=1536, help="series per mixture (1536)")
    p.add_argument("--length", type=int, default=2048, help="steps per series (2048)")
    p.add_argument("--repeats", type=int, default=5, help="timed calls (5)")
    p.add_argument("--ring", type=int, default=8192, help="series in a ring; 0: none (8192)")
    p.add_argument("--refresh", type=float, default=1 / 16, help="share replaced a chunk (1/16)")
    p.add_argument("--reuse", type=float, default=6.0, help="windows per series of the ring (6)")
    p.add_argument("--chunks", type=int, default=4, help="chunks of training data; 0: none (4)")
    p.add_argument("--steps", type=int, help="training steps to time per chunk (all)")
    p.add_argument("--tokens-per-step", type=int, help="overrides the recipe's")
    p.add_argument("--eager", action="store_true", help="do not compile the network")
    return p.parse_args()


def time_family(family: Family, n: int, length: int, repeats: int) -> dict[str, Any]:
    """Series per second of one family; the first call is not counted."""
    seconds = [
        timed(lambda seed=seed: family.sample(n, length, _rng(seed)))
        for seed in range(repeats + 1)
    ][1:]
    rate = n / statistics.median(seconds)
    return {
        "family": family.name,
        "group": family.group,
        "series_per_second": rate,
        "seconds": summary(seconds),
    }


def time_mixture(recipe: Recipe, n: int, length: int, repeats: int) -> list[dict[str, Any]]:
    """Series per second of the recipe's mixture, bare and augmented.

    Each repeat draws other families, so the rate is that of all repeats together.
    """
    calls = {
        "mixture": lambda seed: generate(recipe, n, length, _rng(seed)),
        "mixture, augmented": lambda seed: corpus_chunk(recipe, n, length, _rng(seed)),
    }
    rows = []
    for name, call in calls.items():
        seconds = [timed(lambda call=call, seed=seed: call(seed)) for seed in range(repeats + 1)][
            1:
        ]
        rate = n * len(seconds) / sum(seconds)
        rows.append({"what": name, "series_per_second": rate, "seconds": summary(seconds)})
    return rows


def time_ring(
    recipe: Recipe, config: RingConfig, length: int, reuse: float, repeats: int
) -> list[dict[str, Any]]:
    """Windows per second out of a ring that is refreshed as in training, bare and augmented.

    Parameters
    ----------
    recipe
        The mixture.
    config
        The ring; its series are as long as the windows.
    length
        Steps per window.
    reuse
        Windows drawn from a series before it is replaced.
    repeats
        Refreshes that are timed, each with its windows; the first ring is not.
    """
    recipe = dataclasses.replace(
        recipe,
        windows=(WindowShape(max(1, length // recipe.patch_length - 1), 1, 1.0),),
        curriculum=(),
        ring=dataclasses.replace(config, length=length),
    )
    ring = Ring(recipe, seed=0).at(0)
    n = round(reuse * ring.fresh)

    def windows(chunk: int, augmented: bool) -> None:
        rng = seeded("cpu", "windows", 0, chunk)
        ring.at(chunk)
        if augmented:
            corpus_chunk(recipe, n, length, rng, ring)
        else:
            ring.draw(n, length, rng)

    rows, chunk = [], 0
    for name, augmented in (("ring", False), ("ring, augmented", True)):
        seconds = []
        for _ in range(repeats):
            chunk += 1
            seconds.append(timed(lambda chunk=chunk, a=augmented: windows(chunk, a)))
        rate = n * len(seconds) / sum(seconds)
        facts = {"what": name, "series_per_second": rate, "seconds": summary(seconds)}
        facts |= {"reuse": n / ring.fresh, "slots": len(ring.labels), "mb": ring.nbytes / 1e6}
        rows.append(facts)
    return rows


def time_training(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to make a chunk of batches, and to train on it, chunk after chunk."""
    from loop import TrainingLoop, tokens_in

    from tsfm.training.config import PretrainConfig

    overrides: dict[str, Any] = {"compile": False} if options.eager else {}
    if options.tokens_per_step:
        overrides["recipe.tokens_per_step"] = options.tokens_per_step
    config = PretrainConfig.load(options.config, overrides)
    loop = TrainingLoop(config)
    chunks = []
    for chunk in range(options.chunks + 1):
        batches: list[Any] = []
        made = timed(
            lambda batches=batches, chunk=chunk: batches.extend(
                chunk_batches(config.recipe, config.seed, chunk)
            )
        )
        steps = batches[: options.steps]
        if chunk == 0:  # compiles; not counted
            loop.warm_up(steps)
            continue
        seconds = [timed(lambda batch=batch: loop.step(batch)) for batch in steps]
        trained = sum(seconds) * len(batches) / len(steps)
        chunks.append(
            {
                "generation_seconds": made,
                "training_seconds": trained,
                "share": made / (made + trained),
                "series": sum(batch.values.shape[0] for batch in batches),
                "tokens": sum(tokens_in(batch) for batch in batches),
                "step_seconds": summary(seconds),
            }
        )
        note(f"chunk {chunk}: {made:.1f} s generation, {trained:.1f} s training")
    made = sum(c["generation_seconds"] for c in chunks)
    trained = sum(c["training_seconds"] for c in chunks)
    return {
        "config": options.config.name,
        "model": config.model.name,
        "compiled": config.compile,
        "bf16": loop.bf16,
        "steps_per_chunk": config.recipe.steps_per_chunk,
        "share": made / (made + trained),
        "goal": 0.2,
        "chunks": chunks,
        "peak_mb": peak_memory_mb(),
    }


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def report(results: dict[str, Any], recipe: Recipe) -> str:
    """The results as markdown, slowest family first."""
    total = sum(recipe.families.values())
    cost = {
        f["family"]: recipe.families.get(f["family"], 0) / total / f["series_per_second"]
        for f in results["families"]
    }
    all_cost = sum(cost.values()) or 1.0
    rows = [
        [
            f["family"],
            f["group"],
            f["series_per_second"],
            f"{recipe.families.get(f['family'], 0) / total:.1%}",
            f"{cost[f['family']] / all_cost:.1%}",
        ]
        for f in sorted(results["families"], key=lambda f: f["series_per_second"])
    ]
    head = ["family", "group", "series/s", "share of series", "share of time"]
    parts = [table(head, rows)] if rows else []
    if results["mixtures"]:
        mixtures = [
            [m["what"], m["series_per_second"], m["goal"], m.get("reuse", 1.0)]
            for m in results["mixtures"]
        ]
        head = [f"series of {results['length']} steps", "series/s", "goal", "windows per series"]
        parts.append(table(head, mixtures))
    if training := results["training"]:
        chunks = training["chunks"]
        head = ["training on", "generation s per chunk", "training s per chunk", "share", "goal"]
        means = [
            statistics.fmean(c[key] for c in chunks)
            for key in ("generation_seconds", "training_seconds")
        ]
        row = [training["config"], *means, f"{training['share']:.1%}", f"{training['goal']:.0%}"]
        parts.append(table(head, [row]))
    return "\n\n".join(parts)


def main() -> None:
    """Runs the parts and writes the tables and the JSON."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # or page faults are most of what is measured on virtual machines
    record = Record("generation", options.threads)
    recipe = Recipe.load(options.recipe)
    families = all_families()
    names = options.families or list(families)
    if unknown := [name for name in names if name not in families]:
        raise SystemExit(f"Unknown family {unknown[0]!r}; there are {', '.join(families)}.")
    results: dict[str, Any] = {"n": options.n, "length": options.length, "families": []}
    for name in names:
        note(f"{name} ...")
        results["families"].append(
            time_family(families[name], options.n, options.length, options.repeats)
        )
    if options.families:  # the mixture of these
        recipe = dataclasses.replace(
            recipe, families={name: recipe.families.get(name, 1.0) for name in names}
        )
    note("mixture ...")
    mixtures = time_mixture(recipe, options.mixture_n, options.length, options.repeats)
    if options.ring:
        config = RingConfig(series=options.ring, refresh=options.refresh)
        note("ring ...")
        mixtures += time_ring(recipe, config, options.length, options.reuse, options.repeats)
    results["mixtures"] = [{**row, "goal": GOAL} for row in mixtures]
    results["training"] = time_training(options) if options.chunks else None
    print(report(results, recipe))
    record.write(options.out, results)


if __name__ == "__main__":
    main()
