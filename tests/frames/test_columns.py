"""Which column is what: detection, ambiguity, dtypes of ids and targets."""

from __future__ import annotations

import warnings
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
    ("bad", "message"),
    [
        (pd.Series([1.0, "1,5", 3.0], dtype=object), r"row 1 holds '1,5', which is no number"),
        (pd.Series(["1.5", "n.a.", "?"]), r"row 1 holds 'n.a.', the first of 2 cells"),
        (pd.Series(["1.5", None, "?"], dtype="string"), r"row 2 holds '\?'"),
        (pd.Series(["1", "2", "x"], dtype="category"), r"row 2 holds 'x'"),
        (pd.Series(["a", None, "b"]), r"row 0 holds 'a', the first of 2 cells.*target_col="),
        (pd.Series([1j, 2, 3]), r"row 0 holds 1j, the first of 3 cells.*target_col="),
        (pd.Series([1.0, np.complex128(2j), 3.0], dtype=object), r"row 1 holds 2j"),
        (pd.Series(pd.to_timedelta([1, 2, 3], unit="h")), r"row 0 holds Timedelta.*target_col="),
    ],
)
def test_the_first_cell_that_is_no_number_is_named(bad: pd.Series, message: str) -> None:
    with pytest.raises(DataError, match=rf"'target' is not numeric.*{message}") as error:
        to_panel(long(timestamp=DAYS[:3], target=bad))
    assert "errors=" not in str(error.value)  # coerce would drop values silently


def test_a_cell_that_is_no_number_comes_with_its_series() -> None:
    cells = ["50.13", "50.14", "1e3", "-2", "n.a. broken", "7"]
    frame = long(item_id=list("aaabbb"), timestamp=DAYS, target=cells)
    with pytest.raises(DataError, match=r"row 4 \(series 'b'\) holds 'n.a. broken'"):
        to_panel(frame)


@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_numbers_written_as_text_come_with_the_remedy(dtype: object) -> None:
    df = long(timestamp=DAYS[:3], target=pd.Series(["50.13", None, "7"], dtype=dtype))
    remedy = r"df\['target'\] = pd.to_numeric\(df\['target'\]\)"
    with pytest.raises(DataError, match=rf"whole column is text.*'50.13'.*{remedy}"):
        to_panel(df)
    df["target"] = pd.to_numeric(df["target"])
    assert to_panel(df).values[0][[0, 2]].tolist() == [50.13, 7]
    mixed = long(timestamp=DAYS[:3], target=pd.Series([1, "2", 3], dtype=object))
    with pytest.raises(DataError, match=r"some of its numbers are text: row 1 holds '2'"):
        to_panel(mixed)


def test_text_in_arrays_and_series_names_their_own_remedy() -> None:
    with pytest.raises(DataError, match=r"series = pd.to_numeric\(series\)"):
        to_panel(pd.Series(["1", "2"], index=DAYS[:2]))
    with pytest.raises(DataError, match=r"array = pd.to_numeric\(array\)"):
        to_panel(np.array(["1", "2"]))


def test_a_frame_without_numbers_lists_its_columns() -> None:
    frame = long(item_id=list("aabbcc"), timestamp=DAYS, load=list("123xyz"))
    roles = r"where 'item_id' is the id and 'timestamp' is the time\. A column of numbers is exp"
    with pytest.raises(DataError, match=f"columns are 'item_id', 'timestamp', {roles}"):
        to_panel(frame[["item_id", "timestamp"]])
    with pytest.raises(DataError, match=f"'timestamp', 'load', {roles}.*target_col='load'"):
        to_panel(frame)
    with pytest.raises(DataError, match="the column is 'item_id'"):
        to_panel(frame[["item_id"]].set_index(DAYS))


@pytest.mark.parametrize("ids", [list("ababab"), [1, 2] * 3])
def test_the_id_or_the_time_as_target_is_refused_before_any_warning(ids: list) -> None:
    frame = long(item_id=ids, timestamp=DAYS, target=range(6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="target_col='item_id' names the id column"):
            to_panel(frame, target_col="item_id")
        with pytest.raises(DataError, match="'timestamp' is the time column"):
            to_panel(frame, target_col="timestamp")
        with pytest.raises(DataError, match="'target' is not numeric"):
            to_panel(frame.assign(target="x", other=1), target_col="target")


def test_messages_agree_in_number() -> None:
    frame = long(timestamp=DAYS, shop=list("aabbcc"), sales=range(6))
    with pytest.raises(DataError, match=r"^Column 'shop' may tell"):
        to_panel(frame)
    with pytest.raises(DataError, match=r"^Columns 'shop', 'city' may tell"):
        to_panel(frame.assign(city="x"))


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
