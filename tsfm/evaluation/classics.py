"""The development panel: small well-known series (air passengers, CO2, ...) scored like GIFT-Eval.

Choose models and settings on this panel and on held-out synthetic series, and report on GIFT-Eval.
Each series is its own configuration, except that the yearly series of the M1 competition form one;
horizons and numbers of windows follow GIFT-Eval's rules per series, so long series count more
windows. A series that ends in nothing but zeros has no CRPS and is left out. The headline is the
geometric mean over configurations relative to seasonal naive, and the built-in baselines stand in
for published models.

The file is Parquet with the columns item_id, start, freq and target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from tsfm.evaluation.baselines import BASELINES, Baseline
from tsfm.evaluation.metrics import geometric_mean
from tsfm.evaluation.protocol import Engine, ForecastModel, Series, Task, score
from tsfm.evaluation.report import ConfigScore, EvaluationReport
from tsfm.evaluation.runner import evaluate_tasks
from tsfm.evaluation.seasons import parse_frequency

SHORT_LENGTH = {"Y": 6, "Q": 8, "M": 12, "W": 8, "D": 30, "B": 30, "h": 48, "min": 48, "s": 60}
"""Short-term steps per unit of frequency: GIFT-Eval's table, quarters and years from M4's."""

TERMS = {"short": 1, "medium": 10, "long": 15}
"""Multiples of the short length; the longer two for hourly and faster series only."""

TEST_SHARE = 0.1
MAX_WINDOWS = 20
MIN_CONTEXT = 3
"""Prediction lengths that must remain before the windows of the longer terms."""

POOLED = re.compile(r"^m1_", re.IGNORECASE)


def windows_for(length: int, prediction_length: int) -> int:
    """Windows of a series: a tenth of it over the prediction length, 1 at least and 20 at most.

    Examples
    --------
    >>> windows_for(144, 12), windows_for(10320, 48)
    (2, 20)
    """
    return min(max(1, math.ceil(TEST_SHARE * length / prediction_length)), MAX_WINDOWS)


def load_tasks(data: str | Path, configs: str | Sequence[str] | None = None) -> list[Task]:
    """Tasks of the panel.

    Parameters
    ----------
    data
        The Parquet file, or a folder that holds `classics.parquet` or `lsf/classics.parquet`.
    configs
        Regular expression, list of names, or None for all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If nothing matches.
    """
    groups: dict[tuple[str, str], list[Series]] = {}
    for freq, series in read_series(data):
        name = "m1" if POOLED.match(series.item_id) else series.item_id
        groups.setdefault((name, freq), []).append(series)
    tasks = [task for (name, freq), panel in groups.items() for task in _terms(name, freq, panel)]
    wanted = _wanted([task.name for task in tasks], configs)
    return [task for task in tasks if task.name in wanted]


def read_series(data: str | Path) -> list[tuple[str, Series]]:
    """Frequency and series of every row of the file; see `load_tasks` for the errors."""
    frame = pd.read_parquet(find_data(data), columns=["item_id", "start", "freq", "target"])
    rows = frame.itertuples(index=False, name=None)
    return [(freq, Series.of(item_id, start, target)) for item_id, start, freq, target in rows]


def find_data(data: str | Path) -> Path:
    """The Parquet file: `data` itself, or `classics.parquet` in it or in its sub-folder `lsf`."""
    root = Path(data)
    for path in (root, root / "classics.parquet", root / "lsf" / "classics.parquet"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{root} is not a file and holds no classics.parquet; pass the Parquet file"
    )


def _terms(name: str, freq: str, panel: list[Series]) -> list[Task]:
    _, unit = parse_frequency(freq)
    shortest = min(len(series.values) for series in panel)
    tasks = []
    for term, multiple in TERMS.items():
        length = SHORT_LENGTH[unit] * multiple
        windows = windows_for(shortest, length)
        room = shortest - windows * length
        if term != "short" and (unit not in ("h", "min", "s") or room < MIN_CONTEXT * length):
            continue
        task = Task.cut(
            f"{name}/{freq}/{term}", panel, freq=freq, prediction_length=length, windows=windows
        )
        if np.nansum(np.abs(task.split().labels)) > 0:
            tasks.append(task)
    return tasks


def _wanted(names: list[str], configs: str | Sequence[str] | None) -> set[str]:
    if configs is None:
        return set(names)
    if isinstance(configs, str):
        chosen = {name for name in names if re.search(configs, name)}
    else:
        chosen = set(configs)
    if not chosen or not chosen <= set(names):
        raise ValueError(f"configurations {configs!r} do not exist; there are {', '.join(names)}")
    return chosen


def evaluate(
    model: ForecastModel | str,
    data: str | Path,
    *,
    configs: str | Sequence[str] | None = None,
    mode: Literal["fast", "best"] = "fast",
    batch_size: int | Literal["auto"] = "auto",
    max_windows: int | None = None,
    season_hints: bool = True,
    engine: Engine = "fast",
    seed: int = 0,
    progress: bool = True,
) -> EvaluationReport:
    """Score a model on the development panel; arguments as in `tsfm.evaluation.gift.evaluate`.

    Examples
    --------
    >>> evaluate("naive", "../shared/benchmarks/lsf/classics.parquet").summary()  # doctest: +SKIP
    """
    tasks = load_tasks(data, configs)

    def others(rows: Sequence[ConfigScore]) -> dict[str, tuple[float, float]]:
        standing = {}
        for name in BASELINES:
            scores = [
                score(Baseline(name), task, task.split(max_windows))  # type: ignore[arg-type]
                for task in tasks
            ]
            standing[name] = (
                geometric_mean(
                    [s.mase / row.naive_mase for s, row in zip(scores, rows, strict=True)]
                ),
                geometric_mean(
                    [s.crps / row.naive_crps for s, row in zip(scores, rows, strict=True)]
                ),
            )
        return standing

    return evaluate_tasks(
        "classics",
        model,
        tasks,
        others,
        mode=mode,
        batch_size=batch_size,
        max_windows=max_windows,
        season_hints=season_hints,
        engine=engine,
        seed=seed,
        progress=progress,
    )
