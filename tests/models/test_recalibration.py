"""Where back-tests lie, what they correct, and that nothing about the series gets in the way."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.models.recalibration import LEVELS, WINDOWS, Recalibration, Windows, measure

Z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
LOW, MEDIAN, HIGH = (LEVELS.index(level) for level in (0.1, 0.5, 0.9))


class Normal:
    """Forecasts N(shift, wide^2) times a factor that is read off each history's last value."""

    def __init__(self, shift: float = 0.0, wide: float = 1.0, steps: int = 8) -> None:
        self.shift, self.wide, self.steps = shift, wide, steps
        self.calls: list[list[int]] = []

    def __call__(self, past: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        self.calls.append([len(x) for x in past])
        return np.tile(self.shift + self.wide * Z, (len(past), self.steps, 1))


@given(length=st.integers(0, 3_000), horizon=st.integers(1, 200), longest=st.integers(1, 3_000))
def test_windows_lie_within_the_series_and_leave_history(length, horizon, longest):
    plan = Windows.of(length, horizon, longest)
    assert len(plan.cuts) <= WINDOWS
    if not plan.cuts:
        assert length < max(horizon, 8) + max(16, min(length, longest) // 3)
        return
    assert plan.cuts[-1] == plan.steps == max(horizon, 8)
    assert length - plan.cuts[0] >= max(16, min(length, longest) // 3)
    assert all(a - b == plan.stride for a, b in zip(plan.cuts, plan.cuts[1:], strict=False))
    assert -(-plan.steps // 4) <= plan.stride <= plan.steps


@pytest.mark.parametrize(("shift", "wide"), [(0.0, 0.5), (0.0, 2.0), (1.0, 1.0), (-2.0, 0.25)])
def test_a_known_error_is_corrected(shift, wide):
    """Coverage of 80 % and 95 % intervals over 400 series, standard error below .3 points."""
    rng = np.random.default_rng(0)
    series = list(rng.normal(size=(400, 300)))
    model = Normal(shift, wide)
    found = measure(model, series, 8, 300)
    raw = model(series, np.arange(400))
    assert (found.windows == 16).all()
    moved = found.apply(raw, np.arange(400))
    truth = rng.normal(size=(400, 8))
    for low, high, wanted in ((LOW, HIGH, 80), (2, -3, 95)):
        inside = (truth >= moved[..., low]) & (truth <= moved[..., high])
        assert 100 * inside.mean() == pytest.approx(wanted, abs=1.5)
    assert abs(moved[..., MEDIAN].mean()) < 0.05
    assert (np.diff(moved, axis=-1) >= 0).all()


def test_all_windows_in_one_call_and_none_sees_its_future():
    model = Normal()
    series = [np.arange(500.0), np.arange(90.0)]
    measure(model, series, 8, 2_000)
    assert len(model.calls) == 1
    first = [500 - cut for cut in Windows.of(500, 8, 2_000).cuts]
    assert model.calls[0][: len(first)] == first
    assert max(model.calls[0]) == 492


def test_a_model_that_mixes_series_sees_them_all_at_one_time():
    model = Normal()
    found = measure(model, list(np.random.default_rng(0).normal(size=(3, 200))), 8, 200,
                    together=True)  # fmt: skip
    assert len(model.calls) == 16
    assert all(len(call) == 3 and len(set(call)) == 1 for call in model.calls)
    assert (found.windows == 16).all()


def test_a_forecast_keeps_its_shape():
    """Corrections are in units of the forecast's own spread."""
    found = measure(Normal(wide=0.5), [np.random.default_rng(0).normal(size=400)], 8, 400)
    calm, wild = np.tile(0.5 * Z, (1, 8, 1)), np.tile(5 * Z, (1, 8, 1))
    rows = np.array([0])
    np.testing.assert_allclose(10 * found.apply(calm, rows), found.apply(wild, rows))


def test_unit_and_level_of_a_series_do_not_matter():
    x = np.random.default_rng(0).normal(size=300)
    one = measure(Normal(), [x], 8, 300)
    other = measure(Normal(7.0, 1e6), [7 + 1e6 * x], 8, 300)
    np.testing.assert_allclose(one.shifts, other.shifts, atol=1e-8)


def test_long_series_do_not_depend_on_others():
    x = list(np.random.default_rng(0).normal(size=(5, 300)))
    raw = np.tile(Z, (1, 8, 1))
    rows = np.array([0])
    alone, together = measure(Normal(), x[:1], 8, 300), measure(Normal(), x, 8, 300)
    np.testing.assert_allclose(alone.apply(raw, rows), together.apply(raw, rows))


def test_short_series_share_errors_and_single_ones_are_corrected_in_part():
    rng = np.random.default_rng(0)
    short = rng.normal(size=44)  # room for a few windows of eight steps
    raw = np.tile(0.5 * Z, (1, 8, 1))
    rows = np.array([0])
    alone = measure(Normal(wide=0.5), [short], 8, 300)
    assert 0 < alone.own_share[0] < 0.5
    assert alone.pooled_share == 0
    others = list(rng.normal(size=(30, 300)))
    pooled = measure(Normal(wide=0.5), [short, *others], 8, 300)
    assert pooled.pooled_share == 1
    width = {name: np.ptp(one.apply(raw, rows)[0, :, [LOW, HIGH]], axis=0).mean()
             for name, one in (("alone", alone), ("pooled", pooled))}  # fmt: skip
    assert np.ptp(raw[0, 0, [LOW, HIGH]]) < width["alone"] < width["pooled"]
    nothing = measure(Normal(wide=0.5), [short[:20], *others], 8, 300)
    assert nothing.windows[0] == 0
    assert np.ptp(nothing.apply(raw, rows)[0, 0, [LOW, HIGH]]) == pytest.approx(2.56, abs=0.2)


def test_no_history_changes_nothing():
    raw = np.tile(Z, (2, 8, 1))
    for series in ([np.ones(3), np.zeros(0)], [np.full(100, np.nan)] * 2):
        found = measure(Normal(), series, 8, 100)
        np.testing.assert_array_equal(found.apply(raw, np.arange(2)), raw)
    np.testing.assert_array_equal(Recalibration.empty(2, 8).apply(raw, np.arange(2)), raw)


def test_missing_values_are_left_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    gaps = np.where(rng.random(400) < 0.3, np.nan, x)
    gaps[300:330] = np.nan
    full, some = (measure(Normal(wide=0.5), [one], 8, 400) for one in (x, gaps))
    assert np.isfinite(some.shifts).all()
    assert some.windows[0] < full.windows[0]
    inner = slice(LOW, HIGH + 1)
    assert np.abs(some.shifts - full.shifts)[..., inner].mean() < 0.15


def test_steps_that_several_windows_share_count_once():
    """16 windows of 8 steps, 3 apart, see 53 steps; one of them is lost."""
    x = np.random.default_rng(0).normal(size=84)
    plan = Windows.of(84, 8, 84)
    assert (len(plan.cuts), plan.stride, plan.steps) == (16, 3, 8)
    assert measure(Normal(), [x], 8, 84).windows[0] == pytest.approx(53 / 8)
    x[60] = np.nan
    assert measure(Normal(), [x], 8, 84).windows[0] == pytest.approx(52 / 8)


class Flat:
    """Forecasts the last value with no spread at all."""

    def __call__(self, past: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        return np.stack([np.full((8, len(LEVELS)), x[-1]) for x in past])


def test_forecasts_without_any_spread():
    constant = measure(Flat(), [np.full(300, 5.0)], 8, 300)
    raw = np.full((1, 8, len(LEVELS)), 5.0)
    np.testing.assert_array_equal(constant.apply(raw, np.array([0])), raw)
    walk = np.random.default_rng(0).normal(size=300).cumsum()
    moved = measure(Flat(), [walk], 8, 300).apply(raw, np.array([0]))
    assert np.isfinite(moved).all()
    assert (np.ptp(moved[0], axis=-1) > 1).all()


def test_values_that_tie_are_held_at_least_as_often_as_promised():
    rng = np.random.default_rng(0)
    series = list(rng.poisson(1.0, size=(300, 300)).astype(float))
    model = Normal(1.0)
    moved = measure(model, series, 8, 300).apply(model(series, np.arange(300)), np.arange(300))
    truth = rng.poisson(1.0, size=(300, 8))
    inside = (truth >= moved[..., LOW]) & (truth <= moved[..., HIGH])
    assert inside.mean() > 0.79


def test_a_value_within_several_windows_is_no_tie():
    """Chance moves the median of continuous values by nothing; discrete ones are not shrunk."""
    noise = np.random.default_rng(2).normal(size=(100, 120))
    still = []
    for values in (noise, np.round(noise) + 0.1):
        found = measure(Normal(steps=24), list(values), 24, 120)
        still.append((found.shifts[..., MEDIAN] == 0).mean())
    assert still[0] > 0.4
    assert still[1] < 0.1


def test_findings_of_some_series_replace_earlier_ones():
    series = list(np.random.default_rng(0).normal(size=(3, 300)))
    old, new = measure(Normal(), series, 8, 300), measure(Normal(wide=3.0), series[1:2], 8, 300)
    mixed = old.put(np.array([1]), new)
    np.testing.assert_array_equal(mixed.shifts[[0, 2]], old.shifts[[0, 2]])
    np.testing.assert_array_equal(mixed.shifts[1], new.shifts[0])
    assert mixed.pooled_windows == old.pooled_windows == 48
