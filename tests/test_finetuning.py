from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import tsfm
from tsfm import TSFM, Forecaster
from tsfm.finetuning import NotFinetunedWarning
from tsfm.frames.variates import UnalignedWarning, VariateWarning
from tsfm.models.presets import PresetModel

PRESETS = ["smamba", "spacetime"]
TINY = str(Path(__file__).parent / "assets" / "tiny")


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
    assert loaded.finetuned_
    pd.testing.assert_frame_equal(loaded.training_, trained.training_, check_exact=True)
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
    with pytest.raises(ValueError, match="prediction_length is not set"):
        untrained("smamba", prediction_length=None).finetune(table())
    with pytest.raises(ValueError, match="mode='slow'"):
        untrained("smamba", mode="slow").finetune(table())
    with pytest.raises(ValueError, match="Give longer series"):
        untrained("smamba").finetune(table(rows=12))
    with pytest.raises(ValueError, match="method='lora' counts for pretrained models"):
        untrained("smamba").finetune(table(), method="lora")
    trained = untrained("smamba").finetune(table(), epochs=1)
    with pytest.raises(ValueError, match="A PresetModel cannot be fine-tuned"):
        trained.finetune(table())
    with pytest.raises(FileNotFoundError, match="No model 'tsfm-huge'"):
        untrained("tsfm-huge").finetune(table())


def test_series_of_one_system_should_end_together():
    with pytest.warns(UnalignedWarning, match="end at 2 different times"):
        untrained("smamba").finetune(table(shorter=5), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnalignedWarning)
        untrained("spacetime").finetune(table(shorter=5), epochs=1).predict()
    together = untrained("smamba").finetune(table(), epochs=1)
    with pytest.warns(UnalignedWarning, match="end at 2 different times"):
        together.predict(table(shorter=5))


def reordered(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    return pd.concat([frame[frame["meter"] == name] for name in order], ignore_index=True)


def test_variates_are_read_in_the_order_of_training(tmp_path):
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


def pulses(rows: int = 600) -> pd.DataFrame:
    """Two meters with an odd daily shape, which a general model does not know."""
    shape = np.array([0, 0, 9, 9, 1, 5, 0, 7, 7, 7, 0, 0, 3, 0, 8, 0, 0, 2, 2, 6, 4, 4, 0, 9.0])
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=rows, freq="h", tz="Europe/Berlin")
    parts = []
    for i in range(2):
        load = np.resize(np.roll(shape, i), rows) + rng.normal(0, 0.3, rows)
        parts.append(pd.DataFrame({"meter": f"m{i}", "time": hours, "load": load}))
    return pd.concat(parts, ignore_index=True)


def walk(rows: int = 600) -> pd.DataFrame:
    frame = pulses(rows)
    return frame.assign(load=np.random.default_rng(0).normal(size=len(frame)).cumsum())


