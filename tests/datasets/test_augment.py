"""Augmentations: finite, reproducible, inputs untouched; each edit does what its name says."""

from dataclasses import fields

import pytest
import torch

from tsfm.datasets import edits
from tsfm.datasets.augment import AugmentConfig, augment_series, drop_values

NAMES = [f.name for f in fields(AugmentConfig) if f.name not in ("missing", "max_missing")]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def only(**shares):
    return AugmentConfig(**{name: shares.get(name, 0.0) for name in NAMES})


@pytest.fixture
def batch():
    x = torch.cumsum(torch.randn(48, 256, generator=rng(9)), -1)
    x[0] = 4.0  # a constant row
    return x


@pytest.mark.parametrize("length", [16, 100, 512])
@pytest.mark.parametrize("seed", range(3))
def test_finite_and_input_untouched(length, seed):
    x = torch.randn(64, length, generator=rng(seed))
    x[:3] = -1.0
    copy = x.clone()
    y = augment_series(x, rng(seed), AugmentConfig(pool=0.0))
    assert torch.equal(x, copy)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_edit_alone_is_finite_and_reproducible(name, batch):
    config = only(**{name: 1.0})
    y = augment_series(batch, rng(), config)
    assert torch.equal(torch.nan_to_num(y), torch.nan_to_num(augment_series(batch, rng(), config)))
    assert torch.isfinite(y[:, -1]).all()
    if name != "pool":
        assert torch.isfinite(y).all()


def test_nothing_switched_on_means_z_scores(batch):
    y = augment_series(batch, rng(), only())
    torch.testing.assert_close(y[1:].mean(-1), torch.zeros(47), atol=1e-4, rtol=0)
    torch.testing.assert_close(y[1:].std(-1, correction=0), torch.ones(47), atol=1e-3, rtol=0)
    assert (y[0] == 0).all()


def test_share_of_rows_is_respected():
    x = torch.randn(4000, 16, generator=rng())
    base = augment_series(x, rng(), only())
    y = augment_series(x, rng(), only(flip=0.3))
    assert (y != base).any(-1).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_flip_and_reverse_are_their_own_inverse(batch):
    for edit in (edits.flip, edits.reverse):
        assert torch.equal(edit(edit(batch, rng()), rng()), batch)


def test_pooled_rows_are_right_aligned(batch):
    y = edits.pool(edits.zscore(batch)[1:], rng())
    missing = y.isnan()
    assert missing[:, 0].all()
    assert not missing[:, -1].any()
    assert (torch.diff(missing.int(), dim=-1) <= 0).all()  # NaN only on the left


def test_censoring_makes_a_plateau_at_an_extreme(batch):
    x = edits.zscore(batch)[1:]
    y = edits.censor(x, rng())
    at_edge = (
        (y == y.amin(-1, keepdim=True)).sum(-1).maximum((y == y.amax(-1, keepdim=True)).sum(-1))
    )
    assert (at_edge > 1).float().mean() > 0.9


def test_quantise_leaves_few_levels(batch):
    y = edits.quantise(edits.zscore(batch)[1:], rng())
    assert max(len(row.unique()) for row in y) <= 202


def test_convolution_is_causal():
    x = torch.zeros(6, 200)
    x[:, 120] = 1.0
    y = edits.convolve(x, rng())
    torch.testing.assert_close(y[:, :120], y[:, :1].expand(-1, 120))


def test_whole_units_are_evenly_spaced(batch):
    x = edits.zscore(batch)[1:]
    y = edits.round_to_units(x, rng())
    few = [row.unique() for row in y if len(row.unique()) < 60]
    assert len(few) > 15
    for levels in few:
        steps = levels.diff() / levels.diff().min()
        torch.testing.assert_close(steps, steps.round(), atol=0.05, rtol=0.01)


def test_smoothing_leaves_the_slow_part_and_a_season_adds_a_line(batch):
    x = edits.zscore(torch.randn(200, 512, generator=rng(1)))
    rough = edits.smooth(x, rng()).diff(dim=-1).std(-1)
    assert rough.median() < 0.6 * x.diff(dim=-1).std(-1).median()
    power = torch.fft.rfft(edits.add_season(x, rng())).abs().square()
    share = power.amax(-1) / power.sum(-1)
    assert share.median() > 2 * (torch.fft.rfft(x).abs().square().amax(-1) / 512**2 * 2).median()


def test_directed_rows_are_not_reversed(batch):
    directed = torch.arange(48) % 2 == 0
    forward = augment_series(batch, rng(), only())
    y = augment_series(batch, rng(), only(reverse=1.0), directed=directed)
    assert torch.equal(y[directed], forward[directed])
    assert torch.equal(y[~directed], forward[~directed].flip(-1))


def test_drop_values_takes_at_most_the_limit_and_keeps_the_rest():
    x = torch.randn(300, 200, generator=rng())
    y = drop_values(x, rng(), AugmentConfig(missing=1.0, max_missing=0.4))
    gone = y.isnan()
    assert gone.any(-1).float().mean() > 0.8
    assert gone.float().mean(-1).max() < 0.55
    assert torch.equal(y[~gone], x[~gone])
    assert not x.isnan().any()


def test_drop_values_default_share():
    y = drop_values(torch.randn(3000, 400, generator=rng()), rng())
    assert 0.1 < y.isnan().any(-1).float().mean() < 0.18


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_config_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match=r"AugmentConfig\.mixup"):
        AugmentConfig(mixup=bad)
