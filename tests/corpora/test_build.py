"""Files of every kind become the series `to_panel` reads, whatever the order of their rows."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")

from tsfm.corpora import TableOptions, build_corpus
from tsfm.corpora.tables import table_chunks
from tsfm.datasets.stored import Corpus
from tsfm.datasets.stored.layout import part_of
from tsfm.frames import DataError, UnusedColumnWarning, to_panel

SMALL = TableOptions(whole_bytes=0, chunk_cells=300, partition_bytes=4000)
"""Pieces so small that a test's table is read in many of them."""


def table(n_items: int = 12, seed: int = 0) -> pd.DataFrame:
    """Daily and hourly series with missing rows and missing values, sorted by id."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_items):
        n = int(rng.integers(30, 90))
        index = pd.date_range("2026-01-01", periods=n, freq="h" if i % 2 else "D")
        values = rng.normal(size=n).round(3)
        values[rng.random(n) < 0.1] = np.nan
        part = pd.DataFrame({"item_id": f"00{i}", "timestamp": index, "target": values})
        inner = rng.permutation(np.arange(1, n - 1))[2:]
        parts.append(part.iloc[np.sort(np.r_[0, inner, n - 1])])
    return pd.concat(parts, ignore_index=True)


def contents(corpus: Corpus) -> dict[str, np.ndarray]:
    ids = corpus.column("item_id").tolist()
    assert len(set(ids)) == len(ids)
    return {name: corpus.series(i) for i, name in enumerate(ids)}


def expected(data: pd.DataFrame, **columns) -> dict[str, np.ndarray]:
    panel = to_panel(data, **columns)
    return {panel.label(i): panel.values[i] for i in range(len(panel))}


def check(corpus: Corpus, wanted: dict[str, np.ndarray]) -> None:
    got = contents(corpus)
    assert got.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.filterwarnings("ignore::tsfm.frames.errors.DataWarning")
@pytest.mark.parametrize("order", ["by id", "by time", "shuffled", "pieces"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz"])
def test_rows_in_any_order_give_the_same_series(tmp_path, order, suffix):
    frame = table()
    wanted = expected(frame)
    if order == "by time":
        frame = frame.sort_values("timestamp", kind="stable")
    elif order == "shuffled":
        frame = frame.sample(frac=1, random_state=0)
    elif order == "pieces":  # of forty rows, dealt out over the file
        rows = np.arange(len(frame))
        frame = frame.iloc[np.lexsort((rows, rows // 40 * 7 % 11))]
    path = tmp_path / f"table{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    assert len(list(table_chunks(path, SMALL)[0])) > 3
    corpus = build_corpus([path], tmp_path / "corpus", options=SMALL, shard_values=200)
    check(corpus, wanted)
    assert set(corpus.column("frequency")) == {"h", "D"}
    assert corpus.meta.sources[0].n_series == 12
    assert not list(corpus.path.rglob("*.arrows"))
    assert corpus.column("start")[0] == np.datetime64("2026-01-01", "s")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_wide_tables_in_pieces(tmp_path, suffix):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 7)), columns=[f"c{i}" for i in range(7)])
    frame.iloc[5:9, 2] = np.nan
    frame.insert(0, "day", pd.date_range("2020-01-01", periods=200))
    path = tmp_path / f"wide{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    check(build_corpus([path], tmp_path / "corpus", options=SMALL), expected(frame))


def test_equal_steps_without_times_are_counted_over_pieces(tmp_path):
    frame = pd.DataFrame({"unique_id": list("ab") * 250, "y": np.arange(500.0)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = TableOptions(timestamp_col=None, whole_bytes=0, chunk_cells=100, partition_bytes=900)
    corpus = build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=options)
    check(corpus, {"a": np.arange(0.0, 500, 2), "b": np.arange(1.0, 500, 2)})


def test_time_zones_and_several_targets(tmp_path):
    hours = pd.date_range("2026-03-20", periods=400, freq="D", tz="Europe/Berlin")
    frame = pd.DataFrame(
        {"item_id": "a", "timestamp": hours, "x": np.arange(400.0), "y": -np.arange(400.0)}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    options = TableOptions(
        target_col=["x", "y"], whole_bytes=0, chunk_cells=200, partition_bytes=900
    )
    corpus = build_corpus([tmp_path / "t.parquet"], tmp_path / "c", options=options)
    check(corpus, {"a / x": np.arange(400.0), "a / y": -np.arange(400.0)})
    assert set(corpus.column("frequency")) == {"D"}


def test_a_frequency_can_be_given(tmp_path):
    frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=50, freq="2h"), "y": 1.0})
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = TableOptions(freq="h", whole_bytes=0)
    corpus = build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=options)
    assert corpus.column("frequency").tolist() == ["h"]
    assert corpus.column("length").tolist() == [99]
    assert corpus.column("missing")[0] == pytest.approx(49 / 99)
    short = pd.DataFrame({"item_id": "a", "timestamp": [pd.Timestamp("2020-01-01")], "target": 3})
    corpus = build_corpus([short], tmp_path / "d", options=TableOptions(freq="D"))
    check(corpus, {"a": np.array([3.0])})
    with pytest.raises(DataError, match="'a'"):
        build_corpus([short], tmp_path / "e")


def test_dataframes_corpora_and_folders(tmp_path):
    one, two = table(3), table(4, seed=1)
    first = build_corpus([one], tmp_path / "one")
    folder = tmp_path / "folder/inner"
    folder.mkdir(parents=True)
    two.to_csv(folder / "two.csv", index=False)
    (folder / "notes.md").write_text("not data")
    both = build_corpus([first.path, tmp_path / "folder"], tmp_path / "both")
    assert [s.kind for s in both.meta.sources] == ["corpus", "csv"]
    assert [s.n_series for s in both.meta.sources] == [3, 4]
    np.testing.assert_array_equal(both.series(1), first.series(1))
    assert both.column("start").tolist()[:3] == first.column("start").tolist()
    assert both.column("source").tolist() == [0] * 3 + [1] * 4


TSF = """# a comment
@relation small
@attribute series_name string
@attribute start_timestamp date
@frequency half_hourly
@horizon 8
@missing true
@equallength false
@data
T1:2002-01-01 00-00-00:1,2.5,?,4
T2:1999-12-31 12-30-00:7
"""


def test_monash_files(tmp_path):
    (tmp_path / "a.tsf").write_text(TSF)
    corpus = build_corpus([tmp_path / "a.tsf"], tmp_path / "c")
    check(corpus, {"T1": np.array([1, 2.5, np.nan, 4]), "T2": np.array([7.0])})
    assert corpus.column("frequency").tolist() == ["30min", "30min"]
    assert corpus.column("season_length").tolist() == [48, 48]
    assert corpus.column("start")[1] == np.datetime64("1999-12-31T12:30:00")
    for wrong, message in (
        (TSF.replace("7\n", "seven\n"), "line 11"),
        (TSF.replace("T2:", ""), "line 11: 1 attributes"),
        ("hello\n", "no @data"),
        (TSF.replace("half_hourly", "sometimes"), "sometimes is unknown"),
    ):
        (tmp_path / "b.tsf").write_text(wrong)
        with pytest.raises(DataError, match=message):
            build_corpus([tmp_path / "b.tsf"], tmp_path / "d")


def test_gluonts_folders_as_gluonts_writes_them(tmp_path):
    common = pytest.importorskip("gluonts.dataset.common")
    from gluonts.dataset.jsonl import JsonLinesWriter

    rows = [
        {"target": np.array([1.0, np.nan, 3.0]), "start": pd.Period("2020-01-01", "D"),
         "item_id": "a"},
        {"target": np.arange(6.0).reshape(2, 3), "start": pd.Period("2021-01-01", "D")},
    ]  # fmt: skip
    longer = [{**rows[0], "target": np.arange(50.0)}]
    data = common.TrainDatasets(common.MetaData(freq="D"), rows, longer)
    data.save(str(tmp_path / "gluonts"), JsonLinesWriter())
    corpus = build_corpus([tmp_path / "gluonts"], tmp_path / "c")
    wanted = {"a": [1.0, np.nan, 3.0], "1/0": [0.0, 1, 2], "1/1": [3.0, 4, 5]}
    check(corpus, {name: np.array(values) for name, values in wanted.items()})
    assert set(corpus.column("frequency")) == {"D"}
    assert corpus.column("start")[0] == np.datetime64("2020-01-01", "s")


@pytest.mark.parametrize("kind", ["file.arrow", "stream.arrow", "rows.parquet", "rows.jsonl.gz"])
def test_records_in_arrow_parquet_and_json(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [[1.0, 2.0], [3.0], list(np.arange(100.0))]
    rows = {
        "item_id": ["a", "b", "c"], "freq": ["15T", "15T", "H"], "target": values,
        "start": [pd.Timestamp("2020-01-01")] * 3,
    }  # fmt: skip
    data = pa.table(rows)
    path = tmp_path / kind
    if kind == "rows.parquet":
        pq.write_table(data, path)
    elif kind == "file.arrow":
        with pa.ipc.new_file(path, data.schema) as writer:
            writer.write_table(data, max_chunksize=2)
    elif kind == "stream.arrow":
        with pa.ipc.new_stream(path, data.schema) as writer:
            writer.write_table(data)
    else:
        with gzip.open(path, "wt") as file:
            for row in data.to_pylist():
                file.write(json.dumps(row, default=str) + "\n")
    corpus = build_corpus([path], tmp_path / "c")
    check(corpus, {k: np.array(v) for k, v in zip("abc", values, strict=True)})
    assert corpus.column("frequency").tolist() == ["15min", "15min", "h"]


def test_what_cannot_be_read_is_named_or_skipped(tmp_path):
    frame = table(6)
    frame = pd.concat([frame, frame[frame["item_id"] == "003"].head(1)])  # twice the same time
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"t\.csv: .*'003'"):
        build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=SMALL)
    assert not (tmp_path / "c").exists()
    skip = TableOptions(on_error="skip", whole_bytes=0, chunk_cells=300, partition_bytes=4000)
    corpus = build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=skip)
    assert corpus.column("item_id").tolist().count("003") == 0
    assert (corpus.meta.sources[0].n_series, corpus.meta.sources[0].n_skipped) == (5, 1)
    for path, error, message in (
        (tmp_path / "no.csv", FileNotFoundError, "does not exist"),
        (tmp_path / "t.xlsx", DataError, "cannot tell"),
    ):
        (tmp_path / "t.xlsx").write_text("")
        with pytest.raises(error, match=message):
            build_corpus([path], tmp_path / "d")
    with pytest.raises(ValueError, match="Nothing to build"):
        build_corpus([], tmp_path / "d")


def test_a_wrong_cell_far_down_is_found_again(tmp_path):
    frame = table(6).astype({"target": object})
    frame.iloc[250, 2] = "many"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"row 50.*add 200 to its row numbers"):
        build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=SMALL)


def test_a_warning_comes_once_for_many_pieces(tmp_path):
    frame = table(6).assign(note="x")
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = TableOptions(**{**SMALL.__dict__, "target_col": "target"})
    with pytest.warns(UnusedColumnWarning) as caught:
        build_corpus([tmp_path / "t.csv"], tmp_path / "c", options=options)
    assert len(caught) == 1


def test_records_of_values_are_series_and_channels(tmp_path):
    """A list of channels per step, as in the files of TSB-AD."""
    rng = np.random.default_rng(0)
    one, many = rng.normal(size=(2, 90)), rng.normal(size=(80, 3))
    labels = [[0] * 90] * 2
    rows = pd.DataFrame({"series_id": ["a", "b"], "values": list(one), "labels": labels})
    rows.to_parquet(tmp_path / "univariate.parquet")
    rows = pd.DataFrame({"series_id": ["m"], "train_end": [40], "values": [many.tolist()]})
    rows.to_parquet(tmp_path / "multivariate.parquet")
    corpus = build_corpus([tmp_path / "univariate.parquet"], tmp_path / "u")
    check(corpus, {"a": one[0], "b": one[1]})
    corpus = build_corpus([tmp_path / "multivariate.parquet"], tmp_path / "m")
    check(corpus, {f"m/{k}": many[:, k] for k in range(3)})
    (tmp_path / "lines.jsonl").write_text(json.dumps({"values": [1, 2, 3]}) + "\n")
    check(build_corpus([tmp_path / "lines.jsonl"], tmp_path / "l"), {"0": np.array([1.0, 2, 3])})
    days = pd.date_range("2020-01-01", periods=200)
    mine = pd.DataFrame({"day": days, "clean": rng.normal(size=200), "leaky": 0.0})
    mine["leaky"] = np.r_[rng.normal(size=60), 5 - 2 * many[:, 1], rng.normal(size=60)]
    corpus = build_corpus([mine], tmp_path / "c", exclude=[tmp_path / "multivariate.parquet"])
    assert corpus.column("item_id").tolist() == ["clean"]


KILLED = """
import sys
from pathlib import Path
from tsfm.corpora import TableOptions, build_corpus
options = TableOptions(whole_bytes=0, chunk_cells=300, partition_bytes=2000)
def going(name, k):
    (Path(sys.argv[2]).parent / "going").touch()
    if len(sys.argv) > 3:
        import time; time.sleep(0.1)
