"""The corpus: pure in its numbers, mixed by weight, finite."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from tsfm.datasets import corpus
from tsfm.datasets.augment import AugmentConfig
from tsfm.datasets.corpus import corpus_chunk, generate, seeded
from tsfm.datasets.recipes import Recipe, WindowShape
from tsfm.datasets.synthetic import Family


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("two", {"waves": 1, "local_level": 3}, (WindowShape(4, 2, 1.0),), block=8)


def test_generators_differ_by_stream_and_every_number():
    def draw(stream: str, *numbers: int) -> float:
        return float(torch.rand(1, generator=seeded("cpu", stream, *numbers), dtype=torch.float64))

    numbers = list(itertools.product((0, 1, 2**40), (0, 1, 2)))
    for stream in ("series", "windows", "validation"):
        assert len({draw(stream, *n) for n in numbers}) == len(numbers)
    for n in numbers:
        assert len({draw(stream, *n) for stream in ("series", "windows", "validation")}) == 3
        assert draw("windows", *n) == draw("windows", *n)
    with pytest.raises(KeyError):
        seeded("cpu", "test", 1)


@pytest.mark.parametrize("n", [1, 7, 8, 50])
def test_series_are_standardised_and_labelled(recipe, n):
    series, label = generate(recipe, n, 192, seeded("cpu", "series", 0))
    assert series.shape == (n, 192)
    assert label.shape == (n,)
    assert series.dtype == torch.float32
    assert series.mean(-1).abs().max() < 1e-3
    again, _ = generate(recipe, n, 192, seeded("cpu", "series", 0))
    assert torch.equal(series, again)
    other, _ = generate(recipe, n, 192, seeded("cpu", "series", 1))
    assert not torch.equal(series, other)


def test_shares_follow_the_weights(recipe):
    _, label = generate(recipe, 8 * 400, 32, seeded("cpu", "series", 0))
    assert abs((label == 1).float().mean() - 0.75) < 0.07


def test_labels_say_which_family_a_row_is(recipe, monkeypatch):
    families = {
        name: Family(
            name, "test", lambda n, length, rng, s=sign: s * torch.arange(length).expand(n, -1), ""
        )
        for name, sign in (("waves", 1.0), ("local_level", -1.0))
    }
    monkeypatch.setattr(corpus, "all_families", lambda: families)
    series, label = generate(recipe, 100, 20, seeded("cpu", "series", 0))
    rising = series[:, -1] > series[:, 0]
    assert torch.equal(rising, label == 0)


def test_a_non_finite_family_is_stopped(recipe, monkeypatch):
    broken = Family("waves", "test", lambda n, length, rng: torch.full((n, length), torch.nan), "")
    monkeypatch.setattr(corpus, "all_families", lambda: {"waves": broken, "local_level": broken})
    with pytest.raises(RuntimeError, match=r"family '(waves|local_level)' produced a non-finite"):
        generate(recipe, 4, 20, seeded("cpu", "series", 0))


def test_directed_families_are_never_reversed(recipe, monkeypatch):
    families = {
        name: Family(
            name, "test", lambda n, length, rng, s=sign: s * torch.arange(length).expand(n, -1), ""
        )
        for name, sign in (("waves", 1.0), ("local_level", -1.0))
    }
    monkeypatch.setattr(corpus, "all_families", lambda: families)
    quiet = {field.name: 0.0 for field in dataclasses.fields(AugmentConfig)}
    augment = AugmentConfig(**{**quiet, "reverse": 1.0})
    recipe = dataclasses.replace(recipe, directed=("waves",), augment=augment)
    rng = seeded("cpu", "series", 0)
    _, label = generate(recipe, 100, 20, rng)
    series = corpus_chunk(recipe, 100, 20, seeded("cpu", "series", 0))
    assert label.unique().tolist() == [0, 1]
    assert (series[:, -1] > series[:, 0]).all()  # the falling ones are reversed


def test_chunks_are_pure_and_leave_global_state_alone(recipe):
    state = torch.random.get_rng_state()
    one = corpus_chunk(recipe, 40, 192, seeded("cpu", "windows", 3))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(99)
    two = corpus_chunk(recipe, 40, 192, seeded("cpu", "windows", 3))
    assert torch.equal(one.nan_to_num(7e7), two.nan_to_num(7e7))
    assert not torch.isinf(one).any()
    assert torch.isfinite(one).float().mean() > 0.8
