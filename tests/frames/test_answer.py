"""The answer frame: layout, names, dtypes, order; and that inputs are left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.frames import DataError, forecast_frame, level_name, samples_frame, to_panel

LEVELS = [0.1, 0.5, 0.9]


def answer(data: object, steps: int = 2, **options: object) -> pd.DataFrame:
    panel = to_panel(data, **options)
    quantiles = np.arange(len(panel) * steps * 3, dtype=float).reshape(len(panel), steps, 3)
    return forecast_frame(panel, quantiles, LEVELS, quantiles[..., 1])


def two_series() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "shop": pd.Categorical(["z", "z", "a", "a"], categories=["a", "b", "z"]),
            "day": pd.date_range("2024-01-01", periods=4, tz="Europe/Paris")[[0, 1, 0, 1]],
            "sales": [1, 2, 3, 4],
        }
    )


def test_columns_names_dtypes_and_order() -> None:
    frame = two_series()
    got = answer(frame, id_col="shop")
    assert list(got.columns) == ["shop", "day", "target_name", "predictions", "0.1", "0.5", "0.9"]
    assert got["shop"].tolist() == ["z", "z", "a", "a"]
    assert got["shop"].dtype == frame["shop"].dtype
    assert got["day"].dtype == frame["day"].dtype
    assert got["day"].dt.day.tolist() == [3, 4, 3, 4]
    assert set(got["target_name"]) == {"sales"}
    assert got["0.1"].tolist() == [0, 3, 6, 9]
    assert got["predictions"].tolist() == got["0.5"].tolist()
    assert got.index.tolist() == [0, 1, 2, 3]


def test_without_an_id_the_column_label_is_the_item() -> None:
    index = pd.date_range("2024-01-01", periods=3, name="day")
    wide = answer(pd.DataFrame({"a": range(3), "b": range(3)}, index=index))
    assert list(wide.columns[:3]) == ["item_id", "day", "target_name"]
    assert wide["item_id"].tolist() == wide["target_name"].tolist() == ["a", "a", "b", "b"]
    single = answer(pd.Series(range(3), index=index, name="load"))
    assert single["item_id"].tolist() == ["load"] * 2
    nameless = answer([1.0, 2.0])
    assert nameless["item_id"].tolist() == [0, 0]
    assert nameless["timestamp"].tolist() == [2, 3]
    assert nameless["target_name"].tolist() == ["target"] * 2


def test_several_targets() -> None:
    frame = two_series().assign(price=1.5)
    got = answer(frame, id_col="shop", target_col=["price", "sales"])
    assert got["shop"].tolist() == ["z"] * 4 + ["a"] * 4
    assert (
        got["target_name"].tolist()
        == ["price"] * 2 + ["sales"] * 2 + ["price"] * 2 + ["sales"] * 2
    )


def test_clashing_names_are_refused() -> None:
    frame = two_series().rename(columns={"shop": "predictions"})
    with pytest.raises(DataError, match="Rename column 'predictions'"):
        answer(frame, id_col="predictions")
    with pytest.raises(DataError, match=r"'0\.5'.*rename"):
        answer(frame.rename(columns={"predictions": "0.5"}), id_col="0.5")


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (0.1, "0.1"), (np.float32(0.1), "0.1"), (np.float64(0.975), "0.975"), (0.05, "0.05"),
        (0.1 + 0.2, "0.3"), (0.04999999999999999, "0.05"), (0.001, "0.001"), (1 - 0.95, "0.05"),
    ],
)  # fmt: skip
def test_levels_are_named_as_written(level: float, name: str) -> None:
    assert level_name(level) == name


def test_samples() -> None:
    panel = to_panel(two_series(), id_col="shop")
    samples = np.arange(2 * 3 * 2, dtype=float).reshape(2, 3, 2)
    got = samples_frame(panel, samples)
    assert list(got.columns) == ["shop", "day", "target_name", "sample", "predictions"]
    assert got["predictions"].tolist() == list(range(12))
    assert got["sample"].tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert got["day"].dt.day.tolist() == [3, 4] * 6
    assert got["shop"].tolist() == ["z"] * 6 + ["a"] * 6


@settings(max_examples=60, deadline=None)
@given(
    n_series=st.integers(1, 4),
    lengths=st.lists(st.integers(2, 12), min_size=4, max_size=4),
    seed=st.integers(0, 10_000),
    tz=st.sampled_from([None, "America/New_York"]),
    ids=st.sampled_from(["object", "category", "int", "string"]),
)
def test_inputs_are_never_changed_and_row_order_is_irrelevant(
    n_series: int, lengths: list[int], seed: int, tz: str | None, ids: str
) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_series):
        index = pd.date_range("2024-03-01", periods=lengths[i], freq=["h", "D"][i % 2], tz=tz)
        parts.append(
            pd.DataFrame({"id": i, "ds": index, "y": rng.normal(size=lengths[i]), "k": index})
        )
    frame = pd.concat(parts, ignore_index=True).drop(columns="k")
    if ids != "int":
        frame["id"] = frame["id"].astype(str).astype(ids)
    shuffled = frame.sample(frac=1.0, random_state=seed)
    before = shuffled.copy(deep=True)
    got = answer(shuffled, id_col="id")
    pd.testing.assert_frame_equal(shuffled, before)

    assert got["id"].drop_duplicates().tolist() == shuffled["id"].drop_duplicates().tolist()
    straight, mixed = to_panel(frame, id_col="id"), to_panel(shuffled, id_col="id")
    values = dict(zip(straight.ids, straight.values, strict=True))
    for key, value in zip(mixed.ids, mixed.values, strict=True):
        np.testing.assert_array_equal(value, values[key])
        value[:] = -1.0  # the panel owns its memory
    pd.testing.assert_frame_equal(shuffled, before)


def test_the_panel_never_shares_memory_with_arrays_and_series() -> None:
    array = np.arange(5.0)
    for data in (array, [array], pd.Series(array, index=pd.date_range("2024", periods=5))):
        to_panel(data).values[0][:] = -1.0
        assert array.tolist() == [0, 1, 2, 3, 4]
