from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tsfm.models.presets.config import preset_config
from tsfm.training.finetune_config import FinetuneConfig, read_recipe

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "finetune"


PRESET_FILES = sorted(set(CONFIGS.glob("*.yaml")) - {CONFIGS / "pretrained.yaml"})


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: path.stem)
def test_shipped_files_are_read(path):
    model, training = read_recipe(path)
    assert path.stem.startswith(model.kind)
    assert training.epochs >= 1


@pytest.mark.parametrize("kind", ["smamba", "spacetime"])
def test_the_plain_file_of_a_preset_holds_its_defaults(kind):
    assert read_recipe(CONFIGS / f"{kind}.yaml") == read_recipe(None, kind)


def test_changes_win_and_none_does_not_count():
    model, training = read_recipe(
        CONFIGS / "smamba.yaml",
        "smamba",
        model={"prediction_length": 7, "context_length": None},
        training={"epochs": None, "seed": 3},
    )
    assert (model.prediction_length, model.context_length) == (7, 96)
    assert (training.epochs, training.seed) == (10, 3)


def test_a_file_sets_sizes_and_switches(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: smamba\nmodel: {d_model: 32, reorder: true}\n")
    model, _ = read_recipe(path)
    assert model == preset_config("smamba", {"d_model": 32, "reorder": True})


def test_schedules():
    halving = FinetuneConfig(learning_rate=1.0, schedule="halving")
    assert [halving.learning_rate_at(e) for e in (0, 0.9, 1.0, 3.5)] == [1, 1, 0.5, 0.125]
    cosine = FinetuneConfig(learning_rate=1.0, epochs=10, warmup_epochs=1)
    rates = [cosine.learning_rate_at(e / 10) for e in range(101)]
    assert rates[0] < 0.01
    assert max(rates) > 0.95
    assert rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    constant = FinetuneConfig(learning_rate=2.0, schedule="constant")
    assert constant.learning_rate_at(9.0) == 2.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 2.5),
        ("patience", True),
        ("windows_per_epoch", 0),
        ("validation_windows", 0),
        ("seed", -1),
        ("seed", None),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("clip", 0.0),
        ("clip", float("inf")),
        ("weight_decay", -0.1),
        ("warmup_epochs", -1.0),
        ("validation_share", 0.0),
    ],
)
def test_fields_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}="):
        FinetuneConfig(**{name: value})


def test_a_broken_or_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.yaml does not exist; look in configs"):
        read_recipe(tmp_path / "no.yaml")
    path = tmp_path / "odd.yaml"
    path.write_text("preset: [smamba\n")
    with pytest.raises(ValueError, match=r"odd\.yaml is no YAML: .* Correct it"):
        read_recipe(path)
    path.write_text("preset: smamba\ntraining: 3\n")
    with pytest.raises(ValueError, match=r"odd\.yaml: training must hold names and values"):
        read_recipe(path)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="schedule='linear'"):
        FinetuneConfig(schedule="linear")
    with pytest.raises(ValueError, match="epochs=0"):
        FinetuneConfig(epochs=0)
    with pytest.raises(ValueError, match="validation_share=1"):
        FinetuneConfig(validation_share=1.0)
    with pytest.raises(ValueError, match="Unknown configuration key 'momentum'"):
        FinetuneConfig.of("smamba", {"momentum": 1})
    with pytest.raises(ValueError, match="is for preset='smamba', 'spacetime' was asked for"):
        read_recipe(CONFIGS / "smamba.yaml", "spacetime")
    path = tmp_path / "odd.yaml"
    path.write_text("preset: smamba\nlearning_rate: 1\n")
    with pytest.raises(ValueError, match="entries preset, model and training, no others"):
        read_recipe(path)
