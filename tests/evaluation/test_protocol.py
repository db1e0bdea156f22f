"""Windows are cut where GIFT-Eval cuts them, and a bad answer is caught."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.evaluation.protocol import Series, Task, score


def _task(windows: int = 2, steps: int = 3, freq: str = "H") -> Task:
    panel = [
        Series.of("a", "2020-01-01", np.arange(10.0)),
        Series.of("b", "2020-01-01", np.arange(100.0, 112.0)),
    ]
    return Task.cut("t/H/short", panel, freq=freq, prediction_length=steps, windows=windows)


def test_windows_do_not_overlap_and_end_with_the_series() -> None:
    windows = _task().split()
    np.testing.assert_array_equal(
        windows.labels, [[4, 5, 6], [7, 8, 9], [106, 107, 108], [109, 110, 111]]
    )
    assert [len(context) for context in windows.contexts] == [4, 7, 6, 9]
    assert windows.owners == ("a", "a", "b", "b")
    np.testing.assert_allclose(windows.scale, 1.0)


def test_windows_are_those_of_gluonts() -> None:
    split = pytest.importorskip("gluonts.dataset.split").split
    from tsfm.adapters.gluonts import dataset_entries

    task = _task(windows=3, steps=2)
    dataset = dataset_entries([s.values for s in task.panel], "H")
    _, template = split(dataset, offset=-6)
    test_data = template.generate_instances(2, windows=3, distance=2)
    windows = task.split()
    for k, (given, label) in enumerate(test_data):
        np.testing.assert_array_equal(windows.contexts[k], given["target"])
        np.testing.assert_array_equal(windows.labels[k], label["target"])


def test_contexts_share_the_memory_of_their_series() -> None:
    task = _task()
    assert all(
        np.shares_memory(context, task.panel[k // 2].values)
        for k, context in enumerate(task.split().contexts)
    )


def test_max_windows_keeps_an_even_spread() -> None:
    windows = _task().split(max_windows=2)
    assert windows.owners == ("a", "b")
    np.testing.assert_array_equal(windows.labels, [[4, 5, 6], [109, 110, 111]])
    assert len(_task().split(max_windows=99).contexts) == 4


def test_too_short_a_series_is_named() -> None:
    with pytest.raises(ValueError, match=r"series 'a' has 10 values, but 4 windows of 3 steps"):
        _task(windows=4)


def test_series_of_turns_infinities_into_nan_and_copies() -> None:
    values = np.array([1.0, np.inf, -np.inf])
    series = Series.of("a", "2020-01-01", values)
    np.testing.assert_array_equal(series.values, [1.0, np.nan, np.nan])
    assert np.isinf(values[1])


def test_all_windows_go_to_the_model_at_once_with_the_calendar_season(fake_model) -> None:
    task = _task(freq="D")
    result = score(fake_model, task, task.split(), mode="best", batch_size=7)
    assert fake_model.calls == [{"n": 4, "mode": "best", "seasons": [7] * 4, "batch_size": 7}]
    # The series rise by one a step: errors 1, 2, 3 on a scale of 1.
    assert result.mase == pytest.approx(2.0)
    assert result.coverage == 0.0
    score(fake_model, task, task.split(), season_hints=False)
    assert fake_model.calls[-1]["seasons"] == [None] * 4


def test_forecast_that_is_not_finite_names_config_and_series(broken_model) -> None:
    with pytest.raises(ValueError, match=r"t/H/short: the forecast of 4 of 4 windows .*'a'"):
        score(broken_model, _task(), _task().split())


def test_forecast_of_the_wrong_shape_is_refused() -> None:
    class Short:
        def forecast(self, series, prediction_length, quantile_levels, **_):
            return type("Answer", (), {"quantiles": np.zeros((len(series), 1, 9))})()

    with pytest.raises(ValueError, match=r"shape \(4, 1, 9\), expected \(4, 3, 9\)"):
        score(Short(), _task(), _task().split())  # type: ignore[arg-type]
