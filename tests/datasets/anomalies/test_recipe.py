"""Recipes: YAML and back, nothing unknown, nothing impossible."""

from __future__ import annotations

import pytest
import yaml

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.datasets.synthetic import all_families


def test_yaml_round_trip(shipped, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(shipped.to_dict()))
    assert AnomalyRecipe.load(path) == shipped
    assert AnomalyRecipe.from_dict({}) == AnomalyRecipe()


def test_the_shipped_recipe_is_balanced(shipped):
    assert set(shipped.families) <= set(all_families())
    assert sum(shipped.families.values()) == pytest.approx(1, abs=0.15)
    assert 0.3 <= shipped.clean <= 0.45


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clean": 1.5}, "clean is 1.5; give a number from 0 to 1"),
        ({"negatives": {"holidays": -0.1}}, "negatives.holidays"),
        ({"families": {"nothing": 1.0}}, "Unknown name 'nothing' in AnomalyRecipe.families"),
        ({"waves": {"cube": 1.0}}, "Unknown name 'cube'"),
        ({"types": {"spikelet": 1.0}}, "Unknown name 'spikelet'"),
        ({"types": {"outlier": -1.0}}, "negative weight"),
        ({"families": {"waves": 0.0}}, "at least one positive"),
        ({"local_counts": [0.0, 0.0]}, "at least one positive"),
        ({"max_share": 0.9}, "max_share is 0.9"),
        ({"endogenous": 0.9, "correlation_break": 0.2}, "more than 1"),
        ({"augment": {"spikes": 0.1}}, "augment.spikes must be 0"),
        ({"strength": 0.0}, "must be positive"),
        ({"colour": "red"}, "Unknown configuration key 'colour'"),
    ],
)
def test_bad_values_are_named(values, message):
    if "augment" in values:
        quiet = AnomalyRecipe().to_dict()["augment"]
        values = {"augment": quiet | values["augment"]}
    with pytest.raises(ValueError, match=message):
        AnomalyRecipe.from_dict(values)
