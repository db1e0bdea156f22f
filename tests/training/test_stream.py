"""The data of a step depends on seed and step alone."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest
import torch

from tsfm.datasets.recipes import Stage, WindowShape
from tsfm.training.stream import CorpusStream


def same(one, two) -> bool:
    return (
        one.prediction_length == two.prediction_length
        and torch.equal(one.hidden, two.hidden)
        and torch.allclose(one.values, two.values, rtol=0, atol=0, equal_nan=True)
    )


@pytest.mark.parametrize("start", [0, 1, 7, 8, 9, 20])
def test_a_stream_from_a_step_is_the_tail_of_the_whole(recipe, start):
    whole = list(islice(CorpusStream(recipe, 5), 26))
    torch.manual_seed(start)  # and on no global state
    tail = list(islice(CorpusStream(recipe, 5, start), 26 - start))
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))


@pytest.mark.parametrize("start", [2, 8, 11])
def test_stages_end_at_the_same_step_wherever_a_stream_starts(recipe, start):
    stage = Stage(11, (WindowShape(1, 1, 1.0),))  # inside the second chunk
    staged = dataclasses.replace(recipe, curriculum=(stage,))
    whole = list(islice(CorpusStream(staged, 5), 20))
    tail = list(islice(CorpusStream(staged, 5, start), 20 - start))
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))
    assert {b.values.shape[1] for b in whole[:11]} == {64}
    assert 64 not in {b.values.shape[1] for b in whole[11:]}


def test_steps_and_seeds_differ(recipe):
    batches = list(islice(CorpusStream(recipe, 5), 20))
    others = list(islice(CorpusStream(recipe, 6), 20))
    assert not any(same(a, b) for i, a in enumerate(batches) for b in batches[:i])
    assert not any(same(a, b) for a in batches for b in others)
    assert {b.prediction_length for b in batches} == {64, 32}
