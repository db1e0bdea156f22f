"""`import tsfm` is light and its names load when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tsfm


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, tsfm; dir(tsfm); tsfm.__version__; "
        "heavy = {'torch', 'pandas', 'numpy', 'sklearn', 'lightning', 'matplotlib'}; "
        "sys.exit(' '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_estimators_load_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, tsfm; tsfm.Forecaster, tsfm.forecast; "
        "tsfm.AnomalyDetector, tsfm.detect_anomalies; "
        "sys.exit(' '.join({'torch', 'matplotlib'} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    assert set(tsfm.__all__) <= set(dir(tsfm))
    assert tsfm.Forecaster.__module__ == "tsfm.forecaster"
    assert tsfm.AnomalyDetector.__module__ == "tsfm.detector"
    assert callable(tsfm.forecast)
    assert callable(tsfm.detect_anomalies)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tsfm.nothing
