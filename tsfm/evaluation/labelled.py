"""A detector on held-out labelled synthetic series: ranking, recall by type, false alarms.

Three questions, each on series that neither training nor calibration draws:

- *ranking*: average precision over the steps of mixed series, all pooled;
- *types*: series with one event of one type: mean average precision per series, beside baselines,
  and the share of events that the default threshold finds;
- *false alarms*: the share of clean series in which the default threshold marks anything, and the
  same for real series that are taken for normal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from tqdm import tqdm

from tsfm.datasets.anomalies import KIND_NAMES, AnomalyRecipe, LabelledBatch, anomaly_batch
from tsfm.datasets.anomalies.catalogue import GRAPH, all_types
from tsfm.datasets.anomalies.examples import type_examples
from tsfm.datasets.corpus import seeded
from tsfm.evaluation.anomaly_baselines import Scorer, scorer_named
from tsfm.evaluation.anomaly_metrics import BoolArray, FloatArray, auc_pr, label_runs
from tsfm.evaluation.anomaly_report import write_json
from tsfm.evaluation.provenance import describe_run
from tsfm.evaluation.report import columns_text, rounded
from tsfm.models.calibration import Table
from tsfm.models.judgement import DetectionModel, judge
from tsfm.surprise import combined, surprise

if TYPE_CHECKING:
    from tsfm.loading import ForecastModel

SEED = 20_260_409
"""Of draws that no other part of the package makes."""
BASELINES = ("z-score", "sub-pca")
_BLOCK = 64


@dataclass(frozen=True)
class TypeScore:
    """How well one type of anomaly is found.

    Parameters
    ----------
    name, group
        The type, and its group: local, sensor, seasonal, or graph.
    n_series, n_events
        Series with something to find, and runs of labelled steps in them.
    recall
        Share of the events with a step above the default threshold; NaN without calibration.
    precision
        Scorer to mean average precision per series; the detector first.
    """

    name: str
    group: str
    n_series: int
    n_events: int
    recall: float
    precision: dict[str, float]


@dataclass(frozen=True)
class LabelledReport:
    """The outcome of `evaluate`.

    Parameters
    ----------
    detector
        Its name.
    length
        Steps of every series.
    average_precision, average_precision_wide
        Pooled over the steps of mixed series of one channel, and of six.
    share
        Anomalous share of the steps of one channel: what random scores would get.
    n_clean, false_alarms, false_alarms_wide
        Clean series, and the share in which the default threshold marks a step; the same of
        channels that were read six at a time. NaN without calibration.
    types
        One entry per type; one whose events were all too small to be seen has none of them.
    real
        Of real series that are taken for normal: whether the default threshold marks a step; empty
        without calibration.
    second_opinion
        Mean average precision per mixed series of the detector, of a forecaster's surprise, and of
        both combined; empty without a forecaster.
    seconds
        Wall clock.
    run
        Command, commit, device, machine, versions.
    """

    detector: str
    length: int
    average_precision: float
    average_precision_wide: float
    share: float
    n_clean: int
    false_alarms: float
    false_alarms_wide: float
    types: tuple[TypeScore, ...]
    real: dict[str, bool]
    second_opinion: dict[str, float]
    seconds: float
    run: dict[str, object] = field(default_factory=dict)

    def groups(self) -> dict[str, tuple[float, dict[str, float]]]:
        """Of each group of types: mean recall, and mean average precision by scorer."""
        answer = {}
        for group in dict.fromkeys(row.group for row in self.types):
            rows = [row for row in self.types if row.group == group and row.n_events]
            if rows:
                means = {
                    name: float(np.mean([row.precision[name] for row in rows]))
                    for name in rows[0].precision
                }
                answer[group] = (float(np.mean([row.recall for row in rows])), means)
        return answer

    def summary(self) -> str:
        """The headline in one line."""
        alarms = "no calibration, hence no alarms"
        if not math.isnan(self.false_alarms):
            alarms = f"{self.false_alarms:.1%} of {self.n_clean:,} clean series raise an alarm"
            alarms += f" ({self.false_alarms_wide:.1%} of channels read six at a time)"
        if self.real:
            alarms += f", and {sum(self.real.values())} of {len(self.real)} real ones"
        return (
            f"{self.detector} on held-out labelled series of {self.length:,} steps: AUC-PR "
            f"{self.average_precision:.3f} (six channels {self.average_precision_wide:.3f}, at "
            f"random {self.share:.3f}); {alarms}; {self.seconds:.0f} s"
        )

    def table(self) -> str:
        """The report as text: headline, groups, types."""
        second = ""
        if self.second_opinion:
            both = (f"{name} {value:.3f}" for name, value in self.second_opinion.items())
            second = f"\nAUC-PR per mixed series: {', '.join(both)}"
        names = list(self.types[0].precision) if self.types else []
        rows = [
            [group, "", "", f"{recall:.2f}", *(f"{means[name]:.3f}" for name in names)]
            for group, (recall, means) in self.groups().items()
        ]
        for row in self.types:
            cells = [f"{row.recall:.2f}", *(f"{row.precision[name]:.3f}" for name in names)]
            shown = cells if row.n_events else [""] * len(cells)
            rows.append([row.name, row.group, str(row.n_events), *shown])
        head = ["type", "group", "events", "recall", *(f"AUC-PR {name}" for name in names)]
        return f"{self.summary()}{second}\n\n{columns_text(head, rows, left=(0, 1))}"

    def to_json(self, path: str | Path) -> None:
        """Write everything as JSON, making missing folders."""
        content: dict[str, object] = {
            "suite": "labelled",
            "detector": self.detector,
            "length": self.length,
            "headline": {
                "AUC-PR": rounded(self.average_precision),
                "AUC-PR six channels": rounded(self.average_precision_wide),
                "anomalous share": rounded(self.share),
                "clean series": self.n_clean,
                "false alarms": rounded(self.false_alarms),
                "false alarms per channel of six": rounded(self.false_alarms_wide),
                "real series": len(self.real),
                "real series with alarms": sorted(k for k, raised in self.real.items() if raised),
            },
            "AUC-PR per mixed series": {
                name: rounded(value) for name, value in self.second_opinion.items()
            },
            "types": [
                {
                    "name": row.name,
                    "group": row.group,
                    "n_series": row.n_series,
                    "n_events": row.n_events,
                    "recall": rounded(row.recall),
                    **{f"AUC-PR {name}": rounded(value) for name, value in row.precision.items()},
                }
                for row in self.types
            ],
            "seconds": round(self.seconds, 1),
            **self.run,
        }
        write_json(content, path)


def evaluate(
    detector: DetectionModel,
    recipe: AnomalyRecipe,
    *,
    name: str,
    table: Table | None = None,
    length: int = 1024,
    n_mixed: int = 512,
    n_each: int = 40,
    n_clean: int = 1024,
    baselines: Sequence[str] = BASELINES,
    kinds: Sequence[str] = KIND_NAMES[1:],
    real: Mapping[str, FloatArray] | None = None,
    forecaster: ForecastModel | None = None,
    progress: bool = True,
) -> LabelledReport:
    """Score a detector on held-out series of a labelled corpus.

    Parameters
    ----------
    detector, name
        The detector, and its name in the report.
    recipe
        The corpus.
    table
        Its calibration; without one there is no threshold, hence no recall and no alarms.
    length
        Steps of every series, at least 64.
    n_mixed, n_each, n_clean
        Series of the mixture, of each type, and without anomaly.
    baselines
        Names of `tsfm.evaluation.anomaly_baselines.CHANNEL_SCORERS` to compare with by type.
    kinds
        Types of anomaly; all by default.
    real
        Series [L] by name that are taken for normal, NaN where missing.
    forecaster
        Its surprise (`tsfm.surprise`) is a second opinion on the first 64 mixed series.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        If a baseline or a type does not exist, or there are too few series.

    Examples
    --------
    >>> from tsfm.models import Detector, DetectorConfig
    >>> untrained = Detector.from_config(DetectorConfig.preset("tiny"))
    >>> few = {"n_mixed": 8, "n_each": 2, "n_clean": 6, "kinds": ["outlier"], "progress": False}
    >>> report = evaluate(untrained, AnomalyRecipe(clean=0.0), name="new", length=256, **few)
    >>> [row.name for row in report.types], 0 <= report.average_precision <= 1
    (['outlier'], True)
    """
    started = time.perf_counter()
    scorers = {one: scorer_named(one) for one in baselines}
    if n_mixed < 8 or n_each < 1 or n_clean < 6:
        raise ValueError(
            "n_mixed must be at least 8, n_each 1 and n_clean 6; "
            f"got {n_mixed}, {n_each} and {n_clean}."
        )
    unknown = [kind for kind in kinds if kind not in KIND_NAMES[1:]]
    if unknown:
        raise ValueError(f"type {unknown[0]!r} does not exist; use {', '.join(KIND_NAMES[1:])}")
    trial = _Trial(detector, recipe, length, table)
    mixed, share = trial.ranking(n_mixed, 1)
    wide, _ = trial.ranking(n_mixed // 6, 6)
    real = real if table and real else {}
    types = [
        trial.type_score(kind, n_each, name, scorers)
        for kind in tqdm(kinds, desc="types", unit="type", disable=not progress)
    ]
    return LabelledReport(
        detector=name,
        length=length,
        average_precision=mixed,
        average_precision_wide=wide,
        share=share,
        n_clean=n_clean,
        false_alarms=trial.false_alarms(n_clean, 1),
        false_alarms_wide=trial.false_alarms(n_clean // 6, 6),
        types=tuple(types),
        real={key: bool(trial.raises(values[:, None]).any()) for key, values in real.items()},
        second_opinion=trial.second_opinion(forecaster, _BLOCK) if forecaster else {},
        seconds=time.perf_counter() - started,
        run=describe_run(str(getattr(detector, "device", "cpu"))),
    )


@dataclass(frozen=True)
class _Trial:
    """A detector before held-out series of one length, and its calibration."""

    detector: DetectionModel
    recipe: AnomalyRecipe
    length: int
    table: Table | None

    def threshold(self, length: int) -> float:
        """The default threshold for series of a length; NaN without calibration."""
        return self.table.threshold(length) if self.table else math.nan

    def raises(self, series: FloatArray) -> BoolArray:
        """Of each channel of a series [L, C]: whether the default threshold marks a step."""
        score = judge(self.detector, series).score
        return np.asarray((score > self.threshold(len(series))).any(axis=0))

    def score(self, values: Tensor) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Of samples [B, C, L]: each series [L, C] and its scores [L, C]."""
        for one in values.double().numpy():
            yield one.T, judge(self.detector, one.T).score

    def batches(self, n: int, n_channels: int, recipe: AnomalyRecipe) -> Iterator[LabelledBatch]:
        """Mixed samples in blocks."""
        rng = seeded("cpu", "validation", SEED, self.length, n_channels)
        for at in range(0, n, _BLOCK):
            yield anomaly_batch(recipe, min(_BLOCK, n - at), n_channels, self.length, rng)

    def ranking(self, n: int, n_channels: int) -> tuple[float, float]:
        """Average precision over all steps of mixed series, and their anomalous share."""
        scores, labels = [], []
        for batch in self.batches(n, n_channels, self.recipe):
            scores += [score.ravel() for _, score in self.score(batch.values)]
            labels += [marks.T.ravel() for marks in batch.labels.numpy()]
        pooled = np.concatenate(labels) if labels else np.zeros(0)
        if not pooled.any():
            return math.nan, 0.0
        return auc_pr(pooled, np.concatenate(scores)), float(pooled.mean())

    def second_opinion(self, forecaster: ForecastModel, n: int) -> dict[str, float]:
        """Mean average precision per series with an anomaly, of each score and of both."""
        found: dict[str, list[float]] = {}
        for batch in self.batches(n, 1, self.recipe):
            for (series, score), marks in zip(
                self.score(batch.values), batch.labels.numpy(), strict=True
            ):
                if not marks.any():
                    continue
                unlikely = surprise(forecaster, series[:, 0])
                scores = {
                    "detector": score[:, 0],
                    "surprise": np.nan_to_num(unlikely),
                    "both, sum": combined(score[:, 0], unlikely, method="sum"),
                    "both, rank": combined(score[:, 0], unlikely, method="rank"),
                }
                for name, one in scores.items():
                    found.setdefault(name, []).append(auc_pr(marks[0], one))
        return {name: float(np.mean(values)) for name, values in found.items()}

    def false_alarms(self, n: int, n_channels: int) -> float:
        """Share of clean channels with a step above the threshold; NaN without threshold."""
        if self.table is None:
            return math.nan
        clean = self.batches(n, n_channels, replace(self.recipe, clean=1.0))
        series = (one.T for batch in clean for one in batch.values.double().numpy())
        return float(np.mean([self.raises(one) for one in series]))

    def type_score(self, kind: str, n: int, own: str, scorers: dict[str, Scorer]) -> TypeScore:
        """One row of the table."""
        rng = seeded("cpu", "validation", SEED, self.length, KIND_NAMES.index(kind))
        batch = type_examples(self.recipe, kind, n, self.length, rng)
        precision: dict[str, list[float]] = {name: [] for name in (own, *scorers)}
        found: list[bool] = []
        threshold = self.threshold(self.length)
        for (series, score), marks in zip(
            self.score(batch.values), batch.labels.numpy(), strict=True
        ):
            for channel in np.flatnonzero(marks.any(axis=1)):
                label, level = marks[channel], score[:, channel]
                found += [
                    bool((level[begin : end + 1] > threshold).any())
                    for begin, end in zip(*label_runs(label), strict=True)
                ]
                precision[own].append(auc_pr(label, level))
                for name, scorer in scorers.items():
                    other = scorer(series[:, [channel]], 0)
                    precision[name].append(auc_pr(label, other))
        group = "graph" if kind == GRAPH else all_types()[kind].group
        recall = float(np.mean(found)) if self.table and found else math.nan
        means = {
            name: float(np.mean(values)) if values else math.nan
            for name, values in precision.items()
        }
        return TypeScore(kind, group, len(precision[own]), len(found), recall, means)
