"""Checkpoints: what is saved is what is loaded, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tsfm.models import TSFM, ModelConfig, list_models
from tsfm.models.hub import count_parameters, load_network, read_config, resolve, save_network
from tsfm.models.network import ForecastingNetwork


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_saved_and_loaded_weights_are_equal_bit_for_bit(tmp_path):
    network = ForecastingNetwork(ModelConfig.preset("tiny"))
    save_network(network, tmp_path / "model")
    loaded = load_network(tmp_path / "model")
    assert loaded.config == network.config
    assert not loaded.training
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_model_saved_twice_is_the_same_file(tiny, tmp_path, tiny_folder):
    tiny.save_pretrained(tmp_path / "once")
    TSFM.from_pretrained(tmp_path / "once", device="cpu").save_pretrained(tmp_path / "twice")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    weights = "model.safetensors"
    assert (tmp_path / "once" / weights).read_bytes() == (tiny_folder / weights).read_bytes()


def test_parameters_are_counted_from_the_header(tiny, tiny_folder, tmp_path):
    assert count_parameters(tiny_folder) == tiny.n_parameters
    assert count_parameters(tmp_path) == 0


@pytest.mark.parametrize("version", [None, 0, 999])
def test_other_format_versions(copy, version):
    values = json.loads((copy / "config.json").read_text())
    values["format_version"] = version
    (copy / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"format_version {version}.*Install"):
        read_config(copy)


def test_unknown_keys_in_a_saved_config(copy):
    values = json.loads((copy / "config.json").read_text())
    values["backbone"]["colour"] = "red"
    (copy / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"'backbone\.colour'"):
        TSFM.from_pretrained(copy)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit(copy, change):
    weights = load_file(copy / "model.safetensors")
    if change == "missing":
        weights.pop("backbone.norm.weight")
    elif change == "extra":
        weights["surplus"] = torch.zeros(2)
    else:
        weights["backbone.norm.weight"] = torch.zeros(5)
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"surplus|backbone\.norm\.weight"):
        load_network(copy)


def test_unknown_models_list_the_known_ones(tmp_path, monkeypatch, tiny_folder):
    monkeypatch.setattr("tsfm.models.hub.assets", lambda kind: tiny_folder.parent)
    assert [info.name for info in list_models()] == ["tiny"]
    assert resolve("tiny") == tiny_folder
    with pytest.raises(FileNotFoundError, match=r"No model 'huge'.*Shipped models: tiny"):
        resolve("huge")
    with pytest.raises(FileNotFoundError, match=r"exists but holds no config\.json"):
        resolve(tmp_path)


def test_summary_is_the_first_prose_of_the_card(copy, monkeypatch):
    (copy / "README.md").write_text("# Title\n\n| a |\n\nA small model.\nMore.\n")
    monkeypatch.setattr("tsfm.models.hub.assets", lambda kind: copy.parent)
    assert list_models()[0].summary == "A small model."


def test_dtype_and_device_names(tiny_folder):
    with pytest.raises(ValueError, match="dtype must be one of auto, float32, bfloat16"):
        TSFM.from_pretrained(tiny_folder, dtype="float16")


def test_random_weights_depend_on_the_seed_alone():
    config = ModelConfig.preset("tiny")
    state = torch.random.get_rng_state()
    one, two, other = (TSFM.from_config(config, seed=s) for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    name = "embedding.hidden.weight"
    weights = [m.network.state_dict()[name] for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
