"""The development panel: windows by GIFT-Eval's rules, one configuration per series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation import classics


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        ("passengers", "M", 100 + np.arange(144.0)),
        ("half_hours", "30T", 5 + rng.normal(0, 1, 6000)),
        ("short_hours", "H", 5 + rng.normal(0, 1, 300)),
        ("m1_a", "A", 10 + rng.normal(0, 1, 20)),
        ("m1_b", "A", 10 + rng.normal(0, 1, 30)),
        ("silent", "M", np.concatenate([np.ones(60), np.zeros(60)])),
    ]
    path = tmp_path / "classics.parquet"
    pd.DataFrame(
        {
            "item_id": [row[0] for row in rows],
            "start": pd.Timestamp("2000-01-01"),
            "freq": [row[1] for row in rows],
            "target": [row[2] for row in rows],
        }
    ).to_parquet(path)
    return path


def test_tasks_follow_the_rules(panel: Path) -> None:
    tasks = {task.name: task for task in classics.load_tasks(panel)}
    assert list(tasks) == [
        "passengers/M/short",
        "half_hours/30T/short",
        "half_hours/30T/medium",
        "half_hours/30T/long",
        "short_hours/H/short",
        "m1/A/short",
    ]
    passengers = tasks["passengers/M/short"]
    assert (passengers.prediction_length, passengers.windows) == (12, 2)
    assert tasks["half_hours/30T/short"].windows == 13
    assert tasks["half_hours/30T/long"].prediction_length == 720
    assert len(tasks["m1/A/short"].panel) == 2


def test_report_stands_beside_the_baselines(panel: Path, fake_model) -> None:
    report = classics.evaluate(fake_model, panel.parent, configs="short", progress=False)
    assert report.suite == "classics"
    assert set(report.others) == {"seasonal-naive", "naive"}
    assert report.others["seasonal-naive"] == pytest.approx((1.0, 1.0))
    assert np.isfinite([report.mase, report.crps]).all()


def test_mistakes_are_named(panel: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="configurations 'zzz' do not exist; there are passengers"
    ):
        classics.load_tasks(panel, "zzz")
    with pytest.raises(FileNotFoundError, match=r"holds no classics\.parquet"):
        classics.load_tasks(tmp_path / "nowhere")


def test_real_panel_is_scored_completely(classics_data: Path) -> None:
    report = classics.evaluate("naive", classics_data, progress=False)
    assert len(report.scores) == 34
    assert np.isfinite([(s.mase_rel, s.crps_rel, s.coverage) for s in report.scores]).all()
