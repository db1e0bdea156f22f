"""Dates of text files: written as numbers, day or month first, with and without offset."""

from __future__ import annotations

import warnings
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from tsfm.cli.tables import read_table

DAYS = pd.date_range("2024-02-01", periods=29)
MONTHS = pd.date_range("2022-01-01", periods=24, freq="MS")
HOURS = pd.date_range("2024-10-26 22:00", periods=12, freq="h", tz="Europe/Berlin")


@pytest.fixture
def read(tmp_path):
    def write_and_read(times, name: str = "ds", **options) -> pd.Series:
        path = Path(tmp_path, "a.csv")
        path.write_text(f"{name},y\n" + "".join(f'"{time}",1\n' for time in times))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read_table(path, **options)[name]

    return write_and_read


@pytest.mark.parametrize(
    ("times", "form"), [(DAYS, "%Y%m%d"), (MONTHS, "%Y%m")], ids=["days", "months"]
)
@pytest.mark.parametrize("name", ["ds", "timestamp", "Date", "when"])
def test_written_dates_in_whole_numbers(read, times, form, name):
    given = {"timestamp_col": name} if name == "when" else {}
    column = read(times.strftime(form), name, **given)
    assert column.tolist() == times.tolist()


@pytest.mark.parametrize(
    "times", [range(1990, 2010), range(100), [20240101, 20240101], [180013, 180014], [20240101]]
)
def test_other_whole_numbers_are_steps(read, times):
    assert read(times).tolist() == list(times)


def test_whole_numbers_elsewhere_stay_as_they_are(read):
    assert read(DAYS.strftime("%Y%m%d"), "amount").dtype.kind == "i"


def test_one_wrong_date_among_whole_numbers_is_named(read):
    with pytest.raises(ValueError, match="line 31 of the file: '20240230' is no date like"):
        read([*DAYS.strftime("%Y%m%d"), "20240230"])


def test_the_given_format_reads_whole_numbers(read):
    years = read(range(1990, 1993), date_format="%Y")
    assert years.dt.year.tolist() == [1990, 1991, 1992]


@pytest.mark.parametrize(
    "form",
    [
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d-%m-%Y %H:%M",
        "%d/%m/%Y, %I:%M %p",
        "%d/%m/%YT%H:%M",
    ],
)
def test_the_whole_column_tells_day_from_month(read, form):
    assert read(DAYS.strftime(form)).tolist() == DAYS.tolist()


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (["24/01/30", "24/01/31"], "%d/%m/%y or --date-format %y/%m/%d"),
        (["26-01-02", "26-01-03"], "%d-%m-%y or --date-format %y-%m-%d"),
        (["01/02/03", "02/03/04"], "%d/%m/%y or --date-format %m/%d/%y or --date-format %y/%m/%d"),
        (["03.04.2026 9:05", "04.04.2026 9:05"], "'%d.%m.%Y %H:%M' or --date-format '%m.%d"),
        (["03/04/2026 9:05:00 AM", "04/04/2026 9:05:00 AM"], "'%d/%m/%Y %I:%M:%S %p' or"),
        (["03/04/2026T09:05+01:00"], "%d/%m/%YT%H:%M%z or"),
    ],
)
def test_every_order_that_no_cell_excludes_is_offered(read, times, options):
    count = "three" if options.count("--") == 2 else "two"
    with pytest.raises(ValueError, match=f"can be {count} dates") as caught:
        read(times)
    assert f"say which with --date-format {options}" in str(caught.value)
    offered = str(caught.value).split("--date-format ")[1].removesuffix(" or ").strip("'")
    assert read(times, date_format=offered).dt.day.iloc[0] == int(times[0].split(times[0][2])[0])


