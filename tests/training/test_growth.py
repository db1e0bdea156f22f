"""A grown network forecasts what the smaller one did, and all of it learns."""

import dataclasses
import re

import pytest
import torch

from tsfm import TSFM
from tsfm.models.config import ModelConfig
from tsfm.models.network import ForecastingNetwork
from tsfm.training.growth import grown, misfit
from tsfm.training.pretrain import run

SMALL = ModelConfig.preset("tiny")


def sized(base=SMALL, d_embed=40, d_head=44, **backbone):
    sizes = {"d_model": 48, "n_heads": 3, "n_layers": 3, "d_hidden": 80} | backbone
    return dataclasses.replace(
        base,
        d_embed=d_embed,
        head=dataclasses.replace(base.head, d_hidden=d_head),
        backbone=dataclasses.replace(base.backbone, **sizes),
    )


def trained_like(config):
    """A network in which nothing is zero any more."""
    torch.manual_seed(0)
    network = ForecastingNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def grown_network(small, config):
    torch.manual_seed(1)
    network = ForecastingNetwork(config)
    network.load_state_dict(grown(small, network))
    return network


def series(n=3, steps=128):
    z = torch.randn(n, steps, generator=torch.Generator().manual_seed(2)).cumsum(1)
    return z / 5, torch.ones(n, steps, dtype=torch.bool)


SIZES = [
    {},
    {"n_layers": 2},
    {"n_layers": 5, "d_model": 32, "n_heads": 2, "d_hidden": 64},
    {"d_model": 64, "n_heads": 4, "d_hidden": 64},
]


@pytest.mark.parametrize("sizes", SIZES)
def test_forecasts_stay_the_same(sizes):
    small = trained_like(SMALL)
    large = grown_network(small, sized(**sizes)).eval()
    z, observed = series()
    with torch.no_grad():
        before, after = small(z, observed, 64), large(z, observed, 64)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_every_part_learns_within_some_steps():
    network = grown_network(trained_like(SMALL), sized())
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    z, observed = series()
    for _ in range(4):
        optimizer.zero_grad()
        network.loss(z, observed, 64).mean().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        moved = parameter.detach() != start[name]
        # columns of the values a token does not have (all are observed) never move
        assert moved.flatten(1).any(1).all() if moved.ndim > 1 else moved.all(), name


def test_the_networks_given_are_not_changed():
    small, large = trained_like(SMALL), ForecastingNetwork(sized())
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in (small, large)]
    state = grown(small, large)
    for value in state.values():
        value.zero_()
    for network, old in zip((small, large), before, strict=True):
        assert all(torch.equal(v, old[k]) for k, v in network.state_dict().items())


def changed(config, **parts):
    """A configuration with some settings of its parts replaced."""
    return dataclasses.replace(
        config,
        **{name: dataclasses.replace(getattr(config, name), **new) for name, new in parts.items()},
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (sized(n_heads=6), "heads have 16 channels, those of the run 8"),
        (sized(n_layers=1), "its backbone.n_layers is 2, that of the run only 1"),
        (sized(d_embed=16), "its d_embed is 32, that of the run only 16"),
        (sized(rope_base=10.0), "its backbone.rope_base is 1000.0, that of the run 10.0"),
        (changed(sized(), tokenizer={"patch_length": 16}), "its tokenizer.patch_length is 32"),
        (
            changed(sized(), head={"quantile_levels": (0.1, 0.5, 0.9)}),
            "its head.quantile_levels is",
        ),
        (sized(name="mamba2"), "its backbone.name is 'transformer', that of the run 'mamba2'"),
    ],
)
def test_what_cannot_grow_is_refused(config, reason):
    assert reason in misfit(SMALL, config)
    with pytest.raises(ValueError, match=re.escape(reason)):
        grown(ForecastingNetwork(SMALL), ForecastingNetwork(config))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": {"name": "companion", "d_state": 8}}, "only transformers"),
        ({"backbone": {"forecast_tokens": "decoded"}}, "masked forecast tokens"),
        ({"tokenizer": {"embedding": "adaptive"}}, "flat embedding"),
        ({"tokenizer": {"n_prompts": 2}}, "no prompts"),
    ],
)
def test_only_plain_transformers_grow(changes, reason):
    small = changed(SMALL, **changes)
    assert reason in misfit(small, sized(small))


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"rotary": "adaptive"}},
        {"tokenizer": {"references": False}},
        {"tokenizer": {"name": "mixture"}},
    ],
)
def test_other_tokens_and_rotations_grow_too(changes):
    config = changed(SMALL, **changes)
    small = trained_like(config)
    large = grown_network(small, sized(config)).eval()
    z, observed = series()
    with torch.no_grad():
        before, after = small(z, observed, 64), large(z, observed, 64)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_settings_without_weights_may_differ():
    large = changed(sized(dropout=0.1, d_state=8), head={"loss_weights": "log_decay"})
    assert misfit(SMALL, dataclasses.replace(large, max_context=4096, name="other")) is None


def test_a_wider_embedding_alone_grows(config, tmp_path):
    """And does not start fresh, as one for other tokens does."""
    still = config.replace({"max_steps": 1, "optimizer.learning_rate": 0.0})
    run(still, tmp_path / "small", progress=False)
    wider = {"model.d_embed": 40}
    run(still, tmp_path / "large", initial=tmp_path / "small", overrides=wider, progress=False)
    z, observed = series()
    with torch.no_grad():
        one, two = (
            TSFM.from_pretrained(tmp_path / name).network(z, observed, 32)
            for name in ("small", "large")
        )
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)


def test_a_run_grows_from_a_smaller_model(config, tmp_path, caplog):
    still = config.replace({"max_steps": 1, "optimizer.learning_rate": 0.0})
    run(still, tmp_path / "small", progress=False)
    wider = {"model.backbone.n_layers": 3, "model.head.d_hidden": 48}
    with caplog.at_level("INFO"):
        run(
            still,
            tmp_path / "large",
            initial=tmp_path / "small",
            overrides=wider,
            progress=False,
        )
    assert "grows to the size of the run" in caplog.text
    z, observed = series()
    with torch.no_grad():
        one, two = (
            TSFM.from_pretrained(tmp_path / name).network(z, observed, 32)
            for name in ("small", "large")
        )
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)
    assert TSFM.from_pretrained(tmp_path / "large").config.backbone.n_layers == 3
