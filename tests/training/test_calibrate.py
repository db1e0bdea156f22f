"""Scores of clean synthetic series, and the threshold that they make."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.models import Detector, DetectorConfig
from tsfm.models.calibration import Calibration
from tsfm.models.judgement import judge
from tsfm.training import calibrate as file
from tsfm.training.calibrate import calibrate


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_config(
        dataclasses.replace(DetectorConfig.preset("tiny"), max_context=128)
    )


def test_clean_series_it_has_not_seen_stay_below_the_threshold(detector):
    recipe = AnomalyRecipe()
    known = calibrate(detector, recipe, n_series=120, lengths=(64,), delays=())
    fresh = file._series(dataclasses.replace(recipe, clean=1.0), 150, 64, seed=1)
    peaks = [judge(detector, one[:, None]).score.max() for one in fresh]
    highest = known.tables[0].maxima[0]  # an untrained detector has no score above 0
    assert np.mean(np.array(peaks) > highest.quantile(0.01)) <= 0.04
    assert 0.35 < np.mean(np.array(peaks) > highest.quantile(0.5)) < 0.65


def test_it_depends_on_the_seed_alone_and_survives_the_file(detector, tmp_path):
    options = {"n_series": 20, "lengths": (16, 32), "n_causal": 20}
    causal = {"delays": (0, 2), "causal_context": 24, "causal_steps": 4}
    one = calibrate(detector, AnomalyRecipe(), **options, **causal)
    again = calibrate(detector, AnomalyRecipe(), **options, delays=())
    assert one.tables[0] == again.tables[0]
    assert again != calibrate(detector, AnomalyRecipe(), **options, delays=(), seed=3)
    assert [(t.causal, t.delay, t.lengths) for t in one.tables] == [
        (False, 0, (16, 32)), (True, 0, (4,)), (True, 2, (4,))
    ]  # fmt: skip
    assert one.tables[1].steps[0].n == 80
    one.save(tmp_path)
    assert Calibration.load(tmp_path) == one


def test_mistakes_are_named(detector):
    with pytest.raises(ValueError, match="at least 20 series"):
        calibrate(detector, AnomalyRecipe(), n_series=5)
    with pytest.raises(ValueError, match="at least 8 steps"):
        calibrate(detector, AnomalyRecipe(), lengths=(4,))