@pytest.fixture
def quick(tmp_path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text("training: {windows_per_epoch: 64, batch_size: 8, epochs: 3}\n")
    return path


@pytest.mark.parametrize("method", [None, "full", "head"])
def test_a_pretrained_model_is_fine_tuned(quick, method):
    frame = pulses()
    copy = frame.copy()
    forecaster = untrained(TINY, context_length=96, random_state=0).fit(frame)
    expected = forecaster.predict()
    trained = forecaster.finetune(frame, method=method, config=quick)
    pd.testing.assert_frame_equal(frame, copy)
    pd.testing.assert_frame_equal(forecaster.predict(), expected)
    assert forecaster.model == TINY
    assert not hasattr(forecaster, "finetuned_")
    assert trained.finetuned_
    assert isinstance(trained.model, TSFM)
    columns = ["epoch", "train_loss", "gain", "standard_error", "seconds", "kept"]
    assert list(trained.training_.columns) == columns
    assert list(trained.training_["epoch"]) == [0, 1, 2, 3]
    assert trained.training_.query("kept")["gain"].item() == trained.training_["gain"].max() > 0
    answer = trained.predict()
    assert list(answer.columns) == list(expected.columns)
    assert not answer["predictions"].equals(expected["predictions"])
    assert trained.context_used_.tolist() == [96, 96]


def test_a_fine_tuned_forecaster_does_what_others_do(quick, tmp_path):
    frame = pulses()
    rest, last = frame.groupby("meter").head(590), frame.groupby("meter").tail(10)
    trained = untrained(TINY, context_length=96).finetune(rest, config=quick)
    trained.save(tmp_path / "forecaster")
    loaded = Forecaster.load(tmp_path / "forecaster")
    pd.testing.assert_frame_equal(loaded.predict(), trained.predict())
    model = str(tmp_path / "forecaster" / "model")
    plain = untrained(model, context_length=96).fit(rest)
    pd.testing.assert_frame_equal(plain.predict(), trained.predict())
    again = plain.finetune(rest, config=quick, epochs=1)
    assert len(again.training_) == 2
    assert trained.update(last).predict()["predictions"].notna().all()
    best = trained.set_params(mode="best").predict(prediction_length=30)
    assert len(best) == 60
    assert clone(trained).fit(frame).predict()["predictions"].notna().all()


def test_what_the_training_said_is_saved_and_loaded(quick, tmp_path):
    trained = untrained(TINY, context_length=96).finetune(pulses(), config=quick, epochs=1)
    trained.save(tmp_path)
    loaded = Forecaster.load(tmp_path)
    assert loaded.finetuned_ is trained.finetuned_ is True
    pd.testing.assert_frame_equal(loaded.training_, trained.training_, check_exact=True)
    loaded.save(tmp_path / "again")
    again = Forecaster.load(tmp_path / "again")
    pd.testing.assert_frame_equal(again.training_, trained.training_, check_exact=True)
    untrained(TINY).save(tmp_path)  # nothing of the other is left
    plain = Forecaster.load(tmp_path)
    assert not hasattr(plain, "finetuned_")
    assert not hasattr(plain, "training_")
    assert not (tmp_path / "training.csv").exists()


def test_the_same_command_again_makes_up_for_a_killed_one(quick):
    """Fine-tuning starts over: series, settings and seed decide every weight."""
    forecaster = untrained(TINY, context_length=96, random_state=5)
    killed = forecaster.finetune(pulses(), config=quick, max_minutes=1e-6)
    assert len(killed.training_) < 4  # epoch 0 and three more, had the clock let it
    whole, again = (forecaster.finetune(pulses(), config=quick) for _ in range(2))
    assert whole.training_["gain"].tolist() == again.training_["gain"].tolist()
    pd.testing.assert_frame_equal(whole.predict(), again.predict(), check_exact=True)


def test_a_random_walk_keeps_the_zero_shot_weights(tmp_path):
    path = tmp_path / "strict.yaml"
    path.write_text(
        "training: {windows_per_epoch: 64, batch_size: 8, epochs: 2, margin: 2.0, method: full}\n"
    )
    frame = walk()
    forecaster = untrained(TINY, context_length=96)
    with pytest.warns(NotFinetunedWarning, match="did not pay.*standard error of"):
        same = forecaster.finetune(frame, config=path)
    assert not same.finetuned_
    assert same.model == TINY
    assert same.training_.query("kept")["epoch"].item() == 0
    pd.testing.assert_frame_equal(same.predict(), forecaster.fit(frame).predict())


def test_files_of_one_kind_do_not_serve_the_other(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: smamba\n")
    with pytest.raises(ValueError, match="is for preset='smamba'; a pretrained model takes"):
        untrained(TINY).finetune(table(), config=path)
    path.write_text("training: {rank: 2, colour: red}\n")
    with pytest.raises(ValueError, match="Unknown configuration key 'colour'"):
        untrained(TINY).finetune(table(), config=path)
    path.write_text("rank: 2\n")
    with pytest.raises(ValueError, match="must hold the entry training, no others"):
        untrained(TINY).finetune(table(), config=path)


def test_an_object_or_a_detector_is_no_model_to_go_on_from():
    class Constant:
        def forecast(self, series, prediction_length, quantile_levels, **options):
            raise NotImplementedError

    with pytest.raises(ValueError, match="A Constant cannot be fine-tuned"):
        untrained(Constant()).finetune(table())
