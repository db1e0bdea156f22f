"""The sheet of pictures and its command."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.datasets.anomalies.sheet import _runs, anomaly_sheet


def _lines(figure):
    return [axes.lines[1].get_ydata() for axes in figure.axes]


def test_a_row_per_type_and_the_seed_decides():
    kinds = ("outlier", "inversion", "correlation_break")
    one, two, other = (
        anomaly_sheet(kinds=kinds, columns=2, length=128, seed=seed) for seed in (1, 1, 2)
    )
    assert len(one.axes) == 6
    texts = [text.get_text() for axes in one.axes for text in axes.texts]
    assert texts == ["outlier", "local", "inversion", "seasonal", "correlation_break", "channels"]
    np.testing.assert_array_equal(_lines(one)[0], _lines(two)[0])
    assert not np.array_equal(_lines(one)[0], _lines(other)[0])


def test_runs():
    assert _runs([True, True, False, True]) == [(0, 2), (3, 4)]
    assert _runs([False, False]) == []


def test_errors():
    with pytest.raises(ValueError, match="unknown anomaly type 'x'"):
        anomaly_sheet(kinds=("x",))
    with pytest.raises(ValueError, match="columns >= 1"):
        anomaly_sheet(columns=0)


def test_the_command(tmp_path):
    picture = tmp_path / "deep" / "anomalies.png"
    command = ["corpus", "preview", "--anomalies", "--out", str(picture), "--columns", "1"]
    kinds = ["--kind", "dropout", "--kind", "phase_shift", "--length", "128"]
    result = CliRunner().invoke(app, [*command, *kinds])
    assert result.exit_code == 0, result.output
    assert picture.stat().st_size > 1000
    wrong = CliRunner().invoke(app, [*command, "--family", "waves"])
    assert wrong.exit_code != 0
