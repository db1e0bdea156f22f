"""Run files: presets, recipes beside them, overrides, and mistakes that are named."""

from __future__ import annotations

import dataclasses

import pytest

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.datasets.recipes import Recipe
from tsfm.models.config import TokenizerConfig
from tsfm.training.config import PretrainConfig
from tsfm.training.task import load_run


def test_a_file_with_a_preset_and_a_recipe_beside_it(config_file):
    config = PretrainConfig.load(config_file)
    assert config.model.backbone.d_model == 32
    assert config.model.max_context == 256
    assert config.optimizer.learning_rate == 2e-3
    assert [shape.context for shape in config.recipe.windows] == [4, 2]
    assert PretrainConfig.from_dict(config.to_dict()) == config


def test_overrides_by_dotted_key(config_file):
    overrides = {
        "optimizer.learning_rate": 1e-4,
        "model.backbone.n_layers": 1,
        "recipe.mask.hidden_rows": 0.0,
        "seed": 9,
    }
    config = PretrainConfig.load(config_file, overrides)
    assert config.optimizer.learning_rate == 1e-4
    assert config.model.backbone.n_layers == 1
    assert config.recipe.mask.hidden_rows == 0
    assert config.seed == 9
    assert config.replace({"seed": 1, "optimizer.clip": 2.0}).optimizer.clip == 2


def test_whole_sections_are_overridden_before_they_are_read(config_file):
    config = PretrainConfig.load(config_file, {"model": "nano", "model.backbone.n_layers": 1})
    assert (config.model.backbone.d_model, config.model.backbone.n_layers) == (80, 1)
    (config_file.parent / "other.yaml").write_text(
        (config_file.parent / "corpus.yaml").read_text().replace("quick", "other")
    )
    assert PretrainConfig.load(config_file, {"recipe": "other.yaml"}).recipe.name == "other"


def test_a_recipe_may_change_another_one(config_file):
    windows = [{"context": 8, "horizon": 1, "weight": 1.0}]
    changed = {"base": "corpus.yaml", "windows": windows}
    config = PretrainConfig.load(config_file, {"recipe": changed})
    plain = PretrainConfig.load(config_file)
    assert [shape.context for shape in config.recipe.windows] == [8]
    assert dataclasses.replace(config.recipe, windows=plain.recipe.windows) == plain.recipe
    with pytest.raises(ValueError, match="wndows"):
        PretrainConfig.load(config_file, {"recipe": {"base": "corpus.yaml", "wndows": windows}})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": 3}, "Unknown configuration key 'steps'"),
        ({"optimizer.rate": 3}, r"Unknown configuration key 'optimizer\.rate'"),
        ({"recipe.windows": [{"contex": 3}]}, r"'recipe\.windows\[0\]\.contex'"),
        ({"recipe.families": {"nonsense": 1}}, "Unknown generator family 'nonsense'"),
        ({"seed.x": 3}, r"Cannot set 'seed\.x'"),
        ({"model": "gigantic"}, "Unknown model size 'gigantic'"),
    ],
)
def test_mistakes_are_named(config_file, overrides, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig.load(config_file, overrides)


def test_a_recipe_that_is_not_there(config_file):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist; look in datasets"):
        PretrainConfig.load(config_file, {"recipe": "nowhere.yaml"})


@pytest.mark.parametrize("load", [PretrainConfig.load, load_run])
def test_files_that_are_no_configuration_are_named(config_file, tmp_path, load):
    odd = tmp_path / "odd.yaml"
    with pytest.raises(FileNotFoundError, match=r"config .*odd\.yaml does not exist; look in"):
        load(odd)
    with pytest.raises(ValueError, match=r"cannot be read: .*; name a YAML file"):
        load(tmp_path)
    odd.write_text("model: [mini\n")
    with pytest.raises(ValueError, match=r"config .*odd\.yaml is no YAML: .* Correct it"):
        load(odd)
    for text in ("seed: 2024-99-01", "[" * 3000):
        odd.write_text(text)
        with pytest.raises(ValueError, match=r"config .*odd\.yaml is no YAML: "):
            load(odd)
    odd.write_text("time,value\n" + "1,2\n" * 2000)
    with pytest.raises(ValueError, match=r"odd\.yaml must hold names and values") as caught:
        load(odd)
    assert len(str(caught.value)) < 400
    for text in ("", "mini", "- mini\n"):
        odd.write_text(text)
        with pytest.raises(ValueError, match=r"config .*odd\.yaml must hold names and values"):
            load(odd)
        with pytest.raises(ValueError, match=r"recipe .*odd\.yaml must hold names and values"):
            load(config_file, {"recipe": "odd.yaml"})


def test_model_and_corpus_must_cut_the_same_patches(config):
    model = dataclasses.replace(config.model, tokenizer=TokenizerConfig(patch_length=16))
    with pytest.raises(ValueError, match="must be equal"):
        dataclasses.replace(config, model=model)


def test_shipped_runs_load():
    from tsfm.models.hub import assets

    files = sorted((assets("configs") / "pretrain").glob("*.yaml"))
    assert {"mini.yaml", "nano.yaml", "detector-mini.yaml"} <= {path.name for path in files}
    for path in files:
        config = load_run(path)
        assert config.model.name == f"tsfm-{path.stem}"
        detects = path.stem.startswith("detector")
        assert config.task == ("detect" if detects else "forecast")
        assert isinstance(config.recipe, AnomalyRecipe if detects else Recipe)
        assert type(config).from_dict(config.to_dict()) == config


def test_the_task_decides_what_a_file_may_hold(config_file):
    config_file.write_text(config_file.read_text() + "task: dream\n")
    with pytest.raises(ValueError, match="task must be one of forecast, detect; got 'dream'"):
        load_run(config_file)
    with pytest.raises(ValueError, match="'task' must be one of 'forecast'; got 'dream'"):
        PretrainConfig.load(config_file)
