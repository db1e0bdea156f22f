"""The loop both suites share: score every task and its baselines, gather the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from tqdm import tqdm

from tsfm.evaluation.baselines import BASELINES, Baseline
from tsfm.evaluation.protocol import Engine, ForecastModel, Score, Task, score
from tsfm.evaluation.provenance import describe_run, seeded
from tsfm.evaluation.report import ConfigScore, EvaluationReport

Others = Callable[[Sequence[ConfigScore]], dict[str, tuple[float, float]]]


def evaluate_tasks(
    suite: str,
    model: ForecastModel | str,
    tasks: Sequence[Task],
    others: Others,
    *,
    mode: Literal["fast", "best"],
    batch_size: int | Literal["auto"],
    max_windows: int | None,
    season_hints: bool,
    engine: Engine,
    seed: int,
    progress: bool,
) -> EvaluationReport:
    """Score a model on a list of tasks; arguments as in `tsfm.evaluation.gift.evaluate`."""
    if mode not in ("fast", "best"):
        raise ValueError(f"mode {mode!r} does not exist; use 'fast' or 'best'")
    if engine not in ("fast", "gluonts"):
        raise ValueError(f"engine {engine!r} does not exist; use 'fast' or 'gluonts'")
    if engine == "gluonts" and max_windows is not None:
        raise ValueError(
            "engine 'gluonts' scores every window; leave max_windows out or use engine 'fast'"
        )
    if max_windows is not None and max_windows < 1:
        raise ValueError(f"max_windows must be at least 1, got {max_windows}")
    started = time.perf_counter()
    forecaster = resolve_model(model)
    rows: list[ConfigScore] = []
    complete = True
    with seeded(seed), tqdm(tasks, desc=suite, unit="config", disable=not progress) as bar:
        for task in bar:
            bar.set_postfix_str(task.name, refresh=True)
            windows = task.split(max_windows)
            complete &= len(windows.contexts) == len(task.panel) * task.windows
            naive = score(Baseline("seasonal-naive"), task, windows)
            if engine == "gluonts":
                from tsfm.evaluation.gluonts_engine import score_with_gluonts

                own: Score = score_with_gluonts(
                    forecaster, task, mode=mode, batch_size=batch_size, season_hints=season_hints
                )
            else:
                own = score(
                    forecaster,
                    task,
                    windows,
                    mode=mode,
                    batch_size=batch_size,
                    season_hints=season_hints,
                )
            rows.append(
                ConfigScore.of(
                    task.name, len(windows.contexts), task.prediction_length, own, naive
                )
            )
    name = model_name(forecaster)
    beside = {key: value for key, value in others(rows).items() if _plain(key) != _plain(name)}
    run = {"seed": seed, "season_hints": season_hints, "batch_size": batch_size}
    return EvaluationReport(
        suite=suite,
        model=name,
        mode=mode,
        engine=engine,
        scores=tuple(rows),
        others=beside,
        complete=complete,
        seconds=time.perf_counter() - started,
        run=run
        | describe_run(model_device(forecaster), ("gluonts",) if engine == "gluonts" else ()),
    )


def _plain(name: str) -> str:
    """Spelling-free name, so that a baseline is not ranked against its own published row."""
    return name.lower().replace("_", "-")


def resolve_model(model: ForecastModel | str, device: str = "auto") -> ForecastModel:
    """A baseline by its name, a checkpoint by its name or folder, anything else as it is.

    Parameters
    ----------
    model
        "seasonal-naive", "naive", a checkpoint, or an object with a `forecast` method.
    device
        Torch device that a checkpoint is loaded to.

    Examples
    --------
    >>> resolve_model("naive")
    Baseline(name='naive', season_length=1)
    """
    if not isinstance(model, str):
        return model
    if model in BASELINES:
        return Baseline(model)  # type: ignore[arg-type]
    import tsfm

    loaded: ForecastModel = tsfm.TSFM.from_pretrained(model, device=device)
    return loaded


def model_name(model: ForecastModel) -> str:
    """`model.config.name`, else `model.name`, else the name of its class."""
    for owner in (getattr(model, "config", None), model):
        name = getattr(owner, "name", None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def model_device(model: ForecastModel) -> str:
    """`model.device` as text; "cpu" for models without one."""
    return str(getattr(model, "device", "cpu"))
