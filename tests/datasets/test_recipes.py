"""Recipes: read, checked, written back."""

from __future__ import annotations

import pytest
import yaml

from tsfm.datasets.recipes import Recipe, WindowShape
from tsfm.datasets.synthetic import all_families
from tsfm.models.hub import assets

VALUES = {
    "name": "two",
    "families": {"waves": 1, "solar": 3},
    "windows": [{"context": 4, "horizon": 1, "weight": 1}],
}
SHORT = [{"context": 1, "horizon": 1, "weight": 1}]


def test_a_recipe_from_yaml_and_back(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({**VALUES, "augment": {"mixup": 0.1}}))
    recipe = Recipe.load(path)
    assert recipe.windows == (WindowShape(4, 1, 1),)
    assert recipe.augment.mixup == 0.1
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_stages_follow_each_other():
    stages = [
        {"until": 10, "windows": [{"context": 1, "horizon": 1, "weight": 1}]},
        {"until": 30, "windows": [{"context": 2, "horizon": 1, "weight": 1}]},
    ]
    recipe = Recipe.from_dict({**VALUES, "curriculum": stages})
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    found = [recipe.windows_at(step)[0].context for step in (0, 9, 10, 29, 30, 10**6)]
    assert found == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"famlies": {}}, "Unknown configuration key 'famlies'"),
        ({"augment": {"mixpu": 0.1}}, r"Unknown configuration key 'augment\.mixpu'"),
        ({"augment": {"mixup": 1.5}}, r"AugmentConfig\.mixup is 1\.5"),
        ({"mask": {"hidden": 1}}, r"'mask\.hidden'"),
        ({"windows": [{"context": 4}]}, r"'windows\[0\]\.horizon' is missing"),
        (
            {"curriculum": [{"until": 30, "windows": SHORT}, {"until": 10, "windows": SHORT}]},
            r"curriculum\[1\] of recipe 'two' ends at step 10, but begins at step 30",
        ),
        (
            {"curriculum": [{"until": 30, "windows": SHORT}, {"until": 30, "windows": SHORT}]},
            r"curriculum\[1\] .* ends at step 30, but begins at step 30",
        ),
        ({"curriculum": [{"until": 0, "windows": SHORT}]}, r"curriculum\[0\] .* begins at step 0"),
        ({"curriculum": [{"until": 0.2, "windows": SHORT}]}, "with whole steps that rise"),
        ({"curriculum": [{"until": 30, "windows": []}]}, r"curriculum\[0\] .* has no windows"),
        ({"curriculum": [{"util": 30, "windows": SHORT}]}, r"'curriculum\[0\]\.util'"),
        (
            {"families": {"wave": 1}},
            r"Unknown generator family 'wave' in recipe 'two'; there are .*waves",
        ),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict({**VALUES, **change})


def test_missing_keys_are_named():
    with pytest.raises(ValueError, match="'windows' is missing"):
        Recipe.from_dict({"name": "x", "families": {"waves": 1}})


UNUSED = {
    "ets_forms",
    "epidemic",
    "exogenous_graph",
    "feedback_graph",
    "fractional_sarima",
    "high_rate",
    "queues",
    "spectral_mixture",
}
"""Families that the released models were not trained on."""


def test_the_shipped_recipe_uses_every_family_of_the_released_models():
    recipe = Recipe.load(assets("datasets") / "synthetic.yaml")
    assert set(recipe.families) | UNUSED == set(all_families())
    assert not set(recipe.families) & UNUSED
    assert sum(recipe.families.values()) == pytest.approx(1, abs=0.1)
    assert max(s.context for s in recipe.windows) * recipe.patch_length == 2048
