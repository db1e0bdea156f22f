"""Windows of a corpus on disk: pure, of the training part alone, mixed by share, in any memory."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import MaskConfig, Recipe, Stage, WindowShape
from tsfm.datasets.stored import CorpusConfig, Series
from tsfm.datasets.stored.layout import training_lengths
from tsfm.datasets.stored.strata import stratify
from tsfm.datasets.stored.windows import StoredWindows, origins, stored_batches
from tsfm.datasets.windows import chunk_batches

QUIET = {"mixup": 0.0, "flip": 0.0, "missing": 0.0}


@pytest.fixture
def recipe() -> Recipe:
    shapes = (WindowShape(4, 2, 3.0), WindowShape(2, 1, 1.0))
    return Recipe(
        "two", {"waves": 1, "solar": 1}, shapes, tokens_per_step=60, steps_per_chunk=12, block=16
    )


def source(corpus, **settings) -> StoredWindows:
    return StoredWindows.of(CorpusConfig(str(corpus.path), **settings))


def same(one, two) -> bool:
    return torch.equal(one.hidden, two.hidden) and torch.equal(
        one.values.nan_to_num(7e7), two.values.nan_to_num(7e7)
    )


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_chunks_are_pure_in_seed_and_number(corpus, recipe, share):
    batches = stored_batches(source(corpus, share=share), recipe, 1, 5)
    torch.manual_seed(1)
    again = stored_batches(source(corpus, share=share), recipe, 1, 5)
    assert len(batches) == 12
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))
    for seed, chunk in ((1, 4), (2, 5)):
        assert not same(
            batches[0], stored_batches(source(corpus, share=share), recipe, seed, chunk)[0]
        )


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_stages_change_the_windows_at_their_step(corpus, recipe, share):
    staged = dataclasses.replace(recipe, curriculum=(Stage(17, (WindowShape(1, 1, 1.0),)),))
    windows = source(corpus, share=share)
    found = [b.hidden.shape[1] for i in (0, 1) for b in stored_batches(windows, staged, 1, i)]
    assert set(found[:17]) == {2}
    assert 2 not in found[17:]


def test_shapes_and_contents(corpus, recipe):
    for batch in stored_batches(source(corpus), recipe, 0, 0):
        n_patches = batch.values.shape[1] // 32
        assert (n_patches, batch.prediction_length // 32) in {(6, 2), (3, 1)}
        assert batch.values.shape[0] == 60 // n_patches
        assert batch.hidden.shape == (60 // n_patches, n_patches)
        assert batch.values.dtype == torch.float32
        assert not torch.isinf(batch.values).any()
        assert batch.values.nan_to_num().abs().max() < 100


def test_the_synthetic_rows_are_those_of_the_recipe(corpus, recipe):
    mixed = stored_batches(source(corpus, share=0.25), recipe, 0, 0)
    smaller = dataclasses.replace(recipe, tokens_per_step=45)
    for batch, plain in zip(mixed, chunk_batches(smaller, 0, 0), strict=True):
        n = len(plain.values)
        assert torch.equal(batch.values[:n].nan_to_num(9), plain.values.nan_to_num(9))
        assert len(batch.values) == 60 // batch.hidden.shape[1]
        assert 0 < len(batch.values) - n < len(batch.values) / 2


def marked(n: int, share: float) -> np.ndarray:
    """A series whose last part could not be mistaken: a wave, then -1000."""
    values = np.sin(np.arange(n) / 3)
    values[int(training_lengths(np.array([n]), share)[0]) :] = -1000.0
    return values


def test_the_last_part_is_never_drawn(write, recipe):
    lengths = (3, 10, 50, 100, 128, 129, 500, 5000)
    corpus = write([Series(str(n), marked(n, 0.2)) for n in lengths])
    windows = source(corpus, validation_share=0.2, length_power=0.0, **QUIET)
    rng = seeded("cpu", "windows", 0)
    rows = windows.draw(2000, 128, 64, rng)
    # within a row the values would differ by a thousand waves
    finite = torch.where(torch.isfinite(rows), rows, 0)
    assert finite.min() > -4
    cells = windows.corpus.windows(
        np.zeros(1, np.int64) + 7, np.array([4000 - 10]), 20, np.array([4000])
    )
    assert np.isnan(cells[0, 10:]).all()


def test_every_training_step_is_forecast_by_some_window():
    for n in (2, 3, 9, 40, 128, 129, 191, 192, 193, 1000):
        first, last = (int(x[0]) for x in origins(np.array([n]), 128, 64))
        assert 1 <= first <= last < n
        covered = {t for o in range(first, last + 1) for t in range(o, min(o + 64, n))}
        assert covered == set(range(first, n))
        assert first <= max(1, n // 2, 128)


def test_missing_values_stay_missing(write, recipe):
    values = np.sin(np.arange(3000.0) / 5)
    values[::10] = np.nan
    windows = source(write([Series("a", values)]), **QUIET)
    rows = windows.draw(50, 64, 32, seeded("cpu", "windows", 0))
    lost = torch.isnan(rows).float().mean(1)
    assert ((lost > 0.09) & (lost < 0.11)).all()
    known = torch.where(torch.isfinite(rows), rows, 0)
    assert torch.allclose(known.sum(1), torch.zeros(50), atol=1e-3)
    assert torch.allclose(known.square().mean(1), 1 - lost, atol=1e-3)
    quiet = dataclasses.replace(recipe, mask=MaskConfig(short_context=0.0))
    batches = stored_batches(windows, quiet, 0, 0)
    for batch in batches:
        assert 0.08 < torch.isnan(batch.values).float().mean() < 0.12


def test_windows_avoid_long_gaps(write):
    values = np.full(5000, np.nan)
    values[:300] = np.sin(np.arange(300.0))
    values[-900:-600] = np.sin(np.arange(300.0))
    windows = source(write([Series("a", values)]), **QUIET)
    rows = windows.draw(400, 64, 32, seeded("cpu", "windows", 0))
    assert (torch.isfinite(rows).sum(1) >= 8).float().mean() > 0.5


def test_strata_and_lengths_decide_how_often_a_series_is_drawn(corpus):
    stratify(corpus, strata=3, weights=[0, 0, 1])
    windows = source(corpus)
    assert windows.config.stratified
    chance = np.diff(windows.cumulative, prepend=0)
    stratum = corpus.column("stratum", "strata.arrow")
    assert (chance[stratum == 3] > 0).all()
    assert (chance[stratum < 3] == 0).all()
    lengths = training_lengths(corpus.column("length"), 0.1)
    every = np.diff(source(corpus, stratified=False, length_power=1.0).cumulative, prepend=0)
    np.testing.assert_allclose(every[1:] / lengths[1:], 1, atol=1e-6)


def test_another_corpus_or_other_strata_are_noticed(corpus):
    before = CorpusConfig(str(corpus.path)).pinned()
    assert before.stratified is False
    stratify(corpus)
    StoredWindows.of(before)  # strata that came later are not used
    after = CorpusConfig(str(corpus.path)).pinned()
    stratify(corpus, weights=[5, 4, 3, 2, 1])
    with pytest.raises(ValueError, match="not the corpus"):
        StoredWindows.of(after)


def test_settings_are_checked(corpus, write):
    for wrong in ({"share": 0.0}, {"validation_share": 1.0}, {"flip": 2.0}, {"length_power": -1}):
        with pytest.raises(ValueError, match=f"corpus.{next(iter(wrong))}"):
            CorpusConfig("x", **wrong)
    with pytest.raises(FileNotFoundError, match="no corpus"):
        StoredWindows.of(CorpusConfig("nowhere"))
    with pytest.raises(FileNotFoundError, match="no strata"):
        StoredWindows.of(CorpusConfig(str(corpus.path), stratified=True))
    with pytest.raises(ValueError, match="can be trained on"):
        source(write([Series("a", np.full(100, np.nan))], "empty"))


MEMORY = """
import resource, sys
import numpy as np, torch
from tsfm.datasets.corpus import seeded
from tsfm.datasets.stored import CorpusConfig, CorpusWriter, Series
from tsfm.datasets.stored.windows import StoredWindows

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(1)
torch.rand(10, generator=seeded("cpu", "windows", 0))
start = peak()
rng = np.random.default_rng(0)
with CorpusWriter(sys.argv[1], shard_values=1_000_000) as writer:
    for i in range(400):
        writer.add(Series(str(i), rng.standard_normal(100_000, dtype=np.float32).astype(float)))
written = peak()
windows = StoredWindows.of(CorpusConfig(sys.argv[1]))
for step in range(10):
    windows.draw(2000, 512, 64, seeded("cpu", "windows", step))
print(windows.corpus.meta.n_values * 4 / 2**20, written - start, peak() - start)
"""


def test_memory_is_bounded_by_shards_not_by_the_corpus(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "large")],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    size, writing, reading = map(float, done.stdout.split())
    assert size > 150
    assert writing < 80
    assert reading < 110
