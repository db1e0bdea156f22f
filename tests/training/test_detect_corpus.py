"""Detectors on a corpus on disk: real pieces, injected anomalies, labels; resumed exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("pyarrow")

from tsfm.corpora import build_corpus
from tsfm.datasets.anomalies import AnomalyRecipe, anomaly_batch
from tsfm.datasets.labelled_windows import LabelledShape, LabelledWindows, labelled_batches
from tsfm.datasets.stored import CorpusConfig
from tsfm.datasets.stored.bases import StoredBases, bridged_bases
from tsfm.models import DetectorConfig
from tsfm.training.config import OptimizerConfig
from tsfm.training.detect_config import PretrainDetectorConfig
from tsfm.training.pretrain import run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]
RECIPE = AnomalyRecipe(families={"waves": 1.0}, wave_share=1.0, waves={"sine": 1.0}, block=8)
N = 700


@pytest.fixture
def corpus(tmp_path) -> CorpusConfig:
    """A day, a random walk, and noise with gaps, in a CSV; pieces as they are stored."""
    rng = np.random.default_rng(0)
    day = np.sin(np.arange(N) * 2 * np.pi / 24) + rng.normal(size=N) / 5
    noise = np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N))
    table = {"time": pd.date_range("2026-01-01", periods=N, freq="h"), "day": 5 + 100 * day}
    table |= {"walk": rng.normal(size=N).cumsum(), "noise": noise}
    pd.DataFrame(table).to_csv(tmp_path / "plant.csv", index=False)
    build_corpus([tmp_path / "plant.csv"], tmp_path / "mine")
    return CorpusConfig(str(tmp_path / "mine"), mixup=0.0, flip=0.0)


@pytest.fixture
def config(corpus) -> PretrainDetectorConfig:
    shapes = (LabelledShape(64), LabelledShape(128, 2))
    return PretrainDetectorConfig(
        DetectorConfig.preset("tiny"), RECIPE, OptimizerConfig(warmup_steps=4),
        max_steps=6, validate_every=0, checkpoint_minutes=1000, precision="fp32", corpus=corpus,
        windows=LabelledWindows(shapes, values_per_batch=1024, steps_per_chunk=4),
    )  # fmt: skip


def test_twins_are_the_stored_pieces_and_labels_mark_what_was_put_in(corpus):
    stored = StoredBases.of(corpus, [128])
    pieces = stored.draw(60, 128, torch.Generator().manual_seed(1))
    series = [stored.source.corpus.series(i) for i in range(3)]
    end = int(N * 0.9)
    for piece in pieces[:10].numpy():  # each is a stretch of the training part of one series
        at = [
            (s, k)
            for s in series
            for k in range(end - 127)
            if np.array_equal(np.isnan(s[k : k + 128]), np.isnan(piece))
            and abs(np.corrcoef(np.nan_to_num(s[k : k + 128] - np.nanmean(s[k : k + 128])),
                                np.nan_to_num(piece))[0, 1]) > 1 - 1e-6
        ]  # fmt: skip
        assert len(at) == 1
    bases = bridged_bases(pieces)
    batch = anomaly_batch(RECIPE, 60, 1, 128, torch.Generator().manual_seed(2), bases)
    known = torch.isfinite(pieces)
    assert torch.equal(torch.isfinite(batch.clean[:, 0]), known)
    assert torch.equal(torch.isfinite(batch.values[:, 0]), known)
    assert torch.equal(torch.isfinite(batch.expected[:, 0]), known)
    whole = known.all(-1)
    assert 0 < int(whole.sum()) < 60
    torch.testing.assert_close(batch.clean[whole, 0], pieces[whole], atol=1e-5, rtol=0)
    labelled = batch.labels.any(-1)[:, 0]
    assert labelled.any()
    untouched = (batch.values[:, 0].nan_to_num() == batch.clean[:, 0].nan_to_num()).all(-1)
    assert untouched.any()
    assert not (untouched & labelled).any()
    assert (batch.values != batch.clean)[batch.labels & known[:, None]].any()


def test_shares_of_rows_and_what_stays_synthetic(corpus):
    windows = LabelledWindows((LabelledShape(64),), 64 * 8, 3, missing=0.0)
    plain = labelled_batches(RECIPE, windows, 8, 0, 0)
    for share, rows in ((1.0, (0, 8)), (0.5, (4, 4)), (0.01, (8, 1))):
        stored = StoredBases.of(dataclasses.replace(corpus, share=share), [64])
        assert stored.rows(8) == rows
        batches = labelled_batches(RECIPE, windows, 8, 0, 0, stored=stored)
        assert [len(batch.values) for batch in batches] == [sum(rows)] * 3
        assert any(batch.labels.any() for batch in batches)
        again = labelled_batches(RECIPE, windows, 8, 0, 0, stored=stored)
        for one, two in zip(batches, again, strict=True):
            assert torch.equal(one.values.nan_to_num(9e9), two.values.nan_to_num(9e9))
        other = labelled_batches(RECIPE, windows, 8, 0, 1, stored=stored)[0]
        assert not torch.equal(other.values.nan_to_num(9e9), batches[0].values.nan_to_num(9e9))
    assert len(plain[0].values) == 8


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_detector_trains_on_it_and_slices_end_like_one_run(config, corpus, tmp_path, share):
    config = dataclasses.replace(config, corpus=dataclasses.replace(corpus, share=share))
    assert run(config, tmp_path / "whole", progress=False).finished
    for steps in (3, 6):
        part = dataclasses.replace(config, max_steps=steps)
        run(part, tmp_path / "sliced", resume=steps > 3, progress=False)
    assert weights(tmp_path / "whole") == weights(tmp_path / "sliced")
    with pytest.raises(ValueError, match=r"was begun with corpus\.share"):
        run(config.replace({"corpus.share": 0.3}), tmp_path / "whole", resume=True, progress=False)


def test_series_that_are_too_short_are_named(corpus):
    with pytest.raises(ValueError, match=r"windows of 1024 steps: the longest has 630 to train"):
        StoredBases.of(corpus, [64, 1024])
    days = [pd.date_range("2026-01-01", periods=n) for n in (90, 300)]
    values = np.random.default_rng(0).normal(size=390)
    table = pd.DataFrame({"item_id": ["a"] * 90 + ["b"] * 300, "time": [*days[0], *days[1]]})
    table["x"] = values
    mixed = build_corpus([table], Path(corpus.path).parent / "mixed")
    with pytest.warns(UserWarning, match="1 of the 2 series"):
        stored = StoredBases.of(CorpusConfig(str(mixed.path)), [128])
    assert torch.isfinite(stored.draw(20, 128, torch.Generator().manual_seed(0))).all()


def test_configurations(config, corpus):
    assert PretrainDetectorConfig.from_dict(config.to_dict()).corpus == corpus
    changed = config.replace({"corpus.share": 0.5, "corpus.flip": 0.5})
    assert changed.corpus == dataclasses.replace(corpus, share=0.5, flip=0.5)
    pinned = changed.pinned().corpus
    assert pinned is not None
    assert pinned.fingerprint
