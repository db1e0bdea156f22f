"""Tables in and out: time stamps found, offsets kept, errors that name the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.cli.tables import need_writable, read_table, write_table


def _write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_text_dates_are_parsed_and_other_columns_left_alone(tmp_path):
    path = _write(
        tmp_path, "shop,day,year,y\nA-2024,2026-01-01,2026,3\nA-2024,2026-01-02,2026,4\n"
    )
    frame = read_table(path)
    assert frame["day"].dtype.kind == "M"
    assert frame["day"].dt.tz is None
    assert frame["shop"].tolist() == ["A-2024", "A-2024"]
    assert frame["year"].dtype.kind == "i"


def test_one_offset_is_kept(tmp_path):
    path = _write(tmp_path, "t,y\n2026-01-01T00:00+05:30,1\n2026-01-01T01:00+05:30,2\n")
    frame = read_table(path)
    assert frame["t"].iloc[0] == pd.Timestamp("2026-01-01T00:00+05:30")
    assert frame["t"].iloc[0].utcoffset() == pd.Timedelta("5h30min")


def test_several_offsets_become_utc_or_the_named_zone(tmp_path):
    path = _write(tmp_path, "t,y\n2026-03-29T01:00:00+01:00,1\n2026-03-29T03:00:00+02:00,2\n")
    with pytest.warns(UserWarning, match="'t' has several offsets; times are answered in UTC"):
        assert str(read_table(path)["t"].dt.tz) == "UTC"
    local = read_table(path, timezone="Europe/Berlin")["t"]
    assert local.dt.hour.tolist() == [1, 3]
    assert str(local.dt.tz) == "Europe/Berlin"
    assert local.diff().iloc[1] == pd.Timedelta("1h")


def test_bare_times_are_local_in_the_named_zone(tmp_path):
    path = _write(tmp_path, "t,y\n2026-07-01 00:00,1\n2026-07-01 01:00,2\n")
    local = read_table(path, timezone="America/New_York")["t"]
    assert local.iloc[0] == pd.Timestamp("2026-07-01 00:00", tz="America/New_York")


def test_local_times_that_do_not_exist_are_refused(tmp_path):
    path = _write(tmp_path, "t,y\n2026-03-29 02:30,1\n2026-03-29 03:30,2\n")
    with pytest.raises(ValueError, match="clocks change"):
        read_table(path, timezone="Europe/Berlin")


def test_unknown_zone(tmp_path):
    path = _write(tmp_path, "t,y\n2026-03-29 02:30,1\n")
    with pytest.raises(ValueError, match="unknown time zone 'Europe/Atlantis'"):
        read_table(path, timezone="Europe/Atlantis")


def test_a_cell_that_is_no_date_is_named_with_its_line(tmp_path):
    path = _write(tmp_path, "t,y\n2026-01-01,1\n2026-01-02,2\ntotal,3\n2026-01-04,3\n")
    with pytest.raises(ValueError, match=r"column 't', line 4 of the file: 'total'"):
        read_table(path, timestamp_col="t")


def test_date_format_decides(tmp_path):
    path = _write(tmp_path, "t,y\n03/04/2026,1\n04/04/2026,2\n")
    assert read_table(path, date_format="%d/%m/%Y")["t"].iloc[1] == pd.Timestamp("2026-04-04")
    assert read_table(path, date_format="%d/%m/%Y")["t"].iloc[0] == pd.Timestamp("2026-04-03")
    with pytest.raises(ValueError, match="of the format"):
        read_table(path, timestamp_col="t", date_format="%Y-%m-%d")


def test_dates_with_two_readings_are_never_guessed(tmp_path):
    path = _write(tmp_path, "t,y\n03/04/2026,1\n04/05/2026,2\n")
    with pytest.raises(ValueError, match=r"'03/04/2026' can be two dates.*--date-format"):
        read_table(path)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["007", "010"], ["007", "010"]),
        (["7", "10"], [7, 10]),
        (["7", "A"], ["7", "A"]),
        (["1e3", "7"], ["1e3", "7"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["NA", "nan"], ["NA", "nan"]),
        (["null", "7"], ["null", "7"]),
    ],
)
def test_ids_stay_as_they_are_written(tmp_path, written, kept):
    rows = "".join(f"{key},2026-01-0{day},1\n" for key in written for day in (1, 2))
    path = _write(tmp_path, "item_id,timestamp,target\n" + rows)
    assert read_table(path)["item_id"].tolist() == [key for key in kept for _ in (1, 2)]


def test_missing_cells_stay_missing(tmp_path):
    path = _write(tmp_path, "t,y\n2026-01-01,1\n,2\n2026-01-03,\n")
    frame = read_table(path)
    assert frame["t"].isna().tolist() == [False, True, False]
    assert np.isnan(frame["y"].iloc[2])


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("none.csv", None, "does not exist"),
        ("semicolons.csv", "t;y\n2026-01-01;3,5\n", "separated by semicolons"),
        ("a.xls", "x", "cannot tell the file's kind"),
        ("empty.csv", "", "is empty"),
        ("ragged.csv", "a,b\n1,2\n1,2,3,4\n", "does not read as CSV"),
        ("ragged.csv", "a,b\n1,2,9\n3,4,\n", "its rows have more cells than its first line"),
        (
            "headless.csv",
            "2024-01-01,50.13\n2024-01-02,51\n",
            "no header line.*'2024-01-01,50.13'",
        ),
        ("headless.csv", "50.13,2\n51,3\n", "headless.csv has no header line"),
        ("junk.parquet", "junk", "junk.parquet does not read as Parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, match):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        read_table(path)


@pytest.mark.parametrize("argument", ["timestamp_col", "id_col"])
def test_unknown_columns_list_the_columns(tmp_path, argument):
    path = _write(tmp_path, "day,y\n2026-01-01,1\n")
    with pytest.raises(ValueError, match="has no column 'date'; its columns are: day, y"):
        read_table(path, **{argument: "date"})


@pytest.mark.parametrize("end", [",", ""])
def test_a_comma_at_the_end_of_each_row_shifts_nothing(tmp_path, end):
    path = _write(tmp_path, f"ds,y\n2026-01-01,3{end}\n2026-01-02,4{end}\n")
    frame = read_table(path)
    assert frame["ds"].tolist() == [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02")]
    assert frame["y"].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ds,y\n2026-01-01,1\nx,2\n", "line 3 of the file"),
        ("ds,y\n2026-01-01,1\nx,2\n\n \n", "line 3 of the file"),
        ("ds,y\r\n2026-01-01,1\r\nx,2", "line 3 of the file"),
        ("ds,y\n\n2026-01-01,1\nx,2\n", "row 2 of the data"),
        ('ds,y\n2026-01-01,"1\n2"\nx,2\n', "row 2 of the data"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_lines_are_named_where_rows_are_lines(tmp_path, text, place, name):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(ValueError, match=f"column 'ds', {place}: 'x' is no date"):
        read_table(path)


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("101,102,timestamp", {}),
        ("101,Date", {}),
        ("2024-01,item_id", {}),
        ("101,when", {"timestamp_col": "when"}),
        ("101,shop", {"id_col": "shop"}),
    ],
)
def test_a_known_name_makes_a_line_a_header(tmp_path, header, options):
    cells = ",".join("2026-01-01" for _ in header.split(","))
    path = _write(tmp_path, f"{header}\n{cells}\n")
    assert read_table(path, **options).columns.tolist() == header.split(",")


@pytest.mark.parametrize("header", ["shop,2019,2020", ",2019,2020", "0,1,2"])
def test_numbers_can_name_columns_but_not_the_first(tmp_path, header):
    path = _write(tmp_path, header + "\n1,2,3\n")
    if header[0] == "0":
        with pytest.raises(ValueError, match="no header line"):
            read_table(path)
    else:
        assert read_table(path).columns[1:].tolist() == ["2019", "2020"]


def test_text_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(b"item_id,y\nB\xe4r,1\n")
    with pytest.raises(ValueError, match=r"latin.csv is not UTF-8 text \(byte 11\); save it as"):
        read_table(path)


def test_only_empty_ids_are_missing(tmp_path):
    path = _write(tmp_path, "item_id,y,note\nNA,NA,NA\n,2,x\n")
    frame = read_table(path)
    assert frame["item_id"].isna().tolist() == [False, True]
    assert frame["y"].isna().tolist() == frame["note"].isna().tolist() == [True, False]


def test_an_out_that_cannot_be_written_names_option_and_path(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (Path("/proc/x.csv"), tmp_path / "file" / "x.csv"):
        with pytest.raises(OSError, match=f"--plot {out} cannot be written: "):
            need_writable(out, "--plot")
    need_writable(tmp_path / "new.csv", "--out")
    assert not (tmp_path / "new.csv").exists()
    need_writable(tmp_path / "file", "--out")
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("name", ["out.csv", "sub/out.parquet", "out.tsv"])
def test_what_is_written_reads_back(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"t": pd.date_range("2026-01-01", periods=3, freq="h"), "0.1": [1.5, 2.25, np.nan]}
    )
    write_table(frame, tmp_path / name)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame, check_dtype=False)


def test_stdout_is_plain_csv(capsys):
    write_table(pd.DataFrame({"a": [1, 2], "b": [0.123456789012, 3.0]}), None)
    assert capsys.readouterr().out == "a,b\n1,0.12345679\n2,3\n"
