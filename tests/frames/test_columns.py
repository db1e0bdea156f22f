"""Which column is what: detection, ambiguity, dtypes of ids and targets."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tsfm.frames import DataError, UnusedColumnWarning, to_panel

DAYS = pd.date_range("2024-01-01", periods=6, freq="D")


def long(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("ident", "time", "target"),
    [("item_id", "timestamp", "target"), ("unique_id", "ds", "y"), ("item_id", "when", "sales")],
)
def test_conventional_names_are_found(ident: str, time: str, target: str) -> None:
    frame = long(**{ident: ["a"] * 6, time: DAYS, target: np.arange(6.0)})
    panel = to_panel(frame)
    assert (panel.layout.id_col, panel.layout.timestamp_col) == (ident, time)
    assert panel.target_names == (target,)
    assert panel.values[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_explicit_names_win_over_conventional_ones() -> None:
    frame = long(
        item_id=["x"] * 6, shop=["a", "b"] * 3, timestamp=DAYS, day=DAYS.repeat(2)[:6], y=range(6)
    )
    with pytest.warns(UnusedColumnWarning, match="'item_id', 'timestamp'"):
        panel = to_panel(frame, id_col="shop", timestamp_col="day", target_col="y")
    assert list(panel.ids) == ["a", "b"]
    assert panel.values[1].tolist() == [1, 3, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id_col": "shop"}, "id_col='shop' is not a column.*'timestamp'"),
        ({"timestamp_col": "when"}, "timestamp_col='when' is not a column"),
        ({"target_col": ["y", "z"]}, "target_col='z' is not a column"),
        ({"target_col": ["y", "y"]}, "repeats a column"),
    ],
)
def test_a_name_that_does_not_exist_is_an_error(arguments: dict, message: str) -> None:
    frame = long(timestamp=DAYS, y=range(6))
    with pytest.raises(DataError, match=message):
        to_panel(frame, **arguments)


def test_two_datetime_columns_are_ambiguous() -> None:
    with pytest.raises(DataError, match=r"'ordered', 'shipped'.*timestamp_col="):
        to_panel(long(ordered=DAYS, shipped=DAYS, n=range(6)))


def test_a_datetime_column_beats_strings_that_look_like_dates() -> None:
    frame = long(when=DAYS, note=DAYS.astype(str), n=np.arange(6.0))
    with pytest.warns(UnusedColumnWarning):
        assert to_panel(frame, id_col=None).layout.timestamp_col == "when"


def test_several_targets_with_an_id_are_ambiguous() -> None:
    frame = long(item_id=["a"] * 6, timestamp=DAYS, price=range(6), sales=range(6))
    with pytest.raises(DataError, match=r"'price', 'sales'.*target_col="):
        to_panel(frame)
    panel = to_panel(frame, target_col=["price", "sales"])
    assert panel.target_names == ("price", "sales")
    assert list(panel.ids) == ["a", "a"]
    assert panel.label(1) == "a / sales"


def test_a_text_column_that_may_be_the_id_is_not_ignored() -> None:
    frame = long(timestamp=DAYS, shop=list("aabbcc"), sales=range(6))
    with pytest.raises(DataError, match="id_col='shop'"):
        to_panel(frame)
    with pytest.warns(UnusedColumnWarning, match="'shop'"):
        assert len(to_panel(frame, id_col=None)) == 1


def test_unused_columns_are_named() -> None:
    frame = long(timestamp=DAYS, target=range(6), temperature=range(6))
    with pytest.warns(UnusedColumnWarning, match="'temperature'"):
        to_panel(frame)


def test_wide_frames_hold_one_series_per_numeric_column() -> None:
    wide = pd.DataFrame({"a": range(6), "b": np.arange(6) * 2.0}, index=DAYS)
    for frame in (wide, wide.rename_axis("day").reset_index()):
        panel = to_panel(frame)
        assert panel.layout.source == "wide"
        assert list(panel.ids) == ["a", "b"]
        assert panel.target_names == ("a", "b")
        assert panel.values[1].tolist() == [0, 2, 4, 6, 8, 10]


def test_no_time_column_asks_and_none_means_row_order() -> None:
    frame = long(year=[2000, 2001, 2002], births=[1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="timestamp_col=None"):
        to_panel(frame)
    with pytest.warns(UnusedColumnWarning, match="year"):
        panel = to_panel(frame, timestamp_col=None, target_col="births")
    assert panel.timestamps(0).tolist() == [0, 1, 2]
    assert to_panel(frame, timestamp_col="year").values[0].tolist() == [1, 2, 3]


def test_row_order_counts_within_each_id() -> None:
    frame = long(item_id=["a", "b", "a", "b"], target=[1.0, 2.0, 3.0, 4.0])
    panel = to_panel(frame, timestamp_col=None)
    assert [v.tolist() for v in panel.values] == [[1, 3], [2, 4]]


def test_multi_index_becomes_columns() -> None:
    frame = long(item_id=["a"] * 6, timestamp=DAYS, target=range(6))
    for names in (["item_id", "timestamp"], [None, None]):
        indexed = frame.set_index(["item_id", "timestamp"])
        indexed.index.names = names
        for data in (indexed, indexed["target"]):
            panel = to_panel(data)
            assert list(panel.ids) == ["a"]
            assert panel.frequencies[0].alias == "D"


def test_duplicate_column_names_are_refused() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["timestamp", "y", "y"])
    with pytest.raises(DataError, match="more than once: 'y'"):
        to_panel(frame)


def test_missing_ids_are_refused_with_their_row() -> None:
    frame = long(item_id=["a", None, "a"], timestamp=DAYS[:3], target=range(3))
    with pytest.raises(DataError, match=r"'item_id' is missing in 1 row.*row 1"):
        to_panel(frame)


@pytest.mark.parametrize(
    "ids",
    [
        pd.Series(["b", "b", "a", "a"]),
        pd.Series(["b", "b", "a", "a"], dtype="string"),
        pd.Series(pd.Categorical(["b", "b", "a", "a"], categories=["a", "b", "unused"])),
        pd.Series([7, 7, 3, 3], dtype="int32"),
        pd.Series([7, 7, 3, 3], dtype="Int64"),
        pd.Series([("x", 1), ("x", 1), ("y", 2), ("y", 2)]),
        pd.Series([True, True, False, False]),
    ],
)
def test_ids_keep_dtype_and_order(ids: pd.Series) -> None:
    frame = long(item_id=ids, timestamp=DAYS[[0, 1, 0, 1]], target=range(4))
    panel = to_panel(frame)
    assert list(panel.ids) == [ids.iloc[0], ids.iloc[2]]
    assert panel.ids.dtype == ids.dtype


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, 3], dtype="int8"),
        pd.Series([1, 2, 3], dtype="UInt16"),
        pd.Series([1.0, 2.0, 3.0], dtype="float32"),
        pd.Series([1, 2, 3], dtype="float64[pyarrow]"),
        pd.Series([Decimal("1"), Decimal("2"), Decimal("3")]),
        pd.Series([1, 2.0, 3], dtype=object),
    ],
)
def test_numbers_of_any_dtype_are_targets(values: pd.Series) -> None:
    panel = to_panel(long(timestamp=DAYS[:3], load=values))
    assert panel.values[0].dtype == np.float64
    assert panel.values[0].tolist() == [1, 2, 3]


def test_missing_values_of_any_kind_are_nan() -> None:
    for values in (
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1.0, np.nan, 3.0]),
        pd.Series([1, None, 3], dtype=object),
        pd.Series([Decimal(1), pd.NA, Decimal(3)]),
        pd.Series([True, None, False], dtype="boolean"),
    ):
        panel = to_panel(long(timestamp=DAYS[:3], target=values))
        assert np.isnan(panel.values[0]).tolist() == [False, True, False]


def test_booleans_count_when_named() -> None:
    panel = to_panel(long(timestamp=DAYS[:3], target=[True, False, True]))
    assert panel.values[0].tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="No numeric target"):
        to_panel(long(timestamp=DAYS[:3], flag=[True, False, True]))


@pytest.mark.parametrize(
    "bad",
    [
        pd.Series([1.0, "1,5", 3.0], dtype=object),
        pd.Series(["1.5", "2.5", "3.5"]),
        pd.Series(["1.5", "2.5", "3.5"], dtype="string"),
        pd.Series([1j, 2, 3]),
        pd.Series(pd.to_timedelta([1, 2, 3], unit="h")),
        pd.Series(["1", "2", "3"], dtype="category"),
    ],
)
def test_targets_that_are_not_numbers_name_the_row(bad: pd.Series) -> None:
    with pytest.raises(DataError, match=r"'target' is not numeric.*row \d holds.*pd.to_numeric"):
        to_panel(long(timestamp=DAYS[:3], target=bad))


@pytest.mark.parametrize(
    "empty",
    [
        pd.DataFrame(),
        pd.DataFrame({"item_id": [], "timestamp": [], "target": []}),
        pd.Series([], dtype=float),
        np.array([]),
        [],
        [np.arange(3.0), np.array([])],
    ],
)
def test_empty_data_are_refused(empty: object) -> None:
    with pytest.raises(DataError, match=r"empty.*nothing to forecast"):
        to_panel(empty)


@pytest.mark.parametrize("bad", ["data.csv", {"a": [1, 2]}, 3, None, [pd.Series([1.0])]])
def test_unsupported_types_say_what_is_supported(bad: object) -> None:
    with pytest.raises(TypeError, match=r"pass a DataFrame|pd\.concat"):
        to_panel(bad)


def test_arrays_and_lists() -> None:
    assert to_panel([1, 2, None]).values[0].tolist()[:2] == [1, 2]
    assert len(to_panel(np.arange(3))) == 1
    panel = to_panel([np.arange(3.0), [5.0, 6.0]])
    assert panel.ids.tolist() == [0, 1]
    assert panel.values[1].tolist() == [5, 6]
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        to_panel(np.zeros((2, 3)))


def test_series_names() -> None:
    named = to_panel(pd.Series([1.0, 2.0], index=DAYS[:2], name="load"))
    assert (named.ids[0], named.target_names) == ("load", ("load",))
    nameless = to_panel(pd.Series([1.0, 2.0], index=DAYS[:2]))
    assert (nameless.ids[0], nameless.target_names) == (0, ("target",))
