"""What is written comes back, and nothing looks complete before it is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from tsfm.datasets.stored import Corpus, CorpusWriter, Series
from tsfm.datasets.stored.layout import part_of


def test_values_and_index_come_back(corpus, mixed):
    assert len(corpus) == 60
    assert len(corpus.meta.shards) > 5
    lengths = np.array([len(s.values) for s in mixed])
    assert corpus.meta.n_values == lengths.sum()
    assert corpus.column("length").tolist() == lengths.tolist()
    assert corpus.column("item_id").tolist() == [s.item_id for s in mixed]
    assert set(corpus.column("frequency")) == {"h"}
    assert set(corpus.column("season_length")) == {24}
    assert corpus.column("start")[0] == np.datetime64(1_700_000_000, "s")
    for i, series in enumerate(mixed):
        np.testing.assert_allclose(corpus.series(i), series.values, rtol=1e-6, atol=1e-6)
    missing = [np.isnan(s.values).mean() for s in mixed]
    np.testing.assert_allclose(corpus.column("missing"), missing, atol=1e-6)


def test_far_levels_and_extreme_units_keep_their_digits(write):
    rng = np.random.default_rng(1)
    walk = rng.normal(size=400).cumsum()
    odd = [walk + 1e12, walk * 1e200, walk * 1e-200, np.full(5, 7e8), np.full(4, np.nan)]
    odd.append(np.array([1.0, np.inf, -np.inf, 2.0]))
    corpus = write([Series(str(i), values) for i, values in enumerate(odd)])
    for i, values in enumerate(odd[:4]):
        got = corpus.series(i)
        spread = np.ptp(values) or 1.0
        np.testing.assert_allclose((got - values) / spread, 0, atol=2e-4 if i == 0 else 1e-6)
    assert np.isnan(corpus.series(4)).all()
    np.testing.assert_array_equal(corpus.series(5), [1, np.nan, np.nan, 2])
    assert corpus.column("missing").tolist()[-2:] == [1.0, 0.5]


def test_shards_are_plain_arrow_files(corpus):
    table = pa.ipc.open_file(corpus.path / corpus.meta.shards[0]).read_all()
    assert table.column_names == ["item_id", "target"]
    assert table["item_id"][1].as_py() == "s1"
    stored = np.array(table["target"][1].as_py(), dtype=float)
    assert len(stored) == corpus.column("length")[1]


def test_windows_are_slices_with_missing_ends(corpus):
    numbers, starts = np.array([7, 2, 7, 40]), np.array([-5, 10, 30, 0])
    windows = corpus.windows(numbers, starts, 20, ends=np.array([10, 1000, 45, 3]))
    center, scale = corpus.rows(numbers, "center", "scale")
    for row, (i, start, end) in enumerate(zip(numbers, starts, (10, 1000, 45, 3), strict=True)):
        padded = np.full(20, np.nan)
        whole = corpus.series(int(i))[:end]
        inside = [t for t in range(20) if 0 <= start + t < len(whole)]
        padded[inside] = whole[[start + t for t in inside]]
        got = windows[row] * scale[row] + center[row]
        np.testing.assert_allclose(got, padded, rtol=1e-5)


def test_equal_values_have_an_equal_fingerprint(write, mixed):
    one, two = write(mixed, "one"), write(mixed, "two", shard_values=100_000)
    assert one.meta.fingerprint == two.meta.fingerprint
    assert len(two.meta.shards) < len(one.meta.shards)
    assert write(mixed[1:], "three").meta.fingerprint != one.meta.fingerprint


def test_what_exists_is_not_overwritten_by_accident(write, mixed, tmp_path):
    corpus = write(mixed[:3])
    with pytest.raises(FileExistsError, match="--overwrite"):
        CorpusWriter(corpus.path)
    with CorpusWriter(corpus.path, overwrite=True) as writer:
        writer.add(mixed[4])
    assert len(Corpus(corpus.path)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is no corpus"):
        CorpusWriter(tmp_path / "thesis", overwrite=True)


def test_an_error_leaves_nothing_and_the_old_corpus_stays(write, mixed, tmp_path):
    corpus = write(mixed[:3])

    def fail() -> None:
        with CorpusWriter(corpus.path, overwrite=True, shard_values=10) as writer:
            writer.add(mixed[5])
            writer.add(mixed[6])
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert len(Corpus(corpus.path)) == 3
    assert not part_of(corpus.path).exists()
    with pytest.raises(ValueError, match="no series"), CorpusWriter(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()


def test_a_killed_build_is_no_corpus_and_can_be_run_again(tmp_path):
    code = """
import sys, numpy as np
from tsfm.datasets.stored import CorpusWriter, Series
endless = len(sys.argv) > 2
with CorpusWriter(sys.argv[1], shard_values=2000) as writer:
    i = 0
    while endless or i < 5:
        writer.add(Series(str(i), np.arange(1000.0) + i))
        i += 1
        if i == 5: print("going", flush=True)
"""
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen([*command, "endless"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert list(part_of(out).glob("shard-*.arrow"))
    with pytest.raises(FileNotFoundError, match=r"did not end .*run it again"):
        Corpus(out)
    with pytest.raises(FileNotFoundError, match="no corpus"):
        Corpus(part_of(out))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(Corpus(out)) == 5
    assert not part_of(out).exists()


def test_a_corpus_of_another_format_is_refused(corpus):
    meta = corpus.path / "corpus.json"
    meta.write_text(meta.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ValueError, match="format 9"):
        Corpus(corpus.path)
