"""What an evaluation returns: scores, headline, the table beside other models, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsfm.evaluation.metrics import geometric_mean
from tsfm.evaluation.protocol import Score


@dataclass(frozen=True)
class ConfigScore:
    """Scores of one configuration.

    Parameters
    ----------
    config
        Its name.
    n_windows, prediction_length
        Windows scored and steps in each.
    mase, crps, coverage
        The model's: see `tsfm.evaluation.metrics`.
    naive_mase, naive_crps
        Those of the built-in seasonal naive on the same windows.
    seconds
        Wall clock of the model's forecasts.
    """

    config: str
    n_windows: int
    prediction_length: int
    mase: float
    crps: float
    coverage: float
    naive_mase: float
    naive_crps: float
    seconds: float

    @property
    def mase_rel(self) -> float:
        """MASE divided by seasonal naive's."""
        return _ratio(self.mase, self.naive_mase)

    @property
    def crps_rel(self) -> float:
        """CRPS divided by seasonal naive's."""
        return _ratio(self.crps, self.naive_crps)

    @classmethod
    def of(
        cls, config: str, n_windows: int, prediction_length: int, own: Score, naive: Score
    ) -> ConfigScore:
        """Join the score of a model with that of seasonal naive."""
        return cls(
            config,
            n_windows,
            prediction_length,
            own.mase,
            own.crps,
            own.coverage,
            naive.mase,
            naive.crps,
            own.seconds,
        )


