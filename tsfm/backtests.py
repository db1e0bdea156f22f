"""Back-tests of a forecaster's series: what `Forecaster(calibrate=True)` corrects quantiles by."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsfm.frames.errors import DataWarning, some, warn, word
from tsfm.frames.panel import Panel
from tsfm.frames.read import Float64
from tsfm.loading import ForecastModel
from tsfm.models.recalibration import FEW, LEVELS, Recalibration, measure

BACK_TESTS = "back_tests.npz"
_MEASURED_AGAIN = 2
"""Windows by which a series grows before it is measured again."""
_FIELDS = ("shifts", "windows", "narrowest", "pooled")


class CalibrationWarning(DataWarning):
    """A series has too little history to be recalibrated by itself."""


class BackTests:
    """What back-tests found in the series of a panel, for one way of forecasting them.

    Measured when first asked for, and again for a series that has grown by two windows.
    """

    def __init__(self) -> None:
        self._way: tuple[int, str, int | None] | None = None
        self._model: ForecastModel | None = None
        self._found: Recalibration | None = None
        self._age = np.empty(0)

    def of(
        self,
        model: ForecastModel,
        horizon: int,
        panel: Panel,
        rows: npt.NDArray[np.intp],
        options: dict[str, Any],
    ) -> Recalibration:
        """By how much to move the quantiles of the series, measured as far as it is not known.

        Parameters
        ----------
        model
            The model.
        horizon
            Steps to forecast.
        panel
            All series.
        rows
            `[n]` numbers of those that can be forecast, in the order the model wants.
        options
            Of the model's call for them.
        """
        way = (horizon, str(options["mode"]), options.get("context_length"))
        known = self._found if way == self._way and self._model in (None, model) else None
        if known is None:
            known = Recalibration.empty(0, horizon)
            self._age = np.empty(0)
        if len(known.windows) < len(panel):
            known, new = Recalibration.empty(len(panel), horizon), known
            known = known.put(np.arange(len(new.windows)), new)
            more = np.full(len(panel) - len(self._age), np.inf)
            self._age = np.concatenate([self._age, more])
        together = getattr(model, "variate_names", None) is not None
        stale = self._age[rows] >= _MEASURED_AGAIN * max(horizon, 8)
        if stale.any():
            chosen = np.ones_like(stale) if together else stale
            known = known.put(
                rows[chosen], _measured(model, horizon, panel, rows[chosen], options, together)
            )
            self._age = self._age.copy()  # a copy of these back-tests goes its own way
            self._age[rows[chosen]] = 0
        self._way, self._model, self._found = way, model, known
        _warn_of_few(known, panel, rows)
        return known

    def grown(self, added: Sequence[Float64]) -> BackTests:
        """After new steps of these series, and of new series behind them."""
        other = copy.copy(self)
        new = np.array([float(len(values)) for values in added])
        other._age = self._age + new[: len(self._age)]
        return other

    def save(self, folder: Path) -> None:
        """Writes what was found into a folder, or removes what an earlier one has left there."""
        if self._found is None or self._way is None:
            (folder / BACK_TESTS).unlink(missing_ok=True)
            return
        horizon, mode, context_length = self._way
        arrays: dict[str, Any] = {name: getattr(self._found, name) for name in _FIELDS}
        np.savez_compressed(
            folder / BACK_TESTS,
            **arrays,
            age=self._age,
            pooled_windows=self._found.pooled_windows,
            horizon=horizon,
            mode=mode,
            context_length=context_length or 0,
        )

    @classmethod
    def load(cls, folder: Path) -> BackTests:
        """Reads what `save` wrote; with nothing measured if there is nothing."""
        tests = cls()
        if not (folder / BACK_TESTS).is_file():
            return tests
        with np.load(folder / BACK_TESTS, allow_pickle=False) as file:
            horizon, mode = int(file["horizon"]), str(file["mode"])
            shifts, windows, narrowest, pooled = (file[name] for name in _FIELDS)
            tests._found = Recalibration(
                horizon, shifts, windows, narrowest, pooled, float(file["pooled_windows"])
            )
            tests._way = (horizon, mode, int(file["context_length"]) or None)
            tests._age = file["age"]
        return tests


def calibration_table(found: Recalibration, panel: Panel) -> pd.DataFrame:
    """A row per series: "windows", and the shares of its "own" and of the "pooled" errors."""
    own = found.own_share
    table = {"windows": found.windows, "own": own, "pooled": (1 - own) * found.pooled_share}
    return pd.DataFrame(table, index=panel.index)


def unbounded(model: ForecastModel) -> dict[str, bool]:
    """Option that keeps a model from cutting quantiles off at zero, if it knows such a thing."""
    known = inspect.signature(model.forecast).parameters.values()
    takes = any(p.name == "non_negative" or p.kind is p.VAR_KEYWORD for p in known)
    return {"non_negative": False} if takes else {}


def at_asked(quantiles: Float64, levels: Sequence[float]) -> Float64:
    """Quantiles at any levels from those at `LEVELS`."""
    import torch

    from tsfm.models.quantiles import at_levels

    found: Float64 = at_levels(torch.from_numpy(quantiles), LEVELS, levels).numpy()
    return found


def moved_samples(samples: Float64, before: Float64, after: Float64) -> Float64:
    """Sample paths `[n, S, H]` moved as quantiles `[n, H, Q]` were; ranks stay as they are."""
    moved = samples.copy()
    for i, step in np.ndindex(before.shape[:2]):
        shift = after[i, step] - before[i, step]
        moved[i, :, step] += np.interp(samples[i, :, step], before[i, step], shift)
    return moved


def _measured(
    model: ForecastModel,
    horizon: int,
    panel: Panel,
    rows: npt.NDArray[np.intp],
    options: dict[str, Any],
    together: bool,
) -> Recalibration:
    """Back-tests of some series, all in as few calls of the model as may be."""
    seasons = panel.season_lengths
    steps = max(horizon, 8)

    def forecast(past: list[Float64], which: npt.NDArray[np.intp]) -> Float64:
        given = [seasons[i] for i in rows[which].tolist()]
        answer = model.forecast(past, steps, LEVELS, **{**options, "season_lengths": given})
        return np.asarray(answer.quantiles, dtype=np.float64)

    longest = min(
        options.get("context_length") or 2**62, getattr(model, "max_context", None) or 2**62
    )
    series = [panel.values[i] for i in rows.tolist()]
    return measure(forecast, series, horizon, longest, together=together)


def _warn_of_few(found: Recalibration, panel: Panel, rows: npt.NDArray[np.intp]) -> None:
    """Names the series whose quantiles are not, or hardly, corrected by their own errors."""
    few = rows[found.windows[rows] < FEW]
    if not len(few):
        return
    names = [panel.label(i) for i in sorted(few.tolist())]
    none = [panel.label(i) for i in sorted(few.tolist()) if found.windows[i] == 0]
    if found.pooled_share > 0:
        done = f"by the errors of {len(rows)} series together, mostly"
    elif len(none) == len(names):
        done = "not at all"
    else:
        done = "only in part" + (f", those of {some(none)} not at all" if none else "")
    warn(
        f"Series {some(names)} {word(names, 'has', 'have')} too little history for "
        f"{FEW:g} separate back-tests of {max(found.horizon, 8)} steps: "
        f"{word(names, 'its', 'their')} quantiles are recalibrated {done}. Give longer series or "
        "a shorter prediction_length; `calibration_` has the numbers.",
        CalibrationWarning,
    )
