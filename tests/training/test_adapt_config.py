from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tsfm.training.adapt_config import METHODS, AdaptConfig, read_adaptation

FILE = Path(__file__).resolve().parents[2] / "configs" / "finetune" / "pretrained.yaml"


def test_the_shipped_file_holds_the_defaults():
    assert read_adaptation(FILE) == AdaptConfig()


def test_every_method_has_its_defaults():
    for method in METHODS:
        assert read_adaptation(None, method) == AdaptConfig.of(method)
        assert AdaptConfig.of(method).method == method


def test_changes_win_and_none_does_not_count(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {method: head, epochs: 7, seed: 3}\n")
    config = read_adaptation(path, None, {"epochs": None, "seed": 5})
    assert (config.method, config.epochs, config.seed) == ("head", 7, 5)
    assert read_adaptation(path, "full").method == "full"


def test_the_learning_rate_rises_and_falls():
    config = AdaptConfig(learning_rate=1.0, warmup_steps=4)
    rates = [config.learning_rate_at(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) > 0.98
    assert rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[4:]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("alpha", 0.0),
        ("margin", -1.0),
        ("average", 1.0),
        ("shortest_context", 0),
        ("learning_rate", "fast"),
        ("validation_share", 1.0),
        ("patience", True),
        ("epochs", 2.5),
    ],
)
def test_fields_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}="):
        AdaptConfig(**{name: value})


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text("training: 3\n")
    with pytest.raises(ValueError, match=r"odd\.yaml: training must hold names and values"):
        read_adaptation(path)
    with pytest.raises(FileNotFoundError, match=r"no\.yaml does not exist"):
        read_adaptation(tmp_path / "no.yaml")