@dataclass(frozen=True)
class EvaluationReport:
    """The outcome of `tsfm.evaluation.gift.evaluate` or `tsfm.evaluation.classics.evaluate`.

    Parameters
    ----------
    suite
        "gift" or "classics".
    model, mode, engine
        What was scored and how.
    scores
        One entry per configuration.
    others
        Relative (MASE, CRPS) of other models on the same configurations: geometric means.
    complete
        False if only some windows were scored (`max_windows`); then nothing is comparable with
        published rows.
    seconds
        Wall clock of the whole evaluation.
    run
        Command, seed, commit, device, machine, versions.
    """

    suite: str
    model: str
    mode: str
    engine: str
    scores: tuple[ConfigScore, ...]
    others: dict[str, tuple[float, float]]
    complete: bool
    seconds: float
    run: dict[str, object] = field(default_factory=dict)

    @property
    def mase(self) -> float:
        """Headline: geometric mean over configurations of MASE relative to seasonal naive."""
        return geometric_mean([score.mase_rel for score in self.scores])

    @property
    def crps(self) -> float:
        """Headline: geometric mean over configurations of CRPS relative to seasonal naive."""
        return geometric_mean([score.crps_rel for score in self.scores])

    @property
    def coverage(self) -> float:
        """Mean over configurations of the share of labels between q0.1 and q0.9."""
        return float(np.mean([score.coverage for score in self.scores]))

    def place(self, metric: str = "crps") -> tuple[int, int]:
        """Rank among `others` and this model, and their number; 1 is best.

        Parameters
        ----------
        metric
            "crps" or "mase".

        Raises
        ------
        ValueError
            For any other metric.
        """
        if metric not in ("mase", "crps"):
            raise ValueError(f"metric {metric!r} is not ranked; use 'mase' or 'crps'")
        if math.isnan(self.mase if metric == "mase" else self.crps):  # unknown is never first
            return len(self.others) + 1, len(self.others) + 1
        own = round(self.mase if metric == "mase" else self.crps, 5)
        column = 0 if metric == "mase" else 1
        better = sum(round(row[column], 5) < own for row in self.others.values())
        return better + 1, len(self.others) + 1

    def summary(self) -> str:
        """One line: model, headline, place, coverage, seconds."""
        configs = counted(len(self.scores), "configuration")
        windows = counted(sum(score.n_windows for score in self.scores), "window")
        covered = [score.coverage for score in self.scores]
        low, high = min(covered), max(covered)
        place = ""
        if self.others and self.complete:
            (m, n), (c, _) = self.place("mase"), self.place("crps")
            place = f" (places {m} and {c} of {n})"
        return (
            f"{self.model} ({self.mode}) on {self.suite}, {configs}, {windows}: "
            f"MASE {self.mase:.4f}, CRPS {self.crps:.4f} relative to seasonal naive{place}; "
            f"80% interval covers {self.coverage:.3f} ({low:.2f} to {high:.2f}); "
            f"{self.seconds:.1f} s"
        )

    def table(self, *, per_config: bool = True) -> str:
        """The report as text: headline, standing among other models, groups, configurations.

        Parameters
        ----------
        per_config
            Add one line per configuration.
        """
        parts = [self.summary()]
        if self.others:
            parts.append(self._standing())
        groups = self._groups()
        if groups:
            parts.append(groups)
        if per_config:
            parts.append(self._configs())
        return "\n\n".join(parts)

    def _standing(self) -> str:
        rows = [(crps, mase, name, False) for name, (mase, crps) in self.others.items()]
        rows.append((self.crps, self.mase, f"{self.model} ({self.mode})", True))
        rows.sort(key=lambda row: (math.isnan(row[0]), round(row[0], 5), not row[3]))
        body = [
            ["->" if own else "", str(rank), name, f"{mase:.4f}", f"{crps:.4f}"]
            for rank, (crps, mase, name, own) in enumerate(rows, start=1)
        ]
        note = "" if self.complete else " (only some windows scored here: not comparable)"
        return f"Beside other models{note}, by CRPS\n" + columns_text(
            ["", "#", "model", "MASE", "CRPS"], body, left=(0, 2)
        )

    def _groups(self) -> str:
        terms: dict[str, list[ConfigScore]] = {}
        for score in self.scores:
            terms.setdefault(score.config.rsplit("/", 1)[-1], []).append(score)
        if len(terms) < 2:
            return ""
        body = [
            [
                name,
                str(len(rows)),
                f"{geometric_mean([row.mase_rel for row in rows]):.4f}",
                f"{geometric_mean([row.crps_rel for row in rows]):.4f}",
                f"{np.mean([row.coverage for row in rows]):.3f}",
            ]
            for name, rows in terms.items()
        ]
        return columns_text(
            ["term", "configs", "MASE rel", "CRPS rel", "cover80"], body, left=(0,)
        )

    def _configs(self) -> str:
        body = [
            [
                score.config,
                str(score.n_windows),
                str(score.prediction_length),
                f"{score.mase:.4f}",
                f"{score.crps:.4f}",
                f"{score.mase_rel:.3f}",
                f"{score.crps_rel:.3f}",
                f"{score.coverage:.3f}",
                f"{score.seconds:.2f}",
            ]
            for score in self.scores
        ]
        head = [
            "config",
            "windows",
            "steps",
            "MASE",
            "CRPS",
            "MASE rel",
            "CRPS rel",
            "cover80",
            "s",
        ]
        return columns_text(head, body, left=(0,))

    def to_dict(self) -> dict[str, object]:
        """Everything the report holds, JSON-ready, metrics rounded to six significant digits."""
        result: dict[str, object] = {
            "suite": self.suite,
            "model": self.model,
            "mode": self.mode,
            "engine": self.engine,
            "headline": {
                "mase": rounded(self.mase),
                "crps": rounded(self.crps),
                "coverage80": rounded(self.coverage),
                "n_configs": len(self.scores),
                "n_windows": sum(score.n_windows for score in self.scores),
                "all_windows": self.complete,
            },
            "relative_to": "built-in seasonal-naive on the same windows",
            "seconds": round(self.seconds, 2),
            **self.run,
            "configs": [
                {
                    "config": score.config,
                    "n_windows": score.n_windows,
                    "prediction_length": score.prediction_length,
                    "mase": rounded(score.mase),
                    "crps": rounded(score.crps),
                    "mase_rel": rounded(score.mase_rel),
                    "crps_rel": rounded(score.crps_rel),
                    "coverage80": rounded(score.coverage),
                    "seconds": round(score.seconds, 3),
                }
                for score in self.scores
            ],
        }
        if self.others:
            result["others"] = {
                name: {"mase": rounded(mase), "crps": rounded(crps)}
                for name, (mase, crps) in self.others.items()
            }
            if self.complete:
                (m, n), (c, _) = self.place("mase"), self.place("crps")
                result["place"] = {"mase": m, "crps": c, "of": n}
        return result

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, making missing folders; NaN becomes null."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ratio(own: float, reference: float) -> float:
    """Own over reference; NaN where the reference is zero or unknown."""
    return own / reference if reference > 0 else float("nan")


def rounded(value: float) -> float | None:
    """Six significant digits for JSON, which knows no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def columns_text(
    head: Sequence[str], body: Sequence[Sequence[str]], left: Sequence[int] = ()
) -> str:
    """Aligned text columns, numbers to the right, the columns in `left` to the left."""
    rows = [list(head), *map(list, body)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
