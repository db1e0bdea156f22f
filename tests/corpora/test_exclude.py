"""Series that hold pieces of evaluation sets stay out, whatever else lies in their folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")

from tsfm.corpora import build_corpus
from tsfm.corpora.build import LeakError
from tsfm.frames import DataError
from tsfm.frames.errors import NoSeriesWarning


def test_series_of_evaluation_sets_stay_out(tmp_path):
    rng = np.random.default_rng(0)
    test = rng.normal(size=200).cumsum()
    days = pd.date_range("2020-01-01", periods=400)
    clean, leaky = rng.normal(size=400), rng.normal(size=400)
    leaky[150:250] = 70 - 3 * test[80:180]
    wide = pd.DataFrame({"day": days, "clean": clean, "leaky": leaky})
    wide.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "bench").mkdir()
    pd.DataFrame({"day": days[:200], "y": test}).to_csv(tmp_path / "bench/test.csv", index=False)
    mine, bench = tmp_path / "mine.csv", tmp_path / "bench"
    corpus = build_corpus([mine], tmp_path / "c", exclude=[bench])
    assert corpus.column("item_id").tolist() == ["clean"]
    assert corpus.meta.sources[0].n_excluded == 1
    assert corpus.meta.guard["evaluation"] == [str(bench / "test.csv")]
    line = json.loads((corpus.path / "excluded.jsonl").read_text())
    assert (line["item_id"], line["evaluation"]) == ("leaky", str(bench / "test.csv"))
    assert line["hits"] >= 4
    with pytest.raises(LeakError, match=r"'leaky' of .*mine\.csv"):
        build_corpus([mine], tmp_path / "d", exclude=[bench], on_leak="raise")
    assert not (tmp_path / "d").exists()
    assert not (build_corpus([mine], tmp_path / "e").path / "excluded.jsonl").exists()


SCORES = "method,protocol,mean,count,time\nSHADE,full,0.55,15,0.1\nPCA,full,0.43,15,0.0\n"


@pytest.fixture
def bench(tmp_path) -> Path:
    """Tables that hold no series, as they lie beside those that do."""
    folder = tmp_path / "bench"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/published.csv").write_text(SCORES)
    (folder / "nothing.csv").write_text("")
    (folder / "windows.csv").write_text("file,from,until\nx,2020-01-01,2020-02-01\n")
    scores = pd.DataFrame({"score": ["x"], "scores": [[0.1, 0.2]]})
    scores.to_parquet(folder / "scores.parquet")
    return folder


def test_tables_without_series_in_an_excluded_folder_are_named(tmp_path, bench):
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=200)
    mine = pd.DataFrame({"day": days, "a": rng.normal(size=200), "b": rng.normal(size=200)})
    with pytest.raises(DataError, match="no file of it holds series"):
        build_corpus([mine], tmp_path / "c", exclude=[bench])
    mine[["day", "a"]].to_csv(bench / "test.csv", index=False)
    with pytest.warns(NoSeriesWarning) as caught:
        corpus = build_corpus([mine], tmp_path / "c", exclude=[bench])
    names = ["inner/published.csv", "nothing.csv", "scores.parquet", "windows.csv"]
    (message,) = [str(w.message) for w in caught]
    assert f"Passed over in {bench}" in message
    assert ", ".join(names) + "." in message
    assert corpus.column("item_id").tolist() == ["b"]
    assert corpus.meta.guard["skipped"] == [str(bench / name) for name in names]
    for named in (bench / "inner/published.csv", bench / "scores.parquet"):
        with pytest.raises(DataError, match="No time column"):  # named itself: it has to be read
            build_corpus([mine], tmp_path / "d", exclude=[named])


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,target\n2020-01-01,1\n2020-01-01,2\n",
        "timestamp,target\n2020-01-01,1\n2020-01-02,many\n",
        "day,y\n13.01.2020,1\n14.01.2020,2\n",
        "day,y\n20200113,1\n20200114,2\n",
        "day;y\n2020-01-01;1\n",
        "2020-01-01,1\n2020-01-02,2\n",
    ],
)
@pytest.mark.filterwarnings("ignore::tsfm.frames.errors.NoSeriesWarning")
def test_series_in_an_excluded_folder_are_never_passed_over(tmp_path, bench, text):
    """A table that needs other options, or a repair, would else protect nothing."""
    mine = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=99), "a": np.arange(99) % 7})
    mine.to_csv(bench / "test.csv", index=False)
    (bench / "wrong.csv").write_text(text)
    with pytest.raises(DataError, match=r"wrong\.csv"):
        build_corpus([mine], tmp_path / "c", exclude=[bench])


BENCHMARKS = Path(__file__).resolve().parents[3] / "shared/benchmarks"


@pytest.mark.filterwarnings("ignore::tsfm.frames.errors.NoSeriesWarning")
@pytest.mark.parametrize(("name", "least"), [("tsb", 900), ("lsf", 275), ("gift", 2000)])
def test_folders_of_benchmarks_can_be_excluded(tmp_path, name, least):
    if not (BENCHMARKS / name).is_dir():
        pytest.skip(f"{BENCHMARKS / name} is not there")
    mine = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=200), "y": np.arange(200) % 7})
    corpus = build_corpus([mine], tmp_path / "c", exclude=[BENCHMARKS / name])
    assert corpus.meta.guard["n_series"] >= least
    assert len(corpus) == 1
