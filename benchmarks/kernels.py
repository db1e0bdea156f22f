"""Time and memory of every path of every kernel, of every backbone, and of whole forecasts.

python benchmarks/kernels.py --against-transformers /path/to/other/environment/bin/python
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from common import Record, environment, make_series, note, parser, summary, use_checkout

PARTS = ("companion", "scans", "attention", "backbones", "forecast", "slopes")
CONTEXTS = (512, 2048, 8192)
Row = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "kernels")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    p.add_argument("--rounds", type=int, default=5, help="turns of every path (5)")
    p.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of the processor, for a machine that does other things too",
    )
    p.add_argument("--longest", type=int, default=8000, help="tokens of the longest scan (8000)")
    p.add_argument("--against-transformers", metavar="PYTHON", help="has transformers")
    p.add_argument("--figure", type=Path, default=Path("benchmarks/results/kernels.png"))
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


def taking_turns(
    calls: dict[str, Callable[[], object]], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of each call, turn by turn, so that noise of the machine hits all alike."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.rounds + 1):  # the first does not count
        for name, call in calls.items():
            started = clock()
            call()
            if turn:
                seconds[name].append(clock() - started)
    return seconds


def peak_mb(call: Callable[[], object], device: str) -> float | None:
    """Memory in MB (10^6 bytes) that a call needs on top of what is there before it."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    except OSError:
        return None
    resident = _status("VmRSS")
    call()
    return (_status("VmHWM") - resident) / 1e6


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def forward_of(case: Any, device: str) -> Callable[[], None]:
    """The forward pass without gradients."""
    import torch

    def call() -> None:
        with torch.no_grad():
            case.forward(*case.inputs)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def both_of(case: Any, device: str) -> Callable[[], None]:
    """Forward and backward pass."""
    import torch

    def call() -> None:
        leaves = [each.detach().requires_grad_() for each in case.inputs]
        case.forward(*leaves).square().sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def measure(
    cases: Iterable[Any], device: str, options: argparse.Namespace, machine: Row
) -> list[Row]:
    """Times, memory and floors of paths that take turns."""
    rows = []
    for (op, length, size), group in groupby(cases, lambda c: (c.op, c.length, c.size)):
        paths = list(group)
        note(f"{device}: {op}, {size}, length {length}")
        measured = {}
        for name, build in (("forward", forward_of), ("forward + backward", both_of)):
            calls = {case.path: build(case, device) for case in paths}
            measured[name] = (taking_turns(calls, options), calls)
        for case in paths:
            floor = max(
                case.flops / machine["flops_per_second"],
                case.least_bytes / machine["bytes_per_second"],
            )
            row = {"op": op, "path": case.path, "size": size, "length": length, "device": device}
            row |= {"flops": case.flops, "least_bytes": case.least_bytes, "floor": floor}
            for name, (seconds, calls) in measured.items():
                row[name] = summary(seconds[case.path])
                row[f"{name}, peak MB"] = peak_mb(calls[case.path], device)
                first = seconds[paths[0].path]
                pairs = [a / b for a, b in zip(seconds[case.path], first, strict=True)]
                row[f"{name}, times {paths[0].path}"] = statistics.median(pairs)
            rows.append(row)
    return rows


