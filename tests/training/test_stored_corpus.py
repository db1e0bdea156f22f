"""Runs on a corpus on disk: alone or mixed, resumed exactly, validated on what they never saw."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pyarrow")

from tsfm.datasets.recipes import RingConfig
from tsfm.datasets.stored import CorpusConfig, CorpusWriter, Series
from tsfm.datasets.stored.layout import training_lengths
from tsfm.datasets.stored.strata import stratify
from tsfm.datasets.stored.windows import StoredWindows
from tsfm.training import pretrain
from tsfm.training.config import PretrainConfig
from tsfm.training.forecasting import Forecasting
from tsfm.training.pretrain import run
from tsfm.training.stored_validation import held_out_windows, validate_stored
from tsfm.training.stream import StoredStream

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


@pytest.fixture
def corpus(tmp_path) -> CorpusConfig:
    rng = np.random.default_rng(0)
    with CorpusWriter(tmp_path / "mine", shard_values=4000) as writer:
        for i in range(30):
            n = int(rng.integers(60, 1500))
            values = np.sin(np.arange(n) * 2 * np.pi / 24) * (i % 2) + 0.1 * rng.normal(size=n)
            if i % 4 == 1:
                values[rng.random(n) < 0.1] = np.nan
            writer.add(Series(f"s{i}", values * 10.0**i, "h", 24))
    return CorpusConfig(str(tmp_path / "mine"))


@pytest.mark.parametrize("ring", [None, RingConfig(series=32, refresh=0.25)])
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("start", [1, 8, 13])
def test_a_stream_from_a_step_is_the_tail_of_the_whole(recipe, corpus, start, share, ring):
    mixed = dataclasses.replace(corpus, share=share)
    recipe = dataclasses.replace(recipe, ring=ring)
    whole = list(islice(StoredStream(recipe, mixed, 5), 18))
    torch.manual_seed(start)
    tail = list(islice(StoredStream(recipe, mixed, 5, start), 18 - start))
    for one, two in zip(whole[start:], tail, strict=True):
        assert torch.equal(one.hidden, two.hidden)
        assert torch.equal(one.values.nan_to_num(9e9), two.values.nan_to_num(9e9))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_slices_end_like_one_run(config, corpus, tmp_path, share):
    config = dataclasses.replace(config, corpus=dataclasses.replace(corpus, share=share))
    whole = run(config, tmp_path / "whole", progress=False)
    assert whole.finished
    for steps in (3, 13, 20):
        slice_ = dataclasses.replace(config, max_steps=steps)
        run(slice_, tmp_path / "sliced", resume=steps > 3, progress=False)
    one, two = ((tmp_path / d / "model.safetensors").read_bytes() for d in ("whole", "sliced"))
    assert one == two


LIVES = """
import json, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from tsfm.training import pretrain
from tsfm.training.config import PretrainConfig

settings, out, seed = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
config, rng = PretrainConfig.from_dict(settings), random.Random(seed)

def live(steps):
    original = pretrain.SliceCallback.on_train_batch_end
    def told(self, *arguments, **named):
        os.write(steps, b".")
        original(self, *arguments, **named)
    pretrain.SliceCallback.on_train_batch_end = told
    pretrain.run(config, out, resume=True, progress=False)

for life in range(10):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            live(writer)
        finally:
            os._exit(1)
    os.close(writer)
    for _ in range(rng.randint(0, 12)):
        os.read(reader, 1)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
    os.close(reader)
