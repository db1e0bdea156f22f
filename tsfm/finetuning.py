"""Forecasters whose model is trained on the caller's own series."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from tsfm.arguments import check_forecaster, positive_int
from tsfm.frames.panel import Panel
from tsfm.frames.read import Data, Float64
from tsfm.frames.variates import warn_unaligned
from tsfm.loading import load_model

if TYPE_CHECKING:
    from tsfm.forecaster import Forecaster
    from tsfm.models import TSFM
    from tsfm.training.adapt import AdaptResult
    from tsfm.training.finetune import FinetuneResult

Method = Literal["lora", "full", "head"]


class NotFinetunedWarning(UserWarning):
    """Fine-tuning did not beat the zero-shot model on the held-out rows, so that one is kept."""


class FinetunableEstimator(BaseEstimator):  # type: ignore[misc]
    """What lets a `Forecaster` train its model; `Forecaster` is the class to use."""

    def finetune(
        self,
        X: Data,
        *,
        method: Method | None = None,
        config: str | Path | None = None,
        epochs: int | None = None,
        max_minutes: float | None = None,
    ) -> Forecaster:
        """Trains the model on the series, and returns a new, fitted forecaster with it.

        This is the only method that trains. A pretrained model (a shipped one, a folder, a `TSFM`)
        goes on from its weights; the presets "smamba" and "spacetime" start from nothing.
        `prediction_length` is the horizon that is trained, `context_length` the history that is
        read, `random_state` the seed (that of the file if None, else 0).

        The last fifth of every series, or more if the horizon is longer, is held out: it says when
        to stop. It also says whether a pretrained model gained anything. If no epoch beats the
        zero-shot forecasts there by more than a standard error, the zero-shot weights are kept,
        with a `NotFinetunedWarning`.

        Parameters
        ----------
        X
            As for `fit`.
        method
            What of a pretrained model is trained: "lora" (low-rank updates of the backbone's
            matrices, merged into them at the end; the default), "full" (all weights) or "head"
            (the last layers). Presets have no methods.
        config
            YAML file like `configs/finetune/pretrained.yaml` or `configs/finetune/smamba.yaml`;
            measured defaults if left out.
        epochs, max_minutes
            Bounds of the training, which ends earlier when it no longer helps; minutes above 0.

        Returns
        -------
        Forecaster
            A new one, fitted to `X`. Its `finetuned_` says whether it has other weights than
            before, its table `training_` what each epoch gave; epoch 0 is the zero-shot model.
            This one is not changed.

        Raises
        ------
        ValueError
            The model cannot be trained, there is no horizon, an argument is out of range, or the
            series are too short or all constant.

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
        return finetuned(forecaster, panel, method, config, epochs, max_minutes)


def finetuned(
    forecaster: Forecaster,
    panel: Panel,
    method: Method | None = None,
    config: str | Path | None = None,
    epochs: int | None = None,
    max_minutes: float | None = None,
) -> Forecaster:
    """A new forecaster, fitted to the panel, whose model was trained on it.

    Parameters
    ----------
    forecaster
        Its `model` is a preset or a pretrained model; `prediction_length`, `context_length`,
        `device`, `random_state` (that of the file, or 0, if None) and `verbose` are those of the
        training. It is not changed.
    panel
        The series.
    method, config, epochs, max_minutes
        As in `Forecaster.finetune`.

    Raises
    ------
    ValueError
        The model cannot be trained, there is no horizon, or the series are too short.
    """
    from tsfm.models.hub import DEFAULT_MODEL, PRESETS
    from tsfm.training.finetune import check_minutes

    check_minutes(max_minutes)
    if forecaster.prediction_length is None:
        raise ValueError("prediction_length is not set: training needs it in Forecaster(...).")
    check_forecaster(clone(forecaster).set_params(model=DEFAULT_MODEL))
    if isinstance(forecaster.model, str) and forecaster.model in PRESETS:
        if method is not None:
            raise ValueError(
                f"method={method!r} counts for pretrained models; the preset "
                f"{forecaster.model!r} trains all of its weights from the start. Leave it out."
            )
        return _trained_preset(forecaster, panel, config, epochs, max_minutes)
    return _adapted(forecaster, panel, method, config, epochs, max_minutes)


