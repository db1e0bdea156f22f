"""The front door for anomalies: contracts of arrays and of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

import tsfm
from tsfm import AnomalyDetector
from tsfm.anomalies.findings import ShortSeriesWarning
from tsfm.anomalies.thresholds import ReferenceWarning, UncalibratedWarning
from tsfm.frames import AllMissingWarning, DataError, GapWarning, InfiniteValueWarning

CONTEXT_RELATIVE = "a step is judged in the light of those around it, so their order matters"
OWN = {
    "check_methods_sample_order_invariance": CONTEXT_RELATIVE,
    "check_methods_subset_invariance": "a subset of the steps is another context, one is none",
}
STEPS = ["target_name", "value", "expected", "lower", "upper", "score", "p_value"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"contamination": 0.1}])
def test_scikit_learn_accepts_it(folder, options):
    detector = AnomalyDetector(str(folder), **options)
    results = check_estimator(detector, expected_failed_checks=OWN, on_skip=None)
    assert sum(one["status"] == "xfail" for one in results) == 2
    assert sum(one["status"] == "passed" for one in results) >= 43


def test_arrays(distance, day):
    x = np.stack([day.to_numpy(), np.roll(day.to_numpy(), 5)], axis=1)
    before = x.copy()
    detector = AnomalyDetector(distance, threshold=5.0).fit(x)
    labels = detector.predict(x)
    assert np.flatnonzero(labels < 0).tolist() == [150, 155]
    assert labels.dtype == np.int64
    assert (detector.n_features_in_, detector.offset_) == (2, -5.0)
    scores = detector.score_samples(x)
    assert scores.argmin() in (150, 155)
    np.testing.assert_allclose(detector.decision_function(x), scores + 5.0)
    assert np.array_equal(detector.fit_predict(x), labels)
    assert np.array_equal(x, before)
    with pytest.raises(ValueError, match="2 features"):
        detector.predict(x[:, :1])
    mean = AnomalyDetector(distance, threshold=5.0, aggregation="mean").fit(x)
    assert (mean.score_samples(x) >= scores - 1e-9).all()
    np.testing.assert_allclose(
        AnomalyDetector(distance, aggregation=2, threshold=0.0).fit(x).score_samples(x),
        mean.score_samples(x),
    )


def test_missing_values_in_arrays_are_normal_and_infinite_ones_refused(distance, day):
    x = day.to_numpy().copy()[:, None]
    x[[3, 150]] = np.nan
    detector = AnomalyDetector(distance, contamination=0.05).fit(x)
    assert np.isnan(detector.score_samples(x)[[3, 150]]).all()
    assert (detector.predict(x)[[3, 150]] == 1).all()
    assert (detector.predict(x) < 0).sum() == 10
    x[0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        detector.predict(x)


def test_detect_answers_in_the_callers_terms(distance, panel):
    before = panel.copy(deep=True)
    got = AnomalyDetector(distance, threshold=5.0).detect(panel)
    assert got.columns.tolist() == ["unique_id", "ds", *STEPS, "is_anomaly", "segment_id"]
    pd.testing.assert_frame_equal(got[["unique_id", "ds"]], panel[["unique_id", "ds"]])
    np.testing.assert_array_equal(got["value"], panel["y"])
    assert got["is_anomaly"].dtype == bool
    assert got["segment_id"].dtype == "Int64"
    assert got.index[got["is_anomaly"]].tolist() == [150, 350]
    assert got["segment_id"].notna().equals(got["is_anomaly"])
    middle = (got["lower"] + got["upper"]) / 2
    np.testing.assert_allclose(middle, got["expected"])
    assert got["p_value"].isna().all()
    pd.testing.assert_frame_equal(panel, before)
    one_liner = tsfm.detect_anomalies(panel, model=distance, threshold=5.0)
    pd.testing.assert_frame_equal(one_liner, got)


def test_segments(distance, day):
    day.iloc[152] = 9.0
    detector = AnomalyDetector(distance, threshold=5.0, merge_gap=1).fit(day)
    got = detector.segments()
    assert got.columns.tolist() == [
        "item_id", "target_name", "segment_id", "start", "end", "n_points", "peak_time",
        "peak_score", "severity", "p_value",
    ]  # fmt: skip
    one = got.iloc[0]
    assert (one["start"], one["end"], one["n_points"]) == (day.index[150], day.index[152], 3)
    steps = detector.detect()
    assert one["peak_time"] == day.index[152]
    assert one["peak_score"] == steps["score"].max()
    row = steps.iloc[152]
    assert one["severity"] == pytest.approx(
        3 * (row["value"] - row["expected"]) / (row["upper"] - row["expected"])
    )
    assert steps.loc[150:152, "segment_id"].tolist() == [0, 0, 0]
    assert len(AnomalyDetector(distance, threshold=5.0, min_segment=2).segments(day)) == 0
    empty = AnomalyDetector(distance, threshold=1e9).segments(day)
    assert empty.dtypes["start"] == got.dtypes["start"]
    assert empty.empty


def test_channels_of_an_item(distance, day):
    other = np.roll(day.to_numpy(), 20)
    wide = pd.DataFrame({"load": day, "flow": other})
    alone = AnomalyDetector(distance, threshold=5.0).fit(wide)
    got = alone.detect()
    assert got["item_id"].unique().tolist() == ["load", "flow"]
    assert distance.seen[-1] == (200, 2)  # read together
    joint = AnomalyDetector(distance, threshold=5.0, aggregation="max").detect(wide)
    assert len(joint) == 200
    assert joint["item_id"].unique().tolist() == [0]
    assert joint["target_name"].iloc[[150, 170]].tolist() == ["load", "flow"]
    assert joint["value"].iloc[[150, 170]].tolist() == [8.0, 8.0]
    np.testing.assert_allclose(joint["score"], got["score"].to_numpy().reshape(2, 200).max(axis=0))
    long = wide.reset_index().assign(machine="m7")
    found = AnomalyDetector(
        distance, threshold=5.0, aggregation=1, id_col="machine", target_col=["load", "flow"]
    ).segments(long)
    assert found["machine"].tolist() == ["m7", "m7"]
    assert found["target_name"].tolist() == ["load", "flow"]
    assert found["start"].tolist() == [day.index[150], day.index[170]]


def test_batch_mates_row_order_unit_and_zone_are_irrelevant(folder, panel):
    detector = AnomalyDetector(str(folder), contamination=0.1)
    detector.set_params(contamination="auto", threshold=0.0)
    whole = detector.detect(panel)
    alone = detector.detect(panel[panel["unique_id"] == "a"])
    pd.testing.assert_frame_equal(
        whole[whole["unique_id"] == "a"].reset_index(drop=True), alone, rtol=1e-5
    )
    shuffled = detector.detect(panel.sample(frac=1, random_state=1)).sort_values(
        ["unique_id", "ds"]
    )
    pd.testing.assert_frame_equal(
        shuffled.reset_index(drop=True),
        whole.sort_values(["unique_id", "ds"]).reset_index(drop=True),
    )
    moved = panel.assign(y=panel["y"] * 250.0 + 1e4)
    other = detector.detect(moved)
    np.testing.assert_allclose(other["score"], whole["score"], atol=1e-3)
    for name in ("expected", "lower", "upper"):
        np.testing.assert_allclose(other[name], whole[name] * 250 + 1e4, rtol=1e-3)
    utc = panel.assign(ds=panel["ds"].dt.tz_convert("UTC"))
    assert detector.detect(utc)["score"].equals(whole["score"])
    assert str(whole["ds"].dtype) == "datetime64[ns, Europe/Berlin]"


def test_gaps_infinities_and_missing_values(distance, day):
    day.iloc[10] = np.nan
    with pytest.warns(GapWarning):
        got = AnomalyDetector(distance, threshold=5.0).detect(day.drop(day.index[20:23]))
    assert len(got) == 200
    missing = got.iloc[[10, 20, 21, 22]]
    assert missing[["value", "score"]].isna().all(axis=None)
    assert missing["expected"].notna().all()
    assert not missing["is_anomaly"].any()
    day.iloc[0] = np.inf
    with pytest.warns(InfiniteValueWarning):
        assert np.isnan(AnomalyDetector(distance, threshold=5.0).detect(day)["score"].iloc[0])


def test_constant_short_and_empty_series(folder, day):
    flat = AnomalyDetector(str(folder), threshold=-9.0).detect(np.full(50, 3.5))
    assert (flat["score"] == -10).all()
    assert not flat["is_anomaly"].any()
    assert (flat["expected"] == 3.5).all()
    detector = AnomalyDetector(str(folder), threshold=0.0)
    with pytest.warns(ShortSeriesWarning, match=r"'b' has fewer than 8 rows"):
        got = detector.detect(
            pd.DataFrame({"item_id": ["a"] * 20 + ["b"] * 7, "timestamp": [*range(20), *range(7)],
                          "target": np.arange(27.0)})
        )  # fmt: skip
    assert got.groupby("item_id")["score"].count().to_dict() == {"a": 20, "b": 0}
    with pytest.warns(AllMissingWarning):
        nothing = detector.detect(day * np.nan)
    assert nothing["score"].isna().all()
    assert len(nothing) == 200
    with pytest.raises(ValueError, match="minimum of 8"):
        detector.fit(np.zeros((7, 1)))
    with pytest.raises(DataError, match="empty"):
        detector.detect(day.iloc[:0])


def test_what_cannot_be_read_is_named(distance, day, panel):
    detector = AnomalyDetector(distance, threshold=1.0)
    with pytest.raises(DataError, match="duplicate timestamps"):
        detector.detect(pd.concat([panel, panel.iloc[[3]]]))
    assert len(detector.set_params(on_duplicates="last").detect(
        pd.concat([panel, panel.iloc[[3]]]))) == 400  # fmt: skip
    with pytest.raises(DataError, match="not numeric"):
        detector.detect(panel.assign(y="x"))
    with pytest.raises(DataError, match="rename"):
        detector.set_params(id_col="score").detect(panel.rename(columns={"unique_id": "score"}))
    detector.set_params(id_col="auto")
    with pytest.raises(ValueError, match="detect or segments"):
        detector.fit(day.to_numpy()[:, None]).predict(panel)
    with pytest.raises(NotFittedError):
        AnomalyDetector(distance).detect()
    with pytest.raises(NotFittedError):
        AnomalyDetector(distance).predict(np.zeros((9, 1)))


@pytest.mark.parametrize(
    "options",
    [
        {"contamination": 0.9}, {"alpha": 2}, {"threshold": "a"}, {"context_length": 7},
        {"min_segment": 0}, {"merge_gap": -1}, {"delay": 0.5}, {"aggregation": "sum"},
        {"aggregation": 0}, {"causal": 1}, {"on_gaps": "x"}, {"on_duplicates": "x"},
    ],
)  # fmt: skip
def test_parameters_are_checked_by_name(distance, day, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AnomalyDetector(distance, **options).fit(day)


def test_models_that_are_none(day, tiny_folder_or_skip):
    with pytest.raises(FileNotFoundError, match=r"No detector 'nothing'.*tsfm pretrain"):
        tsfm.detect_anomalies(day, model="nothing")
    with pytest.raises(TypeError, match="`score` method"):
        tsfm.detect_anomalies(day, model=3)
    with pytest.raises(ValueError, match="for forecasts, not for anomalies"):
        tsfm.detect_anomalies(day, model=tiny_folder_or_skip)


@pytest.fixture
def tiny_folder_or_skip() -> str:
    from tsfm.models import list_models

    found = [info.name for info in list_models() if info.task == "forecast"]
    if not found:
        pytest.skip("no forecaster came with this checkout")
    return found[0]


def test_rules_reach_the_answer(distance, day, panel):
    with pytest.warns(UncalibratedWarning, match="tsfm evaluate calibrate"):
        got = AnomalyDetector(distance).detect(day)
    assert got["is_anomaly"].equals(got["score"] > 0)
    share = AnomalyDetector(distance, contamination=0.1).detect(panel)
    assert share["is_anomaly"].sum() == 40
    clean, later = day.iloc[:100], day.iloc[100:]
    detector = AnomalyDetector(distance, alpha=0.05).fit(clean)
    got = detector.detect(later)
    assert got["is_anomaly"].equals(got["p_value"] <= 0.05)
    assert got["p_value"].min() == pytest.approx(1 / 101)
    reference = AnomalyDetector(distance, threshold=0.0).detect(clean)["score"].to_numpy()
    row = got.iloc[7]
    assert row["p_value"] == pytest.approx((1 + (reference >= row["score"]).sum()) / 101)
    assert 1 / 101 <= detector.segments(later)["p_value"].min() <= 0.05
    with pytest.warns(ReferenceWarning, match="at least 999 steps"):
        none = AnomalyDetector(distance, alpha=0.001).fit(clean).detect(later)
    assert not none["is_anomaly"].any()
    with pytest.raises(ValueError, match="clean reference"):
        AnomalyDetector(distance, alpha=0.1).detect(day)


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize("data", [np.arange(20.0), list(range(20)), tuple(range(20))])
def test_arrays_of_one_dimension_are_refused_with_the_remedy(distance, data, method):
    detector = AnomalyDetector(distance, threshold=0.0).fit(np.arange(20.0)[:, None])
    with pytest.raises(ValueError, match=r"time steps.*Reshape your data.*\(-1, 1\).*Series"):
        getattr(detector, method)(data)
    assert detector.fit(pd.Series(data)).predict(np.reshape(data, (-1, 1))).shape == (20,)


def test_a_list_of_series_is_no_array(distance, day):
    for other in (day.to_numpy(), day.to_numpy()[:50]):
        with pytest.raises(ValueError, match="id column"):
            AnomalyDetector(distance, threshold=0.0).fit([day.to_numpy(), other])
    rows = day.to_numpy()[:, None].tolist()
    assert AnomalyDetector(distance, threshold=0.0).fit(rows).n_features_in_ == 1


def test_pyod_conventions(distance, day):
    x = day.to_numpy()[:, None]
    detector = AnomalyDetector(distance, contamination=0.05).fit(x)
    other = detector.as_pyod()
    assert np.array_equal(other.labels_, (detector.predict(x) < 0).astype(int))
    np.testing.assert_allclose(other.decision_scores_, -detector.score_samples(x))
    np.testing.assert_allclose(other.decision_function(x), other.decision_scores_)
    assert np.array_equal(other.predict(x), other.labels_)
    assert np.array_equal(other.labels_, other.decision_scores_ > other.threshold_)
    frames = AnomalyDetector(distance, contamination=0.05).fit(day).as_pyod()
    assert np.array_equal(frames.labels_, other.labels_)
    assert other.fit(x[:100]).labels_.shape == (100,)
    with pytest.raises(NotFittedError):
        AnomalyDetector(distance).as_pyod()


def test_clone_and_parameters(distance):
    detector = AnomalyDetector("somewhere", alpha=0.1, merge_gap=3)
    assert clone(detector).get_params() == detector.get_params()
    assert detector.set_params(merge_gap=4).merge_gap == 4
    assert "merge_gap=4" in repr(detector)


def test_save_and_load(folder, tmp_path, day):
    x = day.to_numpy()[:, None]
    with pytest.raises(FileNotFoundError, match=r"detector\.json"):
        AnomalyDetector.load(tmp_path)
    for data in (x, day):
        detector = AnomalyDetector(str(folder), contamination=0.05, min_segment=2).fit(data)
        detector.save(tmp_path / "saved")
        loaded = AnomalyDetector.load(tmp_path / "saved")
        assert loaded.offset_ == detector.offset_
        assert np.array_equal(loaded.predict(x), detector.predict(x))
        assert (tmp_path / "saved" / "model" / "config.json").is_file()
    pd.testing.assert_frame_equal(loaded.detect(), detector.detect())
    AnomalyDetector(str(folder)).save(tmp_path / "saved")
    fresh = AnomalyDetector.load(tmp_path / "saved")
    assert not hasattr(fresh, "offset_")
    assert not (tmp_path / "saved" / "context.npz").exists()

    class Bare:
        def score(self, values: Any, **options: Any) -> None: ...

    with pytest.raises(TypeError, match="save_pretrained"):
        AnomalyDetector(Bare()).save(tmp_path / "other")


def test_fitted_columns_are_found_again_and_a_refit_forgets(distance, day):
    frame = day.reset_index().rename(columns={"load": "kw"})
    detector = AnomalyDetector(distance, contamination=0.02, timestamp_col="when").fit(frame)
    assert detector.detect(frame.assign(when=frame["when"]))["target_name"].eq("kw").all()
    assert detector.n_features_in_ == 1
    detector.set_params(timestamp_col="auto").fit(np.zeros((9, 3)) + np.arange(9)[:, None] % 4)
    assert not hasattr(detector, "panel_")
    assert detector.n_features_in_ == 3


def test_pictures(distance, day):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    wide = pd.DataFrame({f"c{i}": np.roll(day.to_numpy(), i) for i in range(11)}, index=day.index)
    detector = AnomalyDetector(distance, threshold=5.0)
    assert "1 segment" in detector.plot(day).get_title(loc="left")
    assert len(detector.plot(wide)) == 9
    assert len(detector.set_params(aggregation="max").plot(wide[["c0", "c1"]])) == 2
    axis = plt.figure().add_subplot()
    assert detector.plot(day, ax=axis) is axis
    with pytest.raises(ValueError, match="ax holds one series"):
        detector.plot(wide, ax=axis)
    plt.close("all")