"""


def test_a_run_killed_ten_times_ends_like_the_whole(config, corpus, tmp_path):
    """SIGKILL at random moments: while a step is taken, a chunk is read, a state is written."""
    changes = {"max_steps": 160, "checkpoint_minutes": 2e-4, "model.backbone.dropout": 0.1}
    config = dataclasses.replace(config, corpus=corpus).replace(changes)
    out = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIVES, json.dumps(config.to_dict()), str(out), "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.split() == ["9"] * 10, done.stderr
    reached = pretrain._steps_in(out / "trunk.ckpt")
    assert 0 < reached < 160
    assert run(config, out, resume=True, progress=False).step == 160
    run(config, tmp_path / "whole", progress=False)
    killed, whole = (
        torch.load(folder / "trunk.ckpt", weights_only=True)["state_dict"]
        for folder in (out, tmp_path / "whole")
    )
    assert killed.keys() == whole.keys()
    assert all(torch.equal(weight, whole[name]) for name, weight in killed.items())
    one, two = ((f / "model.safetensors").read_bytes() for f in (out, tmp_path / "whole"))
    assert one == two
    assert not list(out.glob("*.part"))


def test_a_corpus_that_changed_is_not_gone_on_with(config, corpus, tmp_path):
    config = dataclasses.replace(config, corpus=corpus, max_steps=2)
    run(config, tmp_path / "run", progress=False)
    with CorpusWriter(corpus.path, overwrite=True) as writer:
        writer.add(Series("other", np.sin(np.arange(500.0))))
    with pytest.raises(ValueError, match=r"corpus\.fingerprint"):
        run(config, tmp_path / "run", resume=True, progress=False)


def test_files_and_overrides(config_file, corpus, tmp_path):
    plain = PretrainConfig.load(config_file)
    assert plain.corpus is None
    assert plain.pinned() is plain
    text = config_file.read_text()
    config_file.write_text(text + "corpus: mine\n")
    loaded = PretrainConfig.load(config_file)
    assert loaded.corpus == dataclasses.replace(corpus, path=str((tmp_path / "mine").resolve()))
    config_file.write_text(text + "corpus: {path: mine, share: 0.5, flip: 0}\n")
    loaded = PretrainConfig.load(config_file, {"corpus.share": 0.25})
    assert loaded.corpus is not None
    assert (loaded.corpus.share, loaded.corpus.flip, loaded.corpus.mixup) == (0.25, 0, 0.2)
    assert PretrainConfig.from_dict(loaded.to_dict()) == loaded
    changed = plain.replace({"corpus.path": corpus.path, "corpus.share": 0.5})
    assert changed.corpus == dataclasses.replace(corpus, share=0.5)
    pinned = changed.pinned().corpus
    assert pinned is not None
    assert pinned.fingerprint
    assert pinned.stratified is False
    with pytest.raises(ValueError, match=r"corpus\.colour"):
        plain.replace({"corpus.path": "x", "corpus.colour": 1})


def test_validation_forecasts_the_last_part(corpus):
    source = StoredWindows.of(corpus)
    values, numbers = held_out_windows(source, 20, 64, 32)
    again, _ = held_out_windows(source, 20, 64, 32)
    assert torch.equal(values.nan_to_num(9e9), again.nan_to_num(9e9))
    assert len(set(numbers.tolist())) == len(numbers) > 10
    for row, number in zip(values.numpy(), numbers.tolist(), strict=True):
        series = source.corpus.series(number)
        end = int(training_lengths(np.array([len(series)]), 0.1)[0])
        future = series[end : end + 32]
        np.testing.assert_allclose(row[64 : 64 + len(future)], future, rtol=1e-5)
        np.testing.assert_allclose(
            row[64 - min(end, 64) : 64], series[max(0, end - 64) : end], rtol=1e-5
        )
        assert np.isnan(row[64 + len(future) :]).all()


def test_scores_alone_mixed_and_by_stratum(config, corpus):
    alone = Forecasting(dataclasses.replace(config, corpus=corpus))
    network = alone.network().eval()
    scores = alone.validate(network)
    assert [row[0] for row in scores.rows] == ["corpus"]
    assert 0 < scores.metrics["mean"] < 50
    half = dataclasses.replace(config, corpus=dataclasses.replace(corpus, share=0.5))
    assert [r[0] for r in Forecasting(half).validate(network).rows] == [
        "waves",
        "local_level",
        "corpus",
    ]
    stratify(StoredWindows.of(corpus).corpus, strata=2)
    by_stratum = validate_stored(network, corpus, n=64)
    assert [s.name for s in by_stratum] == ["stratum 1", "stratum 2"]
    assert all(0 <= s.coverage <= 1 for s in by_stratum)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_without_a_window_to_score_there_is_no_score(config, tmp_path, share):
    """Zeros would pass for a perfect forecast."""
    values = np.random.default_rng(0).normal(size=200)
    values[150:] = np.nan
    with CorpusWriter(tmp_path / "ended") as writer:
        writer.add(Series("ended", values))
    ended = CorpusConfig(str(tmp_path / "ended"), share=share)
    config = dataclasses.replace(config, corpus=ended, max_steps=4, validate_every=2, log_every=1)
    with pytest.warns(UserWarning, match=r"corpus\.validation_share") as caught:
        run(config, tmp_path / "run", progress=False)
    assert sum("validation_share" in str(w.message) for w in caught) == 1  # of two validations
    scores = Forecasting(config).validate(Forecasting(config).network().eval())
    assert [row[0] for row in scores.rows] == ([] if share == 1 else ["waves", "local_level"])
    assert ("mean" in scores.metrics) == ("coverage" in scores.metrics) == (share < 1)
    logged = next((tmp_path / "run/logs").glob("csv_*/metrics.csv")).read_text()
    assert ("validation/mean" in logged) == (share < 1)


def test_a_run_learns_from_the_corpus(config, corpus):
    """Twenty steps on waves of one period: better on their future than at the start."""
    config = dataclasses.replace(config, corpus=corpus, max_steps=20)
    task = Forecasting(config)
    torch.manual_seed(0)
    network = task.network()
    before = task.validate(network.eval()).metrics["mean"]
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for batch in islice(task.batches(0), 30):
        optimizer.zero_grad()
        task.loss(network.train(), batch)[0].backward()
        optimizer.step()
    assert task.validate(network.eval()).metrics["mean"] < 0.9 * before
