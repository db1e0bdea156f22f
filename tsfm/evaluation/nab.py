"""The NAB score: early detections inside anomaly windows earn, false alarms and misses cost.

The data folder holds `nab_original.parquet`: one row per file with series_id, dataset, train_end
(end of the probationary part, which is not scored), values and labels (1 inside a window). A step
is a detection where its score reaches the threshold. Each window counts its earliest detection
with `2 / (1 + exp(5 y)) - 1` (over the value of its first step), where y runs from -1 at its left
edge to 0 behind its right one; a window without detection costs a miss. Every detection outside
counts with the same curve of its distance to the window before it, in widths of that window (-1
from three widths on, and before the first window), times the weight of false alarms. The sum over
files is scaled so that no detection at all is 0 and perfection is 100.

One threshold serves all files, the best one for each profile, as in NAB: so scores must be on
one scale across files. NAB asks for detectors that see only the past; a scorer that sees the whole
series may be measured here, but is not comparable with NAB's scoreboard. NAB's own windowed
Gaussian (`windowed-gaussian`) scores 40.1 here, 39.6 once its scores are rounded to twelve digits,
and 39.6 on the scoreboard. Source: Lavin and Ahmad (2015), "Evaluating real-time anomaly detection
algorithms: the Numenta anomaly benchmark", ICMLA, arXiv:1510.03336.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from tsfm.evaluation.anomaly_baselines import Detector
from tsfm.evaluation.anomaly_metrics import BoolArray, FloatArray, IntArray, label_runs
from tsfm.evaluation.anomaly_report import write_json
from tsfm.evaluation.provenance import describe_run
from tsfm.evaluation.report import columns_text
from tsfm.evaluation.tsb import LabelledSeries, detector_name, read_table, run_detector

FILE = "nab_original"


@dataclass(frozen=True)
class Profile:
    """Weights of an application.

    Parameters
    ----------
    false_alarm, miss
        Weight of a detection outside all windows, and of a window without detection. A detection
        inside a window has weight 1.
    """

    false_alarm: float
    miss: float


PROFILES = {
    "standard": Profile(0.11, 1.0),
    "reward_low_FP_rate": Profile(0.22, 1.0),
    "reward_low_FN_rate": Profile(0.11, 2.0),
}
"""NAB's three profiles; the standard one is the headline."""


@dataclass(frozen=True)
class NabScore:
    """The outcome under one profile.

    Parameters
    ----------
    score
        0 = no detection at all, 100 = perfect.
    threshold
        The best one; infinite where no detection at all is best.
    found, windows
        Windows with a detection, and all windows.
    false_alarms
        Detections outside windows.
    """

    score: float
    threshold: float
    found: int
    windows: int
    false_alarms: int


@dataclass(frozen=True)
class NabReport:
    """The outcome of `evaluate`.

    Parameters
    ----------
    detector
        What was scored.
    profiles
        Name of a profile to its outcome.
    n_files
        Files scored.
    seconds
        Wall clock of the whole evaluation.
    run
        Command, commit, device, machine, versions.
    """

    detector: str
    profiles: dict[str, NabScore]
    n_files: int
    seconds: float
    run: dict[str, object] = field(default_factory=dict)

    def table(self) -> str:
        """The report as text."""
        head = ["profile", "score", "threshold", "windows found", "false alarms"]
        body = [
            [
                name,
                f"{row.score:.2f}",
                f"{row.threshold:.6g}",
                f"{row.found}/{row.windows}",
                str(row.false_alarms),
            ]
            for name, row in self.profiles.items()
        ]
        return (
            f"{self.detector} on NAB, {self.n_files} files, best threshold over all files per "
            f"profile; {self.seconds:.1f} s\n\n{columns_text(head, body, left=(0,))}"
        )

    def to_json(self, path: str | Path) -> None:
        """Write everything as JSON, making missing folders; an infinite threshold becomes null."""
        rows = {name: asdict(row) for name, row in self.profiles.items()}
        for row in rows.values():
            row["threshold"] = row["threshold"] if np.isfinite(row["threshold"]) else None
        content = {"suite": "nab", "detector": self.detector, "n_files": self.n_files}
        write_json(
            {**content, "profiles": rows, "seconds": round(self.seconds, 2), **self.run}, path
        )


@dataclass(frozen=True)
class _Steps:
    """All scored steps: their scores, worth as a detection, and window (-1 outside)."""

    scores: FloatArray
    worth: FloatArray
    window: IntArray


def nab_scores(
    labels: Sequence[ArrayLike], scores: Sequence[ArrayLike], probation: Sequence[int]
) -> dict[str, NabScore]:
    """NAB scores of several files, per profile.

    Parameters
    ----------
    labels, scores
        Per file `[L]` each: 1 inside an anomaly window; higher scores are more anomalous, on one
        scale for all files.
    probation
        Steps at the start of each file that are not scored.

    Raises
    ------
    ValueError
        If a score is not finite, shapes differ, or no window lies behind the probation.

    Examples
    --------
    >>> labels = [[0, 0, 1, 1, 1, 0, 0, 0]]
    >>> nab_scores(labels, [[0, 0, 1, 0, 0, 0, 0, 0]], [0])["standard"].score
    100.0
    >>> nab_scores(labels, [[0, 0, 0, 0, 0, 0, 0, 0]], [0])["standard"].found
    1
    """
    parts: list[_Steps] = []
    count = 0
    for marks, values, skip in zip(labels, scores, probation, strict=True):
        flags, series = np.asarray(marks).astype(bool), np.asarray(values, dtype=np.float64)
        if flags.shape != series.shape or flags.ndim != 1 or not np.isfinite(series).all():
            raise ValueError(
                f"file {len(parts)}: labels {flags.shape} and scores {series.shape} must have the "
                "same length, and all scores must be finite"
            )
        worth, window = _worth(flags)
        n_windows = int(window.max(initial=-1)) + 1
        window = np.where(window >= 0, window + count, -1)
        count += n_windows
        parts.append(_Steps(series[skip:], worth[skip:], window[skip:]))
    steps = _Steps(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.worth for part in parts]),
        np.concatenate([part.window for part in parts]),
    )
    if not (steps.window >= 0).any():
        raise ValueError("no anomaly window lies behind the probation, so no score is defined")
    return {name: _best(steps, profile) for name, profile in PROFILES.items()}


