"""Backbones: what they may see, how they go on, and which tokens they refuse."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tsfm.models.backbone import RecurrentBackbone, TransformerBackbone, build_backbone
from tsfm.models.config import BackboneConfig
from tsfm.tokenizers import FixedPatchTokenizer
from tsfm.tokenizers.batch import TokenBatch

RECURRENT = ("companion", "mamba1", "mamba2")


def backbone(name: str) -> TransformerBackbone | RecurrentBackbone:
    torch.manual_seed(0)
    built = build_backbone(
        BackboneConfig(name, d_model=16, n_layers=2, n_heads=2, d_hidden=24, d_state=8)
    )
    with torch.no_grad():  # output layers start at zero
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return built.eval()


def tokens(n_context: int = 6, n_forecast: int = 3, missing: int | None = None) -> TokenBatch:
    """Two rows of tokens of eight steps, the token `missing` without data."""
    z = torch.randn(2, 8 * n_context, generator=torch.Generator().manual_seed(1))
    observed = torch.ones_like(z, dtype=torch.bool)
    if missing is not None:
        observed[:, 8 * missing : 8 * missing + 8] = False
    return FixedPatchTokenizer(8).tokenize(z, observed, 8 * n_forecast)


def states(batch: TokenBatch) -> torch.Tensor:
    return torch.randn(*batch.kind.shape, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["transformer", *RECURRENT])
def test_tokens_see_the_past_and_no_token_without_data(name):
    net, batch = backbone(name), tokens(missing=2)
    x = states(batch)
    y, _ = net(x, batch)
    for changed in (2, 4, 7):  # missing, observed, forecast
        other = x.clone()
        other[:, changed] += 1
        differs = (net(other, batch)[0] - y).abs().amax((0, 2)) > 1e-6
        expected = [False] * 9
        expected[changed] = True
        if changed == 4:
            expected[4:] = [True] * 5
        assert differs.tolist() == expected


@pytest.mark.parametrize("name", RECURRENT)
def test_going_on_from_a_state_equals_one_pass(name):
    net, batch = backbone(name), tokens(missing=2)
    x = states(batch)
    whole, none = net(x, batch)
    assert none is None
    state, parts = net.initial_state(2), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 9)):
        y, state = net(x[:, part], batch.select(part), state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", RECURRENT)
def test_steps_equal_one_pass(name):
    net, batch = backbone(name), tokens()
    x = states(batch)
    state, parts = net.initial_state(2), []
    for t in range(9):
        y, state = net.step(x[:, t : t + 1], batch.select(slice(t, t + 1)), state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), net(x, batch)[0], atol=1e-5, rtol=1e-4)


def test_a_companion_backbone_refuses_unequal_spans_and_mamba_uses_them():
    batch = tokens()
    x = states(batch)
    length = batch.length.clone()
    length[:, 2] = 16
    unequal = dataclasses.replace(batch, length=length)
    with pytest.raises(ValueError, match="unequally long"):
        backbone("companion")(x, unequal)
    for name in ("mamba1", "mamba2"):
        net = backbone(name)
        assert (net(x, unequal)[0] - net(x, batch)[0])[:, 3:].abs().max() > 1e-4


def test_a_short_first_token_is_no_unequal_span():
    z = torch.randn(2, 21)
    batch = FixedPatchTokenizer(8).tokenize(z, torch.ones_like(z, dtype=torch.bool), 16)
    assert batch.length[0].tolist() == [5, 8, 8, 8, 8]
    y, _ = backbone("companion")(states(batch), batch)
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "lstm"}, "choose one of transformer, companion, mamba1, mamba2"),
        ({"n_layers": 0}, "n_layers"),
        ({"name": "mamba2", "n_heads": 3}, "n_heads=3"),
        (
            {"token_dynamics": "positive"},
            "token_dynamics='positive' is an option of the backbones",
        ),
        ({"name": "companion", "long_context": "filter"}, "mamba2, not of 'companion'"),
        ({"name": "mamba1", "token_dynamics": "up"}, "Unknown token dynamics 'up'"),
        ({"name": "mamba2", "long_context": "up"}, "Unknown rule 'up'"),
    ],
)
def test_impossible_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(BackboneConfig(**{"d_model": 16, "n_heads": 2, **changes}))


def test_a_transformer_has_no_state():
    batch = tokens()
    with pytest.raises(ValueError, match="no recurrent state"):
        backbone("transformer")(states(batch), batch, state=())


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
def test_switches_of_mamba_add_their_own_parameters_only(name):
    config = BackboneConfig(name, d_model=16, n_layers=1, n_heads=2, d_hidden=24, d_state=8)
    plain = build_backbone(config).state_dict()
    limited = build_backbone(dataclasses.replace(config, long_context="filter")).state_dict()
    assert {key for key in limited if "step_limiter" not in key} == set(plain)
    signed = build_backbone(dataclasses.replace(config, token_dynamics="mixed"))
    projection = "x_proj" if name == "mamba1" else "in_proj"
    added = {f"blocks.0.mixer.{projection}.{part}" for part in ("free", "mixing", "strength")}
    removed = {f"blocks.0.mixer.{projection}.weight"}
    assert set(signed.state_dict()) == set(plain) - removed | added
    y, _ = signed(states(tokens()), tokens())
    assert y.isfinite().all()
