"""Frequencies: inferred, given, shared, unknown; and what comes after the last row."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.frames import (
    DataError,
    FrequencyWarning,
    GapWarning,
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
    remedy = "Pass freq=, e.g. freq='h', 'D' or 'ME'"
    with pytest.raises(DataError, match=rf"Series 'A' has a single timestamp.*{remedy}"):
        to_panel(frame)
    with pytest.raises(DataError, match=rf"Series 'target' has a single timestamp.*{remedy}"):
        to_panel(frame.drop(columns="item_id"))
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
    with pytest.warns(FrequencyWarning, match=r"'one' has .*'D'.*2 of the 3"):
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


def test_steps_between_random_times_are_shown_readably() -> None:
    ticks = np.random.default_rng(0).integers(0, 10**15, 30).cumsum()
    index = pd.Timestamp("2024-01-01") + pd.to_timedelta(ticks, unit="ns")
    with pytest.raises(DataError, match=r"its most common step is \d+ days \d\d:\d\d:\d\d"):
        to_panel(pd.Series(1.0, index))


def test_a_finer_common_grid_is_used_when_rows_nearly_fill_it() -> None:
    hours = [0, 2, 4, 6, 7, 9, 11]
    index = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")
    with pytest.warns(GapWarning, match="Inserted 5"):
        assert to_panel(series(index)).frequencies[0].alias == "h"


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


@pytest.mark.parametrize("alias", [a for a in ALIASES if "-" not in a])
def test_the_inferred_alias_is_a_pandas_frequency(alias: str) -> None:
    index = pd.date_range("2024-01-01", periods=12, freq=alias)
    name = to_panel(series(index)).frequencies[0].alias
    again = to_panel(series(index), freq=name)
    assert again.frequencies == to_panel(series(index)).frequencies
