"""The pinball loss against closed forms, and the weights of steps further ahead."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tsfm.models.config import HeadConfig, TokenizerConfig
from tsfm.models.losses import log_decay, log_decay_weights, shared_out
from tsfm.models.quantiles import pinball
from tsfm.tokenizers import FixedPatchTokenizer

LEVELS = torch.tensor([0.1, 0.5, 0.9])


def test_pinball_of_a_normal_variable_is_known():
    # E[pinball] at the true quantile q of level tau is the density at q
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(200_000, 1, generator=rng, dtype=torch.float64)
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(LEVELS)
    density = torch.exp(-(quantiles**2) / 2) / math.sqrt(2 * math.pi)
    found = pinball(y - quantiles, LEVELS).mean(0)
    torch.testing.assert_close(found, density.double(), atol=3e-3, rtol=0)
    assert pinball(torch.tensor([[2.0, -2.0, 0.0]]), LEVELS).tolist() == [
        pytest.approx([0.2, 1.0, 0.0])
    ]


def test_quantiles_of_a_normal_variable_are_found():
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(20_000, 1, generator=rng)
    guess = torch.full((3,), 2.0, requires_grad=True)
    optimizer = torch.optim.Adam([guess], lr=0.05)
    for _ in range(250):
        optimizer.zero_grad()
        pinball(y - guess, LEVELS).mean(0).sum().backward()
        optimizer.step()
    wanted = torch.tensor([-1.2816, 0.0, 1.2816])
    torch.testing.assert_close(guess.detach(), wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("n_steps", [1, 2, 16, 64, 128, 720])
def test_weights_decay_and_sum_to_one(n_steps):
    weights = log_decay_weights(n_steps)
    assert weights.shape == (n_steps,)
    assert abs(float(weights.sum()) - 1) < 0.02
    assert (weights > 0).all()
    assert (weights.diff() < 0).all()


def test_published_weights_up_to_their_sum():
    steps = torch.linspace(1 + 1e-5, 128 - 1e-3, 128)
    published = (math.log(128) - steps.log()) / 128
    assert abs(float(published.sum()) - 0.974) < 1e-3
    found = log_decay_weights(128)
    torch.testing.assert_close(found, published / published.sum(), atol=1e-6, rtol=1e-3)


def test_steps_are_counted_from_what_is_known():
    z = torch.randn(2, 40)
    batch = FixedPatchTokenizer(16).tokenize(z, torch.ones_like(z) > 0, 32)
    weights = log_decay(batch, 16, 32)
    wanted = log_decay_weights(32)
    assert weights.shape == (2, 5, 16)
    assert torch.equal(weights[:, :3], wanted[:16].expand(2, 3, -1))
    assert torch.equal(weights[0, 3], wanted[16:])
    assert (weights[:, 4] == wanted[-1]).all()  # beyond the series: no targets


def test_missing_targets_do_not_make_the_loss_smaller(random_model):
    tokenizer = TokenizerConfig(
        name="decomposed", causal_decomposition=False, embedding="decomposed"
    )
    head = HeadConfig(d_hidden=32, loss_weights="log_decay")
    network = random_model("transformer", tokenizer=tokenizer, head=head).network
    z, observed = torch.zeros(2, 128), torch.ones(2, 128) > 0
    z[:, 64:] = 5.0
    observed[1, 80:] = False  # only the context's end and what follows it is learnt from
    loss = network.loss(z, observed, 64)
    assert loss[1] > 0.9 * loss[0] > 0
    observed[1, 64:] = False
    assert network.loss(z, observed, 64)[1] == 0


def test_only_the_training_loss_changes(random_model):
    z = torch.sin(torch.arange(128.0) / 4).repeat(2, 1)
    observed = torch.ones_like(z) > 0
    plain, weighted = (
        random_model("transformer", amount=0.1, head=HeadConfig(d_hidden=32, loss_weights=name))
        for name in ("even", "log_decay")
    )
    one, two = (model.network(z, observed, 40) for model in (plain, weighted))
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match="'even' or 'log_decay', got 'steep'"):
        random_model("transformer", head=HeadConfig(loss_weights="steep"))
    assert (plain.network.loss(z, observed, 64) != weighted.network.loss(z, observed, 64)).all()
    assert dataclasses.replace(weighted.config.head, loss_weights="even") == plain.config.head


def spans(values: torch.Tensor) -> torch.Tensor:
    """Weights [1, 6, 2] of six tokens, the first four of the context."""
    return values.repeat_interleave(2).view(1, 6, 2)


def test_the_horizon_has_its_share():
    weight = spans(torch.tensor([0.0, 1, 1, 1, 1, 1]))
    shared = shared_out(weight, n_context=4, horizon_share=0.5)[0].sum(1)
    torch.testing.assert_close(shared, torch.tensor([0, 1, 1, 2 / 3, 2 / 3, 2 / 3]) / 4)
    assert shared_out(weight, 4, 1.0)[0, :3].sum() == 0
    assert shared_out(weight, 4, 0.0)[0, 3:].sum() == 0
    tilted = spans(torch.tensor([0.0, 1, 3, 4, 1, 0]))  # given weights keep their proportions
    torch.testing.assert_close(
        shared_out(tilted, 4, 0.5)[0].sum(1), torch.tensor([0, 1 / 8, 3 / 8, 0.4, 0.1, 0])
    )


def test_a_share_without_targets_leaves_the_rest(random_model):
    """A row whose horizon is missing is learnt from with its context, as before."""
    network = random_model("transformer", amount=0.1).network
    z = torch.sin(torch.arange(192.0) / 4).repeat(2, 1)
    observed = torch.ones_like(z) > 0
    observed[1, 128:] = False
    even = network.loss(z, observed, 64)
    halves = network.loss(z, observed, 64, horizon_share=0.5)
    assert halves[0] != even[0]
    torch.testing.assert_close(halves[1], even[1])
    ahead = network.loss(z, observed, 64, horizon_share=1.0)
    context = network.loss(z, observed, 64, horizon_share=0.0)
    torch.testing.assert_close(halves[0], (ahead[0] + context[0]) / 2)
    assert ahead[1] == 0
    torch.testing.assert_close(context[1], even[1])


def test_with_the_whole_share_only_the_forecast_counts(random_model):
    network = random_model("transformer", amount=0.1).network
    z = torch.sin(torch.arange(192.0) / 4).repeat(2, 1)
    observed = torch.ones_like(z) > 0
    quantiles = network(z[:, :128], observed[:, :128], 64)
    levels = torch.tensor(network.config.head.quantile_levels)
    error = pinball(z[:, 128:, None] - quantiles, levels).mean((1, 2))
    scaled = network.loss(z, observed, 64, horizon_share=1.0) / (2 * error)
    torch.testing.assert_close(scaled[0], scaled[1])  # the unit of both rows is the same
    unit = network.tokenizer.tokenize(z[:, :128], observed[:, :128], 64).error_scale
    torch.testing.assert_close(scaled, 1 / unit.clamp_min(0.1))
