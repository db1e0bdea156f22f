"""Tokenizers side by side: small models trained at equal time or tokens, and their scores.

Every arm is the `nano` model on the same synthetic corpus with another tokenizer or backbone.
Time is that of one processor core, measured on the first steps of every arm; tokens are those
the backbone reads. Runs are kept in a folder, so that a second call goes on, and two calls share
the work:

python benchmarks/comparison.py --runs runs/comparison calibrate
python benchmarks/comparison.py --runs runs/comparison train --data DIR
python benchmarks/comparison.py --runs runs/comparison pace
python benchmarks/comparison.py --runs runs/comparison gift --data DIR
python benchmarks/comparison.py --runs runs/comparison report
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import RESULTS, Record, note, table, use_checkout
from comparison_arms import BACKBONES, PUBLISHED, TOKENIZERS, arm_config

use_checkout()

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from tsfm.datasets.corpus import held_out  # noqa: E402
from tsfm.datasets.recipes import Recipe  # noqa: E402
from tsfm.evaluation import classics, gift  # noqa: E402
from tsfm.models import TSFM  # noqa: E402
from tsfm.models.scaler import Scale  # noqa: E402
from tsfm.tokenizers.batch import TokenBatch  # noqa: E402
from tsfm.training.config import PretrainConfig  # noqa: E402
from tsfm.training.forecasting import training_loss  # noqa: E402
from tsfm.training.memory import keep_freed_memory  # noqa: E402
from tsfm.training.module import PretrainModule  # noqa: E402
from tsfm.training.pretrain import run  # noqa: E402
from tsfm.training.stream import CorpusStream  # noqa: E402
from tsfm.training.validation import validate  # noqa: E402

_CALIBRATION_STEPS = 28
_DECAY_SHARE = 0.3


def calibrate(config: PretrainConfig) -> dict[str, float]:
    """Seconds of one core per training step, and tokens of one step without padding."""
    torch.manual_seed(0)
    network = PretrainModule(config).network
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    seconds, tokens = [], []
    batches = iter(CorpusStream(config.recipe, 0))
    for _ in range(_CALIBRATION_STEPS):
        batch = next(batches)
        started = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = training_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - started)
        context = batch.values.shape[1] - batch.prediction_length
        known = torch.isfinite(batch.values[:, :context])
        z = Scale.of(batch.values[:, :context], known).forward(batch.values[:, :context])
        made = network.tokenizer.tokenize(
            torch.where(known, z, 0), known, batch.prediction_length, batch.hidden
        )
        tokens.append(int((made.length > 0).sum()))
    return {"seconds": statistics.mean(seconds[4:]), "tokens": statistics.mean(tokens)}


def steps_for(budget: str, amount: float, pace: dict[str, float]) -> int:
    """Training steps that use up a budget: "time" in seconds, "tokens" or "steps"."""
    per_step = {"time": pace["seconds"], "tokens": pace["tokens"], "steps": 1.0}[budget]
    return max(20, round(amount / per_step))


def decay_of(steps: int) -> int:
    """Steps of the decay branch among all steps."""
    return round(_DECAY_SHARE * steps)


def train(config: PretrainConfig, out: Path, steps: int, seed: int) -> float:
    """Trunk and decay branch; the seconds they took."""
    decay = decay_of(steps)
    changes = {"max_steps": steps - decay}
    trunk = run(config, out, seed=seed, overrides=changes, progress=False)
    branch = run(config, out, seed=seed, overrides=changes, decay_steps=decay, progress=False)
    for name in ("trunk.ckpt", "decay.ckpt"):
        (out / name).unlink()
    return trunk.seconds + branch.seconds


def score(out: Path, recipe: Recipe, context: int, data: Path) -> dict[str, float]:
    """Held-out synthetic series and classics."""
    model = TSFM.from_pretrained(out)
    answer: dict[str, float] = {}
    for length, horizon in ((512, 96), (context, 192)):
        rows = validate(model.network, recipe, context=length, horizon=horizon)
        answer[f"synthetic_{length}"] = statistics.mean(row.loss for row in rows)
    report = classics.evaluate(model, data / "lsf" / "classics.parquet", progress=False)
    answer |= {"classics_mase": report.mase, "classics_crps": report.crps}
    return answer | cost(model, recipe, context)


@torch.inference_mode()
def cost(model: TSFM, recipe: Recipe, context: int, horizon: int = 96) -> dict[str, float]:
    """Context tokens and backbone FLOPs per series, on held-out series of all families.

    Parameters
    ----------
    model
        The model.
    recipe, context, horizon
        Families, and lengths of their series and forecasts in steps.
    """
    network, tokens, flops, n = model.network, 0, 0, 0
    forward = network.backbone.forward

    def counted(x: torch.Tensor, batch: TokenBatch, *args: Any, **kwargs: Any) -> Any:
        nonlocal tokens, flops
        tokens += int((batch.length[:, : batch.n_context] > 0).sum())
        with FlopCounterMode(display=False) as counter:
            answer = forward(x, batch, *args, **kwargs)
        flops += counter.get_total_flops()
        return answer

    network.backbone.forward = counted  # type: ignore[method-assign]
    try:
        for _, series in held_out(recipe, 8, context):
            observed = torch.ones_like(series, dtype=torch.bool)
            network(Scale.of(series, observed).forward(series), observed, horizon)
            n += len(series)
    finally:
        network.backbone.forward = forward  # type: ignore[method-assign]
    return {"tokens_per_series": tokens / n, "backbone_mflops": flops / n / 1e6}


@torch.inference_mode()
def pace_of(model: TSFM, recipe: Recipe, context: int, horizon: int = 96) -> dict[str, float]:
    """Milliseconds of one core per series, of the backbone alone and of the whole forecast."""
    network, inside, whole, n = model.network, 0.0, 0.0, 0
    forward = network.backbone.forward

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        started = time.process_time()
        answer = forward(*args, **kwargs)
        inside += time.process_time() - started
        return answer

    network.backbone.forward = timed  # type: ignore[method-assign]
    try:
        for _, series in held_out(recipe, 32, context):
            observed = torch.ones_like(series, dtype=torch.bool)
            z = Scale.of(series, observed).forward(series)
            started = time.process_time()
            network(z, observed, horizon)
            whole += time.process_time() - started
            n += len(series)
    finally:
        network.backbone.forward = forward  # type: ignore[method-assign]
    return {"backbone_ms": 1000 * inside / n, "forecast_ms": 1000 * whole / n}


def name_of(tokenizer: str, backbone: str, context: int, budget: str, seed: int) -> str:
    """Folder of a run."""
    return f"{context}_{budget}_{backbone}_{tokenizer}_{seed}"


def train_all(options: argparse.Namespace) -> None:
    """Train and score what nobody else has begun."""
    paces = json.loads((options.runs / "calibration.json").read_text())
    for seed in options.seeds:
        for backbone in options.backbones:
            for tokenizer in options.arms:
                name = name_of(tokenizer, backbone, options.context, options.budget, seed)
                out = options.runs / name
                try:
                    out.mkdir(parents=True)
                except FileExistsError:
                    continue
                config = arm_config(tokenizer, backbone, options.context)
                pace = paces[f"{options.context}_{backbone}_{tokenizer}"]
                steps = steps_for(options.budget, options.amount, pace)
                seconds = train(config, out, steps, seed)
                facts: dict[str, Any] = {
                    "tokenizer": tokenizer,
                    "backbone": backbone,
                    "context": options.context,
                    "budget": options.budget,
                    "amount": options.amount,
                    "seed": seed,
                    "steps": steps,
                    "seconds": seconds,
                    **{f"{key}_per_step": value for key, value in pace.items()},
                }
                facts |= score(out, config.recipe, options.context, options.data)
                (out / "scores.json").write_text(json.dumps(facts, indent=2))
                note(f"{name}: {steps} steps, {seconds:.0f} s, {facts['synthetic_512']:.3f}")


def calibrate_all(options: argparse.Namespace) -> None:
    """Measure all arms, one after the other, three times over; the least seconds count."""
    path = options.runs / "calibration.json"
    options.runs.mkdir(parents=True, exist_ok=True)
    paces: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    for _ in range(options.rounds):
        for backbone in options.backbones:
            for tokenizer in options.arms:
                key = f"{options.context}_{backbone}_{tokenizer}"
                pace = calibrate(arm_config(tokenizer, backbone, options.context))
                if key not in paces or pace["seconds"] < paces[key]["seconds"]:
                    paces[key] = pace
                note(f"{key}: {pace['seconds']:.3f} s and {pace['tokens']:.0f} tokens per step")
    path.write_text(json.dumps(paces, indent=2))


def pace_all(options: argparse.Namespace) -> None:
    """Time the forecasts of every arm's first seed, one after the other, the least of some."""
    paths = sorted(options.runs.glob("*_time_*_1/scores.json"))
    for _ in range(options.rounds):
        for path in paths:
            facts = json.loads(path.read_text())
            config = arm_config(facts["tokenizer"], facts["backbone"], facts["context"])
            found = pace_of(TSFM.from_pretrained(path.parent), config.recipe, facts["context"])
            facts |= {key: min(value, facts.get(key, value)) for key, value in found.items()}
            path.write_text(json.dumps(facts, indent=2))
            note(f"{path.parent.name}: {found}")


