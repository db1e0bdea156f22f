"""Detectors that take new rows: the same answers as at once, at a bounded cost."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from tsfm import AnomalyDetector
from tsfm.anomalies.thresholds import UncalibratedWarning
from tsfm.frames import DataError, GapWarning
from tsfm.models.calibration import Calibration, Table
from tsfm.models.judgement import judge, judge_trailing

pytestmark = pytest.mark.filterwarnings("ignore::tsfm.anomalies.thresholds.UncalibratedWarning")


def up_to(frame: pd.DataFrame, stop: int, start: int = 0) -> pd.DataFrame:
    place = frame.groupby("unique_id").cumcount()
    return frame[(place >= start) & (place < stop)]


def fed(detector: AnomalyDetector, frame: pd.DataFrame, sizes: list[int], start: int) -> Any:
    parts = []
    for size in sizes:
        parts.append(detector.update(up_to(frame, start + size, start)))
        start += size
    return pd.concat(parts).sort_values(["unique_id", "ds"]).reset_index(drop=True)


@pytest.mark.parametrize("delay", [0, 3])
def test_updates_say_what_a_causal_look_at_the_whole_says(folder, panel, delay):
    options: dict[str, Any] = {"threshold": -2.0, "causal": True, "delay": delay, "min_segment": 2}
    options |= {"merge_gap": 1, "context_length": 24}
    first = 7 - delay  # rows before the first one with eight steps to go by
    detector = AnomalyDetector(str(folder), **options).fit(up_to(panel, first))
    got = fed(detector, panel, [1, 1, 5, 2, 30], first)
    whole = AnomalyDetector(str(folder), **options).detect(up_to(panel, first + 39))
    place = whole.groupby("unique_id").cumcount()
    unjudged = (place < first) | (place >= first + 39 - delay)
    assert whole["score"].isna().equals(unjudged)
    wanted = whole[~unjudged].sort_values(["unique_id", "ds"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(got, wanted, rtol=1e-3, atol=1e-3)
    assert 2 < got["is_anomaly"].sum() < len(got)


def test_causal_scores_never_change_and_the_delay_is_exact(distance, day):
    x = day.to_numpy()[:, None]
    whole = judge_trailing(distance, x, 32, 2)
    assert np.flatnonzero(np.isnan(whole.score[:, 0])).tolist() == [0, 1, 2, 3, 4, 198, 199]
    part = judge_trailing(distance, x[:100], 32, 2)
    np.testing.assert_array_equal(part.score[:98], whole.score[:98])
    one = judge(distance, x[121:153])
    assert whole.score[150] == one.score[-3]
    assert whole.spread[150] == one.spread[-3]
    tail = judge_trailing(distance, x, 32, 2, first=140)
    np.testing.assert_array_equal(tail.score, whole.score[140:])


def test_a_row_costs_one_window_however_long_the_history(distance, day):
    long = pd.concat([day] * 20).reset_index(drop=True).to_frame("load")
    detector = AnomalyDetector(distance, threshold=5.0, delay=2, timestamp_col=None)
    detector.fit(long.iloc[:3000])
    for n in range(3000, 3020):
        detector.update(long.iloc[n : n + 1])
    assert set(distance.seen) == {(64, 1)}
    assert len(distance.seen) == 18  # the last two rows wait
    assert detector.panel_.lengths.tolist() == [66]


def test_rows_wait_for_the_delay(distance, panel):
    detector = AnomalyDetector(distance, threshold=5.0, delay=3).fit(up_to(panel, 50))
    assert detector.update(up_to(panel, 52, 50)).empty
    got = detector.update(up_to(panel, 55, 52))
    assert got["ds"].unique().tolist() == panel["ds"].iloc[50:52].tolist()
    assert detector.update(panel.iloc[:0]).columns.tolist() == got.columns.tolist()


def test_new_items_gaps_and_rows_in_any_order(distance, panel):
    detector = AnomalyDetector(distance, threshold=5.0)
    detector.fit(up_to(panel[panel["unique_id"] == "b"], 100))
    new = up_to(panel, 110, 100)
    got = detector.update(new.sample(frac=1, random_state=0))
    assert got["unique_id"].tolist() == ["b"] * 10 + ["a"] * 10
    assert got[got["unique_id"] == "a"]["score"].isna().sum() == 7
    with pytest.warns(GapWarning):
        late = detector.update(up_to(panel, 114, 112))
    assert late.groupby("unique_id").size().tolist() == [4, 4]
    assert late["value"].isna().sum() == 4
    with pytest.raises(DataError, match="does not follow"):
        detector.update(up_to(panel, 113, 112))
    assert len(detector.update(up_to(panel, 115, 114))) == 2


def test_segments_go_on_with_their_number(distance, day):
    values = day.to_numpy().copy()
    values[[150, 151, 152, 160]] = 8.0
    series = pd.Series(values, day.index, name="load")
    detector = AnomalyDetector(distance, threshold=5.0).fit(series[:140])
    found = pd.concat([detector.update(series[n : n + 2]) for n in range(140, 170, 2)])
    marked = found[found["is_anomaly"]]
    assert marked["segment_id"].tolist() == [0, 0, 0, 1]
    assert detector.fit(series[:140]).update(series[140:155])["segment_id"].max() == 0


def test_the_history_is_context_and_not_judged(distance, day):
    """Scores are those of a look at the whole; runs begin with the new rows."""
    values = day.to_numpy().copy()
    values[[139, 140]] = 8.0
    values[150] = 0.0
    series = pd.Series(values, day.index, name="load")
    options: dict[str, Any] = {"threshold": 5.0, "causal": True, "min_segment": 2}
    whole = AnomalyDetector(distance, **options).detect(series)
    got = AnomalyDetector(distance, **options).fit(series[:140]).update(series[140:])
    np.testing.assert_array_equal(got["score"], whole["score"][140:])
    assert whole.index[whole["is_anomaly"]].tolist() == [140]
    assert not got["is_anomaly"].any()
    later = AnomalyDetector(distance, **options).fit(series[:139]).update(series[139:])
    assert later["segment_id"].tolist()[:3] == [pd.NA, 0, pd.NA]
    delayed = AnomalyDetector(distance, **(options | {"delay": 3}))
    assert len(delayed.fit(series[:140]).update(series[140:])) == 57
    assert len(delayed.fit(series[:137]).update(series[137:])) == 60


def test_windows_are_as_long_as_those_of_the_calibration(distance, day):
    rng = np.random.default_rng(0)
    tables = [
        Table.of({16: rng.normal(size=(50, 16))}, causal=True, delay=d, window=24) for d in (0, 2)
    ]
    distance.calibration = Calibration(tuple(tables), "noise", 0)
    for options in ({"delay": 2}, {"delay": 2, "context_length": 24}):
        distance.seen.clear()
        detector = AnomalyDetector(distance, **options, causal=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            whole = detector.detect(day)
            detector.fit(day[:100])
            got = detector.update(day[100:])
        assert max(distance.seen) == (24, 1)
        assert whole["is_anomaly"].equals(whole["score"] > tables[1].threshold(24))
        assert detector.offset_ == -tables[1].threshold(24)
        np.testing.assert_array_equal(got["score"], whole["score"][100:198])
        np.testing.assert_array_equal(got["p_value"], whole["p_value"][100:198])
        assert detector.panel_.lengths.tolist() == [26]
    for length in (16, 64):
        other = AnomalyDetector(distance, causal=True, context_length=length)
        with pytest.warns(UncalibratedWarning, match="windows of 24 steps: leave context_length"):
            got = other.detect(day)
        assert got["p_value"].isna().all()
        other.fit(day[:100])
        with pytest.warns(UncalibratedWarning, match="windows of 24 steps"):
            assert other.update(day[100:])["p_value"].isna().all()
    # so long a delay leaves too little of these windows
    with pytest.warns(UncalibratedWarning, match="windows of 24 steps"):
        late = AnomalyDetector(distance, causal=True, delay=20).detect(day)
    assert late["score"].notna().sum() == 180
    assert late["p_value"].isna().all()


def test_saved_detectors_go_on(folder, panel, tmp_path: Path):
    options: dict[str, Any] = {"threshold": 0.0, "delay": 2, "context_length": 16}
    one = AnomalyDetector(str(folder), **options).fit(up_to(panel, 60))
    one.update(up_to(panel, 65, 60))
    one.save(tmp_path / "saved")
    other = AnomalyDetector.load(tmp_path / "saved")
    new = up_to(panel, 75, 65)
    pd.testing.assert_frame_equal(one.update(new), other.update(new))


def test_the_rule_must_fit_a_stream(distance, day):
    rng = np.random.default_rng(0)
    with pytest.raises(NotFittedError, match="fit with some first"):
        AnomalyDetector(distance).update(day)
    with pytest.raises(ValueError, match="causal=True"):
        AnomalyDetector(distance, contamination=0.1).fit(day[:100]).update(day[100:])
    share = AnomalyDetector(distance, contamination=0.1, causal=True).fit(day[:100])
    got = share.update(day[100:])
    assert got["is_anomaly"].equals(got["score"] > -share.offset_)
    with pytest.raises(ValueError, match="delay=60 must leave at least 8"):
        AnomalyDetector(distance, delay=60, threshold=0.0).fit(day[:100]).update(day[100:])
    two_sided = Table.of({16: rng.normal(size=(50, 16))})
    distance.calibration = Calibration((two_sided,), "noise", 0)
    detector = AnomalyDetector(distance).fit(day[:100])
    with pytest.warns(UncalibratedWarning, match="the way it is used"):
        detector.update(day[100:110])
    causal = Table.of({16: rng.normal(size=(50, 16)) + 3}, causal=True)
    distance.calibration = Calibration((two_sided, causal), "noise", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = detector.update(day[110:])
    assert got["is_anomaly"].equals(got["score"] > causal.threshold(64))
    assert got["p_value"].notna().all()
