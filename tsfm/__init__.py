"""Zero-shot probabilistic forecasts from a DataFrame.

>>> import tsfm
>>> tsfm.__version__
'0.1.0'

`tsfm.forecast(df, prediction_length=24)` is the one-liner, `tsfm.Forecaster` the estimator in the
manner of scikit-learn, and `tsfm.TSFM` the model for arrays and torch. `tsfm.detect_anomalies(df)`
and `tsfm.AnomalyDetector` do the same for anomalies. Names load when first used: `import tsfm`
itself imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsfm.detector import AnomalyDetector
    from tsfm.forecaster import Forecaster
    from tsfm.models import TSFM
    from tsfm.shortcuts import detect_anomalies, forecast

__version__ = "0.1.0"

_HOME = {
    "AnomalyDetector": "tsfm.detector",
    "Forecaster": "tsfm.forecaster",
    "detect_anomalies": "tsfm.shortcuts",
    "forecast": "tsfm.shortcuts",
    "TSFM": "tsfm.models",
}

__all__ = [
    "TSFM",
    "AnomalyDetector",
    "Forecaster",
    "__version__",
    "detect_anomalies",
    "forecast",
]


def __getattr__(name: str) -> object:
    """Loads a public name on first use (PEP 562)."""
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tsfm' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *__all__})
