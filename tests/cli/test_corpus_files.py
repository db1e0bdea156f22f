"""`tsfm corpus build|inspect|stratify`, and what `tsfm pretrain --corpus` hands on."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.cli.corpus_files import _chunk_dates

pytest.importorskip("pyarrow")


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(a) for a in arguments])


def long_table(day_first: bool = False) -> pd.DataFrame:
    days = pd.date_range("2025-12-20", periods=60)
    rng = np.random.default_rng(0)
    text = days.strftime("%d.%m.%Y" if day_first else "%Y-%m-%d")
    frames = [
        pd.DataFrame({"shop": f"0{k}", "date": text, "sold": rng.normal(size=60).cumsum()})
        for k in range(4)
    ]
    return pd.concat(frames)


def test_build_inspect_and_stratify(run, tmp_path):
    long_table().to_csv("sales.csv", index=False)
    done = run("corpus", "build", "sales.csv", "--id-col", "shop", "--out", "mine")
    assert done.exit_code == 0, done.output
    assert "4 series, 240 steps in mine" in done.stderr
    done = run("corpus", "inspect", "mine")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(io.StringIO(done.stdout))
    assert table.loc[0, ["frequency", "n_series", "longest"]].tolist() == ["D", 4, 60]
    assert "4 from sales.csv" in done.stderr
    done = run("corpus", "inspect", "mine", "--by", "stratum")
    assert done.exit_code == 2
    assert "tsfm corpus stratify mine" in done.stderr
    done = run("corpus", "stratify", "mine", "--weights", "0,1")
    assert done.exit_code == 0, done.output
    strata = pd.read_csv(io.StringIO(done.stdout))
    assert strata["n_series"].tolist() == [0, 2, 2]
    assert strata["weight"].tolist() == [0, 0, 1]
    assert run("corpus", "stratify", "mine", "--weights", "a,b").exit_code == 2
    pytest.importorskip("matplotlib")
    done = run("corpus", "inspect", "mine", "--by", "stratum", "--out", "sheet.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "sheet.png").stat().st_size > 5000
    assert run("corpus", "build", "sales.csv", "--id-col", "shop", "--out", "mine").exit_code == 2
    done = run("corpus", "inspect", "nowhere")
    assert done.exit_code == 2
    assert "tsfm corpus build" in done.stderr


def test_what_the_guard_kept_out_is_said(run):
    table = long_table()
    table.to_csv("sales.csv", index=False)
    test = table[table["shop"] == "02"].assign(sold=lambda t: 7 - 2 * t["sold"])
    test.drop(columns="shop").to_csv("test.csv", index=False)
    arguments = ("corpus", "build", "sales.csv", "--id-col", "shop", "--exclude", "test.csv")
    done = run(*arguments, "--out", "mine")
    # the columns are those of the tables to build from: the evaluation set must have them, too
    assert done.exit_code == 2
    test.to_csv("test.csv", index=False)
    done = run(*arguments, "--out", "mine")
    assert done.exit_code == 0, done.output
    assert "1 series hold windows of an evaluation set" in done.stderr
    assert "3 series, 180 steps" in done.stderr
    done = run(*arguments, "--out", "other", "--on-leak", "raise")
    assert done.exit_code == 2
    assert "'02' of sales.csv" in done.stderr


def test_tables_without_series_in_an_excluded_folder_are_said(run, tmp_path):
    table = long_table()
    table.to_csv("sales.csv", index=False)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/published.csv").write_text("method,mean,count\nSHADE,0.5,15\nPCA,0.4,9\n")
    arguments = ("corpus", "build", "sales.csv", "--id-col", "shop", "--exclude", "bench")
    done = run(*arguments, "--out", "mine")
    assert done.exit_code == 2
    assert "no file of it holds series" in done.stderr
    table[table["shop"] == "02"].to_csv("bench/test.csv", index=False)
    done = run(*arguments, "--out", "mine")
    assert done.exit_code == 0, done.output
    assert "warning: Passed over in bench" in done.stderr
    assert "no numbers): published.csv. " in done.stderr
    assert "1 series hold windows of an evaluation set" in done.stderr
    # dates of any style make a table of series, and one that cannot be read is no reason to go on
    table.rename(columns={"shop": "store"}).to_csv("bench/other.csv", index=False)
    done = run(*arguments, "--out", "again")
    assert done.exit_code == 2
    assert "other.csv has no column 'shop'" in done.stderr


def test_dates_of_a_piece_must_not_depend_on_it():
    frame = long_table(day_first=True)
    with pytest.raises(ValueError, match="--date-format"):
        _chunk_dates("shop", None, None, None)(frame.copy())
    parsed = _chunk_dates("shop", None, "%d.%m.%Y", None)(frame.copy())
    assert parsed["date"].iloc[0] == pd.Timestamp("2025-12-20")
    parsed = _chunk_dates("shop", None, None, None)(long_table())
    assert parsed["date"].dtype.kind == "M"


def test_small_files_with_other_dates_are_read_as_for_a_forecast(run):
    long_table(day_first=True).to_csv("sales.csv", index=False)
    done = run("corpus", "build", "sales.csv", "--id-col", "shop", "--out", "mine")
    assert done.exit_code == 0, done.output
    assert "4 series, 240 steps" in done.stderr


def test_pretrain_hands_the_corpus_on(run, tmp_path, monkeypatch):
    pretrain = pytest.importorskip("tsfm.training.pretrain")
    seen = []

    def record(config, out, **options):
        seen.append(options["overrides"])
        return pretrain.RunResult(out, 1, True, 1.0)

    monkeypatch.setattr(pretrain, "run", record)
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    arguments = ("pretrain", "--config", "run.yaml", "--out", "out", "--corpus", "mine")
    assert run(*arguments, "--corpus-share", "0.25", "--set", "corpus.flip=0").exit_code == 0
    wanted = {"corpus.flip": 0, "corpus.path": str(tmp_path / "mine"), "corpus.share": 0.25}
    assert seen == [wanted]
