"""Dates of text files: written as numbers, day or month first, with and without offset."""

from __future__ import annotations

import warnings
from pathlib import Path

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
        "%d/%m/%y",
    ],
)
def test_the_whole_column_tells_day_from_month(read, form):
    assert read(DAYS.strftime(form)).tolist() == DAYS.tolist()


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
    ("offset", "hours"), [("Z", 0), (" UTC", 0), ("+01", 1), ("-0330", -3.5), ("+05:30", 5.5)]
)
def test_offsets_however_they_are_written(read, offset, hours):
    column = read([f"2024-01-01 00:00{offset}", f"2024-01-01 01:00{offset}"])
    assert column.iloc[0].utcoffset() == pd.Timedelta(hours=hours)
    assert column.iloc[1].hour == 1


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
