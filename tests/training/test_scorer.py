"""Training the entropy scorer: it learns, is reproducible, and what it writes loads."""

from __future__ import annotations

import math

import torch

from tsfm.models.hub import load_scorer
from tsfm.training.scorer import held_out_entropy, train_scorer


def test_a_short_run_learns_and_can_be_repeated(recipe, tmp_path):
    options = {"rows": 4, "length": 64, "progress": False}
    result = train_scorer(recipe, 30, 3, tmp_path / "one", **options)
    assert result.steps == 30
    assert result.uniform == math.log(65)
    assert 0 < result.cross_entropy < result.marginal < result.uniform
    train_scorer(recipe, 30, 3, tmp_path / "two", **options)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    scorer = load_scorer(tmp_path / "one")
    assert not scorer.training
    assert held_out_entropy(scorer, recipe)[0] == result.cross_entropy


def test_a_run_ends_on_time_and_leaves_the_random_numbers_alone(recipe, tmp_path):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    options = {"rows": 4, "length": 64, "progress": False}
    result = train_scorer(recipe, 10**6, 0, tmp_path / "run", max_minutes=0.02, **options)
    assert 0 < result.steps < 10**6
    assert torch.equal(torch.rand(3), wanted)


def test_the_shipped_scorer_is_as_good_as_its_card_says():
    from tsfm.datasets.recipes import Recipe
    from tsfm.models.hub import assets

    recipe = Recipe.load(assets("datasets") / "synthetic.yaml")
    cross_entropy, marginal, _ = held_out_entropy(load_scorer("tsfm-entropy"), recipe)
    assert abs(cross_entropy - 2.333) < 0.01
    assert cross_entropy < marginal - 1
