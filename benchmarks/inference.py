"""Time forecasts: one series, many series, the command line, imports; beside Chronos-Bolt-tiny.

python benchmarks/inference.py --against-chronos /path/to/other/environment/bin/python
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import ROOT, Record, environment, note, parser, summary, table, timed, use_checkout
from workers import Client, serve

PARTS = ("single", "many", "cold", "start")
SCRIPT = Path(sys.executable).with_name("tsfm")
SAMPLE = ROOT / "datasets" / "air_passengers.csv"
HORIZONS = (64, 96, 720)
COMPARED = {64: 2.0, 96: 5.0}
"""Horizons compared with the other model, and how many times faster this one should be."""
Job = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "inference")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--model", default="tsfm-mini", help="name or folder of the model")
    p.add_argument("--random", metavar="SIZE", help="random weights of this size instead")
    p.add_argument("--against-chronos", metavar="PYTHON", help="has chronos-forecasting")
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    p.add_argument("--rounds", type=int, default=8, help="turns per model and horizon (8)")
    p.add_argument("--calls", type=int, default=20, help="timed calls per turn (20)")
    p.add_argument("--series", type=int, default=1000, help="series of the large job (1000)")
    p.add_argument("--many-repeats", type=int, default=5, help="repeats of the large job (5)")
    p.add_argument("--cold-repeats", type=int, default=3, help="runs of the command (3)")
    p.add_argument("--start-repeats", type=int, default=10, help="imports, --help (10)")
    p.add_argument("--worker", choices=["tsfm", "chronos"], help=argparse.SUPPRESS)
    return p.parse_args()


def job(name: str, seconds: list[float], goal: float | None = None, **more: Any) -> Job:
    """One line of the results; seconds."""
    return {"job": name, **summary(seconds), "goal": goal, **more}


def single(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """One series, context 2048: each model in turn, twenty calls at a time."""
    turns: dict[tuple[str, int], list[list[float]]] = {}
    with ExitStack() as stack:
        workers = {"tsfm": stack.enter_context(Client("tsfm", model, options.threads))}
        if options.against_chronos:
            workers["chronos"] = stack.enter_context(
                Client("chronos", model, options.threads, options.against_chronos)
            )
        for turn in range(options.rounds + 1):  # the first is not counted
            for horizon in HORIZONS:
                for name, worker in workers.items():
                    if name == "chronos" and horizon not in COMPARED:
                        continue
                    seconds = worker.time(horizon, calls=options.calls, warm_up=1)["seconds"]
                    if turn:
                        turns.setdefault((name, horizon), []).append(seconds)
        best = workers["tsfm"].time(96, calls=max(2, options.rounds), warm_up=1, mode="best")
        about = {name: worker.about for name, worker in workers.items()}
    jobs = [
        job(
            f"{name}: 1 series, context 2048, horizon {horizon}",
            _flat(seconds),
            goal=0.012 if (name, horizon) == ("tsfm", 96) else None,
        )
        for (name, horizon), seconds in turns.items()
    ]
    jobs.append(job("tsfm, best mode: 1 series, context 2048, horizon 96", best["seconds"]))
    ratios = [_ratio(turns, horizon) for horizon in COMPARED if ("chronos", horizon) in turns]
    return {"jobs": jobs, "models": about, "times_faster": ratios}


def _ratio(turns: dict[tuple[str, int], list[list[float]]], horizon: int) -> Job:
    """How many times faster this model is: ratio of medians, and the range over turns."""
    ours, theirs = turns["tsfm", horizon], turns["chronos", horizon]
    pairs = [
        statistics.median(b) / statistics.median(a) for a, b in zip(ours, theirs, strict=True)
    ]
    ratio = statistics.median(_flat(theirs)) / statistics.median(_flat(ours))
    return {
        "horizon": horizon,
        "ratio_of_medians": ratio,
        "turns": summary(pairs),
        "goal": COMPARED[horizon],
    }


def _flat(turns: list[list[float]]) -> list[float]:
    return list(itertools.chain.from_iterable(turns))


def many(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """Many series, each job in a fresh process whose peak memory is its own."""
    plans = [("tsfm", "arrays", sys.executable), ("tsfm", "frame", sys.executable)]
    if options.against_chronos:
        plans.append(("chronos", "arrays", options.against_chronos))
    jobs = []
    for name, through, python in plans:
        with Client(name, model, options.threads, python) as worker:
            size = {"n": options.series, "context": 512, "through": through}
            first = worker.time(48, **size)
            rest = worker.time(48, calls=options.many_repeats, **size)
        ours = name == "tsfm" and options.series == 1000  # the goals are for so many
        jobs.append(
            job(
                f"{name}: {options.series} series, context 512, horizon 48, as {through}",
                rest["seconds"],
                goal=3.0 if ours else None,
                first_call=first["seconds"][0],
                peak_mb=rest["peak_mb"],
                peak_mb_goal=1500 if ours else None,
                peak_mb_before=worker.about["peak_mb"],
            )
        )
    return {"jobs": jobs}


def command(options: argparse.Namespace, *words: str, folder: Path = ROOT) -> float:
    """Wall-clock seconds of `tsfm ...` in a fresh process."""
    start = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", _MAIN]
    return process(options, *start, *words, folder=folder)


_MAIN = "from tsfm.cli import main; main()"


def process(options: argparse.Namespace, *words: str, folder: Path = ROOT) -> float:
    """Wall-clock seconds of a process that has to succeed."""
    env = environment(options.threads)
    if not SCRIPT.exists():  # not installed: this checkout
        env["PYTHONPATH"] = str(ROOT)

    def call() -> None:
        subprocess.run(words, check=True, cwd=folder, env=env, stdout=subprocess.DEVNULL)

    return timed(call)


def cold(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """`tsfm forecast` on the sample series, each time a fresh process."""
    words = ["forecast", str(SAMPLE), "--prediction-length", "24", "--model", model]
    plot = ["--plot", "forecast.png"]
    jobs = []
    with tempfile.TemporaryDirectory() as folder:
        for name, extra in (("", []), (" --plot forecast.png", plot)):
            seconds = [
                command(options, *words, *extra, folder=Path(folder))
                for _ in range(options.cold_repeats)
            ]
            title = f"tsfm forecast air_passengers.csv --prediction-length 24{name}"
            jobs.append(job(title, seconds, goal=6.0, all=seconds))
    return {"jobs": jobs}


def start(options: argparse.Namespace, _: str) -> dict[str, Any]:
    """`import tsfm` beyond the interpreter's own start, and `--help` of every command."""
    codes = {"bare": "pass", "import": "import tsfm"}
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(options.start_repeats + 1):
        for name, code in codes.items():
            took = process(options, sys.executable, "-c", code)
            if turn:  # the first compiles the byte code
                seconds[name].append(took)
    bare = statistics.median(seconds["bare"])
    jobs = [
        job("python -c pass", seconds["bare"]),
        job("import tsfm, without python's start", [s - bare for s in seconds["import"]], 0.3),
    ]
    for words in commands():
        took = [command(options, *words, "--help") for _ in range(options.start_repeats + 1)][1:]
        jobs.append(job(" ".join(["tsfm", *words, "--help"]), took, goal=0.5))
    return {"jobs": jobs}


