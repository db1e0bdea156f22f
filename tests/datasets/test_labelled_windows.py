"""Labelled windows: pure functions of seed and chunk, with gaps, cuts and hidden patches."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.datasets.labelled_windows import (
    LabelledShape,
    LabelledWindowBatch,
    LabelledWindows,
    labelled_batches,
)

RECIPE = AnomalyRecipe(families={"waves": 1.0}, wave_share=1.0, waves={"sine": 1.0}, block=8)
WINDOWS = LabelledWindows(
    (LabelledShape(64), LabelledShape(128, 3)), values_per_batch=2048, steps_per_chunk=6
)


def tensors(batch: LabelledWindowBatch) -> list[torch.Tensor]:
    return [x.nan_to_num(-99.0) if x.is_floating_point() else x for x in vars(batch).values()]


def test_batches_depend_on_seed_and_chunk_alone():
    one = labelled_batches(RECIPE, WINDOWS, 8, 5, 2)
    torch.manual_seed(1)
    two = labelled_batches(RECIPE, WINDOWS, 8, 5, 2)
    assert len(one) == 6
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
    for seed, chunk in ((6, 2), (5, 3)):
        other = labelled_batches(RECIPE, WINDOWS, 8, seed, chunk)
        assert not any(torch.equal(tensors(a)[0], tensors(b)[0]) for a in one for b in other)


def test_shapes_and_contents():
    batches = labelled_batches(RECIPE, WINDOWS, 8, 0, 0)
    shapes = {tuple(batch.values.shape) for batch in batches}
    assert shapes == {(32, 1, 64), (5, 3, 128)}
    for batch in batches:
        assert batch.hidden.shape == (*batch.values.shape[:2], batch.values.shape[2] // 8)
        assert (batch.kind > 0)[batch.labels].all()
        outside = batch.expected.isnan()
        assert batch.values[outside].isnan().all()
        assert not batch.labels[outside].any()
        assert not batch.hidden[..., 0].any()


def test_gaps_cuts_and_masks_follow_their_shares():
    plain = dataclasses.replace(
        WINDOWS,
        shapes=(LabelledShape(128, 2),),
        missing=0.0,
        mask=dataclasses.replace(WINDOWS.mask, short_context=0.0, hidden_rows=0.0),
    )
    for batch in labelled_batches(RECIPE, plain, 8, 0, 0):
        assert torch.isfinite(batch.values).all()
        assert not batch.hidden.any()
    gaps = dataclasses.replace(plain, missing=1.0)
    batch = labelled_batches(RECIPE, gaps, 8, 0, 0)[0]
    assert batch.values.isnan().any(-1).float().mean() > 0.8
    assert torch.isfinite(batch.expected).all()  # known all the same
    cut = dataclasses.replace(plain, mask=dataclasses.replace(plain.mask, short_context=1.0))
    batch = labelled_batches(RECIPE, cut, 8, 0, 0)[0]
    assert torch.equal(batch.values.isnan(), batch.expected.isnan())
    assert torch.equal(batch.values[:, 0].isnan(), batch.values[:, 1].isnan())
    hide = dataclasses.replace(plain, mask=dataclasses.replace(plain.mask, hidden_rows=1.0))
    hidden = torch.cat([b.hidden for b in labelled_batches(RECIPE, hide, 8, 0, 0)])
    assert 0.1 < hidden.float().mean() < 0.35
    alike = (hidden[:, 0] == hidden[:, 1]).all(-1).float().mean()
    assert 0.2 < alike < 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelledShape(32), "length >= 64"),
        (lambda: LabelledShape(64, 0), "channels >= 1"),
        (lambda: LabelledWindows(()), "at least one shape"),
        (lambda: labelled_batches(RECIPE, WINDOWS, 7, 0, 0), "multiple of patch_length=7"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
