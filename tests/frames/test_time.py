"""Time columns: gaps, duplicates, zones, Periods, integers."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.frames import (
    AllMissingWarning,
    DataError,
    GapWarning,
    InfiniteValueWarning,
    forecast_frame,
    to_panel,
)


def series(index: pd.Index, values: object = None) -> pd.Series:
    return pd.Series(np.arange(float(len(index))) if values is None else values, index=index)


def future(data: object, steps: int = 3, **options: object) -> pd.Series:
    panel = to_panel(data, **options)
    answer = forecast_frame(
        panel, np.zeros((len(panel), steps, 1)), [0.5], np.zeros((len(panel), steps))
    )
    return answer[panel.layout.timestamp_name]


def test_one_missing_row_is_inserted_with_one_warning() -> None:
    index = pd.date_range("2024-01-01", periods=10, freq="D").delete(4)
    frame = pd.DataFrame({"item_id": "A", "timestamp": index, "target": np.arange(9.0)})
    with pytest.warns(
        GapWarning, match=r"Inserted 1 missing row.*1 of 1 series.*'A': 1"
    ) as caught:
        panel = to_panel(frame)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(panel.values[0][4])
    with pytest.raises(DataError, match=r"1 missing row\(s\) in 1 of 1 series.*'A'"):
        to_panel(frame, on_gaps="raise")


def test_duplicates_are_named_and_resolved_on_request() -> None:
    index = pd.DatetimeIndex(["2024-01-05", "2024-01-06", "2024-01-06", "2024-01-07"])
    frame = pd.DataFrame({"item_id": "A", "timestamp": index, "target": [1.0, 2.0, 4.0, 5.0]})
    with pytest.raises(
        DataError, match=r"duplicate timestamps: 'A', 2024-01-06 \(2\N{MULTIPLICATION SIGN}\)"
    ):
        to_panel(frame)
    assert to_panel(frame, on_duplicates="mean").values[0].tolist() == [1, 3, 5]
    assert to_panel(frame, on_duplicates="last").values[0].tolist() == [1, 4, 5]
    frame.loc[1, "target"] = np.nan
    assert to_panel(frame, on_duplicates="mean").values[0].tolist() == [1, 4, 5]


def test_a_missing_id_column_is_suggested_for_duplicates() -> None:
    index = pd.date_range("2024-01-01", periods=3).repeat(2)
    frame = pd.DataFrame({"timestamp": index, "shop": [1, 2] * 3, "target": range(6)})
    first = "name it: id_col='shop'. Otherwise pass on_duplicates='mean' or 'last'"
    with pytest.warns(match="shop"), pytest.raises(DataError, match=first):
        to_panel(frame)
    with pytest.raises(DataError, match=r"name it with id_col=\. Otherwise pass on_dup"):
        to_panel(frame.drop(columns="shop"))
    with pytest.raises(DataError, match=r"\(2.\)\. Pass on_duplicates='mean' or 'last'"):
        to_panel(pd.Series(1.0, index))


@pytest.mark.parametrize("dtype", ["int64", "Int64", "category"])
def test_a_wide_frame_of_several_stores_names_the_column_of_stores(dtype: str) -> None:
    index = pd.date_range("2024-01-01", periods=20)
    stores = pd.Series(np.repeat([1, 2], 20)).astype(dtype)
    frame = pd.DataFrame({"store": stores, "date": index.append(index), "sales": range(40)})
    frame["visitors"] = frame["sales"] // 2  # tells the rows apart, too, but with more values
    options = {"id_col": None} if dtype == "category" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"name it: id_col='store'\. Otherwise pass on_dup"):
            to_panel(frame, **options)
    panel = to_panel(frame, id_col="store", target_col=["sales", "visitors"])
    assert panel.values[2].tolist() == list(range(20, 40))


def test_one_date_that_occurs_twice_does_not_make_a_count_an_id() -> None:
    index = pd.date_range("2024-01-01", periods=20)
    frame = pd.DataFrame({"date": index.append(index[:1]), "sales": np.arange(21) % 7, "open": 1})
    with pytest.raises(DataError, match="name it with id_col="):
        to_panel(frame)


def test_sub_daily_steps_are_counted_in_utc_across_summer_time() -> None:
    index = pd.date_range("2024-03-30 20:00", periods=10, freq="h", tz="Europe/Berlin")
    assert future(series(index[:6]), 4).tolist() == index[6:].tolist()
    autumn = pd.date_range("2024-10-26 22:00", periods=12, freq="30min", tz="Europe/Berlin")
    assert future(series(autumn[:8]), 4).tolist() == autumn[8:].tolist()


def test_days_are_counted_on_the_local_clock_across_summer_time() -> None:
    index = pd.date_range("2024-03-27", periods=8, freq="D", tz="Europe/Berlin")
    got = future(series(index[:3]), 5)
    assert got.tolist() == index[3:].tolist()
    assert got.dt.hour.tolist() == [0] * 5


def test_daily_rows_at_utc_midnight_stay_there() -> None:
    index = pd.date_range("2024-03-27", periods=8, freq="D", tz="UTC").tz_convert("Europe/Berlin")
    assert future(series(index[:6]), 2).tolist() == index[6:].tolist()


def test_midnights_that_summer_time_skips_are_not_irregular() -> None:
    index = pd.date_range("2024-09-04", periods=8, freq="D").tz_localize(
        "America/Santiago", nonexistent="shift_forward"
    )
    assert 1 in index.hour  # 2024-09-08 begins at 01:00
    panel = to_panel(series(index))
    assert len(panel.values[0]) == 8
    assert panel.timestamps(0).tolist() == index.tolist()


def test_an_hour_that_occurs_twice_on_a_naive_clock_is_a_duplicate() -> None:
    index = pd.date_range("2024-10-27", periods=6, freq="h", tz="Europe/Berlin").tz_localize(None)
    with pytest.raises(DataError, match="duplicate timestamps"):
        to_panel(series(index))


@pytest.mark.parametrize("freq", ["M", "Q-DEC", "D", "h", "Y", "15min", "W-SUN", "2h"])
def test_periods_in_periods_out(freq: str) -> None:
    index = pd.period_range("2020-01-01", periods=12, freq=freq)
    frame = pd.DataFrame({"timestamp": index[:9], "target": range(9)})
    got = future(frame)
    assert got.dtype == index.dtype
    assert got.tolist() == index[9:].tolist()
    assert future(series(index[:9])).tolist() == index[9:].tolist()


def test_periods_that_are_objects() -> None:
    index = pd.period_range("2020-01", periods=4, freq="M")
    frame = pd.DataFrame({"timestamp": pd.Series(list(index), dtype=object), "target": range(4)})
    assert future(frame, 1).tolist() == [pd.Period("2020-05", "M")]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "Int16", "float64"])
def test_integers_in_integers_out(dtype: str) -> None:
    frame = pd.DataFrame({"timestamp": pd.Series([60, 65, 70], dtype=dtype), "target": range(3)})
    got = future(frame, 2)
    assert got.tolist() == [75, 80]
    assert got.dtype == dtype


def test_integers_that_outgrow_their_dtype_become_int64() -> None:
    frame = pd.DataFrame({"timestamp": np.array([125, 126], np.int8), "target": [1.0, 2.0]})
    assert future(frame, 3).tolist() == [127, 128, 129]
    assert to_panel(pd.Series([1.0, 2.0])).axis.dtype == np.int64


def test_integer_gaps_and_steps() -> None:
    with pytest.warns(GapWarning, match="Inserted 1"):
        panel = to_panel(series(pd.Index([0, 10, 20, 40])))
    assert panel.frequencies[0].alias == "10"
    assert panel.season_lengths == (None,)
    with pytest.raises(ValueError, match="positive integer"):
        to_panel(series(pd.Index([0, 10])), freq="D")
    with pytest.warns(GapWarning, match="Inserted 1"):
        assert len(to_panel(series(pd.Index([0, 10])), freq=5).values[0]) == 3


@pytest.mark.parametrize("bad", [[1.5, 2.5], [1.0, np.inf]])
def test_fractional_time_is_refused(bad: list[float]) -> None:
    with pytest.raises(DataError, match="not a whole number"):
        to_panel(pd.DataFrame({"timestamp": bad, "target": [1.0, 2.0]}))


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64"])
@pytest.mark.parametrize(
    ("written", "form"),
    [
        ([20240130, 20240131, 20240201, 20240202], "%Y%m%d"),
        ([20230228, 20240229], "%Y%m%d"),
        ([202401, 202411, 202412, 202501], "%Y%m"),
        ([180001, 220012], "%Y%m"),
    ],
)
def test_integers_that_are_written_dates_are_refused(
    written: list[int], form: str, dtype: str
) -> None:
    df = pd.DataFrame({"ds": pd.Series(written, dtype=dtype), "y": 1.0})
    what = rf"'ds' .*row 0: {written[0]}\).*pd.to_datetime\(df\['ds'\], format='{form}'\)"
    with pytest.raises(DataError, match=what + ".*subtract"):
        to_panel(df)
    df["ds"] = pd.to_datetime(df["ds"], format=form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GapWarning)
        panel = to_panel(df, freq="D" if form == "%Y%m%d" else "MS")
    assert panel.axis.kind == "datetime"
    with pytest.raises(DataError, match=r"pd.to_datetime\(series.index, format='"):
        to_panel(pd.Series(1.0, index=written))


@pytest.mark.parametrize(
    "counted",
    [
        [1999, 2000, 2001],  # years count themselves
        [20240130, 20240131, 20240132],
        [20230228, 20230229],
        [202411, 202412, 202413],
        [202400, 202401],
        [179912, 180001],
        [220112, 220201],
        [20240131],
        [1_706_600_000, 1_706_600_060],
        [-20240131, -20240130],
    ],
)
def test_integers_that_are_no_dates_count(counted: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GapWarning)
        assert to_panel(pd.DataFrame({"ds": counted, "y": 1.0})).axis.kind == "integer"


def test_messages_show_plain_numbers() -> None:
    with pytest.raises(DataError, match=r"row 0: 1700000000\.5 is not a whole"):
        to_panel(pd.DataFrame({"ds": [1700000000.5, 1700000001.5], "y": [1.0, 2.0]}))


def test_infinities_are_missing_and_said_so() -> None:
    index = pd.date_range("2024-01-01", periods=4)
    with pytest.warns(InfiniteValueWarning, match=r"2 infinite value\(s\).*row 1"):
        panel = to_panel(series(index, [1.0, np.inf, -np.inf, 2.0]))
    assert np.isnan(panel.values[0]).tolist() == [False, True, True, False]


def test_constant_and_all_missing_series() -> None:
    index = pd.date_range("2024-01-01", periods=4)
    assert to_panel(series(index, 7.0)).values[0].tolist() == [7.0] * 4
    wide = pd.DataFrame({"a": [np.nan] * 4, "b": range(4)}, index=index)
    with pytest.warns(AllMissingWarning, match="'a': its answers are missing, too"):
        panel = to_panel(wide)
    assert panel.has_values.tolist() == [False, True]


def test_a_wrong_timestamp_does_not_fill_the_memory() -> None:
    index = pd.date_range("2024-01-01", periods=5, freq="s").append(
        pd.DatetimeIndex(["2090-01-01"])
    )
    with pytest.raises(DataError, match=r"longest gap follows 2024-01-01 00:00:04"):
        to_panel(series(index))


def test_missing_timestamps_name_the_row() -> None:
    frame = pd.DataFrame({"timestamp": [pd.Timestamp("2024-01-01"), pd.NaT], "target": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"1 missing timestamp.*row 1.*dropna"):
        to_panel(frame)
    with pytest.raises(DataError, match="missing timestamp"):
        to_panel(frame.astype({"timestamp": object}).assign(timestamp=[None, None]))


def test_iso_strings_and_dates_are_read() -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    for column in (
        days,
        [dt.date.fromisoformat(d) for d in days],
        pd.Series(days, dtype="string"),
    ):
        frame = pd.DataFrame({"day": column, "load": [1.0, 2.0, 3.0]})
        assert future(frame, 1).tolist() == [pd.Timestamp("2024-01-04")]
    zoned = ["2024-03-31T00:00:00+01:00", "2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"]
    frame = pd.DataFrame({"timestamp": zoned, "target": [1.0, 2.0, 3.0]})
    assert future(frame, 1).tolist() == [pd.Timestamp("2024-03-31 02:00", tz="UTC")]


@pytest.mark.parametrize("bad", ["31/01/2024", "Jan 2024", "2024-13-01", ""])
def test_other_strings_are_not_guessed(bad: str) -> None:
    frame = pd.DataFrame({"timestamp": ["2024-01-01", bad], "target": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"row 1.*not an ISO 8601.*pd.to_datetime"):
        to_panel(frame)


@pytest.mark.parametrize("bad", [[True, False], ["a", 3], [1j, 2j]])
def test_columns_that_are_no_time(bad: list[object]) -> None:
    with pytest.raises(DataError, match="time"):
        to_panel(pd.DataFrame({"timestamp": bad, "target": [1.0, 2.0]}), id_col=None)


def test_arrow_timestamps_come_back_as_arrow() -> None:
    pytest.importorskip("pyarrow")
    index = pd.Series(pd.date_range("2024-01-01", periods=4, tz="UTC"))
    frame = pd.DataFrame({"timestamp": index.astype("timestamp[ns, UTC][pyarrow]"), "target": 1.0})
    got = future(frame, 1)
    assert got.dtype == frame["timestamp"].dtype
    assert got[0] == pd.Timestamp("2024-01-05", tz="UTC")


def test_a_series_may_begin_at_a_midnight_that_summer_time_skips() -> None:
    index = pd.date_range("2024-09-08", periods=8, freq="D").tz_localize(
        "America/Santiago", nonexistent="shift_forward"
    )
    assert index[0].hour == 1
    assert future(series(index[:5])).tolist() == index[5:].tolist()


def test_datetime_objects_with_several_offsets_become_utc() -> None:
    rome = [pd.Timestamp(f"2024-03-{d}", tz="Europe/Rome") for d in (29, 30)]
    mixed = [*rome, pd.Timestamp("2024-03-30 23:00", tz="UTC")]
    frame = pd.DataFrame({"timestamp": pd.Series(mixed, dtype=object), "target": 1.0})
    assert future(frame, 1).tolist() == [pd.Timestamp("2024-03-31 23:00", tz="UTC")]


@settings(max_examples=80, deadline=None)
@given(
    step=st.integers(1, 1000),
    start=st.integers(-(10**12), 10**12),
    length=st.integers(2, 30),
    kind=st.sampled_from(["integer", "period"]),
)
def test_integers_and_periods_continue(step: int, start: int, length: int, kind: str) -> None:
    ticks = start + step * np.arange(length + 2)
    if kind == "period":
        ticks = ticks % 20_000 if start < 0 else np.arange(length + 2) * (step % 12 + 1)
        ticks = np.sort(ticks)
        if len(np.unique(np.diff(ticks))) != 1 or ticks[0] == ticks[1]:
            return
        times = pd.Series(pd.PeriodIndex.from_ordinals(ticks, freq="M"))
    else:
        times = pd.Series(ticks)
    frame = pd.DataFrame({"timestamp": times[:length], "target": 1.0})
    got = future(frame, 2)
    assert got.tolist() == times[length:].tolist()
    assert got.dtype == times.dtype


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 9), st.one_of(st.none(), st.integers(-9, 9))
        ),
        min_size=4,
        max_size=60,
    )
)
def test_duplicates_resolve_like_pandas(rows: list[tuple[str, int, int | None]]) -> None:
    base = [(name, day, 1.0) for name in "ab" for day in range(10)]
    frame = pd.DataFrame(base + rows, columns=["item_id", "day", "target"])
    frame["timestamp"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    frame["target"] = frame["target"].astype(float)
    expected = frame.groupby(["item_id", "timestamp"])["target"].mean()
    means = to_panel(frame, on_duplicates="mean")
    lasts = to_panel(frame, on_duplicates="last")
    for i, name in enumerate(means.ids):
        np.testing.assert_allclose(means.values[i], expected[name].to_numpy(), atol=1e-12)
        where = frame["item_id"] == name
        last = frame[where].drop_duplicates("timestamp", keep="last").sort_values("timestamp")
        np.testing.assert_array_equal(lasts.values[i], last["target"].to_numpy())
