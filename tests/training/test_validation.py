"""Held-out scores: one per family, repeatable, and no trace on the network."""

from __future__ import annotations

import torch

from tsfm.datasets.corpus import held_out
from tsfm.models import TSFM, ModelConfig
from tsfm.training.validation import validate


def test_one_score_per_family(recipe):
    network = TSFM.from_config(ModelConfig.preset("tiny")).network
    state = {name: weight.clone() for name, weight in network.state_dict().items()}
    scores = validate(network, recipe, n=4)
    assert [(s.name, s.group) for s in scores] == [("waves", "shapes"), ("local_level", "sde")]
    for score in scores:
        assert 0 < score.loss < 50
        assert 0 <= score.coverage <= 1
    assert scores == validate(network, recipe, n=4)
    assert all(torch.equal(w, state[name]) for name, w in network.state_dict().items())


def test_held_out_series_are_not_those_of_training(recipe):
    first = dict(held_out(recipe, 4, 192))
    again = dict(held_out(recipe, 4, 192))
    assert all(torch.equal(first[name], again[name]) for name in recipe.families)
    assert all(abs(x.std() - 1) < 0.1 for x in first.values())
