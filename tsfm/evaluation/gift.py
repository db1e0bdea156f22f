"""GIFT-Eval: score a model under its protocol and place it among published ones.

The last `windows x prediction_length` points of each series are cut into non-overlapping windows,
each forecast from everything before it. MASE takes the 0.5 quantile and the seasonal error of the
context, CRPS is the mean weighted quantile loss over the nine deciles of the whole configuration,
and the headline is the geometric mean over configurations of each metric divided by seasonal
naive's. The reference seasonal naive is the built-in one, run on the same windows; it equals the
published row of each of the 36 configurations to 2e-7 (`tests/evaluation/test_gift.py`).

The data folder holds `manifest.json`, one Parquet file per data set (item_id, start, freq, target)
and optionally `published.csv` (config, model, MASE_rel, CRPS_rel). Source: Aksu et al. (2024),
"GIFT-Eval: a benchmark for general time series forecasting model evaluation", arXiv:2410.10393.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tsfm.evaluation.metrics import geometric_mean
from tsfm.evaluation.protocol import Engine, ForecastModel, Series, Task
from tsfm.evaluation.report import ConfigScore, EvaluationReport
from tsfm.evaluation.runner import evaluate_tasks


@dataclass(frozen=True)
class GiftConfig:
    """One configuration as the manifest describes it.

    Parameters
    ----------
    name
        Such as "ett1/15T/short".
    file
        Parquet file inside the data folder.
    sha256
        Its checksum, or None if the manifest has none.
    freq
        Frequency of the series.
    prediction_length, windows
        Steps per window and windows per series.
    """

    name: str
    file: str
    sha256: str | None
    freq: str
    prediction_length: int
    windows: int


def find_data(data: str | Path) -> Path:
    """The folder with `manifest.json`: `data` itself or its sub-folder `gift`.

    Raises
    ------
    FileNotFoundError
        If neither holds a manifest.
    """
    for folder in (Path(data), Path(data) / "gift"):
        if (folder / "manifest.json").is_file():
            return folder
    raise FileNotFoundError(
        f"no manifest.json in {Path(data)} or its sub-folder gift; "
        "pass the folder of the GIFT-Eval Parquet files"
    )


def read_manifest(data: str | Path) -> list[GiftConfig]:
    """All configurations of a data folder, in the order of its manifest."""
    manifest = (find_data(data) / "manifest.json").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = json.loads(manifest)
    return [
        GiftConfig(
            name=name,
            file=entry["file"],
            sha256=entry.get("sha256"),
            freq=entry["freq"],
            prediction_length=entry["prediction_length"][term],
            windows=entry["windows"][term],
        )
        for entry in entries
        for name, term in zip(entry["configs"], entry["terms"], strict=True)
    ]


def select_configs(
    available: Sequence[GiftConfig], configs: str | Sequence[str] | None
) -> list[GiftConfig]:
    """Keep what a regular expression finds, or a list of names; None keeps all.

    Raises
    ------
    ValueError
        If nothing matches, or a name of the list does not exist.
    """
    if configs is None:
        return list(available)
    names = [config.name for config in available]
    if isinstance(configs, str):
        chosen = [config for config in available if re.search(configs, config.name)]
        if not chosen:
            raise ValueError(f"no configuration matches {configs!r}; there are {', '.join(names)}")
        return chosen
    unknown = [name for name in configs if name not in names]
    if unknown or not configs:
        raise ValueError(f"configurations {unknown} do not exist; there are {', '.join(names)}")
    return [config for config in available if config.name in set(configs)]


def read_panel(folder: Path, config: GiftConfig) -> tuple[Series, ...]:
    """The series of a configuration, after checking the file's checksum."""
    path = folder / config.file
    if not path.is_file():
        raise FileNotFoundError(f"{config.name}: {path} is missing; the manifest names it")
    if config.sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != config.sha256:
            raise ValueError(
                f"{config.name}: {path.name} differs from the manifest (sha256 {found[:12]}, "
                f"expected {config.sha256[:12]}); restore the file, or the scores "
                "will not be comparable"
            )
    frame = pd.read_parquet(path, columns=["item_id", "start", "target"])
    return tuple(Series.of(*row) for row in frame.itertuples(index=False, name=None))


def load_tasks(data: str | Path, configs: str | Sequence[str] | None = None) -> list[Task]:
    """The tasks of the chosen configurations; configurations of one file share its series.

    Parameters
    ----------
    data
        Folder of the benchmark.
    configs
        Regular expression, list of names, or None for all.
    """
    folder = find_data(data)
    panels: dict[str, tuple[Series, ...]] = {}
    tasks = []
    for config in select_configs(read_manifest(folder), configs):
        if config.file not in panels:
            panels[config.file] = read_panel(folder, config)
        tasks.append(
            Task.cut(
                config.name,
                panels[config.file],
                freq=config.freq,
                prediction_length=config.prediction_length,
                windows=config.windows,
            )
        )
    return tasks


def published_means(data: str | Path, configs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Relative (MASE, CRPS) of the published models: geometric means over some configurations.

    Parameters
    ----------
    data
        Folder of the benchmark.
    configs
        Names of the configurations; models that lack one of them are left out.

    Returns
    -------
    dict
        Model to (MASE, CRPS); empty if the folder has no `published.csv`.
    """
    path = find_data(data) / "published.csv"
    if not path.is_file():
        return {}
    frame = pd.read_csv(path)
    frame = frame[frame["config"].isin(configs)]
    return {
        str(model): (
            geometric_mean(rows["MASE_rel"].to_numpy(float)),
            geometric_mean(rows["CRPS_rel"].to_numpy(float)),
        )
        for model, rows in frame.groupby("model", sort=False)
        if rows["config"].nunique() == len(configs)
    }


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
    """Score a model on GIFT-Eval configurations.

    Parameters
    ----------
    model
        A `TSFM` or anything with its `forecast` method; "seasonal-naive" or "naive"; or the name
        or folder of a checkpoint.
    data
        Folder with `manifest.json` (or the folder above it).
    configs
        Which configurations: a regular expression, a list of names, or None for all.
    mode
        Inference mode of the model, "fast" or "best".
    batch_size
        Handed to the model.
    max_windows
        At most this many windows per configuration, evenly spaced: a quick look, not comparable
        with published rows.
    season_hints
        Tell the model the calendar season of each frequency (24 for hours, 7 for days, 52 for
        weeks, ...).
    engine
        "fast" forecasts all windows of a configuration in one call and measures with
        `tsfm.evaluation.metrics`. "gluonts" sends the data through gluonts' own splitter, the
        gluonts adapter and `gluonts.ev`, as GIFT-Eval's runner would; slower, same numbers.
    seed
        Seed of torch's generators during the run; the forecasts of a `TSFM` draw no random
        numbers.
    progress
        Show a progress bar over configurations on stderr.

    Returns
    -------
    EvaluationReport
        `report.mase`, `report.crps`, `report.table()`, `report.to_json(path)`.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If an argument is out of range, a file differs from the manifest, or the model's answer is
        not finite.

    Examples
    --------
    >>> report = evaluate("seasonal-naive", "../shared/benchmarks/gift")  # doctest: +SKIP
    >>> report.mase, report.crps  # doctest: +SKIP
    (1.0, 1.0)
    """
    tasks = load_tasks(data, configs)

    def others(rows: Sequence[ConfigScore]) -> dict[str, tuple[float, float]]:
        return published_means(data, [row.config for row in rows])

    return evaluate_tasks(
        "gift",
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
