"""Detectors with a calibration: where it holds, and what `alpha` marks by it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from tsfm import AnomalyDetector
from tsfm.anomalies.thresholds import ReferenceWarning, UncalibratedWarning
from tsfm.models.calibration import Calibration, Table


def test_the_calibration_of_the_model_sets_threshold_and_p_values(distance, day):
    rng = np.random.default_rng(0)
    table = Table.of({n: rng.normal(size=(300, n)) for n in (16, 256)})
    distance.calibration = Calibration((table,), "noise", 0)
    detector = AnomalyDetector(distance)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = detector.detect(day)
    assert got["is_anomaly"].equals(got["score"] > table.threshold(200))
    np.testing.assert_allclose(got["p_value"], table.p_values(got["score"].to_numpy(), 200))
    found = detector.segments(day)
    peak = float(got["score"].max())
    assert found["p_value"].min() == pytest.approx(table.peak_p_value(peak, 200))
    wide = pd.DataFrame({"a": day, "b": day})
    joint = detector.set_params(aggregation="max").fit(wide)
    assert joint.offset_ == -table.threshold(200, 2)
    assert (detector.set_params(alpha=0.01).detect(wide)["p_value"] <= 1).all()


def test_another_context_length_than_the_calibrations_does_without_it(distance, day):
    rng = np.random.default_rng(0)
    tables = tuple(
        Table.of({n: rng.normal(size=(300, n)) for n in (16, 256)}, window=window)
        for window in (64, 0)
    )
    for table in tables:
        distance.calibration = Calibration((table,), "noise", 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for length in (None, 64, 500):  # the model reads 64 steps
                whole = AnomalyDetector(distance, context_length=length).detect(day)
                assert whole["is_anomaly"].equals(whole["score"] > table.threshold(200))
            short = AnomalyDetector(distance, context_length=32).detect(day[:32])
            assert short["p_value"].notna().all()
        detector = AnomalyDetector(distance, context_length=32)
        with pytest.warns(UncalibratedWarning, match="leave context_length at None"):
            got = detector.detect([day.to_numpy(), day.to_numpy()[:30]])
        assert got["p_value"].isna().tolist() == [True] * 200 + [False] * 30
        assert got["is_anomaly"].iloc[:200].equals(got["score"].iloc[:200] > 0)
        with pytest.warns(UncalibratedWarning):
            assert detector.fit(day.to_numpy()[:, None]).offset_ == 0.0
        with pytest.raises(ValueError, match="leave context_length at None"):
            AnomalyDetector(distance, context_length=32, alpha=0.1).detect(day)


def test_alpha_marks_exactly_the_steps_of_small_p_values(distance, day):
    rng = np.random.default_rng(0)
    table = Table.of({n: rng.normal(-8, 3, size=(300, n)) for n in (16, 64, 256)})
    distance.calibration = Calibration((table,), "noise", 0)
    x = day.to_numpy()[:, None]
    for alpha in (0.3, 0.05, 0.01, 0.001, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            detector = AnomalyDetector(distance, alpha=alpha)
            for rows in (200, 100, 20):
                got = detector.detect(day[:rows])
                assert got["is_anomaly"].equals(got["p_value"] <= alpha)
    with pytest.warns(ReferenceWarning, match="clean reference of at least 99999 steps"):
        none = AnomalyDetector(distance, alpha=1e-5).detect(day)
    assert not none["is_anomaly"].any()
    every = AnomalyDetector(distance, alpha=1.0).fit(x)
    assert (every.predict(x) == -1).all()