build_corpus([sys.argv[1]], sys.argv[2], options=options, shard_values=100, progress=going)
"""


@pytest.mark.filterwarnings("ignore::tsfm.frames.errors.DataWarning")
def test_a_killed_build_leaves_no_corpus_and_runs_again(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "t.csv"), str(out)]
    with subprocess.Popen([*command, "slow"]) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "going").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    assert part_of(out).exists()
    subprocess.run(command, check=True)
    check(Corpus(out), expected(table()))
    assert not part_of(out).exists()


MEMORY = """
import resource, sys
import numpy as np, pandas as pd, pyarrow.parquet, pyarrow.csv
from pathlib import Path
from tsfm.corpora import TableOptions, build_corpus
import tsfm.datasets.stored.writer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

small = pd.DataFrame({"unique_id": ["a"] * 9, "ds": pd.date_range("2020", periods=9), "y": 1.0})
build_corpus([small], Path(sys.argv[2], "warm"))
before = peak()
options = TableOptions(whole_bytes=0, chunk_cells=100_000, partition_bytes=1 << 20)
corpus = build_corpus([sys.argv[1]], Path(sys.argv[2], "c"), options=options,
                      shard_values=200_000)
print(len(corpus), corpus.meta.n_values, peak() - before)
"""


def test_memory_is_bounded_by_pieces_not_by_the_file(tmp_path):
    """A million rows sorted by time: no series is complete before the end of the file."""
    n_items, n = 500, 2_000
    stamps = np.repeat(pd.date_range("2020-01-01", periods=n, freq="h"), n_items)
    ids = np.tile(np.array([f"item-{i:04d}" for i in range(n_items)], dtype=object), n)
    frame = pd.DataFrame({"unique_id": ids, "ds": stamps, "y": np.arange(n * n_items) % 977})
    path = Path(tmp_path, "long.parquet")
    frame.to_parquet(path, row_group_size=50_000)
    memory = frame.memory_usage(deep=True).sum() / 2**20
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path), str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    series, values, growth = done.stdout.split()
    assert (int(series), int(values)) == (n_items, n * n_items)
    assert memory > 70
    assert float(growth) < 50
