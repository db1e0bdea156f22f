"""`docs/calibration.md` prints what was measured: all of it, the worst rows, too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")
INTERVALS = ("80%", "95%")
SIDES = ("before", "after")


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    recorded = json.loads(
        (ROOT / "benchmarks/results/calibration.json").read_text(encoding="utf-8")
    )
    return recorded["results"]["rows"]


def test_the_table_has_every_row(rows):
    lines = re.findall(r"^\| ([^|]+) \| (\d+) \|(.*)\|$", PAGE, flags=re.MULTILINE)
    assert len(lines) == len(rows)
    names: dict[str, str] = {}
    for (name, history, cells), row in zip(lines, rows, strict=True):
        assert names.setdefault(row["process"], name) == name
        assert int(history) == row["history"]
        wanted = [
            row[side][interval][what]
            for interval in INTERVALS
            for what in ("coverage", "width")
            for side in SIDES
        ]
        printed = [cell.strip() for cell in cells.split("|")]
        for cell, value in zip(printed, wanted, strict=True):
            digits = len(cell.partition(".")[2])
            assert abs(float(cell) - value) <= 0.5 * 10**-digits + 1e-9, (name, history, cell)
    assert len(set(names.values())) == len(names)


def test_the_sentences_around_it(rows):
    largest = max(row[side][k]["error"] for row in rows for side in SIDES for k in INTERVALS)
    (said,) = re.findall(r"largest standard error (\d\.\d+)", PAGE)
    assert said == f"{largest:.2f}"
    for row in rows:
        if row["history"] == 512 and row["process"] != "doubled":
            for interval in INTERVALS:  # "within two points, except for"
                coverage = row["after"][interval]["coverage"]
                if (row["process"], interval) == ("rare counts", "80%"):
                    assert 80 <= coverage < 82.5
                    assert f"mostly zeros, whose 80% interval holds {coverage:.1f}%" in PAGE
                else:
                    assert abs(coverage - float(interval[:-1])) < 2
        change = 100 * (row["after"]["pinball"] / row["before"]["pinball"] - 1)
        low, high = (-3, 1) if row["history"] == 512 else (-2, 2)
        assert low <= change <= high, row["process"]
