"""Windows: pure in (seed, chunk), of the right shapes, and hidden the way the recipe says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import MaskConfig, Recipe, Stage, WindowShape
from tsfm.datasets.windows import WindowBatch, chunk_batches, hidden_patches, shorten_contexts


@pytest.fixture
def recipe() -> Recipe:
    shapes = (WindowShape(4, 2, 3.0), WindowShape(2, 1, 1.0))
    return Recipe(
        "two", {"waves": 1, "solar": 1}, shapes, tokens_per_step=50, steps_per_chunk=40, block=16
    )


def equal(one: WindowBatch, two: WindowBatch) -> bool:
    return torch.equal(one.hidden, two.hidden) and torch.equal(
        one.values.nan_to_num(7e7), two.values.nan_to_num(7e7)
    )


def test_chunks_are_pure_in_seed_and_number(recipe):
    batches = chunk_batches(recipe, 1, 5)
    torch.manual_seed(1)
    assert all(equal(a, b) for a, b in zip(batches, chunk_batches(recipe, 1, 5), strict=True))
    for seed, chunk in ((1, 4), (2, 5), (5, 1)):
        assert not equal(batches[0], chunk_batches(recipe, seed, chunk)[0])


def test_shapes_rows_and_shares(recipe):
    batches = chunk_batches(recipe, 0, 0)
    assert len(batches) == 40
    shapes = {(b.values.shape[1] // 32, b.prediction_length // 32) for b in batches}
    assert shapes == {(6, 2), (3, 1)}
    for batch in batches:
        n_patches = batch.values.shape[1] // 32
        assert batch.values.shape[0] == 50 // n_patches
        assert batch.hidden.shape == (50 // n_patches, n_patches)
        assert batch.values.dtype == torch.float32
        assert not torch.isinf(batch.values).any()
    assert 22 <= sum(b.prediction_length == 64 for b in batches) <= 38
    tiny = dataclasses.replace(recipe, tokens_per_step=1)
    assert {b.values.shape[0] for b in chunk_batches(tiny, 0, 0)} == {1}


def test_stages_change_the_windows_at_their_step(recipe):
    short, middle = (WindowShape(2, 1, 1.0),), (WindowShape(4, 2, 3.0), WindowShape(8, 1, 1.0))
    staged = dataclasses.replace(
        recipe, curriculum=(Stage(15, short), Stage(50, middle)), steps_per_chunk=20
    )

    def shapes(chunk: int) -> list[tuple[int, int]]:
        found = chunk_batches(staged, 1, chunk)
        return [(b.values.shape[1] // 32, b.prediction_length // 32) for b in found]

    steps = [*shapes(0), *shapes(1), *shapes(2), *shapes(3)]
    assert set(steps[:15]) == {(3, 1)}
    assert set(steps[15:50]) == {(6, 2), (9, 1)}
    assert set(steps[50:]) == {(6, 2), (3, 1)}
    again = chunk_batches(staged, 1, 2)
    assert all(equal(a, b) for a, b in zip(again, chunk_batches(staged, 1, 2), strict=True))
    plain = dataclasses.replace(staged, curriculum=())
    later = zip(chunk_batches(staged, 1, 3), chunk_batches(plain, 1, 3), strict=True)
    assert all(equal(a, b) for a, b in later)  # past its last stage a curriculum leaves no trace


def test_hidden_stretches_stay_inside_the_context():
    shape = WindowShape(64, 8, 1.0)
    config = MaskConfig(hidden_rows=0.5, hidden_share=0.4, hidden_span=16)
    hidden = hidden_patches(4000, shape, config, seeded("cpu", "windows", 0))
    assert hidden.shape == (4000, 72)
    assert not hidden[:, 0].any()  # something to start from
    assert not hidden[:, 64:].any()
    assert 0.3 < hidden.any(1).float().mean() < 0.55
    share = hidden[:, 1:64].float().mean(1)
    assert 0.05 < share.mean() < 0.12  # half of the rows, 0 to 40%, overlaps lost
    edges = hidden.int().diff(dim=1)
    assert (edges == 1).sum() < 0.35 * hidden.sum()  # stretches, not scattered patches


def test_nothing_is_hidden_when_the_recipe_says_so():
    shape = WindowShape(8, 2, 1.0)
    for config in (MaskConfig(hidden_rows=0.0), MaskConfig(hidden_share=0.0)):
        assert not hidden_patches(500, shape, config, seeded("cpu", "windows", 0)).any()


def test_contexts_are_shortened_from_their_beginning():
    values = torch.ones(3000, 256 + 64)
    config = MaskConfig(short_context=0.3)
    short = shorten_contexts(values, 256, config, seeded("cpu", "windows", 0))
    assert torch.equal(values, torch.ones(3000, 320))
    known = torch.isfinite(short)
    length = known[:, :256].sum(1)
    assert known[:, 256:].all()
    assert (known.int().diff(dim=1) >= 0).all()  # one beginning, no gap after it
    assert length.min() >= 4
    assert 0.2 < (length < 256).float().mean() < 0.4
    never = shorten_contexts(
        values, 256, MaskConfig(short_context=0.0), seeded("cpu", "windows", 0)
    )
    assert torch.isfinite(never).all()


def test_a_batch_moves_whole(recipe):
    batch = chunk_batches(recipe, 0, 0)[0]
    moved = batch.to(torch.device("meta"))
    assert moved.values.device.type == moved.hidden.device.type == "meta"
    assert moved.prediction_length == batch.prediction_length