def machine_limits(device: str, options: argparse.Namespace) -> Row:
    """What a floor is computed from: best rates of a matrix product and of a copy."""
    import torch

    a = torch.randn(1024, 1024, device=device)
    big = torch.randn(32 * 2**20 // 4, device=device)
    target = torch.empty_like(big)

    def best(call: Callable[[], object]) -> float:
        def complete() -> None:
            call()
            if device == "cuda":
                torch.cuda.synchronize()

        return min(taking_turns({"": complete}, options)[""])

    flops = 2 * 1024**3 / best(lambda: a @ a)
    moved = 2 * big.numel() * 4 / best(lambda: target.copy_(big))
    return {"device": device, "flops_per_second": flops, "bytes_per_second": moved}


def kernels(options: argparse.Namespace, device: str) -> Row:
    """The parts that time single operations and backbones."""
    import kernel_cases as cases
    import torch

    torch.manual_seed(0)
    limits = machine_limits(device, options)
    rows: list[Row] = []

    def add(found: Iterable[Any]) -> None:
        rows.extend(measure(found, device, options, limits))

    scans = [n for n in (125, 250, 500, 1000, 2000, 4000, 8000) if n <= options.longest]
    if "companion" in options.only:
        for length in (90, 180, 360, 720, 1440, 2880):
            add(cases.companion_kernels(64, length, device))
        for length in (16, 64, 256, 1024, 4096):
            add(cases.convolutions(length, device))
    if "scans" in options.only:
        for length in scans:
            add(cases.ssd_scans(length, device, length <= 1000))
        for length in (n for n in scans if n <= 4000):
            add(cases.selective_scans(length, device, length <= 1000))
    if "attention" in options.only:
        for length in (16, 64, 256, 1024):
            add(cases.attentions(length, device))
    if "backbones" in options.only:
        for length in (16, 64, 256, 1024):
            add(cases.backbones(length, device))
    return {"limits": limits, "rows": rows}


def slopes(options: argparse.Namespace) -> Row:
    """How the time of the companion kernel grows: exponents of d + l and of d l, and their fit."""
    import kernel_cases as cases
    import torch

    torch.manual_seed(0)
    calls, sizes = {}, {}
    for d in (16, 64, 256, 1024):
        for length in (128, 512, 2048, 8192):
            found = cases.companion_kernels(d, length, "cpu")
            case = next(c for c in found if c.path == "spectral")
            calls[f"{d}, {length}"] = forward_of(case, "cpu")
            sizes[f"{d}, {length}"] = (d, length)
    seconds = taking_turns(calls, options)
    medians = {name: statistics.median(turns) for name, turns in seconds.items()}
    answer: Row = {"seconds": medians}
    for name, law in (("d + l", lambda d, n: d + n), ("d l", lambda d, n: d * n)):
        x = [math.log(law(*sizes[key])) for key in medians]
        y = [math.log(value) for value in medians.values()]
        slope, _ = statistics.linear_regression(x, y)
        answer[name] = {"slope": slope, "r_squared": statistics.correlation(x, y) ** 2}
    return answer


def forecasts(options: argparse.Namespace) -> list[Row]:
    """Whole forecasts of each backbone with random weights, horizon 96."""
    from dataclasses import replace

    import numpy as np
    from kernel_cases import BACKBONES

    from tsfm.models.config import ModelConfig
    from tsfm.models.pipeline import TSFM

    preset = ModelConfig.preset("mini")
    models = {}
    for name in BACKBONES:
        backbone = replace(preset.backbone, name=name)
        config = replace(preset, backbone=backbone, max_context=max(CONTEXTS))
        models[name] = TSFM.from_config(config)
    rows = []
    for n in (1, 8):
        for context in CONTEXTS:
            note(f"forecast: {n} series, context {context}")
            series = [np.array(x) for x in make_series(n, context)]
            calls = {
                name: lambda model=model, series=series: model.forecast(series, 96)
                for name, model in models.items()
            }
            seconds = taking_turns(calls, options)
            for name, turns in seconds.items():
                pairs = [a / b for a, b in zip(turns, seconds["transformer"], strict=True)]
                row = {"backbone": name, "n_parameters": models[name].n_parameters}
                row |= {"series": n, "context": context, "seconds": summary(turns)}
                rows.append({**row, "times_transformer": summary(pairs)})
    return rows


def beside_transformers(options: argparse.Namespace) -> Row:
    """Our Mamba-2 block beside that of `transformers` without its kernels: same weights, input.

    Theirs has its default chunk size, 256, and the one of our CPU path, 32.
    """
    import torch
    import transformers
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    from tsfm.nn.mamba import Mamba2

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    models: dict[str, torch.nn.Module] = {"tsfm": Mamba2(256, d_state=16, expand=1, d_head=32)}
    for name, chunk in (("transformers", 256), ("transformers, chunks of 32", 32)):
        widths: Row = {"hidden_size": 256, "num_heads": 8, "head_dim": 32, "state_size": 16}
        config = Mamba2Config(**widths, expand=1, n_groups=1, chunk_size=chunk)
        models[name] = Mamba2Mixer(config, layer_idx=0)
        models[name].load_state_dict(models["tsfm"].state_dict())
    x = torch.randn(4, 1000, 256)

    def answer(model: Any) -> Any:
        y = model(x)
        return y[0] if isinstance(y, tuple) else y

    with torch.no_grad():
        wanted = answer(models["tsfm"])
        differences = [(answer(m) - wanted).abs().max().item() for m in models.values()]
    forward = {n: torch.no_grad()(lambda m=m: answer(m)) for n, m in models.items()}
    both = {n: lambda m=m: answer(m).square().sum().backward() for n, m in models.items()}
    row: Row = {"version": transformers.__version__, "torch": torch.__version__}
    row |= {"rows": 4, "length": 1000, "d_model": 256, "largest_difference": max(differences)}
    for time_of, calls in (("forward", forward), ("forward + backward", both)):
        seconds = taking_turns(calls, options)
        row[time_of] = {name: summary(turns) for name, turns in seconds.items()}
        for name, key in zip(
            list(models)[1:], ("times_faster", "times_faster_chunk_32"), strict=True
        ):
            pairs = zip(seconds[name], seconds["tsfm"], strict=True)
            row[time_of][key] = summary([a / b for a, b in pairs])
    return row


def main() -> None:
    """Runs the parts and writes the tables, the figure and the JSON."""
    options = arguments()
    use_checkout()
    if options.worker:
        print(json.dumps(beside_transformers(options)))
        return
    import torch
    from kernel_report import bars, draw, report

    torch.set_num_threads(options.threads)
    record = Record("kernels", options.threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parts = [kernels(options, device) for device in devices]
    results: Row = {
        "clock": options.clock,
        "limits": [part["limits"] for part in parts],
        "rows": [row for part in parts for row in part["rows"]],
    }
    if "slopes" in options.only:
        results["slopes"] = slopes(options)
    if "forecast" in options.only:
        results["forecasts"] = forecasts(options)
    if options.against_transformers:
        command = [options.against_transformers, __file__, "--worker"]
        command += ["--threads", str(options.threads), "--rounds", str(options.rounds)]
        command += ["--clock", options.clock]
        env = environment(options.threads)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
        results["transformers"] = json.loads(done.stdout.splitlines()[-1])
    results["bars"] = bars(results)
    print(report(results))
    record.write(options.out, results)
    draw(results["rows"], options.figure)


if __name__ == "__main__":
    main()