def commands() -> list[tuple[str, ...]]:
    """Every command and group of the command line, the root first."""
    import typer

    from tsfm.cli.app import app

    found: list[tuple[str, ...]] = [()]
    groups: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while groups:
        words, group = groups.pop(0)
        for name, child in group.commands.items():
            found.append((*words, name))
            if hasattr(child, "commands"):
                groups.append(((*words, name), child))
    return found


def random_model(size: str, folder: str) -> str:
    """Save a model with random weights; returns its folder."""
    code = (
        "import sys; from tsfm.models import TSFM, ModelConfig; "
        "TSFM.from_config(ModelConfig.preset(sys.argv[1])).save_pretrained(sys.argv[2])"
    )
    env = {**environment(1), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, size, folder], check=True, env=env)
    return folder


def report(jobs: list[Job], ratios: list[Job]) -> str:
    """The results as markdown."""
    rows = [
        [j["job"], j["median"], j["p90"], j["n"], j["goal"], j.get("first_call"), j.get("peak_mb")]
        for j in jobs
    ]
    head = ["job", "median s", "p90 s", "n", "goal s", "first call s", "peak MB"]
    text = table(head, rows)
    if ratios:
        lines = [[r["horizon"], r["ratio_of_medians"], r["goal"]] for r in ratios]
        text += "\n\n" + table(["horizon", "times faster than chronos-bolt-tiny", "goal"], lines)
    return text


def main() -> None:
    """Runs the parts and writes the table and the JSON."""
    options = arguments()
    if options.worker:
        serve(options.worker, options.model, options.threads)
        return
    use_checkout()
    from tsfm.models.hub import read_config, resolve

    record = Record("inference", options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(options.random, folder) if options.random else options.model
        model = str(resolve(model).resolve())
        results: dict[str, Any] = {
            "model": read_config(Path(model)).name,
            "weights": "random" if options.random else "trained",
            "jobs": [],
            "times_faster": [],
        }
        for part, run in {"single": single, "many": many, "cold": cold, "start": start}.items():
            if part not in options.only:
                continue
            note(f"{part} ...")
            answer = run(options, model)
            for key, value in answer.items():
                results[key] = results[key] + value if isinstance(value, list) else value
    print(report(results["jobs"], results["times_faster"]))
    record.write(options.out, results)


if __name__ == "__main__":
    main()
