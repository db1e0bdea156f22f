"""Detectors by name or folder with their calibration, loaded once per process."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import cast

from tsfm.models.calibration import Calibration
from tsfm.models.judgement import DetectionModel

MAX_LOADED = 4
"""How many detectors stay in memory; the least recently used one goes first."""


@dataclass(frozen=True)
class LoadedDetector:
    """A detector, and what is known of its scores on clean series."""

    model: DetectionModel
    calibration: Calibration | None


_loaded: OrderedDict[tuple[str, int, str], LoadedDetector] = OrderedDict()
_lock = Lock()


def load_detector(model: str | Path | DetectionModel, device: str = "auto") -> LoadedDetector:
    """Loads a detector, or takes it if it is one already.

    Parameters
    ----------
    model
        Name of a shipped detector, a folder, or an object with a `score` method; its
        `calibration`, if it has one, is that of the answer.
    device
        "auto", "cpu", "cuda", ...; ignored for objects.

    Raises
    ------
    FileNotFoundError
        There is no such detector; the message says what there is and how to get one.
    TypeError
        `model` is neither a name, a folder nor an object that scores.
    ValueError
        It is a model for forecasts.
    """
    if not isinstance(model, str | Path):
        if callable(getattr(model, "score", None)):
            return LoadedDetector(model, getattr(model, "calibration", None))
        raise TypeError(
            "model must be a name, a folder or an object with a `score` method, not "
            f"{type(model).__name__}."
        )
    folder = find_detector(model)
    parts = [file for file in folder.iterdir() if file.suffix in (".json", ".safetensors")]
    newest = max(file.stat().st_mtime_ns for file in parts)
    key = (str(folder.resolve()), newest, device)
    with _lock:
        if key not in _loaded:
            from tsfm.models import Detector

            network = Detector.from_pretrained(folder, device=device)
            _loaded[key] = LoadedDetector(cast(DetectionModel, network), Calibration.load(folder))
        _loaded.move_to_end(key)
        while len(_loaded) > MAX_LOADED:
            _loaded.popitem(last=False)
        return _loaded[key]


def find_detector(model: str | Path) -> Path:
    """Folder of a detector.

    Raises
    ------
    FileNotFoundError
        There is none; the message says what there is and how to get one.
    """
    from tsfm.models.hub import list_models, resolve

    try:
        return resolve(model)
    except FileNotFoundError:
        shipped = [info.name for info in list_models() if info.task == "detect"]
        there = f"Shipped detectors: {', '.join(shipped)}." if shipped else (
            "No detector came with this installation."
        )  # fmt: skip
        raise FileNotFoundError(
            f"No detector {str(model)!r}. {there} Give the folder of one, such as `tsfm pretrain "
            "--config configs/pretrain/detector-mini.yaml` writes."
        ) from None
