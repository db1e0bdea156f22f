"""One call of a model for a panel: what goes in, what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tsfm.backtests import BackTests, at_asked, calibration_table, moved_samples, unbounded
from tsfm.frames.errors import AllMissingWarning, some, warn
from tsfm.frames.panel import Panel
from tsfm.frames.read import Float64
from tsfm.frames.variates import training_order, warn_unaligned
from tsfm.loading import ForecastModel, Quantiles
from tsfm.models.recalibration import LEVELS

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.models import Stream

_NO_LIMIT = 2**62
_MEAN_LEVELS = tuple((i + 0.5) / 50 for i in range(50))


@dataclass(frozen=True)
class PanelForecast:
    """Forecasts of the N series of a panel.

    Parameters
    ----------
    quantiles
        `[N, H, Q]`; missing for series without any value.
    point
        `[N, H]`.
    context_used
        `[N]` rows of each series that the model read.
    calibration
        What recalibration rests on, a row per series; None without it.
    """

    quantiles: Float64
    point: Float64
    context_used: npt.NDArray[np.int64]
    calibration: pd.DataFrame | None = None


@dataclass(frozen=True)
class ModelCall:
    """A model with the options of its call; see `Forecaster` for their meaning.

    `stream` follows the very series of the panel, and forecasts in the model's place; `lowest`
    `[N]` is their lowest value, where that is not to be seen in the panel. `back_tests` correct
    the quantiles.
    """

    model: ForecastModel
    mode: Literal["fast", "best"] = "fast"
    non_negative: bool | Literal["auto"] = "auto"
    context_length: int | None = None
    batch_size: int | Literal["auto"] = "auto"
    progress: bool = False
    stream: Stream | None = None
    lowest: Float64 | None = None
    back_tests: BackTests | None = None

    def forecast(
        self, panel: Panel, horizon: int, levels: Sequence[float], point: Literal["median", "mean"]
    ) -> PanelForecast:
        """Forecasts a panel; the model sees only the series that hold a value."""
        extra = _MEAN_LEVELS if point == "mean" else (0.5,)
        asked = sorted({*levels, *extra})
        quantiles = np.full((len(panel), horizon, len(asked)), np.nan)
        used = np.zeros(len(panel), dtype=np.int64)
        rows, series, options = self._inputs(panel)
        table = None
        if series:
            answer, found = self._quantiles(rows, series, horizon, asked, options)
            if self.back_tests is not None:
                found, table = self._recalibrated(panel, rows, options, horizon, found, asked)
            quantiles[rows] = np.maximum(found, self._floor(panel, rows))
            # Only a TSFM says how much it read; others are taken to have read everything.
            read = getattr(answer, "context_used", None)
            used[rows] = panel.lengths[rows] if read is None else np.asarray(read)
        column = {level: i for i, level in enumerate(asked)}
        return PanelForecast(
            quantiles[..., [column[level] for level in levels]],
            quantiles[..., [column[level] for level in extra]].mean(axis=-1),
            used,
            table,
        )

    def sample_paths(self, panel: Panel, horizon: int, count: int, seed: int | None) -> Float64:
        """Joint sample paths `[N, S, H]`.

        Raises
        ------
        TypeError
            The model has no `sample_paths` method.
        """
        draw = getattr(self.model, "sample_paths", None)
        if draw is None:
            raise TypeError(
                f"The model {type(self.model).__name__} has no sample_paths method; use predict."
            )
        samples = np.full((len(panel), count, horizon), np.nan)
        rows, series, options = self._inputs(panel)
        if series:
            drawn = draw(series, horizon, count, random_state=seed, **options)
            if self.back_tests is not None:
                # from scratch, as the paths are, even where there is a stream
                given = self.model.forecast(series, horizon, LEVELS, **options)
                before = np.asarray(given.quantiles, dtype=np.float64)
                after = self.back_tests.of(self.model, horizon, panel, rows, options)
                drawn = moved_samples(np.asarray(drawn), before, after.apply(before, rows))
            samples[rows] = np.maximum(drawn, self._floor(panel, rows))
        return samples

    def _quantiles(
        self,
        rows: npt.NDArray[np.intp],
        series: list[Float64],
        horizon: int,
        asked: Sequence[float],
        options: dict[str, Any],
    ) -> tuple[Quantiles, Float64]:
        """The model's answer, at the levels that back-tests correct or at those asked for."""
        levels = tuple(asked) if self.back_tests is None else LEVELS
        answer: Quantiles
        if self.stream is not None:
            answer = self.stream.forecast(horizon, levels, rows=rows.tolist())
        else:
            answer = self.model.forecast(series, horizon, levels, **options)
        return answer, np.asarray(answer.quantiles, dtype=np.float64)

    def _recalibrated(
        self,
        panel: Panel,
        rows: npt.NDArray[np.intp],
        options: dict[str, Any],
        horizon: int,
        quantiles: Float64,
        asked: Sequence[float],
    ) -> tuple[Float64, pd.DataFrame]:
        """Quantiles as back-tests correct them, at the levels asked for, and what they rest on."""
        assert self.back_tests is not None
        found = self.back_tests.of(self.model, horizon, panel, rows, options)
        return at_asked(found.apply(quantiles, rows), asked), calibration_table(found, panel)

    def _floor(self, panel: Panel, rows: npt.NDArray[np.intp]) -> Float64:
        """`[rows, 1, 1]` smallest value of forecasts that the model does not bound itself."""
        unbound = self.lowest is None and self.back_tests is None
        if unbound or not self.non_negative:
            return np.full((len(rows), 1, 1), -np.inf)
        lowest = self.lowest
        if lowest is None:
            lowest = np.array([np.fmin.reduce(v, initial=np.inf) for v in panel.values])
        positive = lowest[rows] >= 0 if self.non_negative == "auto" else True
        return np.where(positive, np.zeros(len(rows)), -np.inf)[:, None, None]

    def _inputs(self, panel: Panel) -> tuple[npt.NDArray[np.intp], list[Float64], dict[str, Any]]:
        """Numbers and values of the series that the model can read, and the call's options."""
        limit = min(
            self.context_length or _NO_LIMIT, getattr(self.model, "max_context", _NO_LIMIT)
        )
        readable = [not np.isnan(values[-limit:]).all() for values in panel.values]
        blank = np.flatnonzero(panel.has_values & ~np.asarray(readable))
        if len(blank):
            warn(
                f"No value in the last {limit} rows, which is what the model reads, of series "
                f"{some([panel.label(i) for i in blank.tolist()])}: their forecasts are missing. "
                "End these series at their last value, or drop them.",
                AllMissingWarning,
            )
        rows = np.flatnonzero(readable)
        variates = getattr(self.model, "variate_names", None)
        if variates is not None:  # a model that reads the series as one system
            warn_unaligned(panel, rows)
            rows = training_order(panel, rows, variates)
        seasons = panel.season_lengths
        options: dict[str, Any] = {
            "mode": self.mode,
            "season_lengths": [seasons[i] for i in rows.tolist()],
            "batch_size": self.batch_size,
        }
        if self.back_tests is not None:  # a bound comes after the corrections
            options.update(unbounded(self.model))
        elif self.lowest is not None:  # the model would judge by the rows of the panel alone
            options["non_negative"] = False
        elif self.non_negative != "auto":
            options["non_negative"] = self.non_negative
        if self.context_length is not None:
            options["context_length"] = self.context_length
        if self.progress:
            options["progress"] = True
        return rows, [panel.values[i] for i in rows.tolist()], options
