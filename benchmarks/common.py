"""What the benchmarks share: series, timings and their summaries, tables, a record of the run.

Nothing here imports torch, so that the process that starts and times others stays small.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def use_checkout() -> None:
    """Find `tsfm` in this checkout if it is not installed."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    answer = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    answer.add_argument(
        "--threads", type=int, default=2, help="threads torch may use, in every process"
    )
    answer.add_argument(
        "--out",
        type=Path,
        default=Path(f"benchmarks/results/{name}.json"),
        help="where the JSON goes",
    )
    return answer


def environment(threads: int) -> dict[str, str]:
    """Variables for a process that is measured."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **limits, "HF_HUB_OFFLINE": "1"}


class Record:
    """Where, when and how the numbers of one run were measured.

    Parameters
    ----------
    benchmark
        Name of the benchmark.
    threads
        Threads torch was given.
    """

    def __init__(self, benchmark: str, threads: int) -> None:
        use_checkout()
        import tsfm
        from tsfm.evaluation.provenance import cpu_name, git_commit, versions

        self.facts: dict[str, Any] = {
            "benchmark": benchmark,
            "command": command_line(sys.argv),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": git_commit(),
            "machine": {
                "cpu": cpu_name(),
                "cores": os.cpu_count(),
                "memory_gb": total_memory_gb(),
                "system": sys.platform,
            },
            "threads": threads,
            "load_average_at_start": _load(),
            "versions": {
                **versions(("torch", "numpy", "pandas", "lightning")),
                "tsfm": tsfm.__version__,
            },
        }
        load = self.facts["load_average_at_start"]
        if load and load[0] > 0.5:
            note(f"load average is {load[0]:.1f}: the machine is busy, timings will be too long")

    def write(self, path: Path, results: dict[str, Any]) -> None:
        """Write record and results as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {**self.facts, "load_average_at_end": _load(), "results": results}
        path.write_text(json.dumps(facts, indent=2) + "\n")
        note(f"wrote {path}")


def command_line(arguments: Sequence[str]) -> str:
    """The command, with paths relative to the checkout; of other absolute ones only the end."""
    shown = []
    for text in arguments:
        path = Path(text)
        if path.is_absolute():
            inside = path.is_relative_to(ROOT)
            text = str(path.relative_to(ROOT)) if inside else "/".join(("...", *path.parts[-2:]))
        shown.append(text)
    return shlex.join(["python", *shown])


def note(text: str) -> None:
    """Say something on stderr."""
    print(f"# {text}", file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; numbers with three significant digits, None as a dash."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Number, median, 90th percentile and range of some timings."""
    tenths = (
        statistics.quantiles(seconds, n=10, method="inclusive")
        if len(seconds) > 1
        else [seconds[0]] * 9
    )
    return {
        "n": len(seconds),
        "median": statistics.median(seconds),
        "p90": tenths[-1],
        "min": min(seconds),
        "max": max(seconds),
    }


def timed(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def make_series(n: int, length: int, seed: int = 0) -> list[list[float]]:
    """Hourly-looking series: level, day, week, noise. The same in every environment.

    Parameters
    ----------
    n, length
        Number and length.
    seed
        Decides everything; no numpy, whose generators may differ between versions.
    """
    from math import sin, tau

    draw = random.Random(seed)
    answer = []
    for _ in range(n):
        level, day, week, noise = (draw.uniform(low, 10) for low in (20, 2, 1, 0.5))
        shift = draw.uniform(0, tau)
        answer.append(
            [
                level
                + day * sin(tau * t / 24 + shift)
                + week * sin(tau * t / 168)
                + noise * draw.gauss(0, 1)
                for t in range(length)
            ]
        )
    return answer


def peak_memory_mb() -> float:
    """Largest resident memory this process ever had, in MB (10^6 bytes).

    `getrusage` also counts what the parent held when it started this process; where Linux tells
    the peak of this program alone, that is used.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def total_memory_gb() -> float | None:
    """Memory of the machine in GB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _load() -> list[float] | None:
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None
