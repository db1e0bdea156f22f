"""`tsfm forecast` from file to file, with an untrained tiny model: the way is what is tested."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.cli.forecast import parse_levels

SAMPLES = Path(__file__).resolve().parents[2] / "datasets"
AIR = str(SAMPLES / "air_passengers.csv")
POWER = str(SAMPLES / "building_power.csv")
METER = ("--id-col", "meter")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    import torch

    from tsfm import TSFM
    from tsfm.models.config import ModelConfig

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    TSFM.from_config(ModelConfig.preset("tiny")).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(model):
    def invoke(*arguments: str):
        return CliRunner().invoke(app, ["forecast", *arguments, "--model", model])

    return invoke


def _table(result) -> pd.DataFrame:
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))


def test_stdout_is_the_forecast_and_nothing_else(run):
    answer = _table(run(AIR, "--prediction-length", "24"))
    assert len(answer) == 24
    assert answer["month"].iloc[[0, -1]].tolist() == ["1961-01-01", "1962-12-01"]
    assert answer["target_name"].eq("passengers").all()
    quantiles = answer[[f"0.{i}" for i in range(1, 10)]].to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    np.testing.assert_allclose(answer["predictions"], answer["0.5"])


def test_levels_are_those_asked_for(run):
    answer = _table(run(AIR, "-n", "3", "--quantiles", "0.05,0.5,0.95"))
    assert answer.columns[-3:].tolist() == ["0.05", "0.5", "0.95"]


@pytest.mark.parametrize("text", ["0.5,2", "0", "a", "", "0.1;0.9"])
def test_levels_that_are_none(text):
    with pytest.raises(ValueError, match="is no level between 0 and 1"):
        parse_levels(text)


def test_repair_of_the_power_sample(run):
    result = run(
        POWER, "-n", "30", *METER, "--timezone", "Europe/Berlin", "--on-duplicates", "mean"
    )
    answer = _table(result)
    assert answer["meter"].unique().tolist() == ["office", "cold_store"]
    assert answer["time"].iloc[0] == "2026-04-13 00:00:00+02:00"
    assert len(answer) == 60
    assert "missing" in result.stderr
    assert "Traceback" not in result.stderr


def test_duplicates_stop_and_say_which(run):
    result = run(POWER, "-n", "3", *METER)
    assert result.exit_code == 2
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert "office" in message
    assert "2026-03-04" in message


def test_gaps_can_stop(run):
    result = run(POWER, "-n", "3", *METER, "--on-duplicates", "last", "--on-gaps", "raise")
    assert result.exit_code == 2
    assert "error: " in result.stderr


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_out_and_parquet_in(run, tmp_path, name):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(AIR, parse_dates=["month"])
    source = tmp_path / "air.parquet"
    frame.to_parquet(source)
    target = tmp_path / name
    result = run(str(source), "-n", "5", "--out", str(target))
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert str(target) in result.stderr
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    assert len(read(target)) == 5


def test_columns_can_be_named(run, tmp_path):
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2026-01-01", periods=40, freq="D").astype(str),
            "other": pd.date_range("2020-01-01", periods=40, freq="D").astype(str),
            "a": np.arange(40.0),
            "b": np.arange(40.0) % 7,
        }
    )
    path = tmp_path / "wide.csv"
    frame.to_csv(path, index=False)
    named = ["--timestamp-col", "when", "--target-col", "b", "--id-col", "none"]
    answer = _table(run(str(path), "-n", "2", *named))
    assert answer["target_name"].unique().tolist() == ["b"]
    assert answer["when"].tolist() == ["2026-02-10", "2026-02-11"]


def test_integer_time_stays_integer(run, tmp_path):
    path = tmp_path / "years.csv"
    pd.DataFrame({"year": range(1990, 2020), "y": np.arange(30.0)}).to_csv(path, index=False)
    answer = _table(run(str(path), "-n", "3", "--timestamp-col", "year"))
    assert answer["year"].tolist() == [2020, 2021, 2022]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([AIR, "-n", "0"], "--prediction-length must be at least 1"),
        ([AIR, "-n", "3", "--target-col", "nothing"], "no column 'nothing'; its columns are: "),
        ([AIR, "-n", "3", "--quantiles", "1.5"], "'1.5' is no level"),
        ([POWER, "-n", "3"], "--id-col meter"),
        (["missing.csv", "-n", "3"], "missing.csv does not exist"),
    ],
)
def test_errors_are_one_red_line(run, arguments, text):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert text in result.stderr


@pytest.mark.parametrize(
    ("out", "text"), [("a.xlsx", "cannot tell the file's kind"), (".", "is a folder")]
)
def test_out_is_checked_before_the_work(run, tmp_path, monkeypatch, out, text):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("forecast although its answer cannot be written")

    monkeypatch.setattr("tsfm.Forecaster.predict", never)
    result = run(AIR, "-n", "3", "--out", str(tmp_path / out))
    assert result.exit_code == 2
    assert text in result.stderr


def _days(tmp_path: Path, form: str = "%Y-%m-%d") -> Path:
    path = tmp_path / "days.csv"
    times = pd.date_range("2024-02-01", periods=27).strftime(form)
    pd.DataFrame({"ds": times, "y": np.arange(27.0)}).to_csv(path, index=False)
    return path


def test_dates_written_as_whole_numbers_leave_no_gaps(run, tmp_path):
    result = run(str(_days(tmp_path, "%Y%m%d")), "-n", "3")
    assert _table(result)["ds"].tolist() == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert "warning" not in result.stderr


def test_dates_with_the_day_first_warn_of_nothing(run, tmp_path):
    result = run(str(_days(tmp_path, "%d/%m/%Y")), "-n", "3")
    assert _table(result)["ds"].tolist() == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert "warning" not in result.stderr


@pytest.mark.parametrize("line", [",3.0", "2024-02-04,inf", "2024-02-04,many"])
def test_cells_are_named_by_their_line(run, tmp_path, line):
    path = _days(tmp_path)
    path.write_text(path.read_text().replace("2024-02-04,3.0", line))
    message = run(str(path), "-n", "3").stderr.splitlines()[0]
    assert "line 5 of the file" in message
    assert "df" not in message


def test_rows_of_parquet_are_no_lines(run, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(_days(tmp_path), parse_dates=["ds"])
    frame.loc[3, "ds"] = pd.NaT
    frame.to_parquet(tmp_path / "days.parquet")
    assert "in row 3." in run(str(tmp_path / "days.parquet"), "-n", "3").stderr


def test_columns_can_be_named_in_the_index_of_parquet(run, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(_days(tmp_path), parse_dates=["ds"]).assign(shop="a")
    frame.set_index(["shop", "ds"]).to_parquet(tmp_path / "days.parquet")
    named = ["--id-col", "shop", "--timestamp-col", "ds"]
    answer = _table(run(str(tmp_path / "days.parquet"), "-n", "3", *named))
    assert answer["shop"].tolist() == ["a"] * 3


def test_several_offsets_are_noted(run, tmp_path):
    path = tmp_path / "march.csv"
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    rows = "".join(f"{time.isoformat()},{time.hour}\n" for time in times)
    path.write_text("ds,y\n" + rows)
    result = run(str(path), "-n", "3")
    assert _table(result)["ds"].iloc[0] == "2024-04-01 11:00:00+00:00"
    assert result.stderr.count("name their zone with --timezone") == 1
    result = run(str(path), "-n", "3", "--timezone", "Europe/Berlin")
    assert "warning" not in result.stderr
    unknown = CliRunner().invoke(app, ["forecast", str(path), "-n", "3", "--model", "nix"])
    assert unknown.stderr.count("\n") == 1


def test_the_repeated_hour_warns_of_nothing(run, tmp_path):
    path = tmp_path / "october.csv"
    times = pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Berlin")
    rows = "".join(f"{time:%Y-%m-%d %H:%M},{time.hour}\n" for time in times)
    path.write_text("ds,y\n" + rows)
    result = run(str(path), "-n", "1", "--timezone", "Europe/Berlin")
    assert _table(result)["ds"].tolist() == ["2024-10-28 11:00:00+01:00"]
    assert "warning" not in result.stderr


def test_standard_input(model, tmp_path):
    command = ["forecast", "-", "-n", "3", "--model", model]
    result = CliRunner().invoke(app, command, input=_days(tmp_path).read_text())
    assert len(_table(result)) == 3
    empty = CliRunner().invoke(app, command, input="")
    assert empty.exit_code == 2
    assert empty.stderr.startswith("error: standard input is empty; ")


def test_unknown_model_is_named():
    result = CliRunner().invoke(app, ["forecast", AIR, "-n", "3", "--model", "tsfm-gigantic"])
    assert result.exit_code == 2
    assert "tsfm-gigantic" in result.stderr


def test_picture(run, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "sub" / "forecast.png"
    result = run(AIR, "-n", "12", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000


def test_calibrate_corrects_quantiles_and_names_short_series(run, tmp_path):
    words = (AIR, "-n", "6", "--quantiles", "0.1,0.5,0.9")
    plain, corrected = _table(run(*words)), _table(run(*words, "--calibrate"))
    assert corrected.columns.tolist() == plain.columns.tolist()
    assert not np.allclose(plain["0.9"], corrected["0.9"])
    assert (corrected["0.1"] <= corrected["0.9"]).all()
    pd.read_csv(AIR).tail(20).to_csv(tmp_path / "short.csv", index=False)
    result = run(str(tmp_path / "short.csv"), "-n", "6", "--calibrate")
    assert len(_table(result)) == 6
    assert "too little history" in result.stderr
    assert "passengers" in result.stderr
