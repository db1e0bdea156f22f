"""Which changes are labelled."""

from __future__ import annotations

import math

import pytest
import torch

from tsfm.datasets.anomalies.recipe import Visibility
from tsfm.datasets.anomalies.visibility import visible

L = 1000
T = torch.arange(L)


def seen(x, delta, label=None, settled=None, lag=0.0):
    label = delta != 0 if label is None else label
    settled = torch.zeros_like(label) if settled is None else settled
    lags = torch.full((x.shape[0], 1), lag)
    rng = torch.Generator().manual_seed(1)
    return visible(x, delta, label, settled, lags, Visibility(), rng).float().mean().item()


@pytest.fixture
def noise():
    return torch.randn(40, L, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "expected"), [(1.5, 0), (2.5, 0.1), (7.0, 1)])
def test_points_in_noise(noise, height, expected):
    share = seen(noise, ((T == 400) * height).expand_as(noise))
    assert abs(share - expected) <= 0.15


@pytest.mark.parametrize(("height", "low", "high"), [(0.3, 0, 0.1), (2.0, 0.9, 1)])
def test_long_bumps_need_less(noise, height, low, high):
    bump = ((T >= 400) & (T < 480)) * height
    assert low <= seen(noise, bump.expand_as(noise)) <= high


def test_noise_in_place_of_noise_is_no_anomaly(noise):
    inside = (T >= 400) & (T < 480)
    other = torch.where(inside, noise.roll(1, 0) - noise, 0.0)
    assert seen(noise, other) <= 0.1


def test_flat_noise_and_loud_noise_are(noise):
    inside = (T >= 400) & (T < 480)
    assert seen(noise, torch.where(inside, -noise, 0.0)) == 1
    assert seen(noise, torch.where(inside, 2 * noise, 0.0)) == 1


def test_what_the_season_explains_is_seen_against_it():
    phase = torch.linspace(0, 1, 40)[:, None]
    x = math.sqrt(2) * torch.sin(2 * math.pi * (T / 50 + phase))
    inside = (T >= 400) & (T < 450)
    assert seen(x, torch.where(inside, -2 * x, 0.0), lag=50.0) == 1
    shifted = x.roll(-50, 1) - x
    assert seen(x, torch.where(inside, shifted, 0.0), lag=50.0) == 0


def test_a_lasting_shift_counts_by_its_edge(noise):
    edge, after = (T >= 400) & (T < 404), T >= 404
    for height, low, high in ((0.4, 0, 0.1), (3.0, 0.95, 1)):
        delta = ((edge | after) * height).expand_as(noise)
        share = seen(noise, delta, edge.expand_as(noise), after.expand_as(noise))
        assert low <= share <= high


def test_nothing_changed_is_never_labelled(noise):
    label = (T == 400).expand_as(noise)
    assert seen(noise, torch.zeros_like(noise), label) == 0
