"""Tables, comparisons and the figure of `kernels.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import note, table

Row = dict[str, Any]
TIMES = ("forward", "forward + backward")


def _find(rows: list[Row], op: str, path: str, length: int, time: str = "forward") -> Any:
    for row in rows:
        if (row["op"], row["path"], row["length"], row["device"]) == (op, path, length, "cpu"):
            return row[time]["median"]
    return None


def bars(results: Row) -> list[Row]:
    """What was asked of the CPU paths, and what was measured."""
    return [bar for bar in _bars(results) if bar["measured"] is not None]


def _bars(results: Row) -> Iterator[Row]:
    rows = results["rows"]

    def ratio(op: str, slow: tuple[str, int], fast: tuple[str, int], time: str) -> float | None:
        above, below = (_find(rows, op, *which, time) for which in (slow, fast))
        return above / below if above and below else None

    for time in TIMES:
        for op, path in (("SSD", "chunks of 32"), ("selective scan", "chunked")):
            measured = ratio(op, ("sequential", 1000), (path, 1000), time)
            asked = ">= 5" if op == "SSD" and time == "forward" else None
            what = f"{op}, L = 1000, {time}: sequential / {path}"
            yield {"what": what, "asked": asked, "measured": measured}
        measured = ratio("SSD", ("chunks of 32", 8000), ("chunks of 32", 2000), time)
        what = f"SSD, chunks of 32, {time}: L = 8000 / L = 2000 (linear: 4)"
        yield {"what": what, "asked": "< 6", "measured": measured}
        measured = ratio("companion kernel", ("krylov", 720), ("spectral", 720), time)
        asked = ">= 10" if time == "forward" else None
        what = f"companion kernel, d = 64, l = 720, {time}: squaring / spectral"
        yield {"what": what, "asked": asked, "measured": measured}
        theirs = results.get("transformers", {}).get(time, {})
        what = f"Mamba-2 block, L = 1000, {time}: transformers / tsfm"
        for key, chunk in (("times_faster", 256), ("times_faster_chunk_32", 32)):
            measured = theirs.get(key, {}).get("median")
            yield {"what": f"{what}, chunks of {chunk}", "asked": ">= 1", "measured": measured}
    for law in ("d + l", "d l"):
        fit = results.get("slopes", {}).get(law, {})
        what = f"companion kernel: exponent of {law}, R^2 {fit.get('r_squared', 0):.2f}"
        asked = "about 1" if law == "d + l" else None
        yield {"what": what, "asked": asked, "measured": fit.get("slope")}


def report(results: Row) -> str:
    """All tables."""
    head = ["op", "path", "device", "length", "floor ms"]
    head += ["forward ms", "MB", "forward + backward ms", "MB"]
    lines = [
        [
            *(row[key] for key in ("op", "path", "device", "length")),
            1e3 * row["floor"],
            1e3 * row["forward"]["median"],
            row["forward, peak MB"],
            1e3 * row["forward + backward"]["median"],
            row["forward + backward, peak MB"],
        ]
        for row in results["rows"]
    ]
    text = [table(head, lines)] if lines else []
    if "forecasts" in results:
        lines = [
            [
                f"{row['backbone']}, {row['series']} series",
                row["context"],
                1e3 * row["seconds"]["median"],
                row["times_transformer"]["median"],
            ]
            for row in results["forecasts"]
        ]
        text.append(table(["forecast of 96 steps", "context", "ms", "x transformer"], lines))
    compared = [[bar["what"], bar["asked"], bar["measured"]] for bar in results["bars"]]
    if compared:
        text.append(table(["comparison", "asked", "measured"], compared))
    return "\n\n".join(text)


def draw(rows: list[Row], path: Path) -> None:
    """Time against length, an axis per operation."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullFormatter
    except ImportError:
        note("no figure: matplotlib is not installed")
        return
    rows = [row for row in rows if row["device"] == "cpu"]
    ops = list(dict.fromkeys(row["op"] for row in rows))
    if not ops:
        return
    figure = Figure(figsize=(12, 3.2 * ((len(ops) + 2) // 3)), layout="constrained")
    for i, op in enumerate(ops):
        axes = figure.add_subplot((len(ops) + 2) // 3, min(3, len(ops)), i + 1)
        mine = [row for row in rows if row["op"] == op]
        for name in dict.fromkeys(row["path"] for row in mine):
            points = [row for row in mine if row["path"] == name]
            lengths = [row["length"] for row in points]
            times = [1e3 * row["forward"]["median"] for row in points]
            axes.loglog(lengths, times, marker=".", label=name)
        axes.set(title=op, xlabel="length", ylabel="forward, ms")
        axes.grid(alpha=0.3)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    note(f"wrote {path}")
