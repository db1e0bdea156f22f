"""`Forecaster.update`: rows that follow, forecasts as from all rows, bounded cost and memory."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import tsfm.streaming
from tsfm import TSFM, Forecaster
from tsfm.frames import DataError, GapWarning
from tsfm.models import Stream
from tsfm.models.config import TokenizerConfig
from tsfm.streaming import KEPT_ROWS


@pytest.fixture(scope="module")
def make(random_model: Callable[..., TSFM]) -> Callable[..., TSFM]:
    """Models by the name of their backbone."""
    patches = TokenizerConfig(patch_length=8)
    sizes: dict[str, Any] = {"tokenizer": patches, "max_context": 128, "max_horizon": 32}
    return functools.partial(random_model, amount=0.1, seed=1, **sizes)


@pytest.fixture(scope="module")
def model(make: Callable[..., TSFM]) -> TSFM:
    return make("mamba2")


def long(n: int = 300, names: str = "ab", tz: str | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=n, freq="h", tz=tz)
    day = np.sin(np.arange(n) * 2 * np.pi / 24)
    parts = [
        pd.DataFrame(
            {"item_id": name, "timestamp": hours, "target": 9 + 3 * day + rng.normal(size=n)}
        )
        for name in names
    ]
    return pd.concat(parts, ignore_index=True)


def up_to(df: pd.DataFrame, n: int, start: int = 0) -> pd.DataFrame:
    return df[df.groupby("item_id").cumcount().between(start, n - 1)]


def same(a: pd.DataFrame, b: pd.DataFrame, atol: float = 1e-4) -> None:
    pd.testing.assert_frame_equal(a, b, atol=atol, rtol=1e-4)


def test_a_forecast_after_an_update_is_that_of_all_rows(model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=10).fit(up_to(df, 200))
    assert forecaster.update(up_to(df, 230, 200)) is forecaster
    whole = Forecaster(model, prediction_length=10).fit(up_to(df, 230))
    same(forecaster.predict(), whole.predict())
    same(
        forecaster.predict(quantile_levels=(0.3, 0.05)), whole.predict(quantile_levels=(0.3, 0.05))
    )
    same(forecaster.predict(70), whole.predict(70))  # beyond one pass
    assert forecaster.context_used_.to_dict() == {"a": 128, "b": 128}
    for one, other in zip(forecaster.panel_.values, whole.panel_.values, strict=True):
        np.testing.assert_array_equal(one, other)
    assert forecaster.panel_.last.tolist() == whole.panel_.last.tolist()


def test_rows_may_come_one_by_one_and_forecasts_follow_the_stream(model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=5, non_negative=False).fit(up_to(df, 200))
    stream = Stream(model, non_negative=False)
    stream.add(forecaster.panel_.values, [24, 24])
    stream.update([[], []])
    for n in range(200, 230):
        new = up_to(df, n + 1, n)
        got = forecaster.update(new).predict()
        stream.update([[x] for x in new["target"]])
        wanted = stream.forecast(5).quantiles
        np.testing.assert_allclose(got.filter(like="0.").to_numpy(), wanted.reshape(10, 9), 1e-5)
        assert (got["timestamp"].iloc[0] - new["timestamp"].iloc[0]) == pd.Timedelta("1h")


@pytest.mark.parametrize("name", ["transformer", "companion", "mamba1"])
def test_every_backbone_can_be_updated(name: str, make: Callable[..., TSFM]) -> None:
    df, net = long(), make(name)
    forecaster = Forecaster(net, prediction_length=4).fit(up_to(df, 200))
    forecaster.update(up_to(df, 201, 200))
    same(forecaster.predict(), Forecaster(net, prediction_length=4).fit(up_to(df, 201)).predict())


def test_best_mode_and_other_models_compute_everything_anew(model: TSFM) -> None:
    df = long()
    for net, mode in ((model, "best"), (Last(), "fast")):
        one = Forecaster(net, prediction_length=3, mode=mode).fit(up_to(df, 200))
        one.update(up_to(df, 210, 200))
        other = Forecaster(net, prediction_length=3, mode=mode).fit(up_to(df, 210))
        pd.testing.assert_frame_equal(one.predict(), other.predict())
        assert one._growth.stream is None


class Last:
    """The last value, at any level, and no option but those that are always passed."""

    def forecast(
        self,
        series: Any,
        prediction_length: int,
        quantile_levels: Any,
        *,
        mode: str,
        season_lengths: Any,
        batch_size: Any,
        non_negative: Any = "auto",
    ) -> Any:
        self.non_negative = non_negative
        last = np.array([x[-1] for x in series])[:, None, None] - 50.0
        shape = (len(series), prediction_length, len(quantile_levels))
        return type("Answer", (), {"quantiles": np.broadcast_to(last, shape).copy()})()


def test_gaps_become_missing_and_order_does_not_matter(model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=4).fit(up_to(df, 200))
    new = up_to(df, 212, 203).sample(frac=1, random_state=1)
    with pytest.warns(GapWarning, match=r"Inserted 6 missing row"):
        forecaster.update(new)
    with pytest.warns(GapWarning):
        whole = Forecaster(model, prediction_length=4).fit(pd.concat([up_to(df, 200), new]))
    same(forecaster.predict(), whole.predict())
    strict = Forecaster(model, prediction_length=4, on_gaps="raise").fit(up_to(df, 200))
    with pytest.raises(DataError, match="missing row"):
        strict.update(new)
    assert strict.panel_.lengths.tolist() == [200, 200]


def test_new_ids_begin_new_series_and_others_may_pause(model: TSFM) -> None:
    df = long(names="abc")
    forecaster = Forecaster(model, prediction_length=4).fit(up_to(df[df.item_id != "b"], 200))
    forecaster.update(up_to(df[df.item_id != "c"], 205, 200))
    got = forecaster.predict()
    assert got["item_id"].unique().tolist() == ["a", "c", "b"]
    starts = got.groupby("item_id", sort=False)["timestamp"].first()
    assert starts.dt.dayofyear.tolist() == [9, 9, 9]
    assert starts.dt.hour.tolist() == [13, 8, 13]
    forecaster.update(up_to(df[df.item_id == "b"], 230, 205))
    b = Forecaster(model, prediction_length=4).fit(up_to(df[df.item_id == "b"], 230, 200))
    same(forecaster.predict().query("item_id == 'b'").reset_index(drop=True), b.predict())
    assert forecaster.n_series_ == 3


def test_the_remembered_rows_are_bounded_and_zero_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., TSFM]
) -> None:
    monkeypatch.setattr(tsfm.streaming, "KEPT_ROWS", 100)
    net = make("mamba2", max_context=16)  # 8 * 16 = 128 rows are kept
    df = long(500)
    df["target"] = df["target"].abs() / 1e3
    df.loc[3, "target"] = -1.0  # series a, long ago
    for other in (net, Last()):
        forecaster = Forecaster(other, prediction_length=4, quantile_levels=(1e-9,))
        forecaster.fit(up_to(df, 200)).update(up_to(df, 201, 200))
        forecaster.update(up_to(df, 400, 201))
        kept = 128 if other is net else 100
        assert forecaster.panel_.lengths.tolist() == [kept] * 2
        assert forecaster.panel_.timestamps(0).iloc[-1] == df["timestamp"][399]
        assert forecaster.panel_.timestamps(0).iloc[0] == df["timestamp"][400 - kept]
        lowest = forecaster.predict().groupby("item_id")["1e-09"].min()
        assert lowest["b"] == 0
        if other is not net:
            assert lowest["a"] < -49
            assert other.non_negative is False
        forecaster.non_negative = True
        assert (forecaster.predict()["1e-09"] >= 0).all()
        forecaster.non_negative = False
        assert forecaster.predict().groupby("item_id")["1e-09"].min()["b"] < 0
    assert KEPT_ROWS == 16_384


def test_an_update_costs_the_same_however_long_the_history(
    monkeypatch: pytest.MonkeyPatch, model: TSFM
) -> None:
    df = long(3_000, "a")
    forecaster = Forecaster(model, prediction_length=4).fit(up_to(df, 2_800))
    seen: list[int] = []
    embed = model.network.embed
    monkeypatch.setattr(
        model.network, "embed", lambda batch: (seen.append(batch.kind.numel()), embed(batch))[1]
    )
    for n in range(2_800, 2_850):
        forecaster.update(up_to(df, n + 1, n))
        forecaster.predict()
    assert max(seen) == 2 * 128 // 8
    assert np.mean(seen) < 2 * 128 // 8
    assert seen.count(2) > 10


def test_a_saved_forecaster_goes_on_identically(tmp_path: Path, model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=5).fit(up_to(df, 200))
    for n in range(200, 215):
        forecaster.update(up_to(df, n + 1, n)).predict()
    forecaster.save(tmp_path)
    others = [Forecaster.load(tmp_path) for _ in range(2)]
    same(others[0].predict(), forecaster.predict(), 1e-6)
    others[0].save(tmp_path / "again")
    others.append(Forecaster.load(tmp_path / "again"))
    for n in range(215, 235):  # the second has not forecast before it is updated
        new = up_to(df, n + 1, n)
        wanted = forecaster.update(new).predict()
        for other in others:
            same(other.update(new).predict(), wanted, 1e-6)
    forecaster.fit(up_to(df, 200)).save(tmp_path)
    assert not (tmp_path / "stream.safetensors").exists()


def test_fit_forgets_clone_has_nothing_and_changed_parameters_are_heeded(
    model: TSFM, make: Callable[..., TSFM]
) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=5).fit(up_to(df, 200))
    forecaster.update(up_to(df, 220, 200)).predict()
    fresh = clone(forecaster)
    assert not hasattr(fresh, "panel_")
    assert fresh._growth is None
    with pytest.raises(NotFittedError, match="call fit"):
        fresh.update(df)
    forecaster.set_params(context_length=40)
    short = Forecaster(model, prediction_length=5, context_length=40).fit(up_to(df, 220))
    same(forecaster.predict(), short.predict())
    other = make("companion")
    forecaster.set_params(context_length=None, model=other)
    same(
        forecaster.predict(), Forecaster(other, prediction_length=5).fit(up_to(df, 220)).predict()
    )
    forecaster.fit(up_to(df, 200))
    same(
        forecaster.predict(), Forecaster(other, prediction_length=5).fit(up_to(df, 200)).predict()
    )


def test_frames_are_not_touched_and_errors_leave_no_trace(model: TSFM) -> None:
    df = long()
    old, new = up_to(df, 200).copy(), up_to(df, 210, 200).copy()
    copies = old.copy(), new.copy()
    forecaster = Forecaster(model, prediction_length=5).fit(old)
    forecaster.update(new)
    before = forecaster.predict()
    with pytest.raises(DataError, match=r"Series 'a', row 0: .* does not follow the last row"):
        forecaster.update(new)
    with pytest.raises(
        DataError, match=r"Series 'b', row 2: .* does not follow .*\(2 such rows\)"
    ):
        forecaster.update(up_to(df, 212, 209).iloc[::-1])
    same(forecaster.predict(), before)
    pd.testing.assert_frame_equal(old, copies[0])
    pd.testing.assert_frame_equal(new, copies[1])
    new.loc[:, "target"] = 0.0
    same(forecaster.predict(), before)


def test_a_copy_goes_its_own_way(model: TSFM) -> None:
    df = long()
    one = Forecaster(model, prediction_length=5).fit(up_to(df, 200))
    for n in range(200, 211):  # phases of different ages
        before = one.update(up_to(df, n + 1, n)).predict()
    two = copy.copy(one)
    same(two.predict(), before, 0)
    after = two.update(up_to(df, 240, 211)).predict()
    same(one.predict(), before, 0)
    assert one._growth.stream.lengths.tolist() == [211, 211]
    same(one.update(up_to(df, 240, 211)).predict(), after, 0)
    shared = Forecaster(model, prediction_length=5)  # one that shares all that is remembered
    shared.__dict__.update(two.__dict__)
    shared.update(up_to(df, 260, 240)).predict()
    same(two.predict(), Forecaster(model, prediction_length=5).fit(up_to(df, 240)).predict())


def test_no_rows_change_nothing(model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=5).fit(up_to(df, 200))
    forecaster.update(up_to(df, 210, 200))
    before, growth = forecaster.predict(), forecaster._growth
    for nothing in (df.iloc[:0], df["target"].iloc[:0], [], (), np.empty(0), pd.DataFrame()):
        assert forecaster.update(nothing) is forecaster
    assert forecaster._growth is growth
    same(forecaster.predict(), before, 0)
    for wrong in (pd.DataFrame(index=range(3)), np.array(5.0), {}, "", np.empty((3, 0))):
        with pytest.raises((DataError, TypeError)):
            forecaster.update(wrong)


def test_samples_follow_the_new_rows(model: TSFM) -> None:
    df = long()
    forecaster = Forecaster(model, prediction_length=3, random_state=0).fit(up_to(df, 200))
    forecaster.update(up_to(df, 210, 200))
    whole = Forecaster(model, prediction_length=3, random_state=0).fit(up_to(df, 210))
    same(forecaster.predict_samples(num_samples=4), whole.predict_samples(num_samples=4))


def test_series_without_a_value_wait_for_one(model: TSFM) -> None:
    df = long()
    df.loc[(df.item_id == "b") & (df.index < 500), "target"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forecaster = Forecaster(model, prediction_length=5).fit(up_to(df, 190))
        forecaster.update(up_to(df, 195, 190))
        got = forecaster.predict()
        assert got.groupby("item_id")["predictions"].count().to_dict() == {"a": 5, "b": 0}
        forecaster.update(up_to(df, 220, 195))
    assert forecaster.predict()["predictions"].notna().all()
