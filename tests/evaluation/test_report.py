"""Reports: headline, place, table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsfm.evaluation.report import ConfigScore, EvaluationReport


def _score(config: str, mase: float, crps: float) -> ConfigScore:
    return ConfigScore(config, 3, 12, mase, crps, 0.8, 1.0, 0.5, 0.1)


def _report(**changes: object) -> EvaluationReport:
    settings = {
        "suite": "gift",
        "model": "mine",
        "mode": "fast",
        "engine": "fast",
        "scores": (_score("a/H/short", 0.5, 0.5), _score("a/H/long", 2.0, 0.25)),
        "others": {"better": (0.7, 0.6), "worse": (1.1, 0.9), "equal": (1.0, 0.8)},
        "complete": True,
        "seconds": 1.5,
        "run": {"seed": 0, "command": "tsfm evaluate gift"},
    }
    return EvaluationReport(**(settings | changes))  # type: ignore[arg-type]


def test_headline_is_the_geometric_mean_of_ratios() -> None:
    report = _report()
    assert report.mase == pytest.approx(1.0)
    assert report.crps == pytest.approx((1.0 * 0.5) ** 0.5)
    assert report.coverage == pytest.approx(0.8)


def test_place_counts_strictly_better_models() -> None:
    assert _report().place("crps") == (2, 4)
    assert _report().place("mase") == (2, 4)
    with pytest.raises(ValueError, match="'mse' is not ranked"):
        _report().place("mse")


def test_table_shows_standing_terms_and_configs() -> None:
    table = _report().table()
    assert "MASE 1.0000, CRPS 0.7071" in table
    assert "places 2 and 2 of 4" in table
    lines = table.splitlines()
    ranked = [line.split() for line in lines if "mine (fast)" in line and line.startswith("->")]
    assert ranked == [["->", "2", "mine", "(fast)", "1.0000", "0.7071"]]
    assert any(line.startswith("a/H/long") for line in lines)
    assert any(line.startswith("short") for line in lines)
    assert not any(
        line.startswith("a/H") for line in _report().table(per_config=False).splitlines()
    )


def test_json_is_complete_and_rounded(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.json"
    _report().to_json(target)
    data = json.loads(target.read_text())
    assert data["headline"] == {
        "mase": 1.0,
        "crps": 0.707107,
        "coverage80": 0.8,
        "n_configs": 2,
        "n_windows": 6,
        "all_windows": True,
    }
    assert data["place"] == {"mase": 2, "crps": 2, "of": 4}
    assert data["command"] == "tsfm evaluate gift"
    assert data["configs"][1]["mase_rel"] == 2.0


def test_unknown_ratio_is_null_in_json(tmp_path: Path) -> None:
    row = ConfigScore("a/H/short", 1, 1, 0.5, 0.5, 0.8, 0.0, 0.5, 0.1)
    _report(scores=(row,)).to_json(tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["configs"][0]["mase_rel"] is None
    assert data["headline"]["mase"] is None
