"""Forecasters on disk: parameters, remembered series, and the model if it did not ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.arguments import check_levels
from tsfm.frames.panel import Panel
from tsfm.frames.storage import ARRAYS, SCHEMA, load_panel, save_panel
from tsfm.streaming import STREAM, save_growth

if TYPE_CHECKING:
    from tsfm.forecaster import Forecaster

FORMAT_VERSION = 1
_PARAMETERS = "forecaster.json"
_MODEL = "model"
_MODEL_FILES = ("config.json", "model.safetensors", "README.md")


def save_forecaster(forecaster: Forecaster, folder: Path) -> None:
    """Writes a forecaster into a folder, which is made if it does not exist.

    Raises
    ------
    TypeError
        The model is an object without `save_pretrained`, or a parameter cannot be written as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = forecaster.get_params(deep=False)
    parameters["quantile_levels"] = list(check_levels(forecaster.quantile_levels))
    parameters["model"] = _save_model(forecaster.model, folder)
    parameters["freq"] = getattr(forecaster.freq, "freqstr", forecaster.freq)
    try:
        text = json.dumps({"format_version": FORMAT_VERSION, "parameters": parameters}, indent=1)
    except TypeError as error:
        raise TypeError(f"A parameter cannot be written as JSON: {error}.") from error
    (folder / _PARAMETERS).write_text(text, encoding="utf-8")
    if hasattr(forecaster, "panel_"):
        save_panel(forecaster.panel_, folder)
        save_growth(forecaster, folder)
    else:  # what an earlier save left there is not this forecaster's
        for name in (SCHEMA, ARRAYS, STREAM):
            (folder / name).unlink(missing_ok=True)


def load_forecaster(folder: Path) -> tuple[dict[str, Any], Panel | None]:
    """Constructor arguments and remembered series of a saved forecaster.

    Raises
    ------
    FileNotFoundError
        The folder holds no forecaster.
    ValueError
        It was written by a newer version.
    """
    file = folder / _PARAMETERS
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {_PARAMETERS}; give a folder written by Forecaster.save."
        )
    entry = json.loads(file.read_text(encoding="utf-8"))
    if entry["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{file} has format_version {entry['format_version']}, this package reads "
            f"{FORMAT_VERSION}. Install the "
            "version of the package that wrote it."
        )
    parameters: dict[str, Any] = entry["parameters"]
    parameters["quantile_levels"] = tuple(parameters["quantile_levels"])
    if parameters["model"] is None:
        parameters["model"] = str(folder / _MODEL)
    return parameters, load_panel(folder) if (folder / SCHEMA).is_file() else None


def _save_model(model: Any, folder: Path) -> str | None:
    """Name of a shipped model, or None after copying the model into the folder."""
    if isinstance(model, str | Path):
        from tsfm.models.hub import list_models, resolve

        if str(model) in {info.name for info in list_models()}:
            return str(model)
        source, target = resolve(model), folder / _MODEL
        if source.resolve() != target.resolve():
            target.mkdir(exist_ok=True)
            for file in source.iterdir():  # not the state and logs of a training run
                if file.name in _MODEL_FILES:
                    shutil.copyfile(file, target / file.name)
        return None
    save = getattr(model, "save_pretrained", None)
    if save is None:
        raise TypeError(
            f"model={type(model).__name__} has no save_pretrained method, so it cannot be saved."
        )
    save(folder / _MODEL)
    return None
