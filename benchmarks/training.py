"""Time training steps: every size, eager and compiled, bf16 and fp32, each in a fresh process.

python benchmarks/training.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
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

SIZES = ("nano", "mini", "small")
MODES = ("eager", "compiled")
PRECISIONS = ("bf16", "fp32")


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "training")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES)
    p.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    p.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    p.add_argument("--steps", type=int, default=32, help="timed steps per variant (32)")
    p.add_argument("--tokens-per-step", type=int, help="overrides the recipe's")
    p.add_argument("--variant", nargs=3, help=argparse.SUPPRESS)
    return p.parse_args()


def variant(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one variant in this process."""
    use_checkout()
    import torch
    from loop import TrainingLoop, tokens_in

    from tsfm.datasets.windows import chunk_batches
    from tsfm.training.config import PretrainConfig
    from tsfm.training.memory import keep_freed_memory

    size, mode, precision = options.variant
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    overrides = {
        "compile": mode == "compiled",
        "precision": precision,
        "recipe.steps_per_chunk": options.steps,
    }
    if options.tokens_per_step:
        overrides["recipe.tokens_per_step"] = options.tokens_per_step
    config = PretrainConfig.load(ROOT / f"configs/pretrain/{size}.yaml", overrides)
    batches = chunk_batches(config.recipe, config.seed, 0)
    loop = TrainingLoop(config)
    warm_up = timed(lambda: loop.warm_up(batches))
    seconds = [timed(lambda batch=batch: loop.step(batch)) for batch in batches]
    total = sum(seconds)
    return {
        "size": size,
        "mode": mode,
        "precision": precision,
        "n_parameters": sum(p.numel() for p in loop.network.parameters()),
        "steps_per_second": len(seconds) / total,
        "tokens_per_second": sum(tokens_in(batch) for batch in batches) / total,
        "series_per_second": sum(batch.values.shape[0] for batch in batches) / total,
        "step_seconds": summary(seconds),
        "warm_up_seconds": warm_up,
        "peak_mb": peak_memory_mb(),
    }


def main() -> None:
    """Runs every variant and writes the table and the JSON."""
    options = arguments()
    if options.variant:
        print(json.dumps(variant(options)))
        return
    record = Record("training", options.threads)
    rows = []
    for words in itertools.product(options.sizes, options.modes, options.precisions):
        note(" ".join(words))
        command = [sys.executable, __file__, "--variant", *words, "--steps", str(options.steps)]
        command += ["--threads", str(options.threads)]
        if options.tokens_per_step:
            command += ["--tokens-per-step", str(options.tokens_per_step)]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environment(options.threads),
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    head = ["size", "parameters", "mode", "precision", "steps/s", "tokens/s", "warm-up s", "MB"]
    keys = ["size", "n_parameters", "mode", "precision", "steps_per_second"]
    keys += ["tokens_per_second", "warm_up_seconds", "peak_mb"]
    print(table(head, [[row[key] for key in keys] for row in rows]))
    record.write(options.out, {"steps": options.steps, "variants": rows})


if __name__ == "__main__":
    main()
