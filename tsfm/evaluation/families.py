"""A forecaster on held-out synthetic series, family by family, beside naive forecasts.

The series are those of the validation during training: from a stream that training never draws.
Losses are the mean pinball loss of nine deciles, twice, in units of each series' own standard
deviation; those of a family are means over its series and steps. Seasonal naive repeats the best
cycle of a series' own context, unless naive would have forecast the end of that better.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from tsfm.datasets.corpus import held_out
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.stored.strata import strongest_cycle
from tsfm.datasets.synthetic import all_families
from tsfm.evaluation.anomaly_report import write_json
from tsfm.evaluation.baselines import Baseline
from tsfm.evaluation.metrics import DECILES, FloatArray, coverage, quantile_losses
from tsfm.evaluation.protocol import ForecastModel
from tsfm.evaluation.provenance import describe_run
from tsfm.evaluation.report import columns_text, rounded
from tsfm.evaluation.runner import model_device, model_name


@dataclass(frozen=True)
class FamilyLoss:
    """Scores of one generator family, or means over some.

    Parameters
    ----------
    name, group
        The family and its group.
    share
        Share of the recipe's series that are of it.
    n_series
        Series scored.
    loss, seasonal_naive, naive
        Losses of the model and of the naive forecasts on the same series.
    coverage
        Share of values inside the model's 80 % interval.
    """

    name: str
    group: str
    share: float
    n_series: int
    loss: float
    seasonal_naive: float
    naive: float
    coverage: float

    @property
    def to_seasonal_naive(self) -> float:
        """Loss as a share of seasonal naive's; NaN where that is zero."""
        return self.loss / self.seasonal_naive if self.seasonal_naive > 0 else float("nan")

    @property
    def to_naive(self) -> float:
        """Loss as a share of naive's; NaN where that is zero."""
        return self.loss / self.naive if self.naive > 0 else float("nan")

    def to_dict(self) -> dict[str, object]:
        """JSON-ready, six significant digits."""
        return {
            "family": self.name,
            "group": self.group,
            "share": rounded(self.share),
            "n_series": self.n_series,
            "loss": rounded(self.loss),
            "to_seasonal_naive": rounded(self.to_seasonal_naive),
            "to_naive": rounded(self.to_naive),
            "coverage80": rounded(self.coverage),
        }


