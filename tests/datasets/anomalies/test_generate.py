"""The labelled corpus: shares, twins, labels, determinism."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tsfm.datasets.anomalies import KIND_NAMES, anomaly_batch
from tsfm.datasets.anomalies.catalogue import all_types


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch(shipped):
    return anomaly_batch(shipped, 400, 1, 1024, rng())


def test_shapes_types_and_finite_values(batch):
    for name, dtype in (("values", torch.float32), ("clean", torch.float32),
                        ("expected", torch.float32), ("labels", torch.bool),
                        ("kind", torch.int16)):  # fmt: skip
        tensor = getattr(batch, name)
        assert tensor.shape == (400, 1, 1024)
        assert tensor.dtype == dtype
        assert tensor.isfinite().all()
    assert batch.clean.mean(-1).abs().max() < 1e-3
    assert (batch.clean.std(-1) - 1).abs().max() < 0.02
    assert torch.equal(batch.labels, batch.kind > 0)
    assert batch.kind.max() < len(KIND_NAMES)


def test_label_share(batch):
    share = batch.labels.float().mean(-1)
    assert share.max() <= 0.35
    assert 0.02 < share.mean() < 0.1
    untouched = (batch.values == batch.clean).all(-1).float().mean()
    assert 0.28 < untouched < 0.45
    # some samples were changed too little for any label
    assert (share == 0).float().mean() > untouched


def test_samples_without_changes_have_no_label(batch):
    same = (batch.values == batch.clean).all(-1)
    assert not batch.labels[same].any()


def test_every_name_occurs_and_there_are_enough(shipped):
    groups = [kind.group for kind in all_types().values()]
    assert groups.count("local") >= 20
    assert groups.count("seasonal") >= 20
    seen: set[int] = set()
    for seed in range(8):
        seen |= set(anomaly_batch(shipped, 500, 1, 512, rng(seed)).kind.unique().tolist())
        if len(seen) == len(all_types()) + 1:
            break
    missing = {KIND_NAMES[i] for i in range(len(KIND_NAMES) - 1)} - {KIND_NAMES[i] for i in seen}
    assert not missing


def test_unlabelled_steps_are_those_expected(batch):
    """Away from labels, values follow the twin, lasting shifts, or an event too small to see."""
    touched = batch.labels.any(-1, keepdim=True)
    quiet = ~batch.labels & touched
    off = (batch.values - batch.expected).abs() > 1e-5
    assert (off & quiet).float().sum() / quiet.sum() < 0.02


def test_seeds_decide_and_leave_global_state_alone(recipe):
    state = torch.random.get_rng_state()
    one = anomaly_batch(recipe, 20, 2, 256, rng(3))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(99)
    two, other = (anomaly_batch(recipe, 20, 2, 256, rng(seed)) for seed in (3, 4))
    for name in ("values", "clean", "expected", "labels", "kind"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.values, other.values)


@pytest.mark.parametrize(("n", "channels", "length"), [(1, 1, 64), (7, 2, 65), (3, 5, 300)])
def test_any_size(recipe, n, channels, length):
    batch = anomaly_batch(recipe, n, channels, length, rng())
    assert batch.values.shape == batch.labels.shape == (n, channels, length)
    assert batch.values.isfinite().all()


@pytest.mark.parametrize("wave_share", [0.0, 1.0])
def test_waves_or_families_alone(recipe, wave_share):
    only = replace(recipe, wave_share=wave_share, clean=0.0)
    batch = anomaly_batch(only, 24, 1, 256, rng())
    assert batch.labels.any(-1).float().mean() > 0.5


def test_rows_without_any_fitting_type_stay_clean(recipe):
    only = dict.fromkeys(all_types(), 0.0) | {"wavelet_shift": 1.0}
    nothing = replace(recipe, wave_share=0.0, types=only, clean=0.0)
    batch = anomaly_batch(nothing, 8, 1, 256, rng())
    assert torch.equal(batch.values, batch.clean)


def test_missing_values_are_an_option_and_not_labelled(recipe):
    batch = anomaly_batch(replace(recipe, missing=1.0, clean=1.0), 10, 2, 256, rng())
    gone = batch.values.isnan()
    assert gone.any(-1).all()
    assert gone.float().mean() < 0.06
    assert not batch.labels.any()
    assert batch.clean.isfinite().all()


def test_bad_sizes(recipe):
    for n, channels, length in ((0, 1, 128), (1, 0, 128), (1, 1, 63)):
        with pytest.raises(ValueError, match="anomaly_batch needs"):
            anomaly_batch(recipe, n, channels, length, rng())
