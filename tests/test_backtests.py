"""`Forecaster(calibrate=True)`: coverage, and that it gets along with everything else."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from tsfm import Forecaster
from tsfm.backtests import BACK_TESTS, CalibrationWarning
from tsfm.evaluation.baselines import Baseline
from tsfm.models import TSFM

TINY = Path(__file__).resolve().parent / "assets" / "tiny"
ENDS = (0.025, 0.1, 0.9, 0.975)


class Answer:
    def __init__(self, quantiles: np.ndarray) -> None:
        self.quantiles = quantiles


class Climate:
    """Mean and deviation of the last days by hour of the day; intervals are `wide` times as wide.

    Histories that differ in length are read alike. `bounded` counts the calls in which a bound at
    zero was left to it.
    """

    def __init__(self, wide: float = 0.5) -> None:
        self.wide = wide
        self.n_forecasts = 0
        self.bounded = 0

    def forecast(
        self,
        series: Sequence[np.ndarray],
        prediction_length: int,
        quantile_levels: Sequence[float],
        **options: Any,
    ) -> Answer:
        self.n_forecasts += len(series)
        self.bounded += options.get("non_negative", "auto") is not False
        z = np.array([NormalDist().inv_cdf(level) for level in quantile_levels])
        hours = np.arange(prediction_length)
        answer = []
        for x in series:
            day = 24 if len(x) >= 48 else 1
            days = x[len(x) % day :].reshape(-1, day)[-120 // day :]
            mean, deviation = np.nanmean(days, axis=0), np.nanstd(days, axis=0)
            mean, deviation = mean[hours % day], deviation[hours % day]
            answer.append(mean[:, None] + self.wide * (deviation[:, None] + 1e-9) * z)
        return Answer(np.stack(answer))

    def sample_paths(
        self,
        series: Sequence[np.ndarray],
        prediction_length: int,
        num_samples: int,
        *,
        random_state: int | None = None,
        **options: Any,
    ) -> np.ndarray:
        levels = (np.arange(num_samples) + 0.5) / num_samples
        return np.swapaxes(self.forecast(series, prediction_length, levels).quantiles, 1, 2)

    def save_pretrained(self, folder: Path) -> None:
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "config.json").write_text("{}")


def hourly(x: np.ndarray) -> pd.DataFrame:
    """Series [n, length] as a wide table."""
    index = pd.date_range("2024-01-01", periods=x.shape[1], freq="h")
    return pd.DataFrame(x.T, index=index, columns=[f"s{i}" for i in range(len(x))])


def noise(n: int = 3, length: int = 300, seed: int = 0) -> pd.DataFrame:
    return hourly(np.random.default_rng(seed).normal(size=(n, length)))


def ar(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    x = rng.normal(size=(n, length))
    for t in range(1, length):
        x[:, t] += 0.7 * x[:, t - 1]
    return x


def seasonal(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    return 3 * np.sin(np.arange(length) * np.pi / 12) + rng.normal(size=(n, length))


def heteroscedastic(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    return np.exp(np.sin(np.arange(length) * np.pi / 12)) * rng.normal(size=(n, length))


def counts(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    rate = 5 * np.exp(0.5 * np.sin(np.arange(length) * np.pi / 12))
    return rng.poisson(np.tile(rate, (n, 1))).astype(float)


def coverages(answer: pd.DataFrame, truth: np.ndarray) -> list[float]:
    quantiles = answer[[str(level) for level in ENDS]].to_numpy().reshape(*truth.shape, 4)
    pairs = ((1, 2), (0, 3))
    return [
        100 * ((truth >= quantiles[..., a]) & (truth <= quantiles[..., b])).mean()
        for a, b in pairs
    ]


@pytest.mark.parametrize("process", [ar, seasonal, heteroscedastic, counts])
def test_coverage_on_simulated_processes(process: Callable[..., np.ndarray]) -> None:
    """150 series: standard errors of about .8 and .5 points; `benchmarks/coverage.py` has more."""
    x = process(np.random.default_rng(1), 150, 480 + 24)
    options = {"prediction_length": 24, "quantile_levels": ENDS}
    raw = Forecaster(Climate(0.5), **options).predict(hourly(x[:, :480]))
    assert coverages(raw, x[:, 480:])[0] < 60
    for wide in (0.5, 1.6):  # what is wrong with the width is made good altogether
        forecaster = Forecaster(Climate(wide), **options, calibrate=True)
        found = coverages(forecaster.predict(hourly(x[:, :480])), x[:, 480:])
        assert found[0] == pytest.approx(80, abs=3)
        assert found[1] == pytest.approx(95, abs=2)


def test_any_levels_in_any_order_and_never_crossing() -> None:
    forecaster = Forecaster(Climate(), prediction_length=5, calibrate=True).fit(noise())
    some = forecaster.predict(quantile_levels=(0.9, 0.001, 0.33, 0.5))
    many = forecaster.predict(quantile_levels=[k / 1000 for k in range(1, 1000)])
    for level in ("0.9", "0.001", "0.33", "0.5"):
        pd.testing.assert_series_equal(some[level], many[level])
    assert (np.diff(many[many.columns[4:]].to_numpy(), axis=1) >= 0).all()
    assert some["predictions"].equals(some["0.5"].rename("predictions"))
    mean = clone(forecaster).set_params(point="mean").predict(noise())
    assert np.isfinite(mean["predictions"]).all()


def test_forecasts_stay_above_zero_after_correction() -> None:
    wide = hourly(np.random.default_rng(0).poisson(0.5, size=(4, 300)).astype(float))
    model = Climate()
    forecaster = Forecaster(model, prediction_length=6, quantile_levels=ENDS, calibrate=True)
    got = forecaster.predict(wide)
    assert model.bounded == 0
    assert (got["0.025"] == 0).any()
    assert (got[[str(level) for level in ENDS]] >= 0).all(axis=None)
    free = forecaster.set_params(non_negative=False).predict(wide)
    assert (free["0.025"] < 0).any()
    shifted = forecaster.set_params(non_negative="auto").predict(wide - 0.5)
    assert (shifted["0.025"] < 0).any()


def test_measured_once_and_again_after_two_windows() -> None:
    rows = noise(2, 340)
    model = Climate()
    forecaster = Forecaster(model, prediction_length=8, calibrate=True).fit(rows[:300])
    first = forecaster.predict()
    assert model.n_forecasts == 2 + 2 * 16
    pd.testing.assert_frame_equal(forecaster.predict(), first)
    assert model.n_forecasts == 2 + 2 * 16 + 2
    shifts = forecaster._tested[1]._found.shifts
    for n in range(300, 315):
        forecaster.update(rows[n : n + 1]).predict()
    assert forecaster._tested[1]._found.shifts is shifts
    assert model.n_forecasts == 2 * 16 + 2 * 17
    forecaster.update(rows[315:316])
    again = Forecaster(model, prediction_length=8, calibrate=True).fit(rows[:316]).predict()
    pd.testing.assert_frame_equal(forecaster.predict(), again)
    before = model.n_forecasts
    forecaster.predict(4)  # another horizon
    assert model.n_forecasts == before + 2 * 17


def test_a_new_series_is_measured_when_it_appears() -> None:
    long = noise(2, 300).melt(ignore_index=False, var_name="id").reset_index(names="time")
    first, second = (long[long["id"] == name] for name in ("s0", "s1"))
    model = Climate()
    options = {"prediction_length": 8, "calibrate": True, "id_col": "id"}
    forecaster = Forecaster(model, **options).fit(first)
    forecaster.predict()
    before = model.n_forecasts
    got = forecaster.update(second).predict()
    assert model.n_forecasts == before + 16 + 2
    whole = Forecaster(model, **options).fit(long).predict()
    pd.testing.assert_frame_equal(got, whole)


def test_a_copy_goes_its_own_way() -> None:
    rows = noise(1, 320)
    one = Forecaster(Climate(), prediction_length=8, calibrate=True).fit(rows[:300])
    before = one.predict()
    two = copy.copy(one)
    two.update(rows[300:]).predict()
    pd.testing.assert_frame_equal(one.predict(), before)


def test_save_and_load_go_on_without_measuring_again(tmp_path: Path) -> None:
    rows = noise(2, 310)
    forecaster = Forecaster(Climate(), prediction_length=8, calibrate=True).fit(rows[:300])
    forecaster.predict()
    before = forecaster.update(rows[300:]).predict()
    forecaster.save(tmp_path)
    back = Forecaster.load(tmp_path)
    assert back.calibrate is True
    model = Climate()
    pd.testing.assert_frame_equal(back.set_params(model=model).predict(), before)
    assert model.n_forecasts == 2
    Forecaster(Climate(), prediction_length=8).fit(rows).save(tmp_path)
    assert not (tmp_path / BACK_TESTS).exists()
    plain = Forecaster.load(tmp_path).set_params(model=model)
    assert plain.calibrate is False
    assert plain.predict(8)["0.9"].iloc[0] != before["0.9"].iloc[0]


def test_scikit_learn() -> None:
    forecaster = Forecaster(Climate(), prediction_length=8, calibrate=True)
    assert clone(forecaster).get_params()["calibrate"] is True
    search = GridSearchCV(
        Forecaster(Climate(0.2), prediction_length=8),
        {"calibrate": [False, True]},
        cv=TimeSeriesSplit(n_splits=3, test_size=8),
    ).fit(noise(1, 300)["s0"])
    assert search.best_params_ == {"calibrate": True}
    with pytest.raises(ValueError, match="calibrate='yes' must be one of"):
        Forecaster(Climate(), prediction_length=8, calibrate="yes").predict(noise())


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
def test_short_series_are_named_and_share_errors() -> None:
    rows = noise(3, 300)
    rows.loc[rows.index[:-44], "s1"] = np.nan
    rows.loc[rows.index[:-12], "s2"] = np.nan
    forecaster = Forecaster(Climate(), prediction_length=8, calibrate=True)
    with pytest.warns(CalibrationWarning, match=r"'s1', 's2' have too little .* 3 series togeth"):
        forecaster.fit(rows).predict()
    table = forecaster.calibration_
    assert table.index.tolist() == ["s0", "s1", "s2"]
    assert table["own"].tolist() == pytest.approx([1, table["windows"]["s1"] / 8, 0])
    assert table["pooled"].tolist() == pytest.approx([0, 1 - table["own"]["s1"], 1])
    with pytest.warns(CalibrationWarning, match="'s1' has too little .* its .* only in part"):
        clone(forecaster).predict(rows[["s1"]].dropna())
    short = rows[["s2"]].dropna()
    with pytest.warns(CalibrationWarning, match="recalibrated not at all") as caught:
        got = clone(forecaster).predict(short)
    assert caught[0].filename == __file__
    plain = Forecaster(Climate(), prediction_length=8).predict(short)
    pd.testing.assert_frame_equal(got, plain, rtol=1e-6, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(forecaster).predict(rows[["s0"]])


def test_series_without_a_value_and_gaps() -> None:
    rows = noise(3, 300)
    rows["s1"] = np.nan
    rows.iloc[100:140, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forecaster = Forecaster(Climate(), prediction_length=8, calibrate=True).fit(rows)
    got = forecaster.predict()
    assert got.groupby("item_id")["0.9"].count().to_dict() == {"s0": 8, "s1": 0, "s2": 8}
    assert forecaster.calibration_["windows"].tolist() == pytest.approx([16, 0, 15], abs=4)


def test_samples_are_spread_like_the_quantiles() -> None:
    options = {"prediction_length": 4, "quantile_levels": (0.1, 0.9), "calibrate": True}
    forecaster = Forecaster(Climate(0.3), **options).fit(noise(1))
    paths = forecaster.predict_samples(num_samples=1000)
    steps = paths.groupby(paths.columns[1])["predictions"]
    wanted = forecaster.predict()
    for level in (0.1, 0.9):
        np.testing.assert_allclose(steps.quantile(level), wanted[str(level)], atol=0.05)
    plain = Forecaster(Climate(0.3), prediction_length=4).fit(noise(1))
    assert paths["predictions"].std() > 1.5 * plain.predict_samples()["predictions"].std()


def test_models_that_know_no_bound() -> None:
    forecaster = Forecaster(Baseline("seasonal-naive"), prediction_length=8, calibrate=True)
    assert np.isfinite(forecaster.predict(noise())["0.9"]).all()
    assert (forecaster.predict(noise().abs())["0.1"] >= 0).all()


@pytest.mark.parametrize("mode", ["fast", "best"])
def test_the_real_model(mode: str) -> None:
    model = TSFM.from_pretrained(TINY, device="cpu")
    forecaster = Forecaster(model, prediction_length=6, mode=mode, calibrate=True)
    rows = noise(2, 150)
    rows["s1"] = np.where(np.arange(150) % 7 < 3, np.nan, rows["s1"])
    got = forecaster.fit(rows).predict()
    deciles = got[[f"0.{k}" for k in range(1, 10)]].to_numpy()
    assert np.isfinite(deciles).all()
    assert (np.diff(deciles, axis=1) >= 0).all()
    alone = clone(forecaster).predict(rows[["s0"]])
    both = got[got["item_id"] == "s0"].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, alone, atol=1e-4)
    scaled = forecaster.predict(1000 * rows + 5000)
    np.testing.assert_allclose(scaled["0.9"], 1000 * got["0.9"] + 5000, atol=2)


def test_streams_are_corrected_too(random_model: Callable[..., TSFM]) -> None:
    rows = noise(2, 260)
    model = random_model("mamba2")
    options = {"prediction_length": 6, "calibrate": True}
    forecaster = Forecaster(model, **options).fit(rows[:230])
    forecaster.predict()
    got = forecaster.update(rows[230:]).predict()
    assert forecaster._growth.stream is not None
    whole = Forecaster(model, **options).fit(rows).predict()
    np.testing.assert_allclose(got["0.9"], whole["0.9"], atol=0.05)
    plain = Forecaster(model, prediction_length=6).fit(rows).predict()
    assert np.abs(plain["0.9"] - got["0.9"]).mean() > 0.05
