"""The detecting network: order of channels, padding, missing values, batch mates."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from tsfm.models import DetectorConfig
from tsfm.models.config import BackboneConfig
from tsfm.models.detecting import DetectingNetwork, standardised, step_facts, surprises
from tsfm.nn.attention import open_bias

BACKBONES = ("transformer", "mamba1", "mamba2", "companion")


def build(name: str = "transformer", **changes) -> DetectingNetwork:
    """A random network in which every part has a say."""
    config = DetectorConfig.preset("tiny")
    backbone = dataclasses.replace(config.backbone, name=name, d_state=8)
    torch.manual_seed(0)
    network = DetectingNetwork(dataclasses.replace(config, backbone=backbone, **changes))
    for parameter in network.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return network.eval()


def windows(n: int, channels: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled windows with gaps of all sizes."""
    rng = torch.Generator().manual_seed(length)
    z = torch.randn(n, channels, length, generator=rng)
    observed = torch.rand(z.shape, generator=rng) > 0.1
    observed[:, 0, length // 3 : length // 3 + 20] = False
    return z, observed


@torch.inference_mode()
def judge(network: DetectingNetwork, z: torch.Tensor, observed: torch.Tensor):
    return network(z, observed)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("length", [8, 13, 100, 257])
def test_padding_on_the_right_changes_nothing(name, length):
    network = build(name)
    z, observed = windows(2, 3, length)
    plain = judge(network, z, observed)
    longer = nn.functional.pad(z, (0, 75), value=5.0)
    padded = judge(network, longer, nn.functional.pad(observed, (0, 75)))
    for one, two in ((plain.logit, padded.logit), (plain.expected, padded.expected)):
        torch.testing.assert_close(one, two[..., :length], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_channels_in_another_order_get_the_same_answers_in_that_order(name):
    network = build(name)
    z, observed = windows(2, 5, 120)
    order = [3, 0, 4, 1, 2]
    plain = judge(network, z, observed)
    moved = judge(network, z[:, order], observed[:, order])
    for one, two in ((plain.logit, moved.logit), (plain.expected, moved.expected)):
        torch.testing.assert_close(one[:, order], two, atol=1e-5, rtol=1e-5)


def test_channels_look_at_each_other_unless_told_not_to():
    z, observed = windows(1, 2, 64)
    other = z.clone()
    other[:, 1] += 1
    for every, differs in ((1, True), (2, True), (0, False)):
        network = build(channels_every=every)
        one, two = judge(network, z, observed).logit, judge(network, other, observed).logit
        assert bool((one[:, 0] != two[:, 0]).any()) == differs
        assert bool((one[:, 1] != two[:, 1]).any())
        alone = judge(network, z[:, :1], observed[:, :1]).logit
        assert torch.allclose(alone, one[:, :1], atol=1e-5) != differs


def test_a_channel_without_data_is_as_if_it_were_not_there():
    network = build()
    z, observed = windows(1, 3, 64)
    observed[:, 2] = False
    two, three = judge(network, z[:, :2], observed[:, :2]), judge(network, z, observed)
    torch.testing.assert_close(two.logit, three.logit[:, :2], atol=1e-5, rtol=1e-5)
    assert torch.isfinite(three.logit).all()
    assert torch.isfinite(three.expected).all()


@pytest.mark.parametrize("name", BACKBONES)
def test_batch_mates_and_masked_values_do_not_matter(name):
    network = build(name)
    z, observed = windows(4, 2, 90)
    together = judge(network, z, observed)
    wild = torch.where(observed, z, torch.nan)
    wild[0, 0, ~observed[0, 0]] = torch.inf
    for row in range(4):
        alone = judge(network, wild[row : row + 1], observed[row : row + 1])
        torch.testing.assert_close(alone.logit[0], together.logit[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_both_sides_are_seen(name):
    network = build(name)
    z, observed = windows(1, 1, 160)
    observed[:] = True
    changed = z.clone()
    changed[..., 80] += 3
    moved = (judge(network, z, observed).logit != judge(network, changed, observed).logit)[0, 0]
    assert moved[:40].any()
    assert moved[120:].any()


def test_facts_are_blank_where_nothing_is_observed():
    z = torch.tensor([[[2.0, 9.0, 4.0, 5.0]]])
    observed = torch.tensor([[[True, False, True, True]]])
    facts = step_facts(torch.where(observed, z, 0), observed)[0, 0]
    assert facts.tolist() == [[2, 1, 0], [0, 0, 0], [4, 1, 0], [5, 1, 1]]


def test_the_anomaly_head_sees_the_distance_from_what_is_expected():
    network = build()
    z, observed = windows(1, 1, 64)
    before = judge(network, z, observed)
    with torch.no_grad():
        network.expected.out.bias += 2  # expects more, from the same state
    after = judge(network, z, observed)
    torch.testing.assert_close(after.expected, before.expected + 2)
    assert (after.logit != before.logit)[observed].all()
    distance = surprises(z, observed, after.expected)
    assert not distance[~observed].any()
    torch.testing.assert_close(distance[observed][:, 0], (z - after.expected)[observed])


def test_one_huge_value_does_not_flatten_the_others():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(1, 1, 1000, generator=rng) * 5 + 40
    seen = torch.ones_like(values) > 0
    calm, _ = standardised(values, seen)
    values[..., 500] = 5e3
    wild, _ = standardised(values, seen)
    assert wild[..., :500].std() > 0.4 * calm[..., :500].std()
    assert wild[..., 500] > 5 * calm.max() / 3
    assert wild.max() < 20


def test_scale_ignores_what_is_masked_and_follows_the_unit():
    z, observed = windows(3, 2, 50)
    one, scale = standardised(z, observed)
    two, other = standardised(torch.where(observed, z * 1e6 - 3e7, torch.nan), observed)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scale.scale * 1e6, other.scale, rtol=1e-5, atol=0)
    constant, flat = standardised(torch.full((1, 1, 20), 7.5), torch.ones(1, 1, 20) > 0)
    assert not constant.any()
    assert flat.inverse(constant[0]).eq(7.5).all()
    nothing, _ = standardised(torch.full((1, 1, 20), torch.nan), torch.zeros(1, 1, 20) > 0)
    assert not nothing.any()


def test_open_bias_shows_all_data_to_everyone():
    bias = open_bias(torch.tensor([[True, False, True], [False, False, False]]))
    assert bias.shape == (2, 1, 1, 3)
    assert bias[:, 0, 0].tolist() == [[0, -torch.inf, 0], [0, 0, 0]]


def test_types_of_anomaly_are_told_from_states():
    network = build(kinds=("spike", "shift"))
    state = network(*windows(1, 1, 40)).state
    assert network.kind_logits(state).shape == (1, 1, 40, 2)
    with pytest.raises(ValueError, match="tells no types"):
        build().kind_logits(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_length": 0}, "patch_length must be at least 1"),
        ({"max_context": 100}, "must be a multiple of patch_length=8"),
        ({"channels_every": -1}, "channels_every must be 0 or more"),
        ({"backbone": BackboneConfig(rotary="adaptive")}, "rotary='adaptive' is an option of"),
        ({"backbone": BackboneConfig(forecast_tokens="decoded")}, "'decoded' is an option of"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**changes)


def test_sizes():
    with pytest.raises(ValueError, match="Unknown detector size 'huge'"):
        DetectorConfig.preset("huge")
    with pytest.raises(ValueError, match="Unknown backbone 'gru'"):
        DetectingNetwork(DetectorConfig(backbone=BackboneConfig(name="gru")))
    mini = DetectingNetwork(DetectorConfig.preset("mini"))
    assert 2e6 < sum(p.numel() for p in mini.parameters()) < 5e6
