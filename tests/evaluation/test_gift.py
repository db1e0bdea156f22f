"""GIFT-Eval: published rows are reproduced, the two engines agree, mistakes are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation import gift

ROWS = {"seasonal-naive": "seasonal_naive", "naive": "naive"}


@pytest.mark.parametrize("baseline", ROWS)
def test_baseline_equals_its_published_row_on_all_36_configs(
    gift_data: Path, baseline: str
) -> None:
    report = gift.evaluate(baseline, gift_data, progress=False)
    published = pd.read_csv(gift_data / "published.csv")
    row = published[published["model"] == ROWS[baseline]].set_index("config")
    assert len(report.scores) == 36
    for score in report.scores:
        assert score.mase == pytest.approx(row.loc[score.config, "MASE"], rel=1e-4), score.config
        assert score.crps == pytest.approx(row.loc[score.config, "CRPS"], rel=1e-4), score.config


def test_leaderboard_is_reproduced_from_the_published_rows(gift_data: Path) -> None:
    names = [config.name for config in gift.read_manifest(gift_data)]
    means = gift.published_means(gift_data, names)
    board = pd.read_csv(gift_data / "leaderboard.csv").set_index("model")
    assert set(means) == set(board.index)
    for model, (mase, crps) in means.items():
        assert mase == pytest.approx(board.loc[model, "dev_MASE"], abs=1e-5), model
        assert crps == pytest.approx(board.loc[model, "dev_CRPS"], abs=1e-5), model


def test_seasonality_of_the_manifest_is_ours(gift_data: Path) -> None:
    manifest = json.loads((gift_data / "manifest.json").read_text())
    seasons = {name: entry["seasonality"] for entry in manifest for name in entry["configs"]}
    assert {task.name: task.season_length for task in gift.load_tasks(gift_data)} == seasons


@pytest.mark.parametrize("model", ["seasonal-naive", "fake"])
def test_gluonts_engine_agrees(tiny_gift: Path, model: str, fake_model) -> None:
    pytest.importorskip("gluonts")
    chosen = fake_model if model == "fake" else model
    fast = gift.evaluate(chosen, tiny_gift, progress=False)
    slow = gift.evaluate(chosen, tiny_gift, engine="gluonts", progress=False)
    assert slow.run["versions"]["gluonts"]
    for a, b in zip(fast.scores, slow.scores, strict=True):
        assert a.mase == pytest.approx(b.mase, rel=1e-6)
        assert a.crps == pytest.approx(b.crps, rel=1e-6)
        assert a.coverage == pytest.approx(b.coverage, abs=1e-6)


@pytest.mark.slow
def test_gluonts_engine_agrees_on_all_36_configs(gift_data: Path) -> None:
    pytest.importorskip("gluonts")
    fast = gift.evaluate("naive", gift_data, progress=False)
    slow = gift.evaluate("naive", gift_data, engine="gluonts", progress=False)
    for a, b in zip(fast.scores, slow.scores, strict=True):
        assert (a.mase, a.crps) == pytest.approx((b.mase, b.crps), rel=1e-6), a.config
        assert a.coverage == pytest.approx(b.coverage, abs=1e-6), a.config


def test_report_of_a_model_with_the_forecast_method(tiny_gift: Path, fake_model) -> None:
    report = gift.evaluate(fake_model, tiny_gift, mode="best", progress=False)
    assert [score.config for score in report.scores] == [
        "power/H/short", "power/H/medium", "sales/M/short",
    ]  # fmt: skip
    assert [score.n_windows for score in report.scores] == [9, 3, 2]
    assert report.model == "fake"
    assert report.complete
    assert set(report.others) == {"good", "bad", "seasonal_naive"}
    assert report.mase == pytest.approx(
        np.prod([score.mase / score.naive_mase for score in report.scores]) ** (1 / 3)
    )
    assert [call["seasons"][0] for call in fake_model.calls] == [24, 24, 12]


def test_seasonal_naive_scores_one_against_itself(tiny_gift: Path) -> None:
    report = gift.evaluate("seasonal-naive", tiny_gift, progress=False)
    assert report.mase == pytest.approx(1.0)
    assert report.crps == pytest.approx(1.0)
    assert "seasonal_naive" not in report.others
    assert report.place() == (2, 3)


def test_configs_by_expression_and_by_name(tiny_gift: Path, fake_model) -> None:
    by_expression = gift.evaluate(fake_model, tiny_gift, configs="short", progress=False)
    names = ["power/H/short", "sales/M/short"]
    by_name = gift.evaluate(fake_model, tiny_gift, configs=names, progress=False)
    assert [score.config for score in by_expression.scores] == names
    assert [score.config for score in by_name.scores] == names
    with pytest.raises(ValueError, match="no configuration matches 'daily'; there are power/H"):
        gift.load_tasks(tiny_gift, "daily")
    with pytest.raises(ValueError, match="'x/y/z'"):
        gift.load_tasks(tiny_gift, ["x/y/z"])


def test_max_windows_is_marked_as_not_comparable(tiny_gift: Path, fake_model) -> None:
    report = gift.evaluate(fake_model, tiny_gift, max_windows=2, progress=False)
    assert [score.n_windows for score in report.scores] == [2, 2, 2]
    assert not report.complete
    assert "not comparable" in report.table()
    assert "place" not in report.to_dict()


def test_mistakes_are_named(tiny_gift: Path, tmp_path: Path, fake_model) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        gift.load_tasks(tmp_path)
    with pytest.raises(ValueError, match="mode 'slow'"):
        gift.evaluate(fake_model, tiny_gift, mode="slow", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="engine 'x'"):
        gift.evaluate(fake_model, tiny_gift, engine="x", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave max_windows out"):
        gift.evaluate(fake_model, tiny_gift, engine="gluonts", max_windows=1, progress=False)
    with pytest.raises(ValueError, match="max_windows must be at least 1"):
        gift.evaluate(fake_model, tiny_gift, max_windows=0, progress=False)


def test_changed_and_missing_files_are_noticed(tiny_gift: Path, tmp_path: Path) -> None:
    copy = tmp_path / "above" / "gift"
    shutil.copytree(tiny_gift, copy)
    assert gift.find_data(tmp_path / "above") == copy
    shutil.copy(copy / "power.parquet", copy / "sales.parquet")
    with pytest.raises(ValueError, match=r"sales\.parquet differs from the manifest"):
        gift.load_tasks(copy, "sales")
    (copy / "sales.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="sales/M/short"):
        gift.load_tasks(copy, "sales")
    (copy / "published.csv").unlink()
    report = gift.evaluate("naive", copy, configs="power", progress=False)
    assert report.others == {}
    assert "Beside" not in report.table()
