"""The front door, with a model that is easy to predict."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import tsfm
from tsfm import Forecaster
from tsfm.frames import AllMissingWarning, DataError, GapWarning


@dataclass
class Answer:
    quantiles: np.ndarray
    context_used: np.ndarray


@dataclass
class Drift:
    """The last value plus the step number; quantiles are those of a standard normal around it."""

    step: float = 1.0
    seen: list[dict[str, Any]] = field(default_factory=list)

    def forecast(
        self,
        series: Sequence[np.ndarray],
        prediction_length: int,
        quantile_levels: Sequence[float] = (0.5,),
        **options: Any,
    ) -> Answer:
        self.seen.append({"levels": tuple(quantile_levels), "n": len(series), **options})
        limit = options.get("context_length") or 10_000
        context = [values[-limit:] for values in series]
        last = np.array([values[~np.isnan(values)][-1] for values in context])
        path = last[:, None] + self.step * np.arange(1, prediction_length + 1)
        z = np.array([NormalDist().inv_cdf(q) for q in quantile_levels])
        return Answer(path[..., None] + z, np.array([len(values) for values in context]))

    def sample_paths(
        self,
        series: Sequence[np.ndarray],
        prediction_length: int,
        num_samples: int,
        *,
        random_state: int | None = None,
        **options: Any,
    ) -> np.ndarray:
        rng = np.random.default_rng(random_state)
        centre = self.forecast(series, prediction_length).quantiles[..., 0]
        noise = rng.normal(size=(len(series), num_samples, prediction_length))
        return centre[:, None, :] + noise

    def save_pretrained(self, folder: Path) -> None:
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text("{}")


def days(n: int = 20) -> pd.Series:
    return pd.Series(np.arange(float(n)), pd.date_range("2024-01-01", periods=n), name="load")


def panel() -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=20, freq="h", tz="Europe/Berlin")
    parts = [
        pd.DataFrame({"unique_id": name, "ds": index, "y": np.arange(20.0) + k})
        for k, name in ((100, "b"), (0, "a"))
    ]
    return pd.concat(parts, ignore_index=True)


def test_fit_predict() -> None:
    forecaster = Forecaster(Drift(), prediction_length=2).fit(panel())
    got = forecaster.predict()
    assert list(got.columns[:4]) == ["unique_id", "ds", "target_name", "predictions"]
    assert list(got.columns[4:]) == [f"0.{i}" for i in range(1, 10)]
    assert got["unique_id"].tolist() == ["b", "b", "a", "a"]
    assert got["predictions"].tolist() == [120, 121, 20, 21]
    assert got["predictions"].equals(got["0.5"].rename("predictions"))
    assert forecaster.freq_ == ("h",)
    assert (forecaster.id_col_, forecaster.timestamp_col_) == ("unique_id", "ds")
    assert forecaster.target_cols_ == ("y",)
    assert forecaster.n_series_ == 2
    assert forecaster.context_used_.to_dict() == {"b": 20, "a": 20}


def test_the_one_liner_and_predict_without_fit() -> None:
    got = tsfm.forecast(days(), 3, model=Drift(), quantile_levels=(0.9, 0.1))
    assert list(got.columns[-3:]) == ["predictions", "0.9", "0.1"]
    assert got["predictions"].tolist() == [20, 21, 22]
    pd.testing.assert_frame_equal(
        got, Forecaster(Drift()).predict(days(), prediction_length=3, quantile_levels=(0.9, 0.1))
    )


def test_x_replaces_the_context_and_an_integer_is_the_horizon() -> None:
    forecaster = Forecaster(Drift()).fit(days())
    assert forecaster.predict(days(5), prediction_length=1)["predictions"].tolist() == [5]
    assert forecaster.predict(2)["predictions"].tolist() == [20, 21]
    assert forecaster.predict(days(1), prediction_length=1)["timestamp"].tolist() == [
        pd.Timestamp("2024-01-02")  # one row: the frequency that fit learnt
    ]
    with pytest.raises(ValueError, match="Two horizons"):
        forecaster.predict(2, prediction_length=3)


def test_columns_learnt_by_fit_are_used_by_predict() -> None:
    frame = panel().rename(columns={"unique_id": "shop", "ds": "when", "y": "sales"})
    forecaster = Forecaster(Drift(), prediction_length=1, id_col="shop").fit(frame)
    with pytest.warns(match="'price'"):
        got = forecaster.predict(frame.assign(price=1.0))
    assert got["predictions"].tolist() == [120, 20]
    with pytest.raises(DataError, match="'sales' is not a column"):
        forecaster.predict(frame.rename(columns={"sales": "turnover"}))


@pytest.mark.parametrize("bad", [0, -1, 2.0, "3", True, None])
def test_prediction_length_is_checked(bad: object) -> None:
    with pytest.raises(ValueError, match="prediction_length"):
        Forecaster(Drift()).fit(days()).predict(prediction_length=bad)
    with pytest.raises(ValueError, match="prediction_length"):
        tsfm.forecast(days(), bad, model=Drift())


@pytest.mark.parametrize("bad", [(), (0.0,), (1.0,), (0.5, 0.5), 0.5, "0.5", (np.nan,), ("a",)])
def test_quantile_levels_are_checked(bad: object) -> None:
    with pytest.raises(ValueError, match="quantile_levels"):
        Forecaster(Drift(), prediction_length=1).fit(days()).predict(quantile_levels=bad)


@pytest.mark.parametrize(
    "parameters",
    [
        {"mode": "slow"}, {"point": "mode"}, {"non_negative": "yes"}, {"context_length": 0},
        {"batch_size": -1}, {"on_gaps": "x"}, {"on_duplicates": "x"}, {"quantile_levels": (2,)},
    ],
)  # fmt: skip
def test_parameters_are_checked_by_name(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Forecaster(Drift(), **parameters).fit(days())


def test_nothing_remembered() -> None:
    with pytest.raises(NotFittedError, match="fit"):
        Forecaster(Drift(), prediction_length=1).predict()


def test_unknown_models_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"'no-such-model'.*Shipped models"):
        tsfm.forecast(days(), 1, model="no-such-model")
    with pytest.raises(TypeError, match="forecast"):
        tsfm.forecast(days(), 1, model=3)


def test_options_reach_the_model_only_when_set() -> None:
    model = Drift()
    Forecaster(model, prediction_length=1).fit(panel()).predict()
    assert set(model.seen[-1]) == {"levels", "n", "mode", "season_lengths", "batch_size"}
    assert model.seen[-1]["season_lengths"] == [24, 24]
    forecaster = Forecaster(
        model, prediction_length=1, non_negative=False, context_length=7, verbose=1, mode="best"
    ).fit(panel())
    forecaster.predict()
    seen = model.seen[-1]
    assert (seen["non_negative"], seen["context_length"], seen["progress"]) == (False, 7, True)
    assert seen["mode"] == "best"
    assert forecaster.context_used_.tolist() == [7, 7]


def test_mean_is_the_mean_of_the_distribution() -> None:
    got = Forecaster(Drift(), prediction_length=1, point="mean").fit(days()).predict()
    assert got["predictions"][0] == pytest.approx(20.0, abs=1e-9)
    assert got["0.9"][0] == pytest.approx(20 + NormalDist().inv_cdf(0.9))


def test_all_missing_series_are_missing_and_the_others_are_not_disturbed() -> None:
    wide = pd.DataFrame({"a": np.nan, "b": days(), "c": days()})
    model = Drift()
    with pytest.warns(AllMissingWarning, match="'a'"):
        got = Forecaster(model, prediction_length=2).fit(wide).predict()
    assert got["predictions"].isna().tolist() == [True, True, False, False, False, False]
    assert model.seen[-1]["n"] == 2
    with pytest.warns(AllMissingWarning):
        nothing = tsfm.forecast(days() * np.nan, 2, model=model)
    assert nothing["0.5"].isna().all()


def test_inputs_are_not_changed_and_later_changes_do_not_matter() -> None:
    frame = panel()
    before = frame.copy(deep=True)
    forecaster = Forecaster(Drift(), prediction_length=2).fit(frame)
    first = forecaster.predict()
    forecaster.score(frame)
    pd.testing.assert_frame_equal(frame, before)
    frame["y"] = 0.0
    pd.testing.assert_frame_equal(forecaster.predict(), first)


def test_batch_mates_and_row_order_are_irrelevant() -> None:
    forecaster = Forecaster(Drift(), prediction_length=2)
    together = forecaster.fit(panel()).predict()
    alone = forecaster.predict(panel().query("unique_id == 'a'"))
    pd.testing.assert_frame_equal(
        together[together["unique_id"] == "a"].reset_index(drop=True), alone
    )
    shuffled = forecaster.predict(panel().sample(frac=1.0, random_state=3))
    key = ["unique_id", "ds"]
    pd.testing.assert_frame_equal(
        shuffled.sort_values(key, ignore_index=True), together.sort_values(key, ignore_index=True)
    )


def test_samples() -> None:
    forecaster = Forecaster(Drift(), prediction_length=3, random_state=0).fit(panel())
    got = forecaster.predict_samples(num_samples=50)
    assert list(got.columns) == ["unique_id", "ds", "target_name", "sample", "predictions"]
    assert len(got) == 2 * 50 * 3
    assert got.groupby(["unique_id", "ds"])["predictions"].mean().between(18, 124).all()
    pd.testing.assert_frame_equal(got, forecaster.predict_samples(num_samples=50))
    with pytest.raises(ValueError, match="num_samples"):
        forecaster.predict_samples(num_samples=0)

    class NoPaths:
        forecast = Drift.forecast

    with pytest.raises(TypeError, match="NoPaths has no sample_paths"):
        Forecaster(NoPaths(), prediction_length=1).predict_samples(days())


def test_clone_get_params_set_params() -> None:
    forecaster = Forecaster("tsfm-mini", prediction_length=5, freq="D")
    twin = clone(forecaster)
    assert twin.get_params() == forecaster.get_params()
    assert twin.set_params(prediction_length=7).prediction_length == 7
    assert isinstance(clone(Forecaster(Drift(2.0))).model, Drift)
    assert "prediction_length=5" in repr(forecaster)


def test_pipeline() -> None:
    pipe = Pipeline([("forecast", Forecaster(Drift()))]).fit(days())
    assert pipe.predict(3)["predictions"].tolist() == [20, 21, 22]
    double = Pipeline(
        [("double", FunctionTransformer(lambda x: x * 2)), ("forecast", Forecaster(Drift()))]
    ).fit(days())
    assert double.predict(days(), prediction_length=1)["predictions"].tolist() == [39]
    assert double.set_params(forecast__prediction_length=4).score(days()) < 0


@pytest.mark.parametrize(
    "data",
    [
        days(60),
        days(60).to_frame(),
        pd.DataFrame({"a": days(60), "b": days(60) * 2}),
        days(60).rename_axis("timestamp").reset_index(),
        days(60).to_numpy(),
        days(60).reset_index(drop=True),
    ],
    ids=["series", "frame", "wide", "long", "array", "integers"],
)
def test_grid_search(data: Any) -> None:
    search = GridSearchCV(
        Forecaster(Drift(), prediction_length=4),
        {"model": [Drift(0.0), Drift(1.0), Drift(3.0)]},
        cv=TimeSeriesSplit(n_splits=3, test_size=4),
        error_score="raise",
    ).fit(data)
    if not isinstance(data, pd.DataFrame) or "b" not in data:
        assert search.best_params_["model"].step == 1.0
    assert len(search.predict(4)) in (4, 8)


def test_score_is_minus_the_weighted_quantile_loss() -> None:
    levels = (0.25, 0.5)
    forecaster = Forecaster(Drift(0.0), prediction_length=2, quantile_levels=levels)
    actual, last = np.array([18.0, 19.0]), 17.0
    loss = 0.0
    for q in levels:
        error = actual - (last + NormalDist().inv_cdf(q))
        loss += 2 * np.maximum(q * error, (q - 1) * error).sum() / 2
    assert forecaster.score(days()) == pytest.approx(-loss / actual.sum())
    # the continuation of what was fitted scores the same as the whole series
    assert forecaster.fit(days().iloc[:18]).score(days().iloc[18:]) == forecaster.score(days())
    # what was fitted after the scored rows does not leak into the context
    late = Forecaster(Drift(0.0), prediction_length=2, quantile_levels=levels).fit(days(40))
    assert late.score(days()) == forecaster.score(days())


def test_score_of_a_panel_uses_each_series_own_past() -> None:
    frame = panel()
    first = frame.groupby("unique_id", sort=False).head(17)
    rest = frame.drop(first.index)
    whole = Forecaster(Drift(0.0), prediction_length=3).score(frame)
    assert Forecaster(Drift(0.0), prediction_length=3).fit(first).score(rest) == whole
    only = rest[rest["unique_id"] == "a"]
    alone = Forecaster(Drift(0.0), prediction_length=3).fit(first).score(only)
    assert alone == Forecaster(Drift(0.0), prediction_length=3).score(
        frame[frame["unique_id"] == "a"]
    )


def test_score_needs_a_horizon_rows_and_values() -> None:
    with pytest.raises(ValueError, match="prediction_length"):
        Forecaster(Drift()).score(days())
    with pytest.raises(DataError, match="no more than prediction_length=20"):
        Forecaster(Drift(), prediction_length=20).score(days())
    series = days()
    series.iloc[-2:] = np.nan
    with pytest.raises(ValueError, match="nothing to score"):
        Forecaster(Drift(), prediction_length=2).score(series)


def test_save_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecaster = Forecaster(Drift(), prediction_length=2, quantile_levels=(0.2, 0.8)).fit(panel())
    forecaster.save(tmp_path / "saved")
    assert {p.suffix for p in (tmp_path / "saved").iterdir() if p.is_file()} == {".json", ".npz"}
    back = Forecaster.load(tmp_path / "saved")
    assert back.model == str(tmp_path / "saved" / "model")
    pd.testing.assert_frame_equal(back.set_params(model=Drift()).predict(), forecaster.predict())
    assert (back.freq_, back.id_col_, back.n_series_) == (("h",), "unique_id", 2)
    with pytest.raises(FileNotFoundError, match=r"forecaster\.json"):
        Forecaster.load(tmp_path)


def test_a_folder_model_is_copied_into_the_saved_forecaster(tmp_path: Path) -> None:
    Drift().save_pretrained(tmp_path / "mine")
    forecaster = Forecaster(str(tmp_path / "mine"), prediction_length=2, freq="D")
    forecaster.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "model" / "config.json").exists()
    back = Forecaster.load(tmp_path / "saved")
    assert (back.prediction_length, back.freq) == (2, "D")
    assert not hasattr(back, "panel_")
    back.save(tmp_path / "saved")  # onto itself

    class Bare:
        forecast = Drift.forecast

    with pytest.raises(TypeError, match="save_pretrained"):
        Forecaster(Bare()).save(tmp_path / "bare")


def test_gaps_warn_once_at_the_callers_line() -> None:
    with pytest.warns(GapWarning) as caught:
        tsfm.forecast(days().drop(days().index[4]), 2, model=Drift())
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_nothing_warns_on_clean_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forecaster(Drift(), prediction_length=2).fit(panel()).predict()


def test_plot() -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    forecaster = Forecaster(Drift(), prediction_length=6)
    one = forecaster.fit(days()).plot()
    assert one.get_title(loc="left") == "load"
    assert len(one.collections) == 2
    several = forecaster.plot(panel(), forecaster.predict(panel()))
    assert several.shape == (2,)
    many = pd.DataFrame({f"s{i}": days() + i for i in range(12)})
    assert forecaster.plot(many).shape == (9,)
    _, ax = plt.subplots()
    assert forecaster.plot(days(), ax=ax) is ax
    with pytest.raises(ValueError, match="holds one series"):
        forecaster.plot(panel(), ax=ax)
    for data in (np.arange(20.0), days().to_period("D")):
        forecaster.plot(data)
    plt.close("all")


def test_a_context_without_values_is_missing_not_an_error() -> None:
    wide = pd.DataFrame({"stopped": days(), "goes on": days()})
    wide.loc[wide.index[-8:], "stopped"] = np.nan
    with pytest.warns(AllMissingWarning, match="last 5 rows.*series 'stopped'"):
        got = tsfm.Forecaster(Drift(), context_length=5).fit(wide).predict(2)
    assert got["predictions"].isna().tolist() == [True, True, False, False]
    assert len(tsfm.Forecaster(Drift()).fit(wide).predict(2).dropna()) == 4


def test_the_real_model_takes_every_option() -> None:
    pytest.importorskip("torch")
    from tsfm.models import TSFM, ModelConfig

    model = TSFM.from_config(ModelConfig.preset("nano"))
    wide = pd.DataFrame({"a": days(40), "b": days(40) * np.nan, "c": 5.0})
    with pytest.warns(AllMissingWarning):
        forecaster = Forecaster(
            model,
            prediction_length=3,
            quantile_levels=(0.9, 0.1, 0.01),
            context_length=30,
            non_negative=True,
            random_state=0,
        ).fit(wide)
    got = forecaster.predict()
    assert got.groupby("item_id").size().to_dict() == {"a": 3, "b": 3, "c": 3}
    assert forecaster.context_used_.to_dict() == {"a": 30, "b": 0, "c": 30}
    known = got.dropna()
    assert len(known) == 6
    assert (known["0.01"] <= known["0.1"]).all()
    assert (known["0.1"] <= known["0.9"]).all()
    assert len(forecaster.predict_samples(num_samples=4)) == 3 * 4 * 3
    assert forecaster.set_params(mode="best").predict(2)["predictions"].notna().sum() == 4
