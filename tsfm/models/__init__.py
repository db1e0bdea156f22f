"""Configurations, networks, checkpoints, and the array-level forecaster and detector."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "DEFAULT_MODEL": "tsfm.models.hub",
    "Detection": "tsfm.models.detection",
    "Detector": "tsfm.models.detection",
    "DetectorConfig": "tsfm.models.detector_config",
    "ForecastOutput": "tsfm.models.output",
    "ForecastingNetwork": "tsfm.models.network",
    "ModelConfig": "tsfm.models.config",
    "ModelInfo": "tsfm.models.hub",
    "Stream": "tsfm.models.streaming",
    "TSFM": "tsfm.models.pipeline",
    "list_models": "tsfm.models.hub",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load public names on first use: reading the model list must not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
