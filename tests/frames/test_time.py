"""Time columns: frequency, gaps, duplicates, zones, Periods, integers."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.frames import (
    AllMissingWarning,
    DataError,
    FrequencyWarning,
    GapWarning,
    InfiniteValueWarning,
    forecast_frame,
    to_panel,
)

ALIASES = [
    "s", "15min", "h", "6h", "D", "2D", "W-MON", "W-SUN", "2W", "B", "MS", "ME", "2MS", "QS", "QE",
    "QE-NOV", "YS", "YE", "YE-MAR", "BME", "BMS", "5min", "30s",
]  # fmt: skip


def series(index: pd.Index, values: object = None) -> pd.Series:
    return pd.Series(np.arange(float(len(index))) if values is None else values, index=index)


def future(data: object, steps: int = 3, **options: object) -> pd.Series:
    panel = to_panel(data, **options)
    answer = forecast_frame(
        panel, np.zeros((len(panel), steps, 1)), [0.5], np.zeros((len(panel), steps))
    )
    return answer[panel.layout.timestamp_name]


@settings(max_examples=150, deadline=None)
@given(
    alias=st.sampled_from(ALIASES),
    start=st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2080, 1, 1)).map(
        lambda d: d.replace(microsecond=0)
    ),
    length=st.integers(8, 60),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    tz=st.sampled_from([None, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
def test_the_future_continues_the_date_range(
    alias: str, start: dt.datetime, length: int, unit: str, tz: str | None
) -> None:
    if alias not in ("s", "15min", "h", "6h", "5min", "30s"):
        start = start.replace(hour=12, minute=0, second=0)  # exists in every zone
    index = pd.date_range(start, periods=length + 3, freq=alias, tz="UTC" if tz else None)
    if tz is not None and alias in ("s", "15min", "h", "6h", "5min", "30s"):
        index = index.tz_convert(tz)
    elif tz is not None:
        index = index.tz_localize(None).tz_localize(tz)
    index = index.as_unit(unit)
    got = future(series(index[:length]))
    assert got.dtype == index.dtype
    assert got.tolist() == index[length:].tolist()


@settings(max_examples=100, deadline=None)
@given(
    alias=st.sampled_from(["15min", "h", "D", "W-SUN", "B", "MS", "ME", "QE", "YS"]),
    length=st.integers(12, 80),
    data=st.data(),
)
def test_gaps_and_shuffling_change_neither_frequency_nor_values(
    alias: str, length: int, data: st.DataObject
) -> None:
    index = pd.date_range("2021-01-01", periods=length, freq=alias)
    holes = data.draw(st.sets(st.integers(3, length - 2), max_size=length // 6))
    order = data.draw(st.randoms(use_true_random=False))
    keep = [i for i in range(length) if i not in holes]
    shuffled = keep.copy()
    order.shuffle(shuffled)
    frame = pd.DataFrame({"timestamp": index[shuffled], "target": np.array(shuffled, float)})
    if holes:
        with pytest.warns(GapWarning, match=f"Inserted {len(holes)} missing row"):
            panel = to_panel(frame)
    else:
        panel = to_panel(frame)
    expected = np.array([np.nan if i in holes else i for i in range(length)])
    np.testing.assert_array_equal(panel.values[0], expected)
    assert panel.timestamps(0).tolist() == index.tolist()


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
    with pytest.warns(match="shop"), pytest.raises(DataError, match="id_col="):
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


def test_infinities_are_missing_and_said_so() -> None:
    index = pd.date_range("2024-01-01", periods=4)
    with pytest.warns(InfiniteValueWarning, match=r"2 infinite value\(s\).*row 1"):
        panel = to_panel(series(index, [1.0, np.inf, -np.inf, 2.0]))
    assert np.isnan(panel.values[0]).tolist() == [False, True, True, False]


def test_constant_and_all_missing_series() -> None:
    index = pd.date_range("2024-01-01", periods=4)
    assert to_panel(series(index, 7.0)).values[0].tolist() == [7.0] * 4
    wide = pd.DataFrame({"a": [np.nan] * 4, "b": range(4)}, index=index)
    with pytest.warns(AllMissingWarning, match="'a'"):
        panel = to_panel(wide)
    assert panel.has_values.tolist() == [False, True]


def test_one_row_takes_the_frequency_of_the_panel() -> None:
    frame = pd.DataFrame(
        {
            "item_id": ["a"] * 3 + ["b"],
            "timestamp": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-31", "2024-06-30"]),
            "target": 1.0,
        }
    )
    panel = to_panel(frame)
    assert [f.alias for f in panel.frequencies] == ["ME", "ME"]
    assert future(frame, 1).tolist()[-1] == pd.Timestamp("2024-07-31")


def test_one_row_alone_asks_for_the_frequency() -> None:
    frame = pd.DataFrame({"item_id": ["A"], "timestamp": ["2024-01-01"], "target": [1.0]})
    with pytest.raises(DataError, match=r"'A' has a single timestamp.*freq="):
        to_panel(frame)
    assert future(frame, 2, freq="W").tolist() == [
        pd.Timestamp("2024-01-08"), pd.Timestamp("2024-01-15")
    ]  # fmt: skip


def test_one_row_in_a_mixed_panel_warns() -> None:
    hours, days = (pd.date_range("2024-01-01", periods=4, freq=f) for f in ("h", "D"))
    frame = pd.concat(
        [
            pd.DataFrame({"item_id": "h", "timestamp": hours, "target": 1.0}),
            pd.DataFrame({"item_id": "d1", "timestamp": days, "target": 1.0}),
            pd.DataFrame({"item_id": "d2", "timestamp": days, "target": 1.0}),
            pd.DataFrame({"item_id": "one", "timestamp": days[:1], "target": 1.0}),
        ]
    )
    with pytest.warns(FrequencyWarning, match=r"'one'.*'D'.*2 of the 3"):
        panel = to_panel(frame)
    assert [f.alias for f in panel.frequencies] == ["h", "D", "D", "D"]


def test_one_period_or_integer_needs_no_help() -> None:
    assert future(series(pd.period_range("2024-01", periods=1, freq="M")), 1).tolist() == [
        pd.Period("2024-02", "M")
    ]
    assert future([5.0], 2).tolist() == [1, 2]


def test_mixed_frequencies_each_keep_their_own() -> None:
    parts = []
    for name, alias in (("m", "MS"), ("h", "h"), ("b", "B")):
        index = pd.date_range("2024-01-01", periods=10, freq=alias)
        parts.append(pd.DataFrame({"item_id": name, "timestamp": index, "target": 1.0}))
    frame = pd.concat(parts, ignore_index=True).sample(frac=1.0, random_state=1)
    panel = to_panel(frame)
    by_name = dict(zip(panel.ids, panel.frequencies, strict=True))
    assert {k: f.alias for k, f in by_name.items()} == {"m": "MS", "h": "h", "b": "B"}
    seasons = dict(zip(panel.ids, panel.season_lengths, strict=True))
    assert seasons == {"m": 12, "h": 24, "b": 5}


@pytest.mark.parametrize(
    ("alias", "season"),
    [
        ("s", 3600), ("10s", 360), ("min", 1440), ("15min", 96), ("30min", 48), ("h", 24),
        ("6h", 4), ("5h", None), ("D", 7), ("2D", None), ("W", 52), ("2W", 26), ("B", 5),
        ("MS", 12), ("ME", 12), ("2ME", 6), ("5MS", None), ("QE", 4), ("QS", 4), ("YE", None),
        ("YS", None), ("BME", 12), ("7s", None), ("ms", None),
    ],
)  # fmt: skip
def test_season_lengths(alias: str, season: int | None) -> None:
    index = pd.date_range("2024-01-01", periods=12, freq=alias)
    assert to_panel(series(index)).season_lengths == (season,)


def test_season_lengths_of_periods() -> None:
    for alias, season in (("M", 12), ("Q", 4), ("h", 24), ("D", 7), ("Y", None), ("2h", 12)):
        index = pd.period_range("2024-01-01", periods=5, freq=alias)
        assert to_panel(series(index)).season_lengths == (season,)


def test_irregular_rows_are_refused_by_name() -> None:
    minutes = [0, 60, 120, 187, 240, 300, 361]
    index = pd.Timestamp("2024-01-01") + pd.to_timedelta(minutes, unit="min")
    frame = pd.DataFrame({"item_id": "A", "timestamp": index, "target": 1.0})
    with pytest.raises(DataError, match=r"'A' is irregular.*2024-01-01 03:07.*[Rr]esample"):
        to_panel(frame)
    with pytest.raises(DataError, match=r"'A': \d of 7 timestamps are not on its 'h' grid"):
        to_panel(frame, freq="h")


def test_a_finer_common_grid_is_used_when_rows_nearly_fill_it() -> None:
    hours = [0, 2, 4, 6, 7, 9, 11]
    index = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")
    with pytest.warns(GapWarning, match="Inserted 5"):
        assert to_panel(series(index)).frequencies[0].alias == "h"


def test_a_wrong_timestamp_does_not_fill_the_memory() -> None:
    index = pd.date_range("2024-01-01", periods=5, freq="s").append(
        pd.DatetimeIndex(["2090-01-01"])
    )
    with pytest.raises(DataError, match=r"longest gap follows 2024-01-01 00:00:04"):
        to_panel(series(index))


def test_explicit_frequencies() -> None:
    index = pd.date_range("2024-01-01", periods=3, freq="MS")
    assert future(series(index), 1, freq="M").tolist() == [pd.Timestamp("2024-04-01")]
    with pytest.warns(GapWarning, match="Inserted 1"):
        got = future(series(index[[0, 2]]), 1, freq="MS")
    assert got.tolist() == [pd.Timestamp("2024-04-01")]
    assert future(series(index), 1, freq=pd.offsets.MonthBegin()).tolist()[0].month == 4
    for bad in ("fortnightly", "-1D", "SME"):
        with pytest.raises(ValueError, match="freq="):
            to_panel(series(index), freq=bad)
    with pytest.raises(DataError, match="not on its 'W' grid"):
        to_panel(series(index), freq="W")


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


def test_the_end_of_nanosecond_time_is_an_error() -> None:
    index = pd.date_range("2200-01-01", periods=10, freq="YS", unit="ns")
    with pytest.raises(DataError, match=r"2262.*datetime64\[s\]"):
        future(series(index), 100)
    assert future(series(index.as_unit("s")), 100).tolist()[-1].year == 2309


def test_two_month_ends_are_months() -> None:
    index = pd.DatetimeIndex(["2024-01-31", "2024-02-29"])
    assert future(series(index), 2).tolist() == [
        pd.Timestamp("2024-03-31"), pd.Timestamp("2024-04-30")
    ]  # fmt: skip
    mid = pd.DatetimeIndex(["2024-01-15", "2024-02-15", "2024-03-15"])
    assert future(series(mid), 1).tolist() == [pd.Timestamp("2024-04-15")]


def test_a_series_may_begin_at_a_midnight_that_summer_time_skips() -> None:
    index = pd.date_range("2024-09-08", periods=8, freq="D").tz_localize(
        "America/Santiago", nonexistent="shift_forward"
    )
    assert index[0].hour == 1
    assert future(series(index[:5])).tolist() == index[5:].tolist()


def test_short_series_agree_with_their_panel() -> None:
    long = pd.date_range("2024-01-01", periods=30, freq="B")
    rows = {
        "long": long,
        "friday, monday": pd.DatetimeIndex(["2024-01-05", "2024-01-08"]),
        "one week": pd.date_range("2024-01-01", periods=4),
        "weekly": pd.date_range("2024-01-01", periods=4, freq="7D"),
    }
    frame = pd.concat(
        [pd.DataFrame({"item_id": k, "timestamp": v, "target": 1.0}) for k, v in rows.items()]
    )
    panel = to_panel(frame)
    assert [f.alias for f in panel.frequencies] == ["B", "B", "B", "W"]
    alone = to_panel(frame.query("item_id == 'friday, monday'"))
    assert alone.frequencies[0].alias == "3D"


def test_datetime_objects_with_several_offsets_become_utc() -> None:
    rome = [pd.Timestamp(f"2024-03-{d}", tz="Europe/Rome") for d in (29, 30)]
    mixed = [*rome, pd.Timestamp("2024-03-30 23:00", tz="UTC")]
    frame = pd.DataFrame({"timestamp": pd.Series(mixed, dtype=object), "target": 1.0})
    assert future(frame, 1).tolist() == [pd.Timestamp("2024-03-31 23:00", tz="UTC")]


def test_the_remedy_in_the_message_works() -> None:
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-01-01 03:00", periods=30, freq="D")
    when = index + pd.to_timedelta(rng.integers(0, 3000, 30), unit="s")
    long = pd.DataFrame({"shop": "A", "when": when, "n": np.arange(30.0)})
    for df, options in (
        (long, {"id_col": "shop"}),
        (long.drop(columns="shop"), {}),
        (long.set_index("when")[["n"]], {}),
        (long.assign(m=1.0).set_index("when")[["n", "m"]], {}),
    ):
        for freq in (None, "D"):
            with pytest.raises(DataError, match="Resample first") as caught:
                to_panel(df, freq=freq, **options)
            code = str(caught.value).split("e.g. ")[1].split(".mean()")[0] + ".mean()"
            panel = to_panel(eval(code, {"df": df}), **options)
            assert panel.frequencies[0].alias == "D"
            assert panel.values[0].tolist() == list(range(30))
    with pytest.raises(DataError, match=r"series\.resample\('D'\)\.mean\(\)"):
        to_panel(long.set_index("when")["n"])


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


@pytest.mark.parametrize("alias", [a for a in ALIASES if "-" not in a])
def test_the_inferred_alias_is_a_pandas_frequency(alias: str) -> None:
    index = pd.date_range("2024-01-01", periods=12, freq=alias)
    name = to_panel(series(index)).frequencies[0].alias
    again = to_panel(series(index), freq=name)
    assert again.frequencies == to_panel(series(index)).frequencies
