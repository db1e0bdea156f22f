"""The leakage guard finds copies in any unit, and little else."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.datasets.stored.guard import LeakageGuard, window_hashes

RNG = np.random.default_rng(0)
TEST = 10 + RNG.normal(size=300).cumsum()
COUNTS = RNG.poisson(30, 300).astype(float)


@pytest.fixture(scope="module")
def guard() -> LeakageGuard:
    return LeakageGuard([("walk", TEST), ("counts", COUNTS)])


@pytest.mark.parametrize("length", [48, 100, 300])
@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: 2.54 * x - 1000, lambda x: -x / 7, lambda x: x * 1e9 + 3e11]
)
def test_a_scaled_and_shifted_copy_inside_a_longer_series_is_found(guard, length, change):
    for name, source in (("walk", TEST), ("counts", COUNTS)):
        for start in {0, min(13, 300 - length), 300 - length}:
            host = np.random.default_rng(start + 99).normal(size=1000).cumsum()
            begin = start * 2 + 1
            host[begin : begin + length] = change(source[start : start + length])
            found = guard.check(host)
            assert found is not None
            assert found.evaluation == name


def test_copies_in_single_precision_are_found(guard):
    for source in (TEST, COUNTS):
        assert guard.check((source * 1.8 + 32).astype(np.float32).astype(float)) is not None
        assert guard.check(np.round(source * 1.8 + 32, 6)) is not None


def test_exact_copies_of_one_and_a_half_windows_are_always_found(guard):
    for start in range(0, 250, 7):
        host = np.random.default_rng(start).normal(size=400)
        host[100:148] = 5 - 0.3 * TEST[start : start + 48]
        assert guard.check(host) is not None


def test_other_series_pass(guard):
    t = np.arange(2000)
    rng = np.random.default_rng(5)
    others = [
        rng.normal(size=20_000),
        rng.normal(size=20_000).cumsum(),
        rng.poisson(30, 20_000).astype(float),
        rng.poisson(0.3, 5000).astype(float),
        np.sin(t / 24 * 2 * np.pi),
        np.zeros(500),
        np.full(500, np.nan),
        t * 3.0,
        np.repeat([0.0, 1.0], 500),
        TEST[:20],
        np.empty(0),
    ]
    assert [guard.check(x) for x in others] == [None] * len(others)


def test_a_resampled_or_noisy_copy_is_not_found(guard):
    """The documented limits."""
    assert guard.check(TEST.reshape(-1, 2).mean(1)) is None
    assert guard.check(TEST + RNG.normal(size=300) * 0.05) is None


def test_missing_values_end_windows_and_do_not_match(guard):
    copy = TEST.copy()
    copy[::20] = np.nan  # no complete window is left
    assert guard.check(copy) is None
    copy = TEST.copy()
    copy[150] = np.nan
    assert guard.check(copy) is not None


def test_windows_do_not_depend_on_where_a_block_begins(guard, monkeypatch):
    whole, usable = window_hashes(TEST, 32)
    part, _ = window_hashes(TEST[57:], 32)
    assert np.array_equal(whole[57:], part)
    assert usable.mean() > 0.9
    before = guard.check(TEST)
    monkeypatch.setattr("tsfm.datasets.stored.guard._BLOCK", 64)
    assert guard.check(TEST) == before
    again = LeakageGuard([("walk", TEST), ("counts", COUNTS)])
    assert again.settings["n_windows"] >= guard.settings["n_windows"]


def test_constant_and_short_series_cannot_be_protected():
    guard = LeakageGuard([("a", TEST), ("a", np.zeros(100)), ("b", TEST[:9])])
    assert guard.settings["n_series"] == 3
    assert guard.settings["n_unprotected"] == 2
    assert guard.settings["evaluation"] == ["a", "b"]
    with pytest.raises(ValueError, match="nothing can be excluded"):
        LeakageGuard([("a", np.zeros(100))])
    with pytest.raises(ValueError, match="too short"):
        LeakageGuard([("a", TEST)], window=5)
