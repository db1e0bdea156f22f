"""The ring: pure in (seed, chunk), reused as promised, as large as promised."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest
import torch

from tsfm.datasets import corpus, ring
from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import Recipe, RingConfig, WindowShape
from tsfm.datasets.ring import Ring, longest_window, ring_device
from tsfm.datasets.windows import WindowBatch, chunk_batches
from tsfm.training.stream import CorpusStream

SHAPES = (WindowShape(4, 2, 1.0), WindowShape(2, 1, 1.0))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        "ringed",
        {"waves": 1, "local_level": 1},
        SHAPES,
        tokens_per_step=96,
        steps_per_chunk=8,
        block=8,
        ring=RingConfig(series=64, refresh=0.25),
    )


def same(one: WindowBatch, two: WindowBatch) -> bool:
    return torch.equal(one.hidden, two.hidden) and torch.equal(
        one.values.nan_to_num(7e7), two.values.nan_to_num(7e7)
    )


@pytest.mark.parametrize("start", [0, 1, 7, 8, 9, 31, 40])
def test_a_run_that_resumes_sees_the_same_windows(recipe, start):
    whole = list(islice(CorpusStream(recipe, 5), 44))
    tail = list(islice(CorpusStream(recipe, 5, start), 44 - start))
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))
    assert not any(same(a, b) for a in whole[:8] for b in whole[8:])


def test_the_ring_of_the_chunk_before_saves_work_and_changes_nothing(recipe, monkeypatch):
    drawn = []
    generate = corpus.generate

    def counted(recipe, n, length, rng):
        drawn.append(n)
        return generate(recipe, n, length, rng)

    monkeypatch.setattr(ring, "generate", counted)
    kept = Ring(recipe, 5)
    with_ring = [chunk_batches(recipe, 5, chunk, ring=kept) for chunk in range(5)]
    assert drawn == [16] * (4 + 4)  # the whole ring, then a quarter per chunk
    for chunk in (4, 0, 2):
        again = chunk_batches(recipe, 5, chunk)
        assert all(same(a, b) for a, b in zip(with_ring[chunk], again, strict=True))


def test_slots_depend_on_seed_and_refresh_alone(recipe):
    long_lived, fresh = Ring(recipe, 3), Ring(recipe, 3)
    for chunk in range(6):
        long_lived.at(chunk)
    fresh.at(5)
    assert long_lived.fills == fresh.fills == [8, 5, 6, 7]
    assert torch.equal(long_lived.values, fresh.values)
    assert torch.equal(long_lived.labels, fresh.labels)
    other = Ring(recipe, 4).at(5)
    assert not torch.equal(other.values, fresh.values)
    before = fresh.values.clone()
    fresh.at(6)
    changed = (fresh.values != before).any(1)
    assert changed[16:32].all()
    assert int(changed.sum()) == 16  # one segment of four


def test_a_series_is_used_as_often_as_promised(recipe):
    recipe = dataclasses.replace(recipe, windows=(WindowShape(2, 1, 1.0),))
    kept = Ring(recipe, 0)
    rows = sum(len(b.values) for b in chunk_batches(recipe, 0, 0, ring=kept))
    assert rows == 8 * 32
    assert kept.reuse == rows / 16  # 16 series, as long as the windows, are new in every chunk
    slots = kept._slots(rows, seeded("cpu", "windows", 0))
    assert slots.bincount(minlength=64).tolist() == [rows // 64] * 64
    assert kept._slots(70, seeded("cpu", "windows", 0)).bincount(minlength=64).max() == 2


def test_generation_costs_less_by_the_reuse(recipe, monkeypatch):
    made = {"ring": 0, "plain": 0}
    generate = corpus.generate

    def counted(kind):
        def count(recipe, n, length, rng):
            made[kind] += n * length
            return generate(recipe, n, length, rng)

        return count

    monkeypatch.setattr(ring, "generate", counted("ring"))
    monkeypatch.setattr(corpus, "generate", counted("plain"))
    recipe = dataclasses.replace(recipe, ring=RingConfig(series=32, refresh=0.25))
    kept = Ring(recipe, 0).at(0)
    made["ring"] = 0
    for chunk in range(1, 7):
        chunk_batches(recipe, 0, chunk, ring=kept)
        chunk_batches(dataclasses.replace(recipe, ring=None), 0, chunk)
    assert kept.reuse == 96 * 32 * 8 / (8 * 192)
    assert made["plain"] / made["ring"] == pytest.approx(kept.reuse, rel=1e-6)


@pytest.mark.parametrize(("dtype", "size"), [("fp32", 4), ("fp16", 2), ("bf16", 2)])
def test_memory_and_precision(recipe, dtype, size):
    config = RingConfig(series=60, refresh=0.25, length=300, dtype=dtype)
    kept = Ring(dataclasses.replace(recipe, ring=config), 0).at(0)
    assert kept.values.shape == (60, 300)
    assert kept.nbytes == 60 * 300 * size + 60 * 8
    windows, labels = kept.draw(500, 96, seeded("cpu", "windows", 0))
    assert windows.dtype == torch.float32
    assert windows.shape == (500, 96)
    assert labels.unique().tolist() == [0, 1]
    assert torch.isfinite(windows).all()
    moving = windows.abs().amax(-1) > 0
    assert moving.float().mean() > 0.9
    sd = windows[moving].std(-1, correction=0)
    torch.testing.assert_close(sd, torch.ones_like(sd), rtol=1e-3, atol=1e-3)


def test_windows_are_stretches_of_the_series(recipe):
    config = RingConfig(series=16, refresh=0.5, length=1000, strided=0.5)
    kept = Ring(dataclasses.replace(recipe, ring=config), 0).at(0)
    kept.values[:] = torch.arange(1000.0)
    x = kept._read(*kept._places(3000, 96, seeded("cpu", "windows", 0)), 96)
    step = x.diff(dim=-1)
    assert (step == step[:, :1]).all()
    strides = step[:, 0]
    assert strides.min() == 1
    assert strides.max() == 10
    assert 0.2 < (strides > 1).float().mean() < 0.5
    assert x.min() == 0
    assert x.max() == 999


def test_windows_without_movement_are_drawn_again(recipe):
    kept = Ring(recipe, 0).at(0)
    kept.values[::4] = 1.0
    windows, _ = kept.draw(64, 192, seeded("cpu", "windows", 0))
    flat = (windows == 0).all(-1).float().mean()
    assert 0 < flat < 0.15  # a sixteenth, not a quarter
    other, _ = kept.draw(64, 96, rng := seeded("cpu", "windows", 0))
    state = rng.get_state()
    kept.values[1::4] = 1.0
    kept.draw(64, 96, rng := seeded("cpu", "windows", 0))
    assert torch.equal(state, rng.get_state())  # what is drawn next does not depend on values
    assert torch.isfinite(other).all()


def test_the_longest_window_of_any_stage_fits(recipe):
    assert longest_window(recipe) == 192
    assert Ring(recipe, 0).values.shape[1] == 192
    short = dataclasses.replace(recipe, ring=RingConfig(series=64, length=191))
    with pytest.raises(ValueError, match=r"keeps 191 steps of a series, but its longest .* 192"):
        Ring(short, 0)
    with pytest.raises(ValueError, match="has no ring"):
        Ring(dataclasses.replace(recipe, ring=None), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"refresh": 0.0}, r"ring\.refresh is 0\.0"),
        ({"series": 3, "refresh": 0.25}, "at least 4"),
        ({"strided": 2.0}, r"ring\.strided is 2\.0"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        RingConfig(**values)


def test_a_recipe_with_a_ring_is_read_and_written(recipe):
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    values = {**recipe.to_dict(), "ring": {"series": 8, "refesh": 0.5}}
    with pytest.raises(ValueError, match=r"ring\.refesh"):
        Recipe.from_dict(values)
    values["ring"] = {"dtype": "fp8"}
    with pytest.raises(ValueError, match=r"'ring\.dtype' must be one of"):
        Recipe.from_dict(values)


def test_a_ring_lies_where_it_began(recipe, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ring_device(recipe) == "cpu"
    assert ring_device(dataclasses.replace(recipe, ring=None)) == "cpu"
    there = dataclasses.replace(recipe, ring=RingConfig(device="cuda"))
    with pytest.raises(ValueError, match="lies on a GPU"):
        ring_device(there)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("start", [0, 9, 31])
def test_the_ring_on_a_gpu_resumes_and_stays_there(recipe, start):
    recipe = dataclasses.replace(recipe, ring=RingConfig(series=64, refresh=0.25, dtype="fp16"))
    whole = list(islice(CorpusStream(recipe, 5, device="cuda"), 40))
    tail = list(islice(CorpusStream(recipe, 5, start, device="cuda"), 40 - start))
    assert {batch.values.device.type for batch in whole} == {"cuda"}
    for a, b in zip(whole[start:], tail, strict=True):
        assert torch.equal(a.hidden, b.hidden)
        # sums on a GPU are rounded in no fixed order
        torch.testing.assert_close(a.values, b.values, equal_nan=True, rtol=1e-2, atol=1e-2)
