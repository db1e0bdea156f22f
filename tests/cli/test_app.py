"""The root of the command line: help, speed of help, errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.cli.errors import PoliteGroup, translate

COMMANDS = [
    [],
    ["forecast"],
    ["detect"],
    ["pretrain"],
    ["corpus"],
    ["corpus", "preview"],
    ["evaluate"],
    ["models"],
    ["doctor"],
]

HEAVY = {"torch", "pandas", "numpy", "sklearn", "lightning", "gluonts", "matplotlib"}


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "root")
def test_help_of_every_command(runner, command):
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert "--help" in result.output


def test_help_names_every_kind_of_file(runner):
    text = runner.invoke(app, ["forecast", "--help"]).output
    assert all(kind in text for kind in (".tsv", ".csv.gz", ".pq", ".jpg", ".webp"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from tsfm.cli.app import app;"
        "app(['forecast', '--help'], standalone_mode=False);"
        "print('LOADED', *sorted(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & HEAVY


def test_help_is_quick():
    seconds = []  # of processor time, so that a busy machine does not matter
    for _ in range(5):
        started = sum(os.times()[2:4])
        subprocess.run(
            [sys.executable, "-c", "from tsfm.cli import main; main()", "--help"],
            capture_output=True,
            check=True,
            timeout=60,
        )
        seconds.append(sum(os.times()[2:4]) - started)
    assert min(seconds) < 0.5


def test_version(runner):
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("tsfm ")


def _app_that_raises(error: BaseException) -> typer.Typer:
    failing = typer.Typer(cls=PoliteGroup)

    @failing.command()
    def command() -> None:
        raise error

    @failing.command()
    def other() -> None: ...

    return failing


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("bad\n  row 3"), 2, "error: bad row 3"),
        (
            ValueError("pass id_col='meter' or freq=None."),
            2,
            "pass --id-col meter or --freq none.",
        ),
        (ValueError("Name it with target_col=, or"), 2, "Name it with --target-col, or"),
        (
            ValueError("Pass on_duplicates='mean' or 'last', or drop, e.g. df.drop(x=['a'])."),
            2,
            "Pass --on-duplicates mean or last, or drop.\n",
        ),
        (ValueError("Pass freq=, e.g. freq='h', 'D' or 'ME'."), 2, "e.g. --freq h, D or ME.\n"),
        (ValueError("pass id_col='meter id'."), 2, "pass --id-col 'meter id'.\n"),
        (ValueError("device='cuda' needs a GPU"), 2, "--device cuda needs a GPU\n"),
        (ValueError("'a' in row 3"), 2, "'a' in row 3\n"),
        (KeyError("no column"), 2, "error: no column"),
        (ImportError("needs x"), 2, "error: needs x"),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops"),
        (MemoryError("4 GB"), 1, "out of memory"),
    ],
)
def test_errors_are_one_line(runner, error, code, text):
    result = runner.invoke(_app_that_raises(error), ["command"])
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("drop these rows: df.dropna(subset=['a (b)']).", "drop these rows."),
        ("convert: df['y'] = pd.to_numeric(df['y']).", "convert."),
        ("shift them, e.g. df['t'] - 20240101.", "shift them."),
        ("Drop them (df.dropna(subset=['y'])) or not", "Drop them or not"),
        (
            "Convert it with pd.to_numeric(df['y'], errors='coerce'), or",
            "Convert it to numbers, or",
        ),
        (
            "Resample first, e.g. df.groupby('id').resample('h', on='ds')['y'].mean(), or not.",
            "Resample first, or not.",
        ),
        ("first in row 0, not 'row 3'", "first in line 2 of the file, not 'row 3'"),
        ("look at df.columns or series.index, too", "look at, too"),
        ("series.csv does not exist", "series.csv does not exist"),
        ("give df.parquet or my/df.old, with series.v2.csv", None),
        ("--out pd.csv.gz cannot be written: df.png", None),
    ],
)
def test_remedies_in_python_are_not_shown(message, shown):
    assert translate(message, lines=True) == (message if shown is None else shown)


def test_rows_are_counted_where_they_are_no_lines():
    assert translate("see row 3", lines=True, shifted=True) == "see row 4 of the data"


def test_debug_shows_the_traceback_wherever_it_stands(runner):
    for arguments in (["--debug", "command"], ["command", "--debug"]):
        result = runner.invoke(_app_that_raises(ValueError("bad")), arguments)
        assert isinstance(result.exception, ValueError)


def test_usage_errors_stay_usage_errors(runner):
    result = runner.invoke(app, ["forecast", "x.csv"])
    assert result.exit_code == 2
    assert "--prediction-length" in result.output


def test_warnings_are_one_line(runner):
    import warnings

    warning = typer.Typer(cls=PoliteGroup)

    @warning.command()
    def command() -> None:
        warnings.warn("3 rows\n inserted", UserWarning, stacklevel=1)

    @warning.command()
    def other() -> None: ...

    result = runner.invoke(warning, ["command"])
    assert result.exit_code == 0
    assert result.stderr == "warning: 3 rows inserted\n"
