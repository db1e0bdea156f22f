"""Forecasters whose model is trained on the caller's own series."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from tsfm.arguments import check_forecaster, positive_int
from tsfm.frames.panel import Panel
from tsfm.frames.read import Data, Float64
from tsfm.frames.variates import warn_unaligned

if TYPE_CHECKING:
    from tsfm.forecaster import Forecaster
    from tsfm.training.finetune import FinetuneResult


class FinetunableEstimator(BaseEstimator):  # type: ignore[misc]
    """What lets a `Forecaster` train its model; `Forecaster` is the class to use."""

    def finetune(
        self,
        X: Data,
        *,
        config: str | Path | None = None,
        epochs: int | None = None,
        max_minutes: float | None = None,
    ) -> Forecaster:
        """Trains the preset that `model` names, "smamba" or "spacetime", on the series.

        This is the only method that trains. `prediction_length` is the horizon that is trained,
        `context_length` the history that is read, `random_state` the seed (that of the
        file if None, else 0).

        Parameters
        ----------
        X
            As for `fit`. The last fifth of every series, or more if the horizon is longer, is held
            out: it says when to stop, and how wide the intervals are.
        config
            YAML file like `configs/finetune/smamba.yaml`; the preset's defaults if left out.
        epochs, max_minutes
            Bounds of the training, which ends earlier when it no longer helps; minutes above 0.

        Returns
        -------
        Forecaster
            A new one, fitted to `X`, with the trained model and a table `training_` of its epochs.
            This one is not changed.

        Raises
        ------
        ValueError
            `model` is no preset, there is no horizon, a bound is not positive, or the series are
            too short or all constant.

        Examples
        --------
        >>> from tsfm import Forecaster
        >>> waves = [np.sin(np.arange(120.0) / 4 + shift) for shift in range(3)]
        >>> untrained = Forecaster("smamba", prediction_length=4, context_length=16)
        >>> untrained.finetune(waves, epochs=1).predict().shape
        (12, 13)
        """
        forecaster = cast("Forecaster", self)
        panel = forecaster._read(X, fitted=False)
        return finetuned(forecaster, panel, config, epochs, max_minutes)


def finetuned(
    forecaster: Forecaster,
    panel: Panel,
    config: str | Path | None = None,
    epochs: int | None = None,
    max_minutes: float | None = None,
) -> Forecaster:
    """A new forecaster, fitted to the panel, whose model was trained on it.

    Parameters
    ----------
    forecaster
        Its `model` names the preset; `prediction_length`, `context_length`, `device`,
        `random_state` (that of the file, or 0, if None) and `verbose` are those of the training.
        It is not changed.
    panel
        The series.
    config
        YAML file with sizes and optimisation, see `tsfm.training.finetune_config.read_recipe`.
    epochs, max_minutes
        Bounds of the training.

    Raises
    ------
    ValueError
        The model is no preset, there is no horizon, or the series are too short.
    """
    from tsfm.training.finetune import check_minutes, finetune
    from tsfm.training.finetune_config import read_recipe

    preset, horizon = _preset_and_horizon(forecaster)
    check_minutes(max_minutes)
    rows = np.flatnonzero(panel.has_values)
    series = [panel.values[i] for i in rows.tolist()]
    if preset == "smamba":
        warn_unaligned(panel, rows)
    sizes = {"prediction_length": horizon, "context_length": forecaster.context_length}
    if config is None and forecaster.context_length is None:
        sizes["context_length"] = _context_length(preset, horizon, series)
    training = {"epochs": epochs, "seed": forecaster.random_state}
    model, settings = read_recipe(config, preset, model=sizes, training=training)
    result = finetune(
        series,
        model,
        settings,
        max_minutes=max_minutes,
        device=forecaster.device,
        progress=bool(forecaster.verbose),
        names=[panel.label(i) for i in rows.tolist()],
    )
    trained: Forecaster = clone(forecaster).set_params(model=result.model)
    trained._remember(panel)
    trained.training_ = epochs_table(result)
    return trained


def epochs_table(result: FinetuneResult) -> pd.DataFrame:
    """One row per epoch of a training, with the column "kept" for the one that validated best."""
    rows = []
    for epoch in result.history:
        entry = asdict(epoch)
        diagnostics = entry.pop("diagnostics")
        rows.append({**entry, **diagnostics, "kept": epoch.number == result.best.number})
    return pd.DataFrame(rows).rename(columns={"number": "epoch"})


def _preset_and_horizon(forecaster: Forecaster) -> tuple[str, int]:
    """What is to be trained, once all parameters are known to be sound."""
    from tsfm.models.hub import DEFAULT_MODEL, PRESETS

    preset = forecaster.model
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(
            f"model={preset!r} cannot be trained on a data set: finetune takes the presets "
            f"{' and '.join(repr(name) for name in PRESETS)}. To forecast with a model that is "
            "trained already, call fit and predict."
        )
    if forecaster.prediction_length is None:
        raise ValueError("prediction_length is not set: training needs it in Forecaster(...).")
    check_forecaster(clone(forecaster).set_params(model=DEFAULT_MODEL))
    return preset, positive_int(forecaster.prediction_length, "prediction_length")


def _context_length(preset: str, horizon: int, series: list[Float64]) -> int:
    """The preset's default, less where the series are too short to show it often."""
    from tsfm.models.presets.config import preset_config

    longest = max(map(len, series), default=0)
    return min(preset_config(preset).context_length, max(horizon, longest // 3, 1))
