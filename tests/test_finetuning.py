from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import tsfm
from tsfm import Forecaster
from tsfm.frames.variates import UnalignedWarning, VariateWarning
from tsfm.models.presets import PresetModel

PRESETS = ["smamba", "spacetime"]


def table(n: int = 2, rows: int = 120, shorter: int = 0) -> pd.DataFrame:
    parts = []
    for i in range(n):
        length = rows - (shorter if i else 0)
        hours = pd.date_range("2024-01-01", periods=length, freq="h", tz="Europe/Berlin")
        values = 20 + 5 * np.sin(2 * np.pi * np.arange(length) / 24 + i)
        parts.append(pd.DataFrame({"meter": f"m{i}", "time": hours, "load": values}))
    return pd.concat(parts, ignore_index=True)


def untrained(preset: str, **changes) -> Forecaster:
    options = {"prediction_length": 6, "context_length": 24, "id_col": "meter"}
    return Forecaster(preset, quantile_levels=(0.1, 0.5, 0.9), **{**options, **changes})


@pytest.mark.parametrize("preset", PRESETS)
def test_finetune_returns_a_fitted_forecaster_and_leaves_this_one(preset):
    frame = table()
    copy = frame.copy()
    forecaster = untrained(preset)
    trained = forecaster.finetune(frame, epochs=2)
    pd.testing.assert_frame_equal(frame, copy)
    assert forecaster.model == preset
    assert not hasattr(forecaster, "panel_")
    assert isinstance(trained.model, PresetModel)
    assert trained.model.config.context_length == 24
    assert list(trained.training_["epoch"]) == [0, 1]
    assert trained.training_["kept"].sum() == 1
    answer = trained.predict()
    columns = ["meter", "time", "target_name", "predictions", "0.1", "0.5", "0.9"]
    assert list(answer.columns) == columns
    assert len(answer) == 12
    assert (answer["0.1"] <= answer["0.9"]).all()
    assert trained.context_used_.tolist() == [24, 24]
    assert len(trained.predict(frame, prediction_length=30)) == 60


@pytest.mark.parametrize("preset", PRESETS)
def test_saved_and_loaded(preset, tmp_path):
    trained = untrained(preset).finetune(table(), epochs=1)
    expected = trained.predict()
    trained.save(tmp_path)
    loaded = Forecaster.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.predict(), expected)
    loaded.save(tmp_path / "again")
    pd.testing.assert_frame_equal(Forecaster.load(tmp_path / "again").predict(), expected)
    twin = clone(trained).fit(table())
    pd.testing.assert_frame_equal(twin.predict(), expected)


