"""Time `to_panel`, from a table to series: 10,000 series of 500 rows in several guises.

python benchmarks/frames.py
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

from common import Record, parser, peak_memory_mb, summary, table, timed, use_checkout

use_checkout()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from tsfm.frames import to_panel  # noqa: E402


def arguments() -> argparse.Namespace:
    """The command line."""
    p = parser(__doc__, "frames")
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("--series", type=int, default=10_000, help="series (10000)")
    p.add_argument("--rows", type=int, default=500, help="rows per series (500)")
    p.add_argument("--repeats", type=int, default=3, help="timed calls per table (3)")
    return p.parse_args()


def long_frame(n_series: int, length: int) -> pd.DataFrame:
    """An hourly panel with string ids, sorted by id and time."""
    return pd.DataFrame(
        {
            "item_id": np.repeat([f"series_{i:05d}" for i in range(n_series)], length),
            "timestamp": np.tile(pd.date_range("2024-01-01", periods=length, freq="h"), n_series),
            "target": np.random.default_rng(0).standard_normal(n_series * length),
        }
    )


def variants(n: int, length: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables, one at a time."""
    frame = long_frame(n, length)
    yield "hourly", frame
    yield "shuffled rows", frame.sample(frac=1.0, random_state=0)
    yield "1% of rows missing", frame.sample(frac=0.99, random_state=0).sort_index()
    berlin = frame["timestamp"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    yield "time zone", frame.assign(timestamp=berlin)
    for name, first, freq in (
        ("daily", "2020-01-01", "D"),
        ("business days", "2020-01-01", "B"),
        ("months", "1980-01-01", "MS"),
    ):
        times = np.tile(pd.date_range(first, periods=length, freq=freq), n)
        yield name, frame.assign(timestamp=times)


def main() -> None:
    """Times every table and writes the table and the JSON."""
    options = arguments()
    warnings.simplefilter("ignore")
    record = Record("frames", options.threads)
    rows: list[dict[str, Any]] = []
    for name, frame in variants(options.series, options.rows):
        seconds = [timed(lambda frame=frame: to_panel(frame)) for _ in range(options.repeats)]
        rows.append({"table": name, "rows": len(frame), "goal": 3.0, **summary(seconds)})
    head = ["table", "rows", "median s", "max s", "goal s"]
    print(table(head, [[r["table"], r["rows"], r["median"], r["max"], r["goal"]] for r in rows]))
    record.write(
        options.out,
        {
            "series": options.series,
            "rows": options.rows,
            "tables": rows,
            "peak_mb": peak_memory_mb(),
        },
    )


if __name__ == "__main__":
    main()
