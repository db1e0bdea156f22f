"""Best mode: every view lines up with the series, and back-tests never see what they predict."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.resampling import _WINDOWS as WINDOWS
from tsfm.models.resampling import (
    PLAIN,
    View,
    interpolate,
    pool_mean,
    resampled_quantiles,
    view_weights,
    views_of,
)


def test_pooling_takes_blocks_that_end_at_the_last_step():
    assert pool_mean(np.arange(7.0), 3).tolist() == [2.0, 5.0]
    gaps = np.array([np.nan, np.nan, 1.0, np.nan, 3.0, 5.0])
    np.testing.assert_array_equal(pool_mean(gaps, 2), [np.nan, 1.0, 4.0])


def test_interpolation_keeps_the_steps_and_the_gaps():
    x = np.array([0.0, 4.0, np.nan, 8.0])
    fine = interpolate(x, 4)
    assert len(fine) == 16
    np.testing.assert_array_equal(fine[3::4], x)
    assert fine[4:7].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(fine[8:15]).all()
    np.testing.assert_array_equal(interpolate(np.array([2.0]), 2), [2.0, 2.0])


@pytest.mark.parametrize("steps", [1, 5, 12, 24])
@pytest.mark.parametrize(
    "view", [PLAIN, View(pool=3), View(pool=12), View(upsample=4), View(context=0.5)]
)
def test_views_of_a_line_continue_the_line(view, steps):
    n, longest = 480, 4096
    shown = view.show(np.arange(float(n)), longest)
    slope = shown[-1] - shown[-2]
    ahead = shown[-1] + slope * np.arange(1, view.horizon(steps) + 1)
    back = view.back(ahead[:, None] + np.array([-1.0, 0.0, 1.0]), steps)
    assert back.shape == (steps, 3)
    # a block's mean stands for its centre; before the first and after the last it is held
    inner = slice(view.pool // 2, steps - view.pool // 2 or None)
    np.testing.assert_allclose(back[inner, 1], (n + np.arange(steps))[inner])
    assert (np.diff(back, axis=1) > 0).all()


@pytest.mark.parametrize("length", [1, 31, 32, 64, 257, 5000])
@pytest.mark.parametrize("horizon", [1, 48])
def test_views_fit_what_the_network_can_see(length, horizon):
    views = views_of(length, horizon, 1024)
    assert views[0] == PLAIN
    assert len(set(views)) == len(views)
    for view in views:
        shown = view.show(np.ones(length), 1024)
        assert 1 <= len(shown) <= 1024
        assert view.horizon(horizon) * view.pool >= horizon


def test_weights():
    assert view_weights([[1.0, 1.0], [1.0, 1.0]])[0] > 0.5  # the plain view is favoured
    better = view_weights([[1.0], [0.5], [3.0]])
    assert better[1] > 0.9 > 0.1 > better[0] > better[2] >= 0
    assert better.sum() == pytest.approx(1)
    assert view_weights([[np.nan], [0.1]]).tolist() == [1, 0]
    assert view_weights([[1.0], [np.nan]]).tolist() == [1, 0]
    # a window nobody observed says nothing about any view
    gap = view_weights([[np.nan, 1.0], [np.nan, 0.5]])
    np.testing.assert_allclose(gap, view_weights([[1.0], [0.5]]))
    assert view_weights([[0.0], [0.0]]).sum() == pytest.approx(1)
    for unit in (1e-200, 1e200):
        scaled = view_weights([[1.0 * unit], [0.5 * unit]])
        np.testing.assert_allclose(scaled, view_weights([[1.0], [0.5]]))


def test_backtests_are_shown_the_past_only(recording):
    x = np.arange(300.0)  # a value names its step
    answer = resampled_quantiles(recording, [x], 24, "auto", False, [0])
    assert answer.shape == (1, 24, 9)
    newest = {int(np.floor(shown[-1])) for shown, _ in recording.shown}
    ends = {300 - 24 * window for window in range(WINDOWS + 1)}
    # whole blocks end at the cut, so that a pooled last value lies up to half a block before it
    for last in newest:
        assert any(end - 7 <= last <= end - 1 for end in ends), last
    for shown, _ in recording.shown:
        end = min(e for e in ends if e > shown[-1])
        assert shown.max() < end


@pytest.mark.parametrize("cut", [24, 48, 72])
def test_weights_depend_on_the_future_only_through_the_loss(recording, cut):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(300).cumsum()
    resampled_quantiles(recording, [x], 24, "auto", False, [0])
    views = len(views_of(300, 24, recording.max_context))
    before = [shown for shown, _ in recording.shown[: WINDOWS * views]]  # back-tests come first
    recording.shown.clear()
    changed = x.copy()
    changed[-cut:] += 100
    resampled_quantiles(recording, [changed], 24, "auto", False, [0])
    after = [shown for shown, _ in recording.shown[: WINDOWS * views]]
    same = sum(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))
    untouched = WINDOWS + 1 - cut // 24  # back-tests that end before the change
    assert same == views * untouched


def test_a_view_of_nothing_but_a_gap_has_no_say(recording):
    x = np.full(400, np.nan)
    x[:250] = np.sin(np.arange(250.0))
    answer = resampled_quantiles(recording, [x, np.ones(3)], 12, "auto", False, [0, 0])
    assert np.isfinite(answer).all()


def test_seasons_in_points_of_a_view():
    assert PLAIN.season(24) == 24
    assert View(pool=6).season(24) == 4
    assert View(pool=7).season(24) == 0
    assert View(upsample=4).season(12) == 48
