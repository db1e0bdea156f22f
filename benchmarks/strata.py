"""Does drawing predictable series more often help? Stratified against uniform sampling.

A corpus of synthetic series of mixed predictability is built once: half of them are the recipe's,
half are drowned in white noise or a random walk by a random share. The `nano` model is trained on
it with uniform sampling, and with stratum k of 5 drawn in proportion to k to several powers, by
the same steps and seeds. Scores are those of clean held-out synthetic series and of the classics.

Corpora and finished runs are kept, so that a second call goes on:

python benchmarks/strata.py --data ../shared/benchmarks --runs runs/strata
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import Record, note, parser, table, use_checkout
from comparison import score, train
from comparison_arms import arm_config

use_checkout()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from tsfm.datasets.corpus import generate, seeded  # noqa: E402
from tsfm.datasets.recipes import Recipe  # noqa: E402
from tsfm.datasets.stored import Corpus, CorpusConfig, CorpusWriter, Series  # noqa: E402
from tsfm.datasets.stored.strata import stratify  # noqa: E402
from tsfm.datasets.synthetic.base import choice, normal, standardise, uniform  # noqa: E402
from tsfm.training.config import PretrainConfig  # noqa: E402
from tsfm.training.memory import keep_freed_memory  # noqa: E402

CONTEXT = 2048
STRATA = 5
_POOL_SEED = 7
_AT_ONCE = 2000
_SCORES = ("synthetic_512", f"synthetic_{CONTEXT}", "classics_mase", "classics_crps")


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "strata")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--data", type=Path, required=True, help="folder with lsf/classics.parquet")
    p.add_argument("--runs", type=Path, default=Path("runs/strata"), help="where all is kept")
    p.add_argument("--series", type=int, default=20_000, help="series of the corpus (20000)")
    p.add_argument("--length", type=int, default=2048, help="steps per series (2048)")
    p.add_argument("--steps", type=int, default=2000, help="training steps per run (2000)")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(1 2 3)")
    p.add_argument(
        "--powers",
        type=float,
        nargs="+",
        default=[1.0, 2.0, 4.0, -1.0],
        help="stratum k is drawn in proportion to k to this power (1 2 4 -1); 0 is always run",
    )
    p.add_argument("--tokens-per-step", type=int, help="overrides the recipe's")
    return p.parse_args()


def drowned(series: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the rows as they are, half with white noise or a random walk; [n, length]."""
    n, length = series.shape
    noise = normal(rng, n, length)
    walk = standardise(torch.cumsum(normal(rng, n, length), -1))
    noise = torch.where(choice(rng, (0.0, 1.0), n, 1) > 0, noise, walk)
    share = uniform(rng, -1.0, 1.0, n, 1).clamp_min(0)
    return standardise(series * (1 - share).sqrt() + noise * share.sqrt())


def build_pool(out: Path, recipe: Recipe, n: int, length: int) -> Corpus:
    """The corpus, unless it is there already."""
    if not out.exists():
        with CorpusWriter(out) as writer:
            writer.begin("synthetic pool", "arrays")
            for begin in range(0, n, _AT_ONCE):
                rng = seeded("cpu", "series", _POOL_SEED, begin)
                series, _ = generate(recipe, min(_AT_ONCE, n - begin), length, rng)
                for i, values in enumerate(drowned(series, rng).double().numpy()):
                    writer.add(Series(f"{begin + i:06d}", values))
        note(f"built {out}: {n} series")
    return Corpus(out)


def corpus_of(power: float, pool: Corpus) -> CorpusConfig:
    """The pool as a source for one arm; strata lie beside links to its values."""
    if power == 0:
        return CorpusConfig(str(pool.path), stratified=False)
    out = pool.path.with_name(f"{pool.path.name}_power_{power:g}")
    if not out.exists():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(pool.path, part, copy_function=os.link)
        weights = [float(k) ** power for k in range(1, STRATA + 1)]
        meta = stratify(Corpus(part), strata=STRATA, weights=weights)
        part.rename(out)
        note(f"stratified {out}: edges {[round(edge, 3) for edge in meta['edges']]}")
    return CorpusConfig(str(out), stratified=True)


def arm(power: float, pool: Corpus, tokens: int | None) -> PretrainConfig:
    """The run of an arm, but for its length and seed."""
    config = arm_config("fixed-32", "transformer", CONTEXT)
    recipe = replace(config.recipe, tokens_per_step=tokens or config.recipe.tokens_per_step)
    return replace(config, recipe=recipe, corpus=corpus_of(power, pool))


def run_arm(power: float, seed: int, pool: Corpus, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one arm; a finished run is read, an unfinished one starts again."""
    out = options.runs / f"power_{power:g}_{options.steps}_{seed}"
    done = out / "scores.json"
    if not done.exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        config = arm(power, pool, options.tokens_per_step)
        seconds = train(config, out, options.steps, seed)
        facts = {"power": power, "seed": seed, "steps": options.steps, "seconds": seconds}
        facts |= score(out, config.recipe, CONTEXT, options.data)
        done.write_text(json.dumps(facts, indent=2))
        note(f"{out.name}: {seconds:.0f} s, " + ", ".join(f"{facts[k]:.4f}" for k in _SCORES))
    facts = json.loads(done.read_text())
    return dict(facts)


def report(runs: list[dict[str, Any]]) -> str:
    """Means over the seeds, and beside them the paired difference to uniform sampling."""
    uniform_runs = {run["seed"]: run for run in runs if run["power"] == 0}
    rows = []
    for power in sorted({run["power"] for run in runs}):
        members = [run for run in runs if run["power"] == power]
        cells = []
        for key in _SCORES:
            change = [run[key] / uniform_runs[run["seed"]][key] - 1 for run in members]
            cells.append(f"{statistics.mean(run[key] for run in members):.4f}")
            cells.append("-" if power == 0 else _mean(change))
        rows.append(["uniform" if power == 0 else f"k^{power:g}", len(members), *cells])
    head = ["chance of stratum k", "seeds"]
    for key in _SCORES:
        head += [key, "against uniform"]
    return table(head, rows)


def _mean(changes: list[float]) -> str:
    spread = statistics.stdev(changes) if len(changes) > 1 else 0.0
    return f"{statistics.mean(changes):+.1%} ± {spread:.1%}"


def main() -> None:
    """Build, train, score and report what is not there yet."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    record = Record("strata", options.threads)
    recipe = arm_config("fixed-32", "transformer", CONTEXT).recipe
    options.runs.mkdir(parents=True, exist_ok=True)
    name = f"pool_{options.series}_{options.length}"
    pool = build_pool(options.runs.resolve() / name, recipe, options.series, options.length)
    powers = dict.fromkeys([0.0, *options.powers])
    runs = [run_arm(p, seed, pool, options) for seed in options.seeds for p in powers]
    print(report(runs))
    facts = {"series": options.series, "length": options.length, "runs": runs}
    record.write(options.out, facts)


if __name__ == "__main__":
    main()
