"""Models by name or folder, loaded once per process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

MAX_LOADED = 4
"""How many models stay in memory; the least recently used one goes first."""

_loaded: OrderedDict[tuple[str, int, str], ForecastModel] = OrderedDict()
_lock = Lock()


class Quantiles(Protocol):
    """What a model's `forecast` returns."""

    @property
    def quantiles(self) -> Float64:
        """Quantiles `[N, H, Q]` in the unit of the series."""


class ForecastModel(Protocol):
    """Anything that forecasts arrays: a `TSFM`, a `PresetModel`, or your own object like them.

    `Forecaster` passes `mode`, `season_lengths` and `batch_size` always, `non_negative`,
    `context_length` and `progress` only when the user set them.
    """

    def forecast(
        self,
        series: Sequence[Float64],
        prediction_length: int,
        quantile_levels: Sequence[float],
        **options: Any,
    ) -> Quantiles:
        """Forecasts each series; quantiles `[N, H, Q]` in the order of `quantile_levels`."""


def load_model(model: str | Path | ForecastModel, device: str = "auto") -> ForecastModel:
    """Loads a model, or returns it if it is one already.

    Parameters
    ----------
    model
        Name of a shipped model, a folder, or an object with a `forecast` method (returned as it
        is).
    device
        "auto", "cpu", "cuda", ...; ignored for objects.

    Returns
    -------
    ForecastModel
        The same object for the same folder, device and weights; a checkpoint that was overwritten
        is read again.

    Raises
    ------
    FileNotFoundError
        There is no such model; the message lists those there are.
    TypeError
        `model` is neither a name, a folder nor an object that forecasts.
    ValueError
        `model` names a preset, which forecasts only after training.
    """
    check_trained(model)
    if not isinstance(model, str | Path):
        if callable(getattr(model, "forecast", None)):
            return model
        raise TypeError(
            "model must be a name, a folder or an object with a `forecast` method, not "
            f"{type(model).__name__}."
        )
    from tsfm.models.hub import is_preset, resolve

    folder = resolve(model)
    # a run in progress also writes other files here, and removes them again
    parts = [file for file in folder.iterdir() if file.suffix in (".json", ".safetensors")]
    newest = max(file.stat().st_mtime_ns for file in parts)
    key = (str(folder.resolve()), newest, device)
    with _lock:
        if key in _loaded:
            _loaded.move_to_end(key)
            return _loaded[key]
        network = _read(folder, device, preset=is_preset(folder))
        _loaded[key] = network
        while len(_loaded) > MAX_LOADED:
            _loaded.popitem(last=False)
        return network


def check_trained(model: object) -> None:
    """Raise a ValueError if `model` is the name of a preset, which forecasts only when trained."""
    from tsfm.models.hub import PRESETS

    name = model if isinstance(model, str) else None
    if name in PRESETS and not Path(str(name), "config.json").is_file():
        raise ValueError(
            f"model={model!r} is a preset that is trained on your own series first: call "
            f"Forecaster(model={model!r}, prediction_length=...).finetune(df), or run "
            f"`tsfm finetune FILE --preset {model}`, and forecast with what comes back."
        )


def _read(folder: Path, device: str, *, preset: bool) -> ForecastModel:
    if preset:
        from tsfm.models.presets import PresetModel

        return cast(ForecastModel, PresetModel.from_pretrained(folder, device=device))
    from tsfm.models import TSFM

    return cast(ForecastModel, TSFM.from_pretrained(folder, device=device))


def forget_models() -> None:
    """Frees the memory of all loaded models."""
    with _lock:
        _loaded.clear()