@pytest.mark.parametrize(
    ("times", "day"),
    [
        (["13/01/99", "14/01/99"], "1999-01-13"),
        (["99/01/13", "99/01/14"], "1999-01-13"),
        (["1/13/26", "1/14/26"], "2026-01-13"),
        (["26/01/26"], "2026-01-26"),
    ],
)
def test_years_of_two_digits_with_one_reading(read, times, day):
    assert read(times).iloc[0] == pd.Timestamp(day)


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("%b %Y", MONTHS),
        ("%d %B %Y", DAYS),
        ("%Y-%m-%d %I:%M %p", DAYS),
        ("%Y/%m/%d", DAYS),
        ("%Y-%m", MONTHS),
    ],
)
def test_other_ways_to_write_dates(read, form, times):
    assert read(times.strftime(form)).tolist() == times.tolist()


def test_quarters(read):
    assert read(["2010Q1", "2010Q2"]).dt.month.tolist() == [1, 4]


def test_a_cell_of_the_other_order_is_named(read):
    with pytest.raises(ValueError, match="line 3 of the file: '04/14/2024' is no date"):
        read(["13/04/2024", "04/14/2024"])


def test_lists_are_no_dates(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    pd.DataFrame({"timestamp": [[1], [2]], "y": [1.0, 2.0]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"column 'timestamp', row 0: '\[1\]' is no date"):
        read_table(path)


@pytest.mark.parametrize("row", [0, 13])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d/%m/%Y"])
def test_the_cell_that_is_no_date_is_named(read, row, form):
    times = [*DAYS.strftime(form)]
    times[row] = "not a date"
    with pytest.raises(ValueError, match=f"line {row + 2} of the file: 'not a date'.*--date-form"):
        read(times)


def test_a_word_among_steps_is_named(read):
    with pytest.raises(ValueError, match="line 4 of the file: 'x' is no whole number"):
        read([1, 2, "x", 4])


def test_a_column_called_time_can_hold_other_words(read):
    assert read(["morning", "evening"], "time").tolist() == ["morning", "evening"]
    assert read(["13:00:00", "14:00:00"], "time").tolist() == ["13:00:00", "14:00:00"]


def test_a_clock_without_a_day_is_no_date(read):
    with pytest.raises(ValueError, match="'13:00:00' is no date"):
        read(["13:00:00", "14:00:00"])


@pytest.mark.parametrize("form", ["%Q", "dd/mm/yyyy"])
def test_a_format_that_is_none_names_the_option(read, form):
    with pytest.raises(ValueError, match=f"--date-format '{form}' is no format of dates"):
        read(DAYS, date_format=form)


def test_the_wrong_format_is_not_advised(read):
    with pytest.raises(
        ValueError, match=r"of the format '%d/%m/%Y'; correct it, or --date-format$"
    ):
        read(DAYS.strftime("%Y-%m-%d"), date_format="%d/%m/%Y")


@pytest.mark.parametrize(
    "form",
    ["%d%m%Y", "%m%d%Y", "%y%m%d", "%d%m%y"],
)
def test_leading_zeros_of_whole_numbers_are_not_lost(read, form):
    assert read(DAYS.strftime(form), date_format=form).tolist() == DAYS.tolist()


def test_a_format_is_for_the_columns_that_fit_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("day,time,y\n13/04/2026,5,1\n14/04/2026,6,2\n")
    frame = read_table(path, date_format="%d/%m/%Y")
    assert frame["day"].tolist() == [pd.Timestamp("2026-04-13"), pd.Timestamp("2026-04-14")]
    assert frame["time"].tolist() == [5, 6]
    with pytest.raises(ValueError, match=r"column 'day', line 2 .* of the format '%Y-%m-%d'"):
        read_table(path, date_format="%Y-%m-%d")


@pytest.mark.parametrize("numbers", [[1e300, 2e300], [1e18, 2e18], [2**63, 2**63 + 1], [1.5, 2]])
def test_numbers_that_are_no_dates_stay(read, numbers):
    assert read(numbers, "time").tolist() == numbers


@pytest.mark.parametrize("numbers", [range(200001, 200021), [202401, 202402, 202413]])
def test_six_digits_are_months_only_if_all_are(read, numbers):
    assert read(numbers, "time").tolist() == list(numbers)


@pytest.mark.parametrize(
    "texts", [["10.0.0.12", "10.0.0.13"], ["2024.1.31.2", "2024.2.1.0"], ["3.11.2", "13.11.2"]]
)
def test_addresses_and_versions_are_no_dates(read, texts):
    assert read(texts, "host").tolist() == texts


def test_blanks_around_a_date_do_not_matter(read):
    for form in ("%Y-%m-%d", "%d/%m/%Y", "%Y-%m-%d %H:%M+01:00"):
        times = DAYS.strftime(form)
        padded = [" " * (i % 3) + time + " " * (i % 2) for i, time in enumerate(times)]
        assert read(padded).tolist() == read(times).tolist()


def test_the_same_cell_in_many_rows_is_the_same_time(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{item},{day:%d/%m/%Y},1\n" for item in "cab" for day in DAYS[::-1]]
    path.write_text("item_id,ds,y\n" + "".join(rows) + "c,,1\n")
    column = read_table(path)["ds"]
    assert column[:-1].tolist() == [*DAYS[::-1]] * 3
    assert pd.isna(column.iloc[-1])
    path.write_text("item_id,ds,y\n" + "".join(rows) + "c,x,1\nb,x,1\n")
    with pytest.raises(ValueError, match=f"line {len(rows) + 2} of the file: 'x'"):
        read_table(path)


@pytest.mark.parametrize(
    ("offset", "hours"),
    [
        *[("Z", 0), ("z", 0), (" UTC", 0), (" utc", 0), ("+01", 1), ("-0330", -3.5)],
        *[("+05:30", 5.5), (" GMT+0100", 1), (" UTC+02:00", 2), (" GMT+1", 1), (" UTC-5", -5)],
    ],
)
def test_offsets_however_they_are_written(read, offset, hours):
    column = read([f"2024-01-01 00:00{offset}", f"2024-01-01 01:00{offset}"])
    assert column.iloc[0].utcoffset() == pd.Timedelta(hours=hours)
    assert column.iloc[1].hour == 1


def test_an_offset_behind_half_a_day(read):
    column = read([f"2024-01-01 {hour} AM +01:00" for hour in (12, 1)])
    assert column.tolist() == list(
        pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC+01:00")
    )


@pytest.mark.parametrize(
    "time", ["Wed Jan 01 00:00:00 +0100 2025", "Wed Jan 01 00:00:00 UTC 2025"]
)
def test_an_offset_that_is_not_at_the_end_is_refused(read, time):
    with pytest.raises(
        ValueError, match=r"line 2 of the file: 'Wed.* at the end, such as \+01:00"
    ):
        read([time])


def test_a_format_can_say_where_the_offset_stands(read):
    form = "%a %b %d %H:%M:%S %z %Y"
    times = ["Wed Jan 01 00:00:00 +0100 2025", "Wed Jan 01 01:00:00 +0100 2025"]
    column = read(times, date_format=form)
    assert column.iloc[1].isoformat() == "2025-01-01T01:00:00+01:00"
    local = read(times, date_format=form, timezone="Asia/Tokyo")
    assert local.iloc[1].isoformat() == "2025-01-01T09:00:00+09:00"
    with pytest.raises(UserWarning, match="several offsets"):
        read([times[0], times[1].replace("+0100", "+0200")], date_format=form)
    with pytest.raises(ValueError, match="line 3 of the file: 'x' is no date of the format"):
        read([times[0], "x"], date_format=form)


@pytest.mark.parametrize(
    "time",
    [
        *["2026-01-01 00:00 EST", "2026-01-01 00:00:00 CET", "13/01/2026 00:00 PST"],
        *["2026-01-01 12 AM EST", "Thu Jan 01 00:00:00 CEST 2026", "2026-01-01 00:00 A"],
    ],
)
def test_zones_written_in_letters_are_refused(read, time):
    with pytest.raises(ValueError, match=r"letters, '[A-Z]+', .*offset .*\+01:00.*--timezone"):
        read([time.replace("2026", "2025"), time])


@pytest.mark.parametrize(
    "form", ["%H:%M %d %b %Y", "%a %b %d %H:%M:%S %Y", "%I:%M %p, %B %d, %Y", "%d-%b-%Y %H:%M"]
)
def test_months_and_days_behind_a_clock_are_no_zones(read, form):
    times = [day.strftime(form).upper() for day in DAYS]
    assert read(times).tolist() == DAYS.tolist()


def test_a_time_without_offset_among_others_is_named(read):
    with pytest.raises(ValueError, match="line 3 of the file: '2024-01-01 02:00' has no offset"):
        read(["2024-01-01 00:00+01:00", "2024-01-01 02:00", "2024-01-01 03:00+01:00"])


def test_the_hour_that_occurs_twice_is_told_by_the_order(read):
    local = HOURS.strftime("%Y-%m-%d %H:%M")
    column = read(local, timezone="Europe/Berlin")
    assert column.tolist() == HOURS.tolist()


def test_the_hour_that_occurs_twice_is_told_within_each_series(tmp_path):
    path = tmp_path / "two.csv"
    local = HOURS.strftime("%Y-%m-%d %H:%M")
    rows = "".join(f"{item},{time},1\n" for time in local for item in ("a", "b"))
    path.write_text("item_id,ds,y\n" + rows)
    frame = read_table(path, timezone="Europe/Berlin")
    for item in ("a", "b"):
        assert frame["ds"][frame["item_id"] == item].tolist() == HOURS.tolist()


def test_the_hour_that_cannot_be_told_is_named(read):
    once = HOURS.strftime("%Y-%m-%d %H:%M").unique()
    with pytest.raises(ValueError, match=r"2024-10-27 02:00 .* occurs twice") as caught:
        read(once, timezone="Europe/Berlin")
    assert "such as 2024-10-27T02:00+02:00" in str(caught.value)
    assert "ambiguous" not in str(caught.value)
    assert "--timezone" not in str(caught.value)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])
@pytest.mark.parametrize("freq", ["30min", "10min"])
def test_local_times_come_back_from_the_file(tmp_path, zone, freq):
    path = tmp_path / "a.csv"
    times = pd.date_range("2039-01-01", "2040-12-31", freq=freq, tz=ZoneInfo(zone))
    near = times[times.month.isin([3, 4, 10, 11])]
    local = near.tz_localize(None)
    assert local.duplicated().any()
    pd.DataFrame({"item_id": "a", "ds": local, "y": 1}).to_csv(path, index=False)
    assert (read_table(path, timezone=zone)["ds"] == near).all()


def test_every_ambiguous_run_of_every_series_needs_its_own_order(tmp_path):
    path = tmp_path / "a.csv"
    twice = [*HOURS.strftime("%Y-%m-%d %H:%M")]
    once = [*dict.fromkeys(twice)]
    rows = [("a", t) for t in twice] + [("b", t) for t in once]
    path.write_text("item_id,ds,y\n" + "".join(f"{item},{time},1\n" for item, time in rows))
    line = 2 + len(twice) + once.index("2024-10-27 02:00")
    with pytest.raises(ValueError, match=f"line {line} of the file: 2024-10-27 02:00 .* twice"):
        read_table(path, timezone="Europe/Berlin")


@pytest.mark.parametrize("day", ["2262-04-10", "1677-09-23"])
def test_the_ends_of_the_calendar_have_zones(read, day):
    assert read([day, ""], timezone="Europe/Berlin").iloc[0].isoformat()[:10] == day
