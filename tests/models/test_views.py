"""Views of a context line up with the series, forwards and back."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.views import (
    MENUS,
    PLAIN,
    Menu,
    Menus,
    View,
    interpolate,
    pool_mean,
    reach,
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


def test_seasons_in_points_of_a_view():
    assert PLAIN.season(24) == 24
    assert View(pool=6).season(24) == 4
    assert View(pool=7).season(24) == 0
    assert View(upsample=4).season(12) == 48


def test_forecasts_of_many_series_come_back_together():
    rng = np.random.default_rng(0)
    for view in (PLAIN, View(pool=4), View(upsample=2)):
        points = rng.standard_normal((3, view.horizon(10), 9))
        each = np.stack([view.back(one, 10) for one in points])
        np.testing.assert_array_equal(view.back(points, 10), each)


@pytest.mark.parametrize(
    "view", [PLAIN, View(pool=2), View(pool=8), View(upsample=2), View(context=0.5)]
)
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_series_of_one_length_are_shown_as_one_array(view, missing):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 101))
    x[2:][rng.random((3, 101)) < missing] = np.nan
    each = np.stack([view.show(one, 64) for one in x])
    np.testing.assert_array_equal(view.show(x, 64), each)


def test_a_menu_says_what_is_tried():
    assert views_of(100, 24, 1024, Menus(short=Menu())) == [PLAIN]
    menus = Menus(Menu((2,), (4,)), Menu((2,), (2, 4), (0.5,)), longest_short=200)
    assert len(views_of(200, 24, 1024, menus)) == 5
    assert views_of(201, 24, 1024, menus) == [PLAIN, View(pool=2), View(upsample=4)]
    assert menus.size == menus.short.size == 5


def test_short_contexts_are_interpolated_and_long_ones_pooled():
    short, long = (views_of(n, 24, 1024) for n in (MENUS.longest_short, MENUS.longest_short + 1))
    assert View(upsample=2) in short
    assert View(upsample=2) not in long
    assert View(pool=2) in long
    assert all(view.pool == 1 for view in short)
    assert len(views_of(1024, 24, 1024)) == MENUS.size == MENUS.long.size


@pytest.mark.parametrize("length", [700, 1400, 5000])
def test_pooled_views_reach_back_no_further_than_they_say(length):
    x = np.arange(float(length))
    furthest = reach(length, 48, 512)
    for view in views_of(length, 48, 512):
        changed = x.copy()
        changed[: length - furthest] += 1e6
        np.testing.assert_array_equal(view.show(changed, 512), view.show(x, 512))