def gift_all(options: argparse.Namespace) -> None:
    """Score the trained models on the GIFT-Eval configurations, for the record."""
    for path in sorted(options.runs.glob("*/scores.json")):
        facts = json.loads(path.read_text())
        claim = path.with_name("gift.begun")
        if claim.exists() or (options.budgets and facts["budget"] not in options.budgets):
            continue
        claim.touch()
        report = gift.evaluate(TSFM.from_pretrained(path.parent), options.data, progress=False)
        facts |= {"gift_mase": report.mase, "gift_crps": report.crps}
        path.write_text(json.dumps(facts, indent=2))
        note(f"{path.parent.name}: {report.mase:.4f} {report.crps:.4f}")


def report_all(options: argparse.Namespace) -> None:
    """Gather the runs, write them as one file, print means and standard deviations."""
    rows = [json.loads(p.read_text()) for p in sorted(options.runs.glob("*/scores.json"))]
    Record("comparison", 1).write(options.out, {"runs": rows})
    keys = ("context", "budget", "backbone", "tokenizer")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    scores = sorted({k for row in rows for k in row if k.startswith(("synth", "class", "gift"))})
    header = [*keys, "steps", "tokens", "MFLOP", "n", *scores]
    lines = []
    for group, members in sorted(groups.items()):
        first = members[0]
        cells = [first["steps"], first["tokens_per_series"], first["backbone_mflops"]]
        lines.append(
            [*group, *cells, len(members), *(mean_and_spread(members, key) for key in scores)]
        )
    print(table(header, lines))


