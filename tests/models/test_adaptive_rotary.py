"""Rotary frequencies chosen by the spectrum of each series."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.models import TSFM, ModelConfig
from tsfm.models.backbone import build_backbone
from tsfm.models.config import BackboneConfig
from tsfm.models.network import ForecastingNetwork
from tsfm.nn.rotary import AdaptiveRotary, rotary_factors, rotate
from tsfm.tokenizers import FixedPatchTokenizer
from tsfm.tokenizers.spectrum import band_power


def disturbed(seed: int = 0) -> AdaptiveRotary:
    torch.manual_seed(seed)
    rotary = AdaptiveRotary(16, 1000.0)
    with torch.no_grad():
        rotary.out.weight.normal_(0, 0.3)
        rotary.out.bias.normal_(0, 0.1)
    return rotary


def spectra() -> torch.Tensor:
    t = torch.arange(480)
    x = torch.stack([torch.sin(2 * torch.pi * t / 24), torch.sin(2 * torch.pi * t / 100)])
    return band_power(x, torch.ones_like(x) > 0)


def test_before_training_it_is_the_standard_rotation():
    position = torch.rand(2, 50) * 64
    standard = rotary_factors(position, 16, 1000.0)
    for found, wanted in zip(
        AdaptiveRotary(16, 1000.0)(position, spectra()), standard, strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_scores_depend_on_differences_of_positions_alone():
    rotary, spectrum = disturbed(), spectra()[:1]
    pair = torch.randn(1, 2, 1, 1, 16)  # a query and a key, one head

    def product(at_q: float, at_k: float) -> float:
        cos, sin = rotary(torch.tensor([[at_q, at_k]]), spectrum)
        q, k = rotate(pair, cos, sin).flatten(0, 1).flatten(1)
        return float((q @ k).detach())

    assert abs(product(3.5, 1.0) - product(23.5, 21.0)) < 1e-4
    assert abs(product(3.5, 1.0) - product(1.0, 3.5)) > 1e-2


def test_series_of_different_spectra_turn_at_different_frequencies():
    frequency = disturbed().frequency(spectra())
    assert frequency.shape == (2, 8)
    assert (frequency > 0).all()
    assert ((frequency[0] / frequency[1]).log().abs() > 1e-3).all()
    again = disturbed().frequency(spectra()[1:])
    torch.testing.assert_close(frequency[1:], again)


def test_it_is_the_published_map_of_the_frequencies():
    rotary, spectrum = disturbed(), spectra()
    x = torch.nn.functional.layer_norm(spectrum, (64,))
    change, beta = rotary.out(rotary.hidden2(rotary.hidden1(x).relu()).relu()).chunk(2, -1)
    theta = 1000.0 ** (-torch.arange(0, 16, 2) / 16)
    wanted = torch.exp((1 + change) * theta.log() + beta)
    torch.testing.assert_close(rotary.frequency(spectrum), wanted)


@pytest.mark.parametrize("name", ["companion", "mamba1", "mamba2"])
def test_backbones_that_do_not_rotate_refuse(name):
    with pytest.raises(ValueError, match="rotary='adaptive' is an option of the transformer"):
        build_backbone(BackboneConfig(name, rotary="adaptive"))


def test_unknown_rotations_and_missing_spectra_are_named():
    with pytest.raises(ValueError, match="rotary must be"):
        build_backbone(BackboneConfig(rotary="free"))  # type: ignore[arg-type]
    backbone = build_backbone(BackboneConfig(d_model=16, n_heads=2, rotary="adaptive"))
    batch = FixedPatchTokenizer().tokenize(torch.zeros(1, 64), torch.ones(1, 64) > 0, 32)
    with pytest.raises(ValueError, match="with_spectrum"):
        backbone(torch.zeros(1, 3, 16), batch)


def adaptive() -> ModelConfig:
    tiny = ModelConfig.preset("tiny")
    return dataclasses.replace(
        tiny, backbone=dataclasses.replace(tiny.backbone, rotary="adaptive")
    )


@pytest.fixture
def network() -> ForecastingNetwork:
    network = TSFM.from_config(adaptive()).network
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return network


def test_padding_and_batch_mates_change_no_forecast(network):
    z = torch.sin(torch.arange(160) / 4) + 0.3 * torch.randn(3, 160)
    observed = torch.rand(3, 160) < 0.8
    plain = network(z, observed, 70, symmetric=True)
    for pad in (32, 640):
        padded = (torch.nn.functional.pad(x, (pad, 0)) for x in (z, observed))
        again = network(*padded, 70, symmetric=True)
        torch.testing.assert_close(again, plain, atol=1e-5, rtol=1e-5)
    alone = network(z[1:2], observed[1:2], 70, symmetric=True)
    torch.testing.assert_close(alone, plain[1:2], atol=1e-5, rtol=1e-5)


def test_frequencies_learn_and_matter(network):
    z = torch.sin(torch.arange(256) / 4) + 0.3 * torch.randn(3, 256)
    network.loss(z, torch.ones_like(z) > 0, 64).sum().backward()
    for block in network.backbone.blocks:
        for parameter in block.rotary.parameters():
            assert parameter.grad.abs().max() > 0
    fixed = TSFM.from_config(ModelConfig.preset("tiny")).network
    fixed.load_state_dict({k: v for k, v in network.state_dict().items() if ".rotary." not in k})
    args = (z, torch.ones_like(z) > 0, 64)
    assert (network(*args) - fixed(*args)).abs().max() > 1e-4


def test_a_saved_model_answers_the_same(network, tmp_path):
    TSFM(network).save_pretrained(tmp_path)
    series = [torch.sin(torch.arange(100) / 3).numpy()]
    first, second = (
        model.forecast(series, 40).quantiles
        for model in (TSFM(network), TSFM.from_pretrained(tmp_path, device="cpu"))
    )
    assert (first == second).all()
