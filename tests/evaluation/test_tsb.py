"""TSB-AD: protocols, report, place among published methods, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation import tsb
from tsfm.evaluation.anomaly_baselines import period, scorer_named
from tsfm.evaluation.anomaly_metrics import MEASURES, measure

PUBLISHED = ["benchmark", "file", "dataset", "method", "metric", "value", "protocol"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three series of two collections, one with two channels elsewhere, and published scores."""
    rng = np.random.default_rng(0)
    rows, wide = [], []
    for name, dataset in (("a1", "A"), ("a2", "A"), ("b1", "B")):
        values = np.sin(np.arange(400) / 5) + rng.normal(0, 0.1, 400)
        labels = np.zeros(400, dtype=np.int8)
        for start in (60, 250, 330):
            labels[start : start + 4] = 1
            values[start : start + 4] += 4
        rows.append((name, dataset, 100, values.astype(np.float32), labels))
        wide.append((name, dataset, 100, [[v, -v] for v in values], labels))
    columns = ["series_id", "dataset", "train_end", "values", "labels"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "univariate.parquet")
    pd.DataFrame(wide[:1], columns=columns).to_parquet(tmp_path / "multivariate.parquet")
    published = [
        ("TSB-AD-U", f"{name}.csv", "A", method, "VUS-PR", value, protocol)
        for method, protocol, value in (
            ("Good", "full", 0.999),
            ("Bad", "full", 0.01),
            ("Other", "test", 0.02),
            ("Abs-Diff", "full", 0.3),
        )
        for name in ("a1", "a2", "b1")
    ]
    published += [("TSB-AD-U", "a1.csv", "A", "Partial", "VUS-PR", 0.9, "full")]
    pd.DataFrame(published, columns=PUBLISHED).to_csv(tmp_path / "published.csv", index=False)
    return tmp_path


def test_protocols_score_the_whole_or_the_part_after_training(folder: Path) -> None:
    detector = scorer_named("abs-diff")
    one = tsb.read_series(folder)[0]
    scores = detector(one.values, one.train_end)
    window = period(one.values[:, 0])
    for protocol, begin in (("full", 0), ("test", 100)):
        report = tsb.evaluate(detector, folder, protocol=protocol, progress=False)
        assert (report.protocol, report.detector, report.variates) == (
            protocol, "abs-diff", "univariate",
        )  # fmt: skip
        row = report.files[0]
        assert (row.n_scored, row.n_anomalous) == (400 - begin, 12 if not begin else 8)
        assert row.window == window
        assert row.measures == measure(one.labels[begin:], scores[begin:], window)
        assert f"protocol {protocol}" in report.summary()


def test_means_per_collection_and_over_files(folder: Path) -> None:
    report = tsb.evaluate(scorer_named("z-score"), folder, protocol="full", progress=False)
    values = [row.measures["VUS-PR"] for row in report.files]
    assert report.vus_pr == pytest.approx(np.mean(values))
    assert report.datasets["A"]["VUS-PR"] == pytest.approx(np.mean(values[:2]))
    assert report.datasets["B"]["VUS-PR"] == pytest.approx(values[2])
    assert list(report.means) == list(MEASURES)


def test_published_methods_stand_beside_with_their_protocol(folder: Path) -> None:
    report = tsb.evaluate(scorer_named("abs-diff"), folder, protocol="full", progress=False)
    assert {(row.method, row.protocol) for row in report.published} == {
        ("Good", "full"), ("Bad", "full"), ("Other", "test"),
    }  # fmt: skip
    assert report.place() == (2, 3)
    standing = report.table().split("\n\n")[1].splitlines()
    assert [line.split()[:3] for line in standing[2:]] == [
        ["1", "Good", "full"],
        ["->", "2", "abs-diff"],
        ["-", "Other", "test"],
        ["3", "Bad", "full"],
    ]
    tested = tsb.evaluate(scorer_named("abs-diff"), folder, protocol="test", progress=False)
    assert tested.place() == (1, 2)
    assert "Partial" not in tested.table()
    alone = tsb.evaluate(
        scorer_named("abs-diff"), folder, protocol="full", series=["a1"], progress=False
    )
    assert "Partial" in alone.table()


