"""Time and memory of the adaptive patch encoder against length, beside its published form.

The published form attends from every patch to every step and masks what lies outside the patch:
T x L scores. Ours groups the steps by patch. Both have the same weights, input and answer.

python benchmarks/patch_encoder.py --clock cpu --threads 1
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Record, note, parser, summary, table, use_checkout
from kernels import peak_mb, taking_turns

OURS, MASKED, FUSED = "by patch (ours)", "T x L mask, softmax", "T x L mask, fused kernel"
TIMES = ("forward", "forward + backward")
D_STEP, HEADS, SPAN = 64, 4, 16
Row = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "patch_encoder")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--rounds", type=int, default=5, help="turns of every path (5)")
    p.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of the processor, for a machine that does other things too",
    )
    p.add_argument("--longest", type=int, default=16384, help="steps of the longest row (16384)")
    p.add_argument("--figure", type=Path, default=Path("benchmarks/results/patch_encoder.png"))
    return p.parse_args()


def patches(length: int) -> tuple[Any, Any, Any, Any, int]:
    """Values, place in the patch from both ends, and patch of each step; number of patches.

    Patches last 4 to 28 steps, 16 on average.
    """
    import torch

    rng = torch.Generator().manual_seed(length)
    lengths = torch.randint(4, 2 * SPAN - 3, (2 * length // SPAN,), generator=rng)
    index = torch.repeat_interleave(lengths)[None, :length]
    n_patches = int(index[0, -1]) + 1
    size = torch.bincount(index[0])
    offset = torch.arange(length) - (size.cumsum(0) - size)[index]
    remaining = size[index] - 1 - offset
    return torch.randn(1, length, 1, generator=rng), offset, remaining, index, n_patches


def masked(pooling: Any, steps: Any, index: Any, facts: Any, fused: bool) -> Any:
    """The answer of `pooling` by a mask of T x L."""
    import torch
    import torch.nn.functional as F

    from tsfm.nn.segments import segment_max

    n_patches = facts.shape[1]
    pooled = segment_max(steps, index, n_patches) + pooling.facts(facts)
    q = pooling.query(pooling.query_norm(pooled)).unflatten(-1, (HEADS, -1)).transpose(1, 2)
    kv = pooling.key_value(pooling.step_norm(steps)).unflatten(-1, (2, HEADS, -1))
    k, v = kv.permute(2, 0, 3, 1, 4)
    allowed = (torch.arange(n_patches)[:, None] == index[:, None])[:, None]  # [B, 1, T, L]
    if fused:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    else:
        scores = q @ k.mT * k.shape[-1] ** -0.5
        mixed = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v
    pooled = pooled + pooling.out(mixed.transpose(1, 2).flatten(2))
    return pooled + pooling.mlp(pooling.mlp_norm(pooled))


def encoders(length: int) -> tuple[dict[str, Callable[[], Any]], list[Any], int]:
    """The paths at one length, their common weights, and the number of patches."""
    import torch

    from tsfm.nn.patch_encoder import PatchPooling, StepEmbedding

    torch.manual_seed(0)
    embedding = StepEmbedding(D_STEP, 2 * SPAN)
    pooling = PatchPooling(D_STEP, HEADS, n_facts=2)
    values, offset, remaining, index, n_patches = patches(length)
    facts, observed = torch.zeros(1, n_patches, 2), torch.ones(index.shape) > 0

    def steps() -> Any:
        return embedding(values, offset, remaining)

    paths = {
        OURS: lambda: pooling(steps(), index, observed, facts),
        MASKED: lambda: masked(pooling, steps(), index, facts, False),
        FUSED: lambda: masked(pooling, steps(), index, facts, True),
    }
    return paths, [*embedding.parameters(), *pooling.parameters()], n_patches


def calls_of(path: Callable[[], Any], weights: list[Any]) -> dict[str, Callable[[], None]]:
    """The forward pass without gradients, and both passes."""
    import torch

    def forward() -> None:
        with torch.no_grad():
            path()

    def both() -> None:
        torch.autograd.grad(path().square().sum(), weights)

    return dict(zip(TIMES, (forward, both), strict=True))


def measure(options: argparse.Namespace) -> list[Row]:
    """Times and memory of every path at every length."""
    import torch

    rows = []
    length = 512
    while length <= options.longest:
        note(f"{length} steps")
        paths, weights, n_patches = encoders(length)
        with torch.no_grad():
            wanted = paths[OURS]()
            differences = {
                name: (path() - wanted).abs().max().item() for name, path in paths.items()
            }
        calls = {name: calls_of(path, weights) for name, path in paths.items()}
        found: dict[str, Row] = {
            name: {"path": name, "length": length, "patches": n_patches} for name in paths
        }
        for time in TIMES:
            turns = {name: each[time] for name, each in calls.items()}
            memory = {name: peak_mb(call, "cpu") for name, call in turns.items()}
            seconds = taking_turns(turns, options)
            for name, row in found.items():
                row[time] = summary(seconds[name])
                row[f"{time}, peak MB"] = memory[name]
                pairs = zip(seconds[name], seconds[OURS], strict=True)
                row[f"{time}, times ours"] = statistics.median(a / b for a, b in pairs)
        for name, row in found.items():
            rows.append({**row, "largest_difference": differences[name]})
        length *= 2
    return rows


def growth(rows: list[Row], path: str, key: str) -> float | None:
    """Exponent of the length in a power law through the upper half of the lengths."""
    mine = [row for row in rows if row["path"] == path]
    mine = mine[len(mine) // 2 - 1 if len(mine) > 3 else 0 :]
    found = [row[key]["median"] if key in TIMES else row[key] for row in mine]
    if len(mine) < 2 or not all(found):
        return None
    logs = [math.log(row["length"]) for row in mine], [math.log(x) for x in found]
    return statistics.linear_regression(*logs).slope


def bars(rows: list[Row]) -> list[Row]:
    """What was asked and what was measured."""
    longest = max(row["length"] for row in rows)
    last = {row["path"]: row for row in rows if row["length"] == longest}
    answer: list[Row] = []
    for time in TIMES:
        for key in (time, f"{time}, peak MB"):
            measured = growth(rows, OURS, key)
            answer.append(
                {"what": f"ours, {key}: exponent of L", "asked": "1", "measured": measured}
            )
        for path in (MASKED, FUSED):
            what = f"{path} / ours, {time}, L = {longest}"
            measured = last[path][f"{time}, times ours"]
            asked = ">= 5, either" if path == MASKED else None
            answer.append({"what": f"{what}: time", "asked": asked, "measured": measured})
            memory = [last[name][f"{time}, peak MB"] for name in (path, OURS)]
            measured = memory[0] / memory[1] if all(memory) else None
            answer.append({"what": f"{what}: memory", "asked": asked, "measured": measured})
    return answer


def report(rows: list[Row], compared: list[Row]) -> str:
    """The tables."""
    head = ["path", "length", "patches", "forward ms", "MB", "forward + backward ms", "MB"]
    lines = [
        [
            *(row[key] for key in ("path", "length", "patches")),
            *(x for t in TIMES for x in (1e3 * row[t]["median"], row[f"{t}, peak MB"])),
        ]
        for row in rows
    ]
    cells = [[bar["what"], bar["asked"], bar["measured"]] for bar in compared]
    return table(head, lines) + "\n\n" + table(["comparison", "asked", "measured"], cells)


def draw(rows: list[Row], path: Path) -> None:
    """Time and memory of both passes against length."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        note("no figure: matplotlib is not installed")
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    both = TIMES[1]
    for i, (key, label) in enumerate(((both, "seconds"), (f"{both}, peak MB", "peak memory, MB"))):
        axes = figure.add_subplot(1, 2, i + 1)
        for name in dict.fromkeys(row["path"] for row in rows):
            points = [row for row in rows if row["path"] == name]
            heights = [row[key]["median"] if i == 0 else row[key] for row in points]
            axes.loglog([row["length"] for row in points], heights, marker=".", label=name)
        axes.set(title=both, xlabel="steps L", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    note(f"wrote {path}")


def main() -> None:
    """Measures, writes the tables, the JSON and the figure."""
    options = arguments()
    use_checkout()
    import torch

    torch.set_num_threads(options.threads)
    record = Record("patch_encoder", options.threads)
    rows = measure(options)
    compared = bars(rows)
    print(report(rows, compared))
    sizes = {"d_step": D_STEP, "heads": HEADS, "mean_patch": SPAN, "series": 1}
    record.write(options.out, {"clock": options.clock, **sizes, "rows": rows, "bars": compared})
    draw(rows, options.figure)


if __name__ == "__main__":
    main()
