"""Short series: as many, as long and where the recipe says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import Recipe, RingConfig, ShortConfig, WindowShape
from tsfm.datasets.short import put_short
from tsfm.datasets.windows import chunk_batches


@pytest.fixture
def recipe() -> Recipe:
    shapes = (WindowShape(16, 8, 1.0), WindowShape(2, 1, 1.0))
    short = ShortConfig(share=0.5, shortest=13, longest=100)
    return Recipe("short", {"waves": 1, "local_level": 1}, shapes, block=8, short=short)


def test_share_length_and_place(recipe):
    windows = put_short(recipe, torch.full((2000, 768), 9.0), 512, seeded("cpu", "windows", 0))
    known = torch.isfinite(windows)
    length = known.sum(1)
    rows = length < 768
    assert 0.4 < rows.float().mean() < 0.6
    assert (windows[~rows] == 9).all()
    length, known = length[rows], known[rows]
    assert length.min() >= 5  # pooled rows are shorter
    assert length.max() <= 100
    assert (known.int().diff(dim=1) == 1).sum(1).eq(1).all()  # one stretch
    ahead = known[:, 512:].sum(1)
    assert ahead.min() >= 1
    assert (ahead / length < 0.9).all()
    assert known[:, 511].all()


def test_short_contexts_bound_the_length(recipe):
    windows = put_short(recipe, torch.full((500, 96), 9.0), 64, seeded("cpu", "windows", 0))
    assert windows.shape == (500, 96)
    assert torch.isfinite(windows[:, 63]).all()


def test_batches_with_short_series_are_pure_and_others_stay_as_they_are(recipe):
    recipe = dataclasses.replace(recipe, tokens_per_step=240, steps_per_chunk=6)
    one, two = (chunk_batches(recipe, 1, 2) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.values.nan_to_num(7e7), b.values.nan_to_num(7e7))
    ringed = dataclasses.replace(recipe, ring=RingConfig(series=32, refresh=0.5))
    assert len(chunk_batches(ringed, 1, 2)) == 6


@pytest.mark.parametrize("values", [{"share": 1.2}, {"shortest": 3}, {"longest": 10}])
def test_mistakes_are_named(values):
    with pytest.raises(ValueError, match=r"short\."):
        ShortConfig(**values)
