"""Best mode: every view lines up with the series, and back-tests never see what they predict."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.batching import _TOKENS_WORTH_A_PASS as WORTH_A_PASS
from tsfm.models.resampling import TRIAL, Trial, resampled_quantiles, view_weights
from tsfm.models.views import Menu, Menus, views_of

WINDOWS = TRIAL.windows


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
    both = view_weights([[[1.0, 1.0], [0.5, 3.0]], [[np.nan, np.nan], [0.1, 0.2]]])
    np.testing.assert_array_equal(both, [view_weights([[1.0, 1.0], [0.5, 3.0]]), [1, 0]])
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


def test_back_tests_and_light_views_leave_the_mirror_image_out(recording, monkeypatch):
    x = np.sin(np.arange(300.0) / 4)
    views = len(views_of(300, 24, recording.max_context))

    def read():
        recording.calls.clear()
        resampled_quantiles(recording, [x], 24, "auto", False, [0])
        return [sum(n for n, one in recording.calls if one is kind) for kind in (False, True)]

    monkeypatch.setattr("tsfm.models.resampling._WORTH_A_MIRROR", 0)
    plain, mirrored = read()
    calls = [one for _, one in recording.calls]
    assert calls == sorted(calls), "back-tests come first"
    assert plain == WINDOWS * views
    assert 1 <= mirrored <= views
    monkeypatch.setattr("tsfm.models.resampling._WORTH_A_MIRROR", 1.1)
    assert read() == [plain + mirrored, 0]


def test_the_heaviest_view_is_kept_whatever_its_weight(recording, monkeypatch):
    x = np.sin(np.arange(300.0) / 4)
    monkeypatch.setattr("tsfm.models.resampling._SMALLEST_WEIGHT", 1)
    answer = resampled_quantiles(recording, [x, np.ones(300)], 24, "auto", False, [0, 0])
    assert np.isfinite(answer).all()


def test_a_series_with_one_view_is_not_tested(recording):
    short = np.sin(np.arange(20.0))
    resampled_quantiles(recording, [short], 8, "auto", False, [0], Trial(Menus(short=Menu())))
    assert recording.calls == [(1, True)]


def test_few_jobs_share_calls(recording):
    x = np.sin(np.arange(500.0) / 4)
    resampled_quantiles(recording, [x], 96, "auto", False, [0])
    assert len(recording.calls) == 2  # back-tests, and forecasts
    recording.calls.clear()
    resampled_quantiles(recording, [x] * 40, 96, "auto", False, [0] * 40)
    assert len(recording.calls) > 2  # many short forecasts are not made longer


def test_answers_do_not_depend_on_who_shares_a_call(tiny, monkeypatch):
    rng = np.random.default_rng(3)
    series = [rng.standard_normal(n).cumsum() for n in (40, 90, 200, 470, 900)]

    def forecast():
        return resampled_quantiles(tiny, series, 40, "auto", False, [0] * 5)

    together = forecast()
    monkeypatch.setattr("tsfm.models.resampling._AT_ONCE", 1)
    np.testing.assert_allclose(forecast(), together, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr("tsfm.models.batching._TOKENS_WORTH_A_PASS", 0)
    np.testing.assert_allclose(forecast(), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [90, 700, 3000])
def test_series_of_one_length_are_tried_as_each_alone(tiny, length):
    rng = np.random.default_rng(5)
    series = rng.standard_normal((6, length)).cumsum(1)
    series[3:5][rng.random((2, length)) < 0.3] = np.nan
    series[5, -80:-1] = np.nan  # more than some views show
    seasons = [0, 0, 7, 0, 12, 0]
    together = resampled_quantiles(tiny, list(series), 24, "auto", False, seasons)
    for x, season, found in zip(series, seasons, together, strict=True):
        alone = resampled_quantiles(tiny, [x], 24, "auto", False, [season])
        np.testing.assert_allclose(found, alone[0], atol=1e-5, rtol=1e-5)


def test_only_the_end_of_a_very_long_history_counts(recording):
    x = np.sin(np.arange(60_000.0) / 4)
    whole = resampled_quantiles(recording, [x], 24, "auto", False, [0])
    shown = [past for past, _ in recording.shown]
    recording.shown.clear()
    part = resampled_quantiles(recording, [x[-5000:]], 24, "auto", False, [0])
    np.testing.assert_array_equal(whole, part)
    for one, (other, _) in zip(shown, recording.shown, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("n", "length", "horizon"),
    [
        (40, 512, 48),
        (10, 2048, 96),
        (1, 2048, 96),
        (300, 48, 12),
        (300, 64, 16),
        (300, 96, 24),
        (300, 128, 24),
    ],
)
def test_best_costs_at_most_twelve_times_fast(tiny, n, length, horizon):
    rng = np.random.default_rng(4)
    series = [rng.standard_normal(length).cumsum() for _ in range(n)]
    patch, work = tiny.config.tokenizer.patch_length, {}

    def count(_, given, options):  # tokens, and what a pass costs whatever it reads
        z, _, points = given[:3]
        tokens = len(z) * (-(-z.shape[1] // patch) + -(-points // patch) - 1)
        work[mode] += tokens * (1 + bool(options.get("symmetric"))) + WORTH_A_PASS

    hook = tiny.network.register_forward_pre_hook(count, with_kwargs=True)
    for mode in ("fast", "best"):
        work[mode] = 0
        tiny.forecast(series, horizon, mode=mode)
    hook.remove()
    assert 1 < work["best"] / work["fast"] <= 12
