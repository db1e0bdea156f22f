"""Time cutting series into tokens: 256 series of 2,048 steps, scores and patches apart.

python benchmarks/tokenization.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

from common import Record, parser, peak_memory_mb, summary, table, use_checkout

use_checkout()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from tsfm.models.config import TokenizerConfig  # noqa: E402
from tsfm.models.scaler import Scale  # noqa: E402
from tsfm.models.tokenizing import build_tokenizer  # noqa: E402
from tsfm.tokenizers import EntropyTokenizer, Kind, Tokenizer  # noqa: E402

GOAL = 3.0
"""Seconds for scoring and patching 256 series of 2,048 steps on two cores."""
RULES = {
    "threshold": 2.5,
    "increase": 0.3,
    "quantile": 0.9,
    "top_k": 0.06,
    "equal_surprise": 32.0,
    "equal_share": 16.0,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "tokenization")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--series", type=int, default=256, help="series (256)")
    p.add_argument("--length", type=int, default=2048, help="steps per series (2048)")
    p.add_argument("--repeats", type=int, default=5, help="timed calls (5)")
    p.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="count time that passes, or processor time of all threads, where others work too",
    )
    return p.parse_args()


def make_batch(n: int, length: int) -> tuple[Tensor, Tensor]:
    """Scaled series with a day, bursts and a few missing values."""
    rng = torch.Generator().manual_seed(0)
    t = torch.arange(length)
    x = torch.sin(t * 2 * torch.pi / 24) + 0.2 * torch.randn(n, length, generator=rng)
    bursts = torch.rand(n, length // 64 + 1, generator=rng).repeat_interleave(64, 1) < 0.1
    x = x + bursts[:, :length] * torch.randn(n, length, generator=rng)
    observed = torch.rand(n, length, generator=rng) >= 0.01
    return Scale.of(x, observed).forward(x), observed


def variants() -> Iterator[tuple[str, Tokenizer]]:
    """The tokenizers, one at a time."""
    yield "fixed, 32 steps", build_tokenizer(TokenizerConfig())
    for scorer in ("tsfm-entropy", "surprise"):
        for rule, value in RULES.items():
            if scorer == "tsfm-entropy" or rule == "equal_share":
                config = TokenizerConfig(
                    "entropy",
                    scorer=scorer,
                    rule=rule,  # type: ignore[arg-type]
                    rule_value=value,
                )
                yield f"{scorer}, {rule} {value:g}", build_tokenizer(config)


@torch.inference_mode()
def measure(
    name: str, tokenizer: Tokenizer, z: Tensor, observed: Tensor, options: argparse.Namespace
) -> dict[str, Any]:
    """Timings of one tokenizer, and how many tokens it makes."""
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[options.clock]

    def timings(call: Callable[[], object]) -> dict[str, float]:
        seconds = []
        for _ in range(options.repeats):
            started = clock()
            call()
            seconds.append(clock() - started)
        return summary(seconds)

    def tokens() -> Any:
        return tokenizer.tokenize(z, observed, 32)

    batch = tokens()  # does not count
    real = (batch.kind == Kind.CONTEXT) & (batch.length > 0)
    row: dict[str, Any] = {
        "tokenizer": name,
        "tokens_per_series": float(real.sum() / len(z)),
        "most_tokens": int(real.sum(-1).max()),
        "whole": timings(tokens),
    }
    if isinstance(tokenizer, EntropyTokenizer):
        row["scores"] = timings(lambda: tokenizer.scores(z, observed))
        row["scores_and_starts"] = timings(lambda: tokenizer.starts(z, observed))
    return row


def main() -> None:
    """Times every tokenizer and writes the table and the JSON."""
    options = arguments()
    torch.set_num_threads(options.threads)
    record = Record("tokenization", options.threads)
    z, observed = make_batch(options.series, options.length)
    rows = [measure(name, t, z, observed, options) for name, t in variants()]
    head = ["tokenizer", "tokens", "scores s", "and starts s", "whole s", "goal s"]

    def median(row: dict[str, Any], part: str) -> float | None:
        return row[part]["median"] if part in row else None

    print(
        table(
            head,
            [
                [
                    row["tokenizer"],
                    row["tokens_per_series"],
                    *(median(row, part) for part in ("scores", "scores_and_starts", "whole")),
                    GOAL if "scores" in row else None,
                ]
                for row in rows
            ],
        )
    )
    record.write(
        options.out,
        {
            "series": options.series,
            "length": options.length,
            "clock": options.clock,
            "goal_seconds": GOAL,
            "tokenizers": rows,
            "peak_mb": peak_memory_mb(),
        },
    )


if __name__ == "__main__":
    main()
