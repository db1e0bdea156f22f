"""Single types: labels on the deviation, lasting changes, faint changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tsfm.datasets.anomalies.catalogue import KIND_NAMES, all_types
from tsfm.datasets.anomalies.examples import type_examples

LOCAL = [name for name, kind in all_types().items() if kind.group == "local"]
LASTING = [name for name in LOCAL if "sudden" in name or "_after_" in name]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", list(all_types()))
def test_labels_lie_on_the_deviation(recipe, name):
    batch = type_examples(replace(recipe, weak=0.0), name, 12, 512, rng())
    labelled = batch.labels.any(-1)[:, 0]
    assert labelled.sum() >= 2
    index = KIND_NAMES.index(name)
    assert set(batch.kind.unique().tolist()) <= {0, index}
    off = (batch.values - batch.clean).abs() > 1e-6
    assert off[labelled].any(-1).all()
    # a label begins and ends where something differs, up to a twentieth of the largest change
    change = (batch.values - batch.clean).abs()[:, 0]
    for row in torch.nonzero(labelled)[:, 0]:
        steps = torch.nonzero(batch.labels[row, 0])[:, 0]
        least = 0.04 * change[row, steps].max()
        assert change[row, steps[0]] >= least
        assert change[row, steps[-1]] >= least
    if name in LOCAL:
        assert off[batch.labels].float().mean() >= 0.95


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_change_is_labelled_only_while_it_happens(recipe, name):
    batch = type_examples(replace(recipe, weak=0.0), name, 30, 512, rng())
    rows = torch.nonzero(batch.labels.any(-1)[:, 0])[:, 0]
    off = (batch.values - batch.clean).abs()[rows, 0] > 1e-6
    labels = batch.labels[rows, 0]
    last = torch.where(labels, torch.arange(512), -1).amax(-1, keepdim=True)
    after = torch.arange(512) > last
    assert not (labels & after).any()
    assert off[after].float().mean() > 0.95
    assert torch.allclose(batch.values[rows, 0][after], batch.expected[rows, 0][after], atol=1e-4)
    before = ~after & ~labels
    assert off[before].float().mean() < 0.02


@pytest.mark.parametrize("name", ["outlier", "upward_convex", "sudden_increase"])
def test_faint_changes_happen_but_are_not_labelled(recipe, name):
    faint = replace(recipe, weak=1.0, strength=0.05)
    batch = type_examples(faint, name, 40, 512, rng())
    assert ((batch.values - batch.clean).abs().amax(-1) > 0).all()
    assert batch.labels.any(-1).float().mean() < 0.1
    strong = type_examples(replace(recipe, weak=0.0, strength=3.0), name, 40, 512, rng())
    assert strong.labels.any(-1).float().mean() > 0.85


def test_directions():
    from tsfm.datasets.anomalies import AnomalyRecipe

    plain = AnomalyRecipe(wave_share=1.0, weak=0.0)
    up = dict.fromkeys(("upward_spike", "rapid_rise_slow_decline"), 1)
    down = dict.fromkeys(("downward_convex", "sudden_decrease", "slow_decline_rapid_rise"), -1)
    for name, sign in (up | down).items():
        batch = type_examples(plain, name, 20, 400, rng())
        change = (batch.values - batch.clean)[batch.labels]
        assert (sign * change).median() > 0


def test_a_flat_line_is_flat_and_a_dropout_low(recipe):
    flat = type_examples(recipe, "flat_line", 20, 512, rng())
    inside = flat.labels[..., 1:] & flat.labels[..., :-1]
    assert flat.values.diff(dim=-1)[inside].abs().max() < 1e-5
    low = type_examples(recipe, "dropout", 20, 512, rng())
    bound = low.clean.amin(-1, keepdim=True).expand_as(low.clean)
    assert (low.values[low.labels] <= bound[low.labels] + 1e-5).all()


def test_inversion_mirrors_the_season():
    from tsfm.datasets.anomalies import AnomalyRecipe, Negatives

    quiet = Negatives(**dict.fromkeys(vars(Negatives()), 0.0))
    plain = AnomalyRecipe(wave_share=1.0, waves={"sine": 1.0}, negatives=quiet)
    batch = type_examples(plain, "inversion", 30, 1024, rng())
    labelled = batch.labels.any(-1)[:, 0]
    assert labelled.float().mean() > 0.8
    mixed = []
    for row in torch.nonzero(labelled)[:, 0]:
        at = batch.labels[row, 0]
        if at.sum() > 20:
            pair = torch.stack([batch.values[row, 0, at], batch.clean[row, 0, at]])
            mixed.append(torch.corrcoef(pair)[0, 1])
    assert torch.stack(mixed).median() < -0.5


def test_unknown_type(recipe):
    with pytest.raises(ValueError, match="unknown anomaly type 'x'"):
        type_examples(recipe, "x", 2, 128, rng())