def _curve(place: FloatArray) -> FloatArray:
    return np.asarray(np.where(place < 3, 2 / (1 + np.exp(5 * np.minimum(place, 3))) - 1, -1.0))


def _worth(flags: BoolArray) -> tuple[FloatArray, IntArray]:
    """What a detection at each step is worth (false alarms unweighted), and its window or -1."""
    starts, ends = label_runs(flags)
    steps = np.arange(len(flags))
    last = np.searchsorted(starts, steps, side="right") - 1  # the window begun last
    if not len(starts):
        return np.full(len(flags), -1.0), last
    width = (ends - starts + 1)[last]
    inside = _curve((steps - ends[last] - 1) / width) / _curve(np.array(-1.0))
    behind = _curve((steps - ends[last]) / np.maximum(width - 1, 1))
    worth = np.where(flags, inside, np.where(last >= 0, behind, -1.0))
    return worth, np.where(flags, last, -1)


def _best(steps: _Steps, profile: Profile) -> NabScore:
    """The best threshold: sweep all of them in one sort."""
    order = np.argsort(-steps.scores, kind="stable")
    scores, worth, window = steps.scores[order], steps.worth[order], steps.window[order]
    inside = np.flatnonzero(window >= 0)
    inside = inside[np.argsort(window[inside], kind="stable")]  # by window, then by score
    owner = window[inside]
    opens = np.diff(owner, prepend=-1) > 0
    best = np.maximum.accumulate(worth[inside] + 2.0 * owner) - 2.0 * owner  # worths lie in (0, 1]
    gain = np.where(window < 0, worth * profile.false_alarm, 0.0)
    gain[inside] = np.where(opens, best + profile.miss, np.diff(best, prepend=0.0))
    first = np.zeros(len(scores), dtype=np.int64)
    first[inside[opens]] = 1
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    total = np.concatenate([[0.0], np.cumsum(gain)[last]])
    pick = int(np.argmax(total))
    n_windows = int(opens.sum())
    end = 0 if pick == 0 else int(last[pick - 1]) + 1
    return NabScore(
        score=100 * float(total[pick]) / (n_windows * (1 + profile.miss)),
        threshold=float("inf") if pick == 0 else float(scores[end - 1]),
        found=int(first[:end].sum()),
        windows=n_windows,
        false_alarms=int((window[:end] < 0).sum()),
    )


def find_data(data: str | Path) -> Path:
    """The Parquet file: in `data` itself or in its sub-folder `tsb`."""
    for folder in (Path(data), Path(data) / "tsb"):
        path = folder / f"{FILE}.parquet"
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {FILE}.parquet in {Path(data)} or its sub-folder tsb")


def evaluate(
    detector: Detector,
    data: str | Path,
    *,
    series: str | Sequence[str] | None = None,
    progress: bool = True,
) -> NabReport:
    """Score a detector on NAB's files.

    Parameters
    ----------
    detector
        Any callable `(values [L, 1], train_end) -> scores [L]`, on one scale across files.
        `train_end` is the end of the probationary part.
    data
        Folder of the Parquet file, or the one above it.
    series
        Which files: a regular expression, a list of names, or None for all.
    progress
        Show a progress bar over files on stderr.

    Raises
    ------
    FileNotFoundError
        If the folder lacks the file.
    ValueError
        If a name does not exist, or the detector answers with the wrong shape or with scores that
        are not finite; the file is named.

    Examples
    --------
    >>> from tsfm.evaluation.anomaly_baselines import scorer_named
    >>> report = evaluate(
    ...     scorer_named("windowed-gaussian"), "../shared/benchmarks"
    ... )  # doctest: +SKIP
    >>> report.profiles["standard"].score  # doctest: +SKIP
    40.1
    """
    started = time.perf_counter()
    panel: list[LabelledSeries] = read_table(find_data(data), series)
    answers = []
    with tqdm(panel, desc="nab", unit="file", disable=not progress) as bar:
        for one in bar:
            bar.set_postfix_str(one.series_id, refresh=True)
            scores = run_detector(detector, one)
            if not np.isfinite(scores).all():
                raise ValueError(f"{one.series_id}: the detector's scores are not all finite")
            answers.append(scores)
    profiles = nab_scores([one.labels for one in panel], answers, [one.train_end for one in panel])
    return NabReport(
        detector=detector_name(detector),
        profiles=profiles,
        n_files=len(panel),
        seconds=time.perf_counter() - started,
        run=describe_run(str(getattr(detector, "device", "cpu"))),
    )
