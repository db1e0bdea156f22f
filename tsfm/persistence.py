"""Forecasters on disk: parameters, remembered series, and the model if it did not ship."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.arguments import check_levels
from tsfm.backtests import BACK_TESTS
from tsfm.frames.panel import Panel
from tsfm.frames.storage import ARRAYS, SCHEMA, load_panel, save_panel
from tsfm.streaming import STREAM, save_growth

if TYPE_CHECKING:
    from tsfm.forecaster import Forecaster

FORMAT_VERSION = 1
_PARAMETERS = "forecaster.json"
TRAINING = "training.csv"
"""Table of the epochs of a forecaster that was fine-tuned."""
MODEL = "model"
"""Folder of the model in that of an estimator."""
_MODEL_FILES = ("config.json", "model.safetensors", "README.md")


def save_forecaster(forecaster: Forecaster, folder: Path) -> None:
    """Writes a forecaster into a folder, which is made if it does not exist.

    Raises
    ------
    TypeError
        The model is an object without `save_pretrained`, or a parameter cannot be written as JSON.
    """
    from tsfm.models.hub import resolve

    folder.mkdir(parents=True, exist_ok=True)
    parameters = forecaster.get_params(deep=False)
    parameters["quantile_levels"] = list(check_levels(forecaster.quantile_levels))
    parameters["model"] = save_model(forecaster.model, folder, resolve)
    parameters["freq"] = getattr(forecaster.freq, "freqstr", forecaster.freq)
    entry = {"format_version": FORMAT_VERSION, "parameters": parameters}
    if hasattr(forecaster, "training_"):
        entry["finetuned"] = forecaster.finetuned_
    try:
        text = json.dumps(entry, indent=1)
    except TypeError as error:
        raise TypeError(f"A parameter cannot be written as JSON: {error}.") from error
    (folder / _PARAMETERS).write_text(text, encoding="utf-8")
    if hasattr(forecaster, "training_"):
        forecaster.training_.to_csv(folder / TRAINING, index=False)
    else:
        (folder / TRAINING).unlink(missing_ok=True)
    if hasattr(forecaster, "panel_"):
        save_panel(forecaster.panel_, folder)
        save_growth(forecaster, folder)
        forecaster._back_tests(remembered=True).save(folder)
    else:  # what an earlier save left there is not this forecaster's
        for name in (SCHEMA, ARRAYS, STREAM, BACK_TESTS):
            (folder / name).unlink(missing_ok=True)


def load_forecaster(folder: Path) -> tuple[dict[str, Any], Panel | None, dict[str, Any]]:
    """Constructor arguments, remembered series and what `finetune` said of a saved forecaster.

    The last are the attributes `finetuned_` and `training_`; none if it was not fine-tuned.

    Raises
    ------
    FileNotFoundError
        The folder holds no forecaster.
    ValueError
        It was written by a newer version.
    """
    entry = read_entry(folder, _PARAMETERS, FORMAT_VERSION, "Forecaster.save")
    parameters: dict[str, Any] = entry["parameters"]
    parameters["quantile_levels"] = tuple(parameters["quantile_levels"])
    panel = load_panel(folder) if (folder / SCHEMA).is_file() else None
    return parameters, panel, _training(folder, entry)


def _training(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Attributes that `finetune` gave a forecaster."""
    if "finetuned" not in entry:
        return {}
    table = pd.read_csv(folder / TRAINING, float_precision="round_trip")
    return {"finetuned_": entry["finetuned"], "training_": table}


def read_entry(folder: Path, name: str, version: int, writer: str) -> dict[str, Any]:
    """What a folder says of the estimator that was saved in it.

    Parameters
    ----------
    folder, name
        The folder, and the file in it.
    version
        Format version that is read.
    writer
        What writes such folders, for the message.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It has another format version.
    """
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {name}; give a folder written by {writer}.")
    entry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if entry["format_version"] != version:
        raise ValueError(
            f"{file} has format_version {entry['format_version']}, this package reads {version}. "
            "Install the version of the package that wrote it."
        )
    if entry["parameters"]["model"] is None:
        entry["parameters"]["model"] = str(folder / MODEL)
    return entry


def save_model(
    model: Any, folder: Path, find: Callable[[str | Path], Path], also: Sequence[str] = ()
) -> str | None:
    """Write the model of an estimator beside it, unless it shipped.

    Parameters
    ----------
    model
        A name, a folder, or an object with a `save_pretrained` method.
    folder
        Of the estimator; the model goes to `model` in it.
    find
        From a name or folder to the folder of the model.
    also
        Files to copy besides configuration, weights and card.

    Returns
    -------
    str or None
        Name of a shipped model; None for one that was written.

    Raises
    ------
    TypeError
        The model is an object without that method.
    """
    target = folder / MODEL
    if isinstance(model, str | Path):
        from tsfm.models.hub import list_models

        if str(model) in {info.name for info in list_models()}:
            return str(model)
        source = find(model)
        if source.resolve() != target.resolve():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for file in source.iterdir():  # not the state and logs of a training run
                if file.name in (*_MODEL_FILES, *also):
                    shutil.copyfile(file, target / file.name)
        return None
    save = getattr(model, "save_pretrained", None)
    if save is None:
        raise TypeError(
            f"model={type(model).__name__} has no save_pretrained method, so it cannot be saved."
        )
    save(target)
    return None
