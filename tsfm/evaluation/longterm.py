"""The classic long-horizon protocol: ETT, weather, exchange rate and illness, all test windows.

Every series is z-scored by its training part; errors are mean squares and mean absolute values in
that unit over all windows of the test part, none dropped, all variates and steps equally weighted.
Contexts of the first test windows reach back before the test part. Training, validation and test
parts are 12, 4 and 4 months of 30 days for the ETT sets and 70, 10 and 20 % for the others, as in
Zhou et al. (arXiv 2012.07436) and the papers after it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tsfm.evaluation.provenance import describe_run

Array = NDArray[np.float64]
Predict = Callable[[Array, int], Array]
"""Contexts [W, N, L] and the horizon H to forecasts [W, N, H]."""

DATASETS = ("ETTh1", "ETTh2", "ETTm1", "ETTm2", "weather", "exchange_rate", "national_illness")

_MONTH = {"ETTh": 30 * 24, "ETTm": 30 * 24 * 4}
_VALUES_AT_ONCE = 4_000_000
_RIDGES = tuple(10.0**i for i in range(-6, 5))


@dataclass(frozen=True)
class LongTermTask:
    """A data set, split and scaled, with the lengths of its windows.

    Parameters
    ----------
    dataset
        Its name.
    values
        [N, T] z-scored by the training part.
    ends
        Steps at which training, validation and test part end.
    context_length, prediction_length
        L and H.
    variates
        Names of the N series.
    """

    dataset: str
    values: Array
    ends: tuple[int, int, int]
    context_length: int
    prediction_length: int
    variates: tuple[str, ...]

    @classmethod
    def load(
        cls,
        data: str | Path,
        dataset: str,
        *,
        context_length: int = 96,
        prediction_length: int = 96,
        variates: Sequence[str] | None = None,
    ) -> LongTermTask:
        """Read one data set.

        Parameters
        ----------
        data
            Folder with the Parquet files, or the one above it.
        dataset
            One of `DATASETS`.
        context_length, prediction_length
            Lengths of the windows.
        variates
            Names of the series to keep, such as ("OT",); all by default.

        Raises
        ------
        FileNotFoundError
            If the file is not there.
        ValueError
            If a name is unknown or the test part is shorter than the horizon.
        """
        if dataset not in DATASETS:
            raise ValueError(f"dataset {dataset!r} does not exist; use one of {DATASETS}.")
        table = pd.read_parquet(_file(Path(data), dataset))
        names = [str(name) for name in table["dim_name"]]
        unknown = set(variates or ()) - set(names)
        if unknown:
            raise ValueError(f"{dataset} has no variate {sorted(unknown)[0]!r}; it has {names}.")
        kept = [i for i, name in enumerate(names) if variates is None or name in variates]
        values = np.stack([np.asarray(table["target"][i], dtype=np.float64) for i in kept])
        ends = _ends(dataset, values.shape[1])
        train = values[:, : ends[0]]
        values = (values - train.mean(1, keepdims=True)) / train.std(1, keepdims=True)
        if ends[2] - ends[1] < prediction_length or ends[0] < context_length + prediction_length:
            raise ValueError(
                f"{dataset} is too short for context_length={context_length} and "
                f"prediction_length={prediction_length}: its parts end at {ends}."
            )
        chosen = tuple(names[i] for i in kept)
        return cls(dataset, values, ends, context_length, prediction_length, chosen)

    @property
    def history(self) -> Array:
        """Training and validation part [N, T']: what a model may see."""
        return self.values[:, : self.ends[1]]

    @property
    def validation_length(self) -> int:
        """Steps of the validation part, the end of `history`."""
        return self.ends[1] - self.ends[0]

    def windows(self, part: Literal["train", "validation", "test"]) -> Array:
        """All windows [W, N, L + H] whose forecast steps lie in a part; a read-only view."""
        starts = {"train": self.context_length, "validation": self.ends[0], "test": self.ends[1]}
        end = self.ends[("train", "validation", "test").index(part)]
        length = self.context_length + self.prediction_length
        reach = self.values[:, starts[part] - self.context_length : end]
        return np.lib.stride_tricks.sliding_window_view(reach, length, axis=1).swapaxes(0, 1)


@dataclass(frozen=True)
class LongTermScore:
    """Errors over all windows of a part, in units of each series' training part."""

    mse: float
    mae: float
    n_windows: int
    seconds: float


@dataclass(frozen=True)
class LongTermReport:
    """Scores of a trained preset beside the baselines.

    Parameters
    ----------
    dataset, variates, context_length, prediction_length
        What was forecast.
    scores
        By the name of the model.
    run
        Where the numbers come from.
    """

    dataset: str
    variates: tuple[str, ...]
    context_length: int
    prediction_length: int
    scores: dict[str, LongTermScore]
    run: dict[str, Any] = field(default_factory=dict)

    def table(self) -> str:
        """Text table, best first."""
        n = next(iter(self.scores.values())).n_windows
        lines = [
            f"{self.dataset}, {len(self.variates)} series, {self.context_length} -> "
            f"{self.prediction_length}, all {n:,} test windows",
            "",
            f"{'model':<16}{'MSE':>8}{'MAE':>8}",
        ]
        for name, score in sorted(self.scores.items(), key=lambda item: item[1].mse):
            lines.append(f"{name:<16}{score.mse:8.4f}{score.mae:8.4f}")
        return "\n".join(lines)

    def to_json(self, path: str | Path) -> None:
        """Write everything to a file."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def score(
    task: LongTermTask,
    predict: Predict,
    part: Literal["validation", "test"] = "test",
    n_windows: int | None = None,
) -> LongTermScore:
    """Errors of forecasts over all windows of a part.

    Parameters
    ----------
    task
        Data set and lengths.
    predict
        Takes contexts [W, N, L] and the horizon, returns [W, N, H].
    part
        Which windows.
    n_windows
        Only the first so many, to compare with figures that dropped the others.

    Raises
    ------
    ValueError
        If a forecast has the wrong shape or is no number.
    """
    windows = task.windows(part)[:n_windows]
    size = max(1, _VALUES_AT_ONCE // (windows.shape[1] * windows.shape[2]))
    started, square, absolute = time.perf_counter(), 0.0, 0.0
    for start in range(0, len(windows), size):
        batch = windows[start : start + size]
        answer = predict(batch[..., : task.context_length], task.prediction_length)
        target = batch[..., task.context_length :]
        if answer.shape != target.shape or not np.isfinite(answer).all():
            raise ValueError(
                f"The forecasts have shape {answer.shape} and must be finite numbers of shape "
                f"{target.shape}."
            )
        square += float(np.square(answer - target).sum())
        absolute += float(np.abs(answer - target).sum())
    count = len(windows) * windows.shape[1] * task.prediction_length
    seconds = time.perf_counter() - started
    return LongTermScore(square / count, absolute / count, len(windows), seconds)


def report(
    task: LongTermTask, name: str, predict: Predict, device: str, run: dict[str, Any]
) -> LongTermReport:
    """Score a model on the test part beside the linear baseline and the last value.

    Parameters
    ----------
    task
        Data set and lengths.
    name, predict
        The model.
    device
        Where it runs, for the record.
    run
        What else the record should hold.
    """
    scores = {
        name: score(task, predict),
        "linear": score(task, LinearBaseline(task)),
        "repeat last": score(task, repeat_last),
    }
    lengths = task.context_length, task.prediction_length
    facts = run | describe_run(device)
    return LongTermReport(task.dataset, task.variates, *lengths, scores, facts)


def repeat_last(contexts: Array, prediction_length: int) -> Array:
    """The naive forecast: the last value, again and again."""
    return np.repeat(contexts[..., -1:], prediction_length, axis=-1)


class LinearBaseline:
    """A linear map of the context minus its last value, by ridge regression; no variates mix.

    Called like any other forecast of a task. The least-squares relative of NLinear (Zeng et al.,
    arXiv 2205.13504); the ridge is the best on the validation part.

    Parameters
    ----------
    task
        Whose training windows it learns from.
    per_variate
        Whether every series has its own map; one for all by default.
    """

    def __init__(self, task: LongTermTask, *, per_variate: bool = False) -> None:
        windows = task.windows("train")
        n_series = windows.shape[1]
        groups = [[i] for i in range(n_series)] if per_variate else [list(range(n_series))]
        moments = [_moments(windows, group, task.context_length) for group in groups]
        self.per_variate = per_variate
        tried = []
        for ridge in _RIDGES:
            self.maps = [_ridge(gram, cross, ridge) for gram, cross in moments]
            tried.append((score(task, self, "validation").mse, ridge, self.maps))
        _, self.ridge, self.maps = min(tried, key=lambda entry: entry[0])

    def __call__(self, contexts: Array, prediction_length: int) -> Array:
        """Forecasts [W, N, H] of contexts [W, N, L]."""
        inputs, last = _inputs(contexts)
        if not self.per_variate:
            return np.asarray(inputs @ self.maps[0] + last)
        return np.asarray(np.einsum("wnl,nlh->wnh", inputs, np.stack(self.maps)) + last)


def _inputs(contexts: Array) -> tuple[Array, Array]:
    """Regressors [..., L] (differences to the last value, and a one) and that last value."""
    last = contexts[..., -1:]
    inputs = contexts - last
    inputs[..., -1] = 1.0
    return inputs, last


def _moments(windows: Array, series: list[int], context_length: int) -> tuple[Array, Array]:
    """Mean products of regressors with themselves and with the targets."""
    gram: Array = np.zeros((context_length, context_length))
    cross: Array = np.zeros((context_length, windows.shape[2] - context_length))
    size = max(1, _VALUES_AT_ONCE // (len(series) * windows.shape[2]))
    for start in range(0, len(windows), size):
        batch = windows[start : start + size, series].reshape(-1, windows.shape[2])
        inputs, last = _inputs(batch[:, :context_length])
        gram += inputs.T @ inputs
        cross += inputs.T @ (batch[:, context_length:] - last)
    count = len(windows) * len(series)
    return gram / count, cross / count


def _ridge(gram: Array, cross: Array, ridge: float) -> Array:
    penalty = ridge * np.eye(len(gram))
    penalty[-1, -1] = 1e-12  # not the intercept
    return np.asarray(np.linalg.solve(gram + penalty, cross))


def _ends(dataset: str, steps: int) -> tuple[int, int, int]:
    """Where training, validation and test part end."""
    month = _MONTH.get(dataset[:4])
    if month is not None:
        return 12 * month, 16 * month, 20 * month
    test = int(0.2 * steps)
    return int(0.7 * steps), steps - test, steps


def _file(data: Path, dataset: str) -> Path:
    for path in (data / f"{dataset}.parquet", data / "lsf" / f"{dataset}.parquet"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{data} holds no {dataset}.parquet, nor does a folder lsf in it; give the folder of the "
        "long-horizon data sets."
    )
