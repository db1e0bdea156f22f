"""Tables of clean scores: ties, and thresholds that are the inverse of p-values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tsfm.models.calibration import FILE, Calibration, Distribution, Table


def test_ties_have_the_p_value_of_all_scores_as_high():
    rng = np.random.default_rng(0)
    half = np.concatenate([np.full(500, -10.0), rng.normal(size=500)])
    found = Distribution.of(half)
    assert found.survival(np.array([-11.0, -10.0])).tolist() == [1.0, 1.0]
    assert found.survival(np.array([-9.999]))[0] > 0.45
    middle = np.concatenate([rng.normal(-5, 0.1, 450), np.zeros(300), rng.normal(5, 0.1, 250)])
    found = Distribution.of(middle)
    assert found.survival(np.array([0.0]))[0] == pytest.approx(0.55, abs=0.002)
    assert (np.diff(found.values) > 0).all()
    assert (np.diff(found.levels) < 0).all()
    grid = np.sort(np.concatenate([np.linspace(-7, 7, 400), found.values]))
    as_high = (middle[None, :] >= grid[:, None]).mean(axis=1)
    assert (found.survival(grid) >= as_high - 0.05).all()


def test_scores_that_are_all_equal():
    found = Distribution.of(np.full(30, -10.0))
    p = found.survival(np.array([-10.0, -9.0, np.nan]))
    np.testing.assert_allclose(p, [1.0, 1 / 31, np.nan])
    assert found.quantile(0.01) == pytest.approx(-10.0, abs=1e-6)


@pytest.mark.parametrize("length", [8, 16, 40, 64, 5_000])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_step_is_above_the_threshold_exactly_where_its_p_value_is_small(length, n_channels):
    rng = np.random.default_rng(2)
    table = Table.of({16: rng.normal(size=(200, 16)), 64: rng.standard_t(3, size=(200, 64))})
    knots = np.concatenate([one.values for one in table.steps])
    scores = np.sort(np.concatenate([rng.normal(scale=3, size=4_000), knots]))
    p = table.p_values(scores, length, n_channels)
    for alpha in (0.5, 0.03, 0.01, 0.001, 0.0004):
        cut = table.step_threshold(alpha, length, n_channels)
        assert np.array_equal(scores > cut, p <= alpha)
        if math.isfinite(cut):
            edge = np.array([cut, np.nextafter(cut, np.inf)])
            assert (table.p_values(edge, length, n_channels) <= alpha).tolist() == [False, True]


def test_levels_that_no_p_value_and_that_all_have():
    table = Table.of({16: np.random.default_rng(0).normal(size=(100, 16))})
    smallest = 1 / 1_601
    assert table.p_values(np.array([1e9]), 16)[0] == smallest
    assert table.step_threshold(0.99 * smallest, 16) == math.inf
    assert math.isfinite(table.step_threshold(smallest, 16))
    assert table.step_threshold(smallest, 16, n_channels=2) == math.inf
    assert table.step_threshold(1.0, 16) == -math.inf


def test_a_table_knows_its_window_and_older_files_do_not(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 16))
    known = Calibration((Table.of({16: rows}, window=512),), "noise", 7)
    known.save(tmp_path)
    assert Calibration.load(tmp_path) == known
    assert known.tables[0].window == 512
    assert Table.of({16: rows}).window == 0
    values = json.loads((tmp_path / FILE).read_text())
    del values["tables"][0]["window"]
    (tmp_path / FILE).write_text(json.dumps(values))
    loaded = Calibration.load(tmp_path)
    assert loaded is not None
    assert loaded.tables[0].window == 0
