"""What an evaluation of a detector returns: scores per file, means, standing, table and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsfm.evaluation.anomaly_metrics import MEASURES
from tsfm.evaluation.report import columns_text, counted, rounded

SHOWN = ("VUS-PR", "AUC-PR", "VUS-ROC", "Standard-F1")
"""Measures of the tables, where they were measured; JSON holds all."""


@dataclass(frozen=True)
class FileScore:
    """Scores of one series.

    Parameters
    ----------
    series_id, dataset
        Its name and collection.
    n_scored, n_anomalous
        Steps that were scored, and anomalous ones among them.
    window
        Largest buffer W of the volumes.
    measures
        Name of a measure to its value.
    seconds
        Wall clock of the detector.
    """

    series_id: str
    dataset: str
    n_scored: int
    n_anomalous: int
    window: int
    measures: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Published:
    """A published method on the same series.

    Parameters
    ----------
    method
        Its name.
    protocol
        The protocol it was scored under, "full" or "test".
    means
        Name of a measure to its mean over the series.
    """

    method: str
    protocol: str
    means: dict[str, float]


@dataclass(frozen=True)
class TsbReport:
    """The outcome of `tsfm.evaluation.tsb.evaluate`.

    Parameters
    ----------
    detector
        What was scored.
    protocol
        "full" (every step) or "test" (from `train_end` on).
    variates
        "univariate" or "multivariate".
    files
        One entry per series.
    published
        Methods published on all of these series, each with its own protocol.
    seconds
        Wall clock of the whole evaluation.
    run
        Command, commit, device, machine, versions.
    """

    detector: str
    protocol: str
    variates: str
    files: tuple[FileScore, ...]
    published: tuple[Published, ...]
    seconds: float
    run: dict[str, object] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """Mean of each measure over files."""
        return _means(self.files)

    @property
    def vus_pr(self) -> float:
        """Headline: mean VUS-PR over files."""
        return self.means["VUS-PR"]

    @property
    def datasets(self) -> dict[str, dict[str, float]]:
        """Mean of each measure over the files of each collection."""
        return {name: _means(rows) for name, rows in self._by_dataset().items()}

    def _by_dataset(self) -> dict[str, list[FileScore]]:
        groups: dict[str, list[FileScore]] = {}
        for row in self.files:
            groups.setdefault(row.dataset, []).append(row)
        return groups

    def place(self) -> tuple[int, int]:
        """Rank by VUS-PR among the methods published under the same protocol, and their number."""
        same = [row.means["VUS-PR"] for row in self.published if row.protocol == self.protocol]
        better = sum(round(value, 5) > round(self.vus_pr, 5) for value in same)
        return better + 1, len(same) + 1

    def summary(self) -> str:
        """One line: detector, protocol, means, place, seconds."""
        scores = ", ".join(f"{name} {self.means[name]:.4f}" for name in self._shown())
        rank, of = self.place()
        place = f" (places {rank} of {of} under this protocol)" if of > 1 else ""
        return (
            f"{self.detector} on TSB-AD {self.variates}, protocol {self.protocol}, "
            f"{counted(len(self.files), 'file')}: {scores}{place}; {self.seconds:.1f} s"
        )

    def table(self, *, per_file: bool = True) -> str:
        """The report as text: headline, standing, means per collection, files.

        Parameters
        ----------
        per_file
            Add one line per file.
        """
        parts = [self.summary()]
        if self.published:
            parts.append(self._standing())
        parts.append(self._collections())
        if per_file:
            parts.append(self._files())
        return "\n\n".join(parts)

    def _shown(self) -> list[str]:
        return [name for name in SHOWN if name in self.files[0].measures]

    def _standing(self) -> str:
        own = Published(self.detector, self.protocol, self.means)
        rows = [own, *self.published]
        rows.sort(key=lambda row: (-round(row.means["VUS-PR"], 5), row is not own))
        body, rank = [], 0
        for row in rows:
            same = row.protocol == self.protocol
            rank += same
            cells = ["->" if row is own else "", str(rank) if same else "-", row.method]
            body.append([*cells, row.protocol, *self._cells(row.means)])
        title = "Beside published methods, by VUS-PR; ranked within one protocol\n"
        head = ["", "#", "method", "protocol", *self._shown()]
        return title + columns_text(head, body, left=(0, 2, 3))

    def _collections(self) -> str:
        groups = self._by_dataset()
        body = [
            [name, str(len(rows)), *self._cells(_means(rows))] for name, rows in groups.items()
        ]
        body.append(["all", str(len(self.files)), *self._cells(self.means)])
        return columns_text(["dataset", "files", *self._shown()], body, left=(0,))

    def _files(self) -> str:
        body = [
            [
                row.series_id,
                str(row.n_scored),
                str(row.n_anomalous),
                str(row.window),
                *self._cells(row.measures),
                f"{row.seconds:.2f}",
            ]
            for row in self.files
        ]
        head = ["file", "steps", "anomalous", "W", *self._shown(), "s"]
        return columns_text(head, body, left=(0,))

    def _cells(self, measures: dict[str, float]) -> list[str]:
        return [f"{measures[name]:.4f}" if name in measures else "" for name in self._shown()]

    def to_dict(self) -> dict[str, object]:
        """Everything the report holds, JSON-ready, measures rounded to six significant digits."""
        rank, of = self.place()
        return {
            "suite": "tsb",
            "detector": self.detector,
            "protocol": self.protocol,
            "variates": self.variates,
            "headline": {**_rounded(self.means), "n_files": len(self.files)},
            "seconds": round(self.seconds, 2),
            **self.run,
            "datasets": {name: _rounded(means) for name, means in self.datasets.items()},
            "files": [
                {
                    "series_id": row.series_id,
                    "dataset": row.dataset,
                    "n_scored": row.n_scored,
                    "n_anomalous": row.n_anomalous,
                    "window": row.window,
                    **_rounded(row.measures),
                    "seconds": round(row.seconds, 3),
                }
                for row in self.files
            ],
            "published": [
                {"method": row.method, "protocol": row.protocol, **_rounded(row.means)}
                for row in self.published
            ],
            "place": {"VUS-PR": rank, "of": of, "protocol": self.protocol},
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, making missing folders."""
        write_json(self.to_dict(), path)


def write_json(content: dict[str, object], path: str | Path) -> None:
    """Write a report, making missing folders."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")


def _means(rows: Sequence[FileScore]) -> dict[str, float]:
    names = [name for name in MEASURES if name in rows[0].measures]
    return {name: float(np.mean([row.measures[name] for row in rows])) for name in names}


def _rounded(measures: dict[str, float]) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in measures.items()}
