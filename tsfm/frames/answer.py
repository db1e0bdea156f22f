"""Forecasts -> the answer frame: the caller's own names, dtypes, time zone and order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsfm.frames.calendar import Int64
from tsfm.frames.errors import DataError
from tsfm.frames.panel import Panel
from tsfm.frames.read import Float64


def level_name(level: float) -> str:
    """Column name of a quantile level, as the user wrote it: 0.1 -> "0.1", 0.975 -> "0.975".

    Examples
    --------
    >>> [level_name(level) for level in (0.1, 0.5, 0.04999999999999999)]
    ['0.1', '0.5', '0.05']
    """
    return str(tidy_level(level))


def tidy_level(level: float) -> float:
    """A level without floating-point noise: 0.30000000000000004 -> 0.3, float32 0.1 -> 0.1."""
    return (
        float(str(level))
        if isinstance(level, np.floating) and level.dtype != np.float64
        else round(float(level), 12)
    )


def forecast_frame(
    panel: Panel, quantiles: Float64, levels: Sequence[float], point: Float64
) -> pd.DataFrame:
    """Builds the answer of a forecast.

    Parameters
    ----------
    panel
        The series that were forecast.
    quantiles
        `[N, H, Q]`.
    levels
        The Q quantile levels, in the order of their columns.
    point
        `[N, H]` point forecasts, the column "predictions".

    Returns
    -------
    DataFrame
        Columns: id, timestamp, "target_name", "predictions", then one per level ("0.1", ...). N *
        H rows, by series in order of first appearance, each in order of time.

    Raises
    ------
    DataError
        The caller's id or time column has the name of one of the answer's own columns.
    """
    n, horizon, q = quantiles.shape
    names = [level_name(level) for level in levels]
    _check_names(panel, ["target_name", "predictions", *names])
    frame = _index_columns(panel, horizon)
    frame["predictions"] = point.reshape(-1)
    numbers = pd.DataFrame(
        quantiles.reshape(n * horizon, q), columns=pd.Index(names, dtype=object)
    )
    return pd.concat([frame, numbers], axis=1)


def samples_frame(panel: Panel, samples: Float64) -> pd.DataFrame:
    """Builds the answer of `predict_samples`.

    Parameters
    ----------
    panel
        The series that were forecast.
    samples
        `[N, S, H]` joint sample paths.

    Returns
    -------
    DataFrame
        Columns: id, timestamp, "target_name", "sample" (0 to S - 1), "predictions". N * S * H
        rows.
    """
    n, count, horizon = samples.shape
    _check_names(panel, ["target_name", "sample", "predictions"])
    steps = _index_columns(panel, horizon)
    rows = np.arange(n * horizon).reshape(n, 1, horizon).repeat(count, axis=1).reshape(-1)
    frame = steps.iloc[rows].reset_index(drop=True)
    frame["sample"] = np.tile(np.repeat(np.arange(count), horizon), n)
    frame["predictions"] = samples.reshape(-1)
    return frame


def token_frame(
    panel: Panel, tokens: Sequence[tuple[Int64, Int64, Int64, Float64]]
) -> pd.DataFrame:
    """Builds the answer of `tokenize`.

    Parameters
    ----------
    panel
        The series that were cut.
    tokens
        For each of the N series the first step, the length, the number of observed values and the
        entropy of its tokens, `[T]` each.

    Returns
    -------
    DataFrame
        Columns: id, "target_name", "start" (a time), "step", "length", "observed", "entropy".
    """
    names = ["target_name", "start", "step", "length", "observed", "entropy"]
    if panel.layout.id_name in names:
        raise DataError(
            f"The id column {panel.layout.id_name!r} clashes with the columns of the answer "
            f"{tuple(names)!r}; rename it."
        )
    counts = [len(start) for start, *_ in tokens]
    targets = pd.Index(list(panel.target_names), tupleize_cols=False).repeat(counts)
    times = [panel.timestamps(i).iloc[start] for i, (start, *_) in enumerate(tokens)]
    columns: dict[Hashable, Any] = {
        panel.layout.id_name: panel.ids.repeat(counts),
        "target_name": targets.array,
        "start": pd.concat(times, ignore_index=True).array,
    }
    for name, parts in zip(names[2:], zip(*tokens, strict=True), strict=True):
        columns[name] = np.concatenate(parts)
    return pd.DataFrame(columns)


def _index_columns(panel: Panel, horizon: int) -> pd.DataFrame:
    targets = pd.Index(list(panel.target_names), tupleize_cols=False).repeat(horizon)
    columns: dict[Hashable, Any] = {
        panel.layout.id_name: panel.ids.repeat(horizon),
        panel.layout.timestamp_name: panel.axis.decode(panel.future_ticks(horizon).reshape(-1)),
        "target_name": targets.array,
    }
    return pd.DataFrame(columns)


def _check_names(panel: Panel, own: Sequence[str]) -> None:
    theirs = (panel.layout.id_name, panel.layout.timestamp_name)
    clash = [name for name in theirs if name in own]
    if clash or theirs[0] == theirs[1]:
        raise DataError(
            f"The id and time columns {theirs!r} clash with the columns of the answer "
            f"{tuple(own)!r}; rename them."
        )
