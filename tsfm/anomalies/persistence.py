"""Detectors on disk: parameters, what was remembered, and the model if it did not ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.anomalies.loading import find_detector, load_detector
from tsfm.anomalies.segments import Alarm
from tsfm.anomalies.streaming import Watch
from tsfm.anomalies.thresholds import Reference
from tsfm.frames.storage import ARRAYS, SCHEMA, load_panel, save_panel
from tsfm.models import calibration
from tsfm.persistence import MODEL, read_entry, save_model

if TYPE_CHECKING:
    from tsfm.detector import AnomalyDetector

FORMAT_VERSION = 1
_DETECTOR = "detector.json"
_SCORES = "scores.npz"


def save_detector(detector: AnomalyDetector, folder: Path) -> None:
    """Writes a detector into a folder, which is made if it does not exist.

    Raises
    ------
    TypeError
        The model is an object without `save_pretrained`, or a parameter cannot be written as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SCHEMA, ARRAYS, _SCORES):  # what an earlier save left there is not this one's
        (folder / name).unlink(missing_ok=True)
    parameters = detector.get_params(deep=False)
    parameters["model"] = _save_model(detector.model, folder)
    parameters["freq"] = getattr(detector.freq, "freqstr", detector.freq)
    values = {"format_version": FORMAT_VERSION, "parameters": parameters, **_state(detector)}
    try:
        text = json.dumps(values, indent=1, default=_plain)
    except TypeError as error:
        raise TypeError(f"A parameter cannot be written as JSON: {error}.") from error
    (folder / _DETECTOR).write_text(text + "\n", encoding="utf-8")
    if hasattr(detector, "panel_"):
        save_panel(detector.panel_, folder)
    if detector._reference is not None:
        parts = detector._reference.parts
        lengths = np.array([len(part) for part in parts])
        np.savez_compressed(folder / _SCORES, scores=np.concatenate(parts), lengths=lengths)


def load_state(folder: Path) -> tuple[dict[str, Any], Callable[[AnomalyDetector], None]]:
    """Constructor arguments of a saved detector, and what gives it back its state.

    Raises
    ------
    FileNotFoundError
        The folder holds no detector.
    ValueError
        It was written by a newer version.
    """
    entry = read_entry(folder, _DETECTOR, FORMAT_VERSION, "AnomalyDetector.save")
    parameters: dict[str, Any] = entry["parameters"]

    def restore(detector: AnomalyDetector) -> None:
        if (folder / SCHEMA).is_file():
            detector._remember(load_panel(folder))
        if (folder / _SCORES).is_file():
            with np.load(folder / _SCORES, allow_pickle=False) as arrays:
                ends = np.cumsum(arrays["lengths"])[:-1]
                detector._reference = Reference(tuple(np.split(arrays["scores"], ends)))
        if entry["offset"] is not None:
            detector.offset_ = float(entry["offset"])
        if entry["n_features_in"] is not None:
            detector.n_features_in_ = entry["n_features_in"]
        if entry["feature_names_in"] is not None:
            detector.feature_names_in_ = np.asarray(entry["feature_names_in"], dtype=object)
        if entry["watch"] is not None:
            alarms = [[Alarm(**one) for one in item] for item in entry["watch"]["alarms"]]
            detector._watch = Watch(detector.panel_, entry["watch"]["pending"], alarms)

    return parameters, restore


def _state(detector: AnomalyDetector) -> dict[str, Any]:
    """What `fit` and `update` have left, but for arrays."""
    watch = detector._watch
    followed = None
    if watch is not None and watch.panel is getattr(detector, "panel_", None):
        alarms = [[asdict(one) for one in item] for item in watch.alarms]
        followed = {"pending": watch.pending, "alarms": alarms}
    names = getattr(detector, "feature_names_in_", None)
    return {
        "offset": getattr(detector, "offset_", None),
        "n_features_in": getattr(detector, "n_features_in_", None),
        "feature_names_in": None if names is None else names.tolist(),
        "watch": followed,
    }


def _plain(value: Any) -> Any:
    """Numbers of numpy as JSON writes them."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _save_model(model: Any, folder: Path) -> str | None:
    """Name of a shipped detector, or None after writing it, with its calibration."""
    name = save_model(model, folder, find_detector, also=(calibration.FILE,))
    if not isinstance(model, str | Path):
        known = load_detector(model).calibration
        if known is not None:
            known.save(folder / MODEL)
    return name