def _adapted(
    forecaster: Forecaster,
    panel: Panel,
    method: Method | None,
    config: str | Path | None,
    epochs: int | None,
    max_minutes: float | None,
) -> Forecaster:
    """A new forecaster with a fine-tuned model, or the same one where that did not pay."""
    from tsfm.training.adapt import adapt
    from tsfm.training.adapt_config import read_adaptation

    training = {"epochs": epochs, "seed": forecaster.random_state}
    settings = read_adaptation(config, method, training)
    rows = np.flatnonzero(panel.has_values).tolist()
    seasons = panel.season_lengths
    result = adapt(
        _pretrained(forecaster),
        [panel.values[i] for i in rows],
        positive_int(forecaster.prediction_length, "prediction_length"),
        settings,
        context_length=forecaster.context_length,
        season_lengths=[seasons[i] for i in rows],
        max_minutes=max_minutes,
        device=forecaster.device,
        progress=bool(forecaster.verbose),
    )
    trained = clone(forecaster)
    if result.improved:
        trained.set_params(model=result.model)
    else:
        warnings.warn(_refusal(result, settings.margin), NotFinetunedWarning, stacklevel=4)
    trained._remember(panel)
    trained.training_ = gains_table(result)
    trained.finetuned_ = result.improved
    return cast("Forecaster", trained)


def _pretrained(forecaster: Forecaster) -> TSFM:
    """The model that a forecaster has, if it is one that can be trained further."""
    from tsfm.models import TSFM

    model = load_model(forecaster.model, forecaster.device)
    if not isinstance(model, TSFM):
        raise ValueError(
            f"A {type(model).__name__} cannot be fine-tuned: finetune goes on from a pretrained "
            "TSFM, such as 'tsfm-mini' or a folder with one, or trains the presets 'smamba' and "
            "'spacetime' from the start."
        )
    return model


def _refusal(result: AdaptResult, margin: float) -> str:
    """Why the zero-shot weights are kept."""
    best = max(result.history[1:], key=lambda epoch: epoch.gain.mean)
    change = "lower" if best.gain.mean > 0 else "higher"
    error = "unknown, from a single one" if np.isinf(best.gain.error) else f"{best.gain.error:.1%}"
    return (
        "Fine-tuning did not pay, so the model keeps its weights: over the held-out windows the "
        f"loss of the best epoch ({best.number}) was {abs(best.gain.mean):.1%} {change} than that "
        f"of the zero-shot model, with a standard error of {error}; {margin:g} of it are asked "
        "for. More history, or another method, may help; many series are simply no more "
        "predictable than the zero-shot model finds them."
    )


def gains_table(result: AdaptResult) -> pd.DataFrame:
    """One row per epoch of fine-tuning, the zero-shot model first.

    Columns: "epoch", "train_loss", "gain" (relative fall of the loss over the held-out windows,
    mean over series), "standard_error" (its standard error), "seconds", and "kept" for the epoch
    whose weights the model has.
    """
    rows = [
        {
            "epoch": epoch.number,
            "train_loss": epoch.train_loss,
            "gain": epoch.gain.mean,
            "standard_error": epoch.gain.error,
            "seconds": epoch.seconds,
            "kept": epoch.number == result.best.number,
        }
        for epoch in result.history
    ]
    return pd.DataFrame(rows).astype({"train_loss": "float64"})


def _trained_preset(
    forecaster: Forecaster,
    panel: Panel,
    config: str | Path | None,
    epochs: int | None,
    max_minutes: float | None,
) -> Forecaster:
    """A new forecaster with a preset that was trained from the start."""
    from tsfm.training.finetune import finetune
    from tsfm.training.finetune_config import read_recipe

    preset = str(forecaster.model)
    horizon = positive_int(forecaster.prediction_length, "prediction_length")
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
    trained.finetuned_ = True
    return trained


def epochs_table(result: FinetuneResult) -> pd.DataFrame:
    """One row per epoch of a training, with the column "kept" for the one that validated best."""
    rows = []
    for epoch in result.history:
        entry = asdict(epoch)
        diagnostics = entry.pop("diagnostics")
        rows.append({**entry, **diagnostics, "kept": epoch.number == result.best.number})
    return pd.DataFrame(rows).rename(columns={"number": "epoch"})


def _context_length(preset: str, horizon: int, series: list[Float64]) -> int:
    """The preset's default, less where the series are too short to show it often."""
    from tsfm.models.presets.config import preset_config

    longest = max(map(len, series), default=0)
    return min(preset_config(preset).context_length, max(horizon, longest // 3, 1))
