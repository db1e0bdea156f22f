"""New rows behind remembered ones, for every kind of time and table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsfm.frames import DataError, to_panel
from tsfm.frames.extend import Extension, extend
from tsfm.frames.panel import Panel
from tsfm.frames.read import read


def put(panel: Panel, data, keep: int = 1_000, **options) -> Extension:
    names = panel.layout.arguments if panel.layout.from_frame else {}
    return extend(panel, read(data, **names), None, "insert", "raise", keep, **options)


def agrees(extension: Extension, whole: Panel) -> None:
    panel = extension.panel
    assert list(panel.ids) == list(whole.ids)
    assert panel.target_names == whole.target_names
    assert panel.frequencies == whole.frequencies
    np.testing.assert_array_equal(panel.start, whole.start)
    np.testing.assert_array_equal(panel.last, whole.last)
    for one, other in zip(panel.values, whole.values, strict=True):
        np.testing.assert_array_equal(one, other)
    for i in range(len(panel)):
        pd.testing.assert_series_equal(panel.timestamps(i), whole.timestamps(i))


def axis(kind: str, n: int = 40) -> pd.Index:
    return {
        "hours": lambda: pd.date_range("2024-01-01", periods=n, freq="h"),
        "summer time": lambda: pd.date_range(
            "2024-03-30", periods=n, freq="h", tz="Europe/Berlin"
        ),
        "days in a zone": lambda: pd.date_range("2024-03-01", periods=n, tz="Europe/Berlin"),
        "month ends": lambda: pd.date_range("2020-01-31", periods=n, freq="ME"),
        "the 30th": lambda: pd.DatetimeIndex(
            [
                m + pd.Timedelta(days=min(29, m.days_in_month - 1))
                for m in pd.date_range("2020-03-01", periods=n, freq="MS")
            ]
        ),
        "weekdays": lambda: pd.date_range("2024-01-01", periods=n, freq="B"),
        "periods": lambda: pd.period_range("2020-01", periods=n, freq="Q"),
        "integers": lambda: pd.RangeIndex(5, 5 + 3 * n, 3),
    }[kind]()


KINDS = (
    "hours",
    "summer time",
    "days in a zone",
    "month ends",
    "the 30th",
    "weekdays",
    "periods",
    "integers",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_in_two_parts_is_the_series(kind):
    series = pd.Series(np.arange(40.0), axis(kind), name="load")
    whole = to_panel(series)
    first = to_panel(series[:29])
    for cut in (29, 30):
        panel = put(to_panel(series[:cut]), series[cut:30]).panel if cut < 30 else first
        found = put(panel, series[30 if cut < 30 else 29 :])
        agrees(found, whole)
    np.testing.assert_array_equal(found.added[0], np.arange(29.0, 40.0)[-len(found.added[0]) :])


@pytest.mark.parametrize("kind", KINDS)
def test_missing_rows_between_are_missing_values(kind):
    series = pd.Series(np.arange(40.0), axis(kind), name="load")
    with pytest.warns(UserWarning, match="Inserted 4"):
        found = put(to_panel(series[:30]), series[34:].iloc[::-1])
    np.testing.assert_array_equal(found.added[0], [np.nan] * 4 + [34, 35, 36, 37, 38, 39])


@pytest.mark.parametrize("keep", [1, 5, 30, 32, 100])
@pytest.mark.parametrize("kind", ["hours", "month ends", "integers"])
def test_what_is_kept_is_the_end(kind, keep):
    series = pd.Series(np.arange(40.0), axis(kind), name="load")
    found = put(to_panel(series[:30]), series[30:], keep).panel
    np.testing.assert_array_equal(found.values[0], np.arange(40.0)[-keep:])
    pd.testing.assert_series_equal(
        found.timestamps(0), to_panel(series).timestamps(0)[-keep:].reset_index(drop=True)
    )


def test_wide_frames_and_several_targets():
    n = 20
    hours = pd.date_range("2024-01-01", periods=n, freq="h")
    wide = pd.DataFrame({"a": np.arange(n) * 1.0, "b": -np.arange(n) * 1.0}, index=hours)
    agrees(put(to_panel(wide[:15]), wide[15:]), to_panel(wide))
    several = pd.DataFrame(
        {"item_id": ["x", "y"] * n, "timestamp": hours.repeat(2), "p": range(2 * n), "q": 1.0}
    )
    options = {"target_col": ["p", "q"]}
    agrees(put(to_panel(several[:30], **options), several[30:]), to_panel(several, **options))
    with pytest.raises(DataError, match="'b'"):
        put(to_panel(wide[:15]), wide[15:][["a"]])


def test_arrays_go_on_in_order_and_more_of_them_are_new():
    panel = to_panel([np.arange(5.0), np.arange(3.0)])
    found = put(panel, [np.array([5.0]), np.array([3.0, 4.0]), np.array([7.0, 8.0])])
    assert [x.tolist() for x in found.panel.values] == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4],
        [7, 8],
    ]
    assert list(found.panel.ids) == [0, 1, 2]
    assert found.panel.last.tolist() == [5, 4, 1]
    one = put(to_panel([1.0, 2.0]), [3.0])
    assert one.panel.values[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["object", "category", "string", "int64"])
def test_ids_of_any_dtype_match_and_grow(dtype):
    names = [1, 2, 3] if dtype == "int64" else ["u", "v", "w"]
    hours = pd.date_range("2024-01-01", periods=10, freq="h")
    frame = pd.DataFrame(
        {"item_id": np.repeat(names, 10), "timestamp": np.tile(hours, 3), "target": range(30)}
    ).astype({"item_id": dtype})
    old = frame[(frame["timestamp"] < hours[6]) & (frame["item_id"] != names[2])]
    new = frame.drop(old.index)
    found = put(to_panel(old), new)
    agrees(found, to_panel(frame))
    assert str(pd.Series(found.panel.ids).dtype) == dtype
    only = frame[frame["item_id"] == names[2]].iloc[:1]
    assert put(to_panel(old), only).panel.frequencies[2].alias == "h"


def test_resolutions_are_converted():
    series = pd.Series(np.arange(40.0), axis("hours"), name="load")
    for old, new in (("ns", "s"), ("s", "ns"), ("us", "ms")):
        one, other = series[:30], series[30:]
        one.index, other.index = one.index.as_unit(old), other.index.as_unit(new)
        found = put(to_panel(one), other).panel
        assert found.axis.unit == old
        assert str(found.timestamps(0).dtype) == f"datetime64[{old}]"
        assert found.timestamps(0).iloc[-1] == series.index[-1]
    other.index = series.index[30:].as_unit("ns") + pd.Timedelta("1ns")
    one.index = series.index[:30].as_unit("s")
    with pytest.raises(DataError, match=r"row 0: .* finer than the resolution"):
        put(to_panel(one), other)


def test_what_does_not_follow_is_refused_by_name():
    series = pd.Series(np.arange(40.0), axis("hours"), name="load")
    panel = to_panel(series[:30])
    late = r"Series 'load', row 1: 2024-01-02 05:00:00 does not follow the last row remembered, "
    with pytest.raises(DataError, match=late + r"2024-01-02 05:00:00\. Only rows that follow"):
        put(panel, series.iloc[[30, 29]])
    with pytest.raises(DataError, match=r"\(30 such rows\)"):
        put(panel, series)
    half = series[30:].copy()
    half.index = half.index + pd.Timedelta("30min")
    off = r"'load', row 0: 2024-01-02 06:30:00 is not on its 'h' grid, .* \(10 such rows\)"
    with pytest.raises(DataError, match=off):
        put(panel, half)
    with pytest.raises(DataError, match="duplicate timestamps"):
        put(panel, pd.concat([series[30:], series[35:]]))
    far = pd.Series([1.0], [pd.Timestamp("2224-01-01")], name="load")
    gap = r"row 0: 2224-01-01 leaves 1753122 rows missing after 2024-01-02 05:00:00\. Check that "
    with pytest.raises(DataError, match=gap):
        put(to_panel(series[:30].set_axis(series.index[:30].as_unit("s"))), far)
    with pytest.raises(DataError, match=r"row 2: 2224-01-01 leaves .* after 2024-01-02 07:00:00"):
        put(panel, pd.concat([series[30:32], far]))


@pytest.mark.parametrize("year", [1500, 2300])
def test_times_beyond_the_range_of_the_remembered_ones_are_named(year):
    series = pd.Series(np.arange(40.0), axis("hours").as_unit("ns"), name="load")
    far = pd.Series([1.0, 2.0], np.array(["2024-01-02T06", f"{year}-01-01"], "M8[s]"), name="load")
    with pytest.raises(DataError, match=rf"'load', row 1: {year}-01-01 is beyond .* 1677 to 2262"):
        put(to_panel(series[:30]), far)


def test_messages_know_of_the_new_rows_only_and_offer_what_there_is():
    hours = axis("hours").repeat(2)
    frame = pd.DataFrame({"item_id": ["x", "y"] * 40, "timestamp": hours, "target": 1.0})
    panel, late = to_panel(frame[:60]), frame[60:].copy()
    late.loc[65, "timestamp"] += pd.Timedelta("7min")
    with pytest.raises(DataError, match=r"Series 'y', row 5: .* goes on from .* 05:00:00\. ") as e:
        put(panel, late)
    assert "freq=" not in str(e.value)
    odd = ["2024-01-02 06:00", "2024-01-02 06:30", "2024-01-02 07:00"]
    fresh = pd.DataFrame({"item_id": "z", "timestamp": pd.to_datetime(odd), "target": 1.0})
    with pytest.raises(DataError, match=r"begin with these rows: .*'z'.* set_params\(freq=") as e:
        extend(panel, read(fresh, **panel.layout.arguments), "h", "insert", "raise", 100)
    assert panel.lengths.tolist() == [30, 30]


def test_other_kinds_of_rows_are_refused():
    series = pd.Series(np.arange(40.0), axis("hours"), name="load")
    panel = to_panel(series[:30])
    zoned = series[30:].tz_localize("Europe/Berlin")
    quarters = pd.Series([1.0], pd.period_range("2024-01", periods=1, freq="Q"), name="load")
    for other, message in (
        (zoned, "time zones"),
        (series[30:].rename("other"), "'other'"),
        (series[30:].reset_index(drop=True), "int64"),
        (quarters, "period"),
        ([1.0, 2.0], "form that fit was given"),
        (series[30:].rename(None), "form that fit was given"),
    ):
        with pytest.raises(DataError, match=message):
            put(panel, other)
    with pytest.raises(DataError, match="only if, fit was given times"):
        put(to_panel([1.0, 2.0]), series.rename("target"))
    frame = pd.DataFrame({"item_id": [1, 1], "timestamp": series.index[:2], "target": [1.0, 2.0]})
    new = frame.assign(item_id=["1", "1"], timestamp=series.index[2:4])
    with pytest.raises(DataError, match="ids of the new rows are of type string"):
        put(to_panel(frame), new)


def test_the_day_of_the_month_stays():
    series = pd.Series(np.arange(40.0), axis("the 30th"), name="load")
    stray = pd.Series([1.0], [series.index[30] - pd.Timedelta("1D")], name="load")
    with pytest.raises(DataError, match="'load'"):
        put(to_panel(series[:30]), stray)
