"""The same scores through gluonts: its splitter, its evaluation loop and its metrics.

With `TSFMPredictor` inside, this is the path GIFT-Eval's runner takes. It exists to show that the
fast path changes nothing (a test holds both to 1e-6 of each other) and that the adapter works
where others will use it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from gluonts.dataset.split import split
from gluonts.ev.aggregations import Mean
from gluonts.ev.metrics import MASE, DirectMetric, MeanWeightedSumQuantileLoss
from gluonts.model import evaluate_forecasts

from tsfm.adapters.gluonts import TSFMPredictor, dataset_entries
from tsfm.evaluation.metrics import DECILES
from tsfm.evaluation.protocol import ForecastModel, Score, Task, season_hint


@dataclass
class IntervalCoverage:
    """gluonts metric: share of labels between two quantiles, ends included."""

    lower: float = 0.1
    upper: float = 0.9

    def __call__(self, axis: int | None = None) -> DirectMetric:
        """Make the accumulator that gluonts updates batch by batch."""
        stat = partial(_inside, lower=str(self.lower), upper=str(self.upper))
        return DirectMetric(name="coverage", stat=stat, aggregate=Mean(axis=axis))


def _inside(data: Any, lower: str, upper: str) -> Any:
    label = data["label"]
    return ((label >= data[lower]) & (label <= data[upper])).astype(float)


@dataclass
class _Timed:
    """Iterator over forecasts that counts the seconds spent making them."""

    forecasts: Iterator[Any]
    seconds: float = field(default=0.0)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self.forecasts)
        finally:
            self.seconds += time.perf_counter() - started


def score_with_gluonts(
    model: ForecastModel,
    task: Task,
    *,
    mode: Literal["fast", "best"] = "fast",
    batch_size: int | Literal["auto"] = "auto",
    season_hints: bool = True,
) -> Score:
    """Score all windows of a task with gluonts alone; see `tsfm.evaluation.protocol.score`."""
    dataset = dataset_entries(
        [series.values for series in task.panel],
        task.freq,
        start=[series.start for series in task.panel],
        item_ids=[series.item_id for series in task.panel],
    )
    H = task.prediction_length
    _, template = split(dataset, offset=-H * task.windows)
    test_data = template.generate_instances(H, windows=task.windows, distance=H)
    predictor = TSFMPredictor(
        model,
        H,
        mode=mode,
        season_length=season_hint(model, task, season_hints),
        batch_size=batch_size,
    )
    forecasts = _Timed(predictor.predict(test_data.input))
    result = evaluate_forecasts(
        forecasts,
        test_data=test_data,
        metrics=[MASE(), MeanWeightedSumQuantileLoss(quantile_levels=DECILES), IntervalCoverage()],
        axis=None,
        batch_size=512,
        mask_invalid_label=True,
        allow_nan_forecast=False,
        seasonality=task.season_length,
    )
    row = {name: float(np.asarray(values)[0]) for name, values in result.items()}
    return Score(
        mase=row["MASE[0.5]"],
        crps=row["mean_weighted_sum_quantile_loss"],
        coverage=row["coverage"],
        seconds=forecasts.seconds,
    )
