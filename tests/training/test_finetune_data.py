from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.training.finetune_data import WindowSet, evenly


def cut(series, *, together=False, L=10, H=4, **changes):
    options = {"standardise": False, "validation_share": 0.2, **changes}
    return WindowSet.of(series, L, H, together=together, **options)


def test_windows_are_split_by_time():
    windows = cut([np.arange(100.0)])
    first, last = windows.train[:, 1].min(), windows.train[:, 1].max()
    assert (first, last) == (10, 76)  # forecasts end at 80, where the held-out part begins
    assert (windows.validation[:, 1].min(), windows.validation[:, 1].max()) == (80, 96)
    context, target = windows.batch(windows.validation[:1])
    shift = windows.systems[0][0, 10]  # the training mean is removed
    np.testing.assert_allclose(context[0, 0] - shift, np.arange(70.0, 80.0))
    np.testing.assert_allclose(target[0, 0] - shift, np.arange(80.0, 84.0))


def test_the_held_out_length_can_be_given_and_is_never_below_the_horizon():
    assert cut([np.arange(100.0)], validation_length=30).validation[0, 1] == 70
    assert cut([np.arange(40.0)], validation_share=0.01).validation.tolist() == [[0, 36]]


def test_training_statistics_come_from_the_training_part_alone():
    x = np.concatenate([np.tile([1.0, 3.0], 40), np.full(20, 1000.0)])
    system = cut([x], standardise=True).systems[0][0, 10:]
    assert system[:80].mean() == pytest.approx(0, abs=1e-6)
    assert system[:80].std(correction=0) == pytest.approx(1, rel=1e-5)
    assert system[80] == pytest.approx(998, rel=1e-5)


@pytest.mark.parametrize("unit", [1e-200, 1e300])
def test_extreme_units_are_scaled_too(unit):
    plain = cut([np.sin(np.arange(100.0))], standardise=True).systems[0]
    other = cut([unit * np.sin(np.arange(100.0))], standardise=True).systems[0]
    np.testing.assert_allclose(plain, other, rtol=1e-5)


def test_variates_end_together_and_series_stay_apart():
    series = [np.arange(60.0), np.arange(40.0)]
    system = cut(series, together=True)
    assert [s.shape for s in system.systems] == [(2, 70)]
    assert torch.isnan(system.systems[0][1, :30]).all()
    apart = cut(series)
    assert [s.shape for s in apart.systems] == [(1, 70), (1, 50)]
    assert set(apart.train[:, 0]) == {0, 1}
    context, target = apart.batch(apart.train[[0, -1]])
    assert context.shape == (2, 1, 10)
    assert target.shape == (2, 1, 4)


def test_short_series_are_padded_and_empty_stretches_left_out():
    windows = cut([np.arange(20.0)])
    context, _ = windows.batch(windows.train[:1])
    assert context.isnan().any()
    gap = np.arange(200.0)
    gap[50:90] = np.nan
    origins = cut([gap]).train[:, 1]
    # from 50 on there is nothing to forecast, up to 90 nothing to forecast from
    assert not set(range(50, 91)) & set(origins.tolist())
    assert {49, 91} <= set(origins.tolist())


def test_too_short_is_an_error_that_says_how_much_is_needed():
    with pytest.raises(ValueError, match="longest series has 8 steps, prediction_length=4 needs"):
        cut([np.arange(8.0)])
    assert len(cut([np.arange(9.0)]).train) == 1
    with pytest.raises(ValueError, match="No window to validate on"):
        cut([np.concatenate([np.arange(50.0), np.full(30, np.nan)])])


def test_scaling_mean_needs_one_unit():
    wave = np.sin(np.arange(100.0))
    with pytest.warns(UserWarning, match=r"series big has .*, series small of") as caught:
        cut([wave, 3 * wave, 12 * wave], names=["small", "middle", "big"])
    assert len(caught) == 1
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut([wave, 9 * wave])
        cut([wave, 100 * wave], standardise=True)


def test_evenly():
    index = np.arange(10)
    assert evenly(index, 10) is index
    assert evenly(index, 4).tolist() == [0, 3, 6, 9]