def mean_and_spread(rows: Sequence[dict[str, Any]], key: str) -> str:
    """Mean and standard deviation of what some rows hold, as text; a dash where none does."""
    values = [row[key] for row in rows if key in row]
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


def main() -> None:
    """Run one of the four commands."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    commands = options.add_subparsers(dest="command", required=True)
    for name in ("calibrate", "train"):
        command = commands.add_parser(name)
        command.add_argument("--arms", nargs="+", choices=TOKENIZERS, default=PUBLISHED)
        command.add_argument("--backbones", nargs="+", choices=BACKBONES, default=[*BACKBONES])
        command.add_argument("--context", type=int, choices=(2048, 8192), default=2048)
        if name == "calibrate":
            command.add_argument("--rounds", type=int, default=2)
            continue
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
        command.add_argument("--budget", choices=("time", "tokens", "steps"), default="time")
        command.add_argument("--amount", type=float, default=100.0, help="seconds or tokens")
    command = commands.add_parser("gift")
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--budgets", nargs="*", default=[])
    command = commands.add_parser("pace")
    command.add_argument("--rounds", type=int, default=3)
    command = commands.add_parser("report")
    command.add_argument("--out", type=Path, default=RESULTS / "comparison.json")
    torch.set_num_threads(1)
    keep_freed_memory()
    chosen = options.parse_args()
    actions = {
        "calibrate": calibrate_all,
        "train": train_all,
        "pace": pace_all,
        "gift": gift_all,
        "report": report_all,
    }
    actions[chosen.command](chosen)


if __name__ == "__main__":
    main()
