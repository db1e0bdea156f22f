"""Hard negatives: in the twin as in the series, never labelled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tsfm.datasets.anomalies import Negatives, anomaly_batch
from tsfm.datasets.anomalies.bases import draw_bases, estimate_period

NAMES = list(vars(Negatives()))
NONE = dict.fromkeys(NAMES, 0.0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
def test_hard_negatives_change_the_twin_and_carry_no_label(recipe, name):
    with_it = replace(recipe, negatives=Negatives(**NONE | {name: 1.0}), clean=1.0)
    batch = anomaly_batch(with_it, 12, 1, 512, rng())
    assert torch.equal(batch.values, batch.clean)
    assert not batch.labels.any()
    plain = draw_bases(replace(with_it, negatives=Negatives(**NONE)), 12, 512, rng())
    assert (draw_bases(with_it, 12, 512, rng()).x - plain.x).abs().amax(-1).min() > 0


def test_an_outlier_below_regular_spikes_is_no_outlier(recipe):
    from tsfm.datasets.anomalies.examples import type_examples

    spiky = replace(recipe, negatives=Negatives(**NONE | {"regular_spikes": 1.0}), weak=0.0)
    plain = replace(spiky, negatives=Negatives(**NONE))
    shares = [
        type_examples(r, "upward_spike", 60, 512, rng()).labels.any(-1).float().mean()
        for r in (spiky, plain)
    ]
    assert shares[0] <= shares[1]


@pytest.mark.parametrize("period", [12, 50, 168])
def test_periods_are_found(period):
    t = torch.arange(1024)
    x = torch.sin(2 * torch.pi * t / period) + 0.3 * torch.randn(5, 1024, generator=rng())
    assert (estimate_period(x) - period).abs().max() <= max(1, 0.03 * period)


def test_noise_and_trends_have_no_period():
    noise = torch.randn(20, 1024, generator=rng())
    assert (estimate_period(noise) > 0).float().mean() == 0
    assert estimate_period(torch.arange(1024.0)[None]).item() == 0
    assert (estimate_period(noise.cumsum(-1)) > 0).float().mean() < 0.3