def test_the_seed_is_random_state():
    one, two, other = (
        untrained("smamba", random_state=seed).finetune(table(), epochs=1).predict()
        for seed in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one["predictions"].equals(other["predictions"])


def test_the_seed_of_a_file_counts_unless_another_is_given(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: smamba\ntraining: {epochs: 1, seed: 3}\n")
    of_file, same, other = (
        untrained("smamba", random_state=seed).finetune(table(), config=path).predict()
        for seed in (None, 3, 4)
    )
    pd.testing.assert_frame_equal(of_file, same)
    assert not of_file["predictions"].equals(other["predictions"])


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan")])
def test_a_time_limit_must_leave_time(minutes):
    with pytest.raises(ValueError, match=r"max_minutes=.* must be above 0"):
        untrained("smamba").finetune(table(), max_minutes=minutes)
    with pytest.raises(TypeError, match="number of minutes"):
        untrained("smamba").finetune(table(), max_minutes="5")


def test_a_series_that_is_constant_in_training_is_named_and_left_out():
    frame = table(3)
    rows = np.flatnonzero(frame["meter"] == "m1")
    frame.loc[rows[:100], "load"] = 0.1
    with pytest.warns(UserWarning, match="Series m1 are constant"):
        trained = untrained("smamba").finetune(frame, epochs=1)
    assert trained.training_["validation_error"].max() < 10
    assert trained.predict()["predictions"].notna().all()
    frame["load"] = 0.1
    with pytest.raises(ValueError, match=r"all series \(m0, m1, m2\) are constant"):
        untrained("smamba").finetune(frame, epochs=1)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_untrained_preset_says_to_call_finetune(preset):
    for call in (
        lambda: untrained(preset).fit(table()),
        lambda: untrained(preset).predict(table()),
        lambda: untrained(preset).score(table()),
        lambda: tsfm.forecast(table(), prediction_length=3, model=preset, id_col="meter"),
    ):
        with pytest.raises(ValueError, match=r"trained on your own series first.*finetune"):
            call()


def test_what_cannot_be_trained():
    with pytest.raises(ValueError, match="presets 'smamba' and 'spacetime'"):
        untrained("tsfm-mini").finetune(table())
    with pytest.raises(ValueError, match="prediction_length is not set"):
        untrained("smamba", prediction_length=None).finetune(table())
    with pytest.raises(ValueError, match="mode='slow'"):
        untrained("smamba", mode="slow").finetune(table())
    with pytest.raises(ValueError, match="Give longer series"):
        untrained("smamba").finetune(table(rows=12))


def test_series_of_one_system_should_end_together():
    with pytest.warns(UnalignedWarning, match="end at 2 different times"):
        untrained("smamba").finetune(table(shorter=5), epochs=1)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", UnalignedWarning)
        untrained("spacetime").finetune(table(shorter=5), epochs=1).predict()
    together = untrained("smamba").finetune(table(), epochs=1)
    with pytest.warns(UnalignedWarning, match="end at 2 different times"):
        together.predict(table(shorter=5))


def reordered(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    return pd.concat([frame[frame["meter"] == name] for name in order], ignore_index=True)


def test_variates_are_read_in_the_order_of_training(tmp_path):
    import warnings

    frame = table(3)
    trained = untrained("smamba").finetune(frame, epochs=1)
    assert trained.model.series_names == ("m0", "m1", "m2")
    trained.save(tmp_path)
    expected = trained.predict().set_index(["meter", "time"]).sort_index()
    turned = reordered(frame, ["m2", "m0", "m1"])
    for forecaster in (trained, Forecaster.load(tmp_path)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", VariateWarning)
            answer = forecaster.predict(turned)
        assert list(answer["meter"].unique()) == ["m2", "m0", "m1"]
        answer = answer.set_index(["meter", "time"]).sort_index()
        pd.testing.assert_frame_equal(answer, expected)


def test_other_variates_than_in_training_are_named():
    frame = table(3)
    trained = untrained("smamba").finetune(frame, epochs=1)
    other = reordered(frame, ["m2", "m1"]).replace({"meter": {"m1": "new"}})
    with pytest.warns(VariateWarning, match="new 'new', missing 'm0', 'm1'"):
        answer = trained.predict(other)
    assert list(answer["meter"].unique()) == ["m2", "new"]
    assert answer["predictions"].notna().all()


def test_short_series_get_a_short_context():
    trained = untrained("smamba", context_length=None).finetune(table(), epochs=1)
    assert trained.model.config.context_length == 40


def test_a_series_without_values_is_left_out_and_answered_as_missing():
    frame = table(3)
    frame.loc[frame["meter"] == "m1", "load"] = np.nan
    with pytest.warns(tsfm.frames.errors.AllMissingWarning):
        trained = untrained("smamba").finetune(frame, epochs=1)
    answer = trained.predict()
    missing = answer["meter"] == "m1"
    assert answer.loc[missing, "predictions"].isna().all()
    assert answer.loc[~missing, "predictions"].notna().all()


def test_a_file_gives_the_sizes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: smamba\nmodel: {d_model: 8, d_hidden: 8}\ntraining: {epochs: 1}\n")
    trained = untrained("smamba").finetune(table(), config=path)
    assert trained.model.config.d_model == 8
    assert len(trained.training_) == 1