@dataclass(frozen=True)
class FamilyReport:
    """The outcome of `evaluate`.

    Parameters
    ----------
    model, mode, recipe
        What was scored, how, and on which recipe's families.
    context_length, prediction_length
        Steps of every series.
    families
        One entry per family.
    seconds
        Wall clock.
    run
        Command, commit, device, machine, versions.
    """

    model: str
    mode: str
    recipe: str
    context_length: int
    prediction_length: int
    families: tuple[FamilyLoss, ...]
    seconds: float
    run: dict[str, object] = field(default_factory=dict)

    def groups(self) -> tuple[FamilyLoss, ...]:
        """Means over the families of each group, by their shares."""
        names = dict.fromkeys(row.group for row in self.families)
        return tuple(
            _mean([row for row in self.families if row.group == name], name) for name in names
        )

    @property
    def total(self) -> FamilyLoss:
        """Means over all families, by their shares."""
        return _mean(self.families, "all")

    def table(self) -> str:
        """The report as text: headline, families in the recipe's order, groups."""
        total = self.total
        head = (
            f"{self.model} ({self.mode}) on {self.recipe}, "
            f"{total.n_series} series of {len(self.families)} families, "
            f"{self.prediction_length} steps after {self.context_length}: loss "
            f"{total.to_seasonal_naive:.4f} relative to seasonal naive, {total.to_naive:.4f} to "
            f"naive; 80% interval covers {total.coverage:.3f}; {self.seconds:.1f} s"
        )
        columns = ["family", "group", "share", "series", "/ seasonal", "/ naive", "cover80"]
        body = [_cells(row, row.name, row.group) for row in self.families]
        groups = [_cells(row, "", row.name) for row in (*self.groups(), total)]
        return head + "\n\n" + columns_text(columns, [*body, [""] * 7, *groups], left=(0, 1))

    def to_dict(self) -> dict[str, object]:
        """Everything the report holds, JSON-ready."""
        return {
            "suite": "families",
            "model": self.model,
            "mode": self.mode,
            "recipe": self.recipe,
            "context_length": self.context_length,
            "prediction_length": self.prediction_length,
            "headline": self.total.to_dict(),
            "seconds": round(self.seconds, 2),
            **self.run,
            "groups": [row.to_dict() for row in self.groups()],
            "families": [row.to_dict() for row in self.families],
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, making missing folders."""
        write_json(self.to_dict(), path)


def evaluate(
    model: ForecastModel,
    recipe: Recipe,
    *,
    n_series: int = 64,
    context_length: int = 512,
    prediction_length: int = 96,
    mode: Literal["fast", "best"] = "fast",
    progress: bool = False,
) -> FamilyReport:
    """Score a model on held-out series of every family of a recipe.

    Parameters
    ----------
    model
        A `TSFM`, a `Baseline`, or anything with that `forecast` method.
    recipe
        Its families and their shares; its windows and augmentations do not count.
    n_series
        Series per family.
    context_length, prediction_length
        Steps of each.
    mode
        "fast" or "best".
    progress
        Whether to show a progress bar.

    Returns
    -------
    FamilyReport
        `report.table()`, `report.total`, `report.to_json(path)`; losses in standard deviations.

    Examples
    --------
    >>> from tsfm.datasets.recipes import WindowShape
    >>> recipe = Recipe("two", {"waves": 1, "steps": 3}, (WindowShape(4, 1, 1.0),))
    >>> report = evaluate(Baseline("naive"), recipe, n_series=2)
    >>> [(row.name, row.share, row.to_naive) for row in report.families]
    [('waves', 0.25, 1.0), ('steps', 0.75, 1.0)]
    """
    started = time.perf_counter()
    rows: list[FamilyLoss] = []
    shares = _shares(recipe.families)
    with tqdm(total=len(shares), unit="family", disable=not progress) as bar:
        for name, series in held_out(recipe, n_series, context_length + prediction_length):
            past, future = series[:, :context_length], series[:, context_length:].double().numpy()
            contexts = list(past.double().numpy())
            answer = model.forecast(contexts, prediction_length, DECILES, mode=mode).quantiles
            seasons = best_seasons(past, prediction_length)
            loss, repeated, last = (
                _loss(quantiles, future)
                for quantiles in (
                    answer,
                    _repeated(contexts, prediction_length, seasons),
                    _repeated(contexts, prediction_length, [1] * len(contexts)),
                )
            )
            inside = coverage(future, answer[..., 0], answer[..., -1])
            group = all_families()[name].group
            rows.append(
                FamilyLoss(name, group, shares[name], n_series, loss, repeated, last, inside)
            )
            bar.update()
    return FamilyReport(
        model_name(model),
        mode,
        recipe.name,
        context_length,
        prediction_length,
        tuple(rows),
        time.perf_counter() - started,
        describe_run(model_device(model)),
    )


def best_seasons(series: torch.Tensor, prediction_length: int) -> list[int]:
    """Steps after which each series repeats itself, 1 where that does not help to forecast it.

    The best lag of a series counts if repeating it forecasts the end of the series, as long as the
    horizon or a quarter of it, with a smaller loss than naive.

    Parameters
    ----------
    series
        [N, T] without gaps.
    prediction_length
        Steps to forecast.

    Examples
    --------
    >>> best_seasons(torch.sin(torch.arange(240.0) * torch.pi / 12)[None], 48)
    [24]
    """
    held_back = max(1, min(prediction_length, series.shape[1] // 4))
    whole = series.double().numpy()
    past, end = whole[:, :-held_back], whole[:, -held_back:]
    seasons, ones = [max(1, strongest_cycle(x)) for x in whole], [1] * len(series)
    repeated, last = (
        quantile_losses(end, _repeated(list(past), held_back, lengths), DECILES).mean((1, 2))
        for lengths in (seasons, ones)
    )
    return [int(m) for m in np.where(repeated < last, seasons, ones)]


def _repeated(
    contexts: list[FloatArray], prediction_length: int, seasons: list[int]
) -> FloatArray:
    """Quantiles [N, H, Q] of seasonal naive."""
    naive = Baseline("seasonal-naive")
    return naive.forecast(contexts, prediction_length, DECILES, season_lengths=seasons).quantiles


def _loss(quantiles: FloatArray, future: FloatArray) -> float:
    """Mean over series, steps and levels of twice the pinball loss."""
    return float(np.mean(quantile_losses(future, quantiles, DECILES)))


def _shares(families: Mapping[str, float]) -> dict[str, float]:
    total = sum(families.values())
    return {name: weight / total for name, weight in families.items()}


def _mean(rows: list[FamilyLoss] | tuple[FamilyLoss, ...], name: str) -> FamilyLoss:
    """Means weighted by share."""
    shares = np.array([row.share for row in rows])
    parts = [(row.loss, row.seasonal_naive, row.naive, row.coverage) for row in rows]
    means = np.average(np.array(parts), axis=0, weights=shares if shares.sum() > 0 else None)
    n_series = sum(row.n_series for row in rows)
    return FamilyLoss(name, name, float(shares.sum()), n_series, *map(float, means))


def _cells(row: FamilyLoss, name: str, group: str) -> list[str]:
    return [
        name,
        group,
        f"{row.share:.3f}",
        str(row.n_series),
        f"{row.to_seasonal_naive:.3f}",
        f"{row.to_naive:.3f}",
        f"{row.coverage:.3f}",
    ]
