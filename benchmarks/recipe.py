"""What training is made of, one change at a time: small models, equal steps, several seeds.

Every arm is the `nano` model with the released recipe (`adamw`) and one change: the optimiser, a
curriculum, the mean of the last snapshots, the share of the horizon in the loss, a broader recipe,
or a corpus without one group of generators. All are scored on classics and on held-out synthetic
series of all groups. What the results file holds is not trained again, so a run that was stopped
goes on, and arms and seeds may be added:

python benchmarks/recipe.py --data DIR
python benchmarks/recipe.py --data DIR --arms adamw normuon-0.02 --seeds 1 2 3 --steps 2000

The CPU time of a step stands beside the optimisers: for equal time, give --steps accordingly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import Record, note, parser, table, use_checkout
from comparison import decay_of, mean_and_spread, score, train
from loop import TrainingLoop
from recipe_arms import CONTROL, OPTIMIZERS, WITHOUT, arms, base_config, config_of

use_checkout()

import torch  # noqa: E402

from tsfm.datasets.synthetic import all_families  # noqa: E402
from tsfm.datasets.windows import chunk_batches  # noqa: E402
from tsfm.models import TSFM  # noqa: E402
from tsfm.training.averaging import snapshot_steps  # noqa: E402
from tsfm.training.config import PretrainConfig  # noqa: E402
from tsfm.training.memory import keep_freed_memory  # noqa: E402
from tsfm.training.validation import validate  # noqa: E402

Row = dict[str, Any]

_CONTEXT = 2048
_TIMED_STEPS = 24
_SCORES = ("classics_mase", "classics_crps", "synthetic_512", f"synthetic_{_CONTEXT}")
_COSTS = ("step_ms", "optimizer_ms")


def pace(config: PretrainConfig, rounds: int = 2) -> dict[str, float]:
    """CPU milliseconds of a training step, and the optimiser's part; the least of some rounds."""
    batches = chunk_batches(config.recipe, 0, 0)[:_TIMED_STEPS]
    loop = TrainingLoop(config)
    loop.warm_up(batches)
    update, spent = loop.optimizer.step, 0.0

    def timed() -> None:
        nonlocal spent
        started = time.process_time()
        update()
        spent += time.process_time() - started

    loop.optimizer.step = timed  # type: ignore[method-assign]
    found = []
    for _ in range(rounds):
        spent, started = 0.0, time.process_time()
        for batch in batches:
            loop.step(batch)
        found.append((time.process_time() - started, spent))
    return {key: 1000 * x / len(batches) for key, x in zip(_COSTS, min(found), strict=True)}


def measure(arm: str, seed: int, steps: int, data: Path) -> Row:
    """Train one arm and score it; the row of the results."""
    config, recipe = config_of(arm, steps), base_config().recipe
    facts: Row = {"arm": arm, "seed": seed, "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        facts["train_seconds"] = train(config, out, steps, seed)
        facts |= score(out, recipe, _CONTEXT, data)
        rows = validate(TSFM.from_pretrained(out).network, recipe)
        facts["families"] = {row.name: row.loss for row in rows}
    if arm in OPTIMIZERS:
        facts |= pace(config)
    return facts


def summary(rows: list[Row]) -> str:
    """Means and standard deviations over seeds, a line per arm and number of steps."""
    keys = (*_SCORES, *_COSTS)
    lines = [
        [arm, steps, len(members), *(mean_and_spread(members, key) for key in keys)]
        for (arm, steps), members in _by_arm(rows).items()
    ]
    return table(["arm", "steps", "n", *keys], lines)


def left_out(rows: list[Row]) -> str:
    """Held-out loss without a group, relative to the control's of the same seed and steps."""
    control = {(row["seed"], row["steps"]): row for row in rows if row["arm"] == CONTROL}
    lines = []
    for (arm, steps), members in _by_arm(rows).items():
        pairs = [(row, control.get((row["seed"], steps))) for row in members]
        known = [(row, other) for row, other in pairs if other is not None]
        if not arm.startswith(WITHOUT) or not known:
            continue
        ratios = [
            {
                part: _loss(row, arm, inside) / _loss(other, arm, inside)
                for part, inside in (("its families", True), ("all others", False))
            }
            for row, other in known
        ]
        cells = [mean_and_spread(ratios, part) for part in ratios[0]]
        lines.append([arm, steps, len(known), *cells])
    return table(["arm", "steps", "n", "its families", "all others"], lines) if lines else ""


def _loss(row: Row, arm: str, inside: bool) -> float:
    """Mean loss over the families of the group an arm leaves out, or over all others."""
    group = arm.removeprefix(WITHOUT)
    families = all_families()
    found = [
        loss for name, loss in row["families"].items() if (families[name].group == group) == inside
    ]
    return statistics.mean(found)


def _by_arm(rows: list[Row]) -> dict[tuple[str, int], list[Row]]:
    """Rows of each arm and number of steps, in the order of the arms."""
    order = {arm: index for index, arm in enumerate(arms())}
    by_arm: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["steps"], order.get(row["arm"], len(order)))):
        by_arm.setdefault((row["arm"], row["steps"]), []).append(row)
    return by_arm


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "recipe")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--data", type=Path, required=True, help="folder with lsf/classics.parquet")
    p.add_argument("--arms", nargs="+", choices=arms(), default=arms(), metavar="ARM")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    p.add_argument("--steps", type=int, default=600, help="of trunk and decay together (600)")
    p.epilog = "arms: " + ", ".join(arms())
    return p.parse_args()


def main() -> None:
    """Train what is missing in the results, then print the tables."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    for arm in options.arms:  # refuse what cannot work before hours are spent
        snapshot_steps(config_of(arm, options.steps).optimizer, 0, decay_of(options.steps))
    record = Record("recipe", options.threads)
    done = json.loads(options.out.read_text()) if options.out.exists() else {"results": {}}
    rows: list[Row] = done["results"].get("runs", [])
    for seed in options.seeds:
        for arm in options.arms:
            if any((r["arm"], r["seed"], r["steps"]) == (arm, seed, options.steps) for r in rows):
                continue
            row = measure(arm, seed, options.steps, options.data)
            facts = {key: record.facts[key] for key in ("commit", "threads")}
            rows.append(row | facts | {"date": datetime.now(UTC).isoformat(timespec="seconds")})
            record.write(options.out, {"runs": rows})
            note(f"{arm}, seed {seed}: {row['train_seconds']:.0f} s, {row['synthetic_512']:.3f}")
    print(summary(rows))
    print(left_out(rows))


if __name__ == "__main__":
    main()