def test_json_holds_everything(folder: Path, tmp_path: Path) -> None:
    report = tsb.evaluate(scorer_named("sub-pca"), folder, protocol="test", progress=False)
    path = tmp_path / "new" / "report.json"
    report.to_json(path)
    read = json.loads(path.read_text())
    assert read["headline"]["VUS-PR"] == pytest.approx(report.vus_pr, rel=1e-5)
    assert read["headline"]["n_files"] == 3
    assert (read["protocol"], read["variates"]) == ("test", "univariate")
    assert [row["series_id"] for row in read["files"]] == ["a1", "a2", "b1"]
    assert set(MEASURES) <= set(read["files"][0])
    assert {"command", "commit", "machine", "versions", "device"} <= set(read)


def test_several_channels_and_any_callable(folder: Path) -> None:
    seen = []

    def detector(values: np.ndarray, train_end: int) -> np.ndarray:
        seen.append((values.shape, train_end))
        values[:] = 0  # a copy
        return np.arange(len(values))

    for _ in range(2):
        report = tsb.evaluate(
            detector, folder.parent / folder.name, protocol="test", variates="multivariate",
            measures=("VUS-PR", "AUC-PR"), progress=False,
        )  # fmt: skip
    assert seen == [((400, 2), 100)] * 2
    assert report.detector == "detector"
    assert list(report.means) == ["VUS-PR", "AUC-PR"]
    assert report.published == ()
    assert "Beside" not in report.table()


def test_series_are_chosen_by_expression_or_name(folder: Path) -> None:
    assert [one.series_id for one in tsb.read_series(folder, series="^a")] == ["a1", "a2"]
    assert [one.series_id for one in tsb.read_series(folder, series=["b1"])] == ["b1"]
    for wrong in ("zzz", ["a1", "zzz"]):
        with pytest.raises(ValueError, match=r"series \['zzz'\] do not exist in univariate"):
            tsb.read_series(folder, series=wrong)


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    good = scorer_named("abs-diff")
    with pytest.raises(ValueError, match="protocol 'half' does not exist"):
        tsb.evaluate(good, folder, protocol="half", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lack the headline VUS-PR"):
        tsb.evaluate(good, folder, protocol="full", measures=("AUC-PR",), progress=False)
    with pytest.raises(ValueError, match="variates 'two' does not exist"):
        tsb.read_series(folder, "two")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"no univariate\.parquet in .*nowhere"):
        tsb.read_series(tmp_path / "nowhere")

    def run(detector) -> None:
        tsb.evaluate(detector, folder, protocol="test", progress=False)

    with pytest.raises(ValueError, match=r"a1: the detector answered with shape \(399,\)"):
        run(lambda values, _: values[1:, 0])
    with pytest.raises(ValueError, match="a1, from step 100 on: 300 of 300 scores are NaN"):
        run(lambda values, _: np.full(len(values), np.nan))
    with pytest.warns(UserWarning, match=r"(a1|a2|b1): all scores are equal") as caught:
        run(lambda values, _: np.zeros(len(values)))
    assert len(caught) == 3


def test_malformed_rows_are_named(folder: Path) -> None:
    frame = pd.read_parquet(folder / "univariate.parquet")
    frame.at[1, "labels"] = np.zeros(400, dtype=np.int8)
    frame.to_parquet(folder / "univariate.parquet")
    with pytest.raises(ValueError, match="a2: the labels of these 400 steps hold no anomaly"):
        tsb.evaluate(scorer_named("z-score"), folder, protocol="full", progress=False)
    frame.at[1, "labels"] = np.zeros(399, dtype=np.int8)
    frame.to_parquet(folder / "univariate.parquet")
    with pytest.raises(ValueError, match="a2: 400 values but 399 labels"):
        tsb.read_series(folder)
    frame.loc[0, "train_end"] = 400
    frame.to_parquet(folder / "univariate.parquet")
    with pytest.raises(ValueError, match=r"a1: train_end 400 must lie within 0\.\.399"):
        tsb.read_series(folder)
