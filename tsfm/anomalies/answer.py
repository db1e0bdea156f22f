"""Findings -> the answer frames: the caller's own names, dtypes and time zone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsfm.anomalies.findings import Finding
from tsfm.frames.errors import DataError
from tsfm.frames.panel import Panel

BAND = 3.0
"""The columns "lower" and "upper" lie so many usual distances from the expected value."""

STEP_COLUMNS = ("target_name", "value", "expected", "lower", "upper", "score", "p_value",
                "is_anomaly", "segment_id")  # fmt: skip
SEGMENT_COLUMNS = ("target_name", "segment_id", "start", "end", "n_points", "peak_time",
                   "peak_score", "severity", "p_value")  # fmt: skip


def detection_frame(panel: Panel, findings: Sequence[Finding]) -> pd.DataFrame:
    """Builds the answer of `detect`.

    Parameters
    ----------
    panel
        The series that were judged.
    findings
        What was found, of each channel or of each item.

    Returns
    -------
    DataFrame
        Columns: id, timestamp and `STEP_COLUMNS`; one row per step and finding.
    """
    _check_names(panel, (panel.layout.id_name, panel.layout.timestamp_name), STEP_COLUMNS)
    counts = [len(one.score) for one in findings]
    steps = [
        np.arange(one.item.first, one.item.first + n)
        for one, n in zip(findings, counts, strict=True)
    ]
    columns = _names(panel, findings, counts)
    columns[panel.layout.timestamp_name] = _times(panel, findings, steps)
    columns["target_name"] = _targets(panel, findings, [one.channel for one in findings])
    expected = [one.pick(one.item.judged.expected) for one in findings]
    margin = [BAND * one.pick(one.item.judged.spread) for one in findings]
    numbers = [one.segment for one in findings]
    columns["value"] = _joined([one.pick(one.item.values) for one in findings])
    columns["expected"] = _joined(expected)
    columns["lower"] = _joined([x - m for x, m in zip(expected, margin, strict=True)])
    columns["upper"] = _joined([x + m for x, m in zip(expected, margin, strict=True)])
    columns["score"] = _joined([one.score for one in findings])
    columns["p_value"] = _joined([one.p_value for one in findings])
    segment = np.concatenate([np.empty(0, dtype=np.int64), *numbers])
    columns["is_anomaly"] = segment >= 0
    columns["segment_id"] = pd.arrays.IntegerArray(np.maximum(segment, 0), segment < 0)
    return pd.DataFrame(columns)


def segment_frame(panel: Panel, findings: Sequence[Finding]) -> pd.DataFrame:
    """Builds the answer of `segments`.

    Returns
    -------
    DataFrame
        Columns: id and `SEGMENT_COLUMNS`; one row per segment, by series and time.
    """
    _check_names(panel, (panel.layout.id_name,), SEGMENT_COLUMNS)
    members = [one.members for one in findings]
    counts = [len(segments) for segments in members]
    ends = [_first_and_last(segments) for segments in members]
    peaks = [
        np.asarray([k[np.nanargmax(one.score[k])] for k in segments], dtype=np.int64)
        for one, segments in zip(findings, members, strict=True)
    ]
    worst = [
        np.asarray([np.nanmax(severity[k]) for k in segments])
        for severity, segments in zip((one.severity for one in findings), members, strict=True)
    ]
    pairs = list(zip(findings, peaks, strict=True))
    columns = _names(panel, findings, counts)
    columns["target_name"] = _targets(panel, findings, [one.channel[k] for one, k in pairs])
    numbers = [np.empty(0, dtype=np.int64), *(one.segment[k] for one, k in pairs)]
    columns["segment_id"] = np.concatenate(numbers)
    places = {"start": [x[0] for x in ends], "end": [x[1] for x in ends], "peak_time": peaks}
    for name, at in places.items():
        steps = [k + one.item.first for one, k in zip(findings, at, strict=True)]
        columns[name] = _times(panel, findings, steps)
    sizes = [np.empty(0, dtype=np.int64), *(last - first + 1 for first, last in ends)]
    columns["n_points"] = np.concatenate(sizes)
    columns["peak_score"] = _joined([one.score[k] for one, k in pairs])
    columns["severity"] = _joined(worst)
    columns["p_value"] = _joined([np.asarray(one.peak_p_value) for one in findings])
    return pd.DataFrame(columns)[[panel.layout.id_name, *SEGMENT_COLUMNS]]


def _first_and_last(segments: Sequence[Any]) -> tuple[Any, Any]:
    """First and last step of each segment."""
    steps = np.asarray([(k[0], k[-1]) for k in segments], dtype=np.int64).reshape(-1, 2)
    return steps[:, 0], steps[:, 1]


def _names(
    panel: Panel, findings: Sequence[Finding], counts: Sequence[int]
) -> dict[Hashable, Any]:
    """The id column, in the dtype of the caller's."""
    numbers = np.asarray([_series(one) for one in findings], dtype=np.int64)
    whole = panel.layout.source == "wide" and any(one.joint for one in findings)
    ids = np.zeros(len(numbers), dtype=np.int64) if whole else panel.ids[numbers]
    return {panel.layout.id_name: ids.repeat(np.asarray(counts, dtype=np.int64))}


def _series(finding: Finding) -> int:
    """Number in the panel of the series that names a finding."""
    return finding.item.number + (0 if finding.joint else int(finding.channel[:1].sum()))


def _targets(panel: Panel, findings: Sequence[Finding], channels: Sequence[Any]) -> Any:
    """The target columns that steps are described by."""
    places = [np.asarray(c) + one.item.number for one, c in zip(findings, channels, strict=True)]
    names = pd.Index(list(panel.target_names), tupleize_cols=False)
    return names.take(np.concatenate([np.empty(0, dtype=np.int64), *places])).array


def _times(panel: Panel, findings: Sequence[Finding], steps: Sequence[Any]) -> Any:
    """Times of steps of series."""
    known: dict[int, pd.Series[Any]] = {}
    parts = [panel.timestamps(0).iloc[:0]]
    for one, at in zip(findings, steps, strict=True):
        number = one.item.number
        if number not in known:
            known = {number: panel.timestamps(number)}  # findings of an item follow one another
        parts.append(known[number].iloc[at])
    return pd.concat(parts, ignore_index=True).array


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate([np.empty(0), *parts])


def _check_names(panel: Panel, theirs: Sequence[Hashable], own: Sequence[str]) -> None:
    clash = [name for name in theirs if name in own]
    if clash or len(set(theirs)) < len(theirs):
        raise DataError(
            f"The columns {tuple(theirs)!r} clash with those of the answer {tuple(own)!r}; rename "
            "them."
        )
