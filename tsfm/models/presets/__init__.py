"""Networks that are trained on one data set: S-Mamba (many variates) and SpaceTime (any horizon).

`tsfm finetune`, `Forecaster(model="smamba").finetune(df)` and `tsfm.training.finetune.finetune`
train them; `PresetModel` forecasts with a trained one.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "PresetModel": "tsfm.models.presets.model",
    "SMambaConfig": "tsfm.models.presets.config",
    "SMambaNetwork": "tsfm.models.presets.smamba",
    "SpaceTimeConfig": "tsfm.models.presets.config",
    "SpaceTimeNetwork": "tsfm.models.presets.spacetime",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load public names on first use: the command line reads configurations without torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
