"""Training a detector: what counts in the loss, that it learns, and that it resumes exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tsfm.datasets.anomalies import KIND_NAMES, AnomalyRecipe, all_types, anomaly_batch
from tsfm.datasets.labelled_windows import (
    LabelledShape,
    LabelledWindowBatch,
    LabelledWindows,
    labelled_batches,
)
from tsfm.datasets.recipes import MaskConfig
from tsfm.models import Detector, DetectorConfig
from tsfm.models.detecting import DetectingNetwork
from tsfm.training.config import OptimizerConfig, PretrainConfig
from tsfm.training.detect_config import DetectionLoss, PretrainDetectorConfig
from tsfm.training.detect_validation import event_peaks, validate_detector
from tsfm.training.detecting import detection_loss, event_weights
from tsfm.training.module import PretrainModule
from tsfm.training.optimizers import build_optimizer
from tsfm.training.pretrain import run
from tsfm.training.task import load_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]

SPIKES = ("outlier", "upward_spike", "downward_spike")
EASY = AnomalyRecipe(
    families={"waves": 1.0},
    wave_share=1.0,
    waves={"sine": 1.0},
    types=dict.fromkeys(all_types(), 0.0) | dict.fromkeys(SPIKES, 1.0),
    clean=0.3,
    sensor=0.0,
    seasonal=0.0,
    weak=0.0,
    local_counts=(0.0, 0.0, 1.0, 1.0),
    strength=2.0,
    block=8,
)
FILE = """
task: detect
model: {preset: tiny, max_context: 256}
recipe: corpus.yaml
windows:
  shapes: [{length: 64, weight: 2}, {length: 128, channels: 2}]
  values_per_batch: 1024
  steps_per_chunk: 4
optimizer: {learning_rate: 2e-3, warmup_steps: 4, average: 0.9}
max_steps: 10
validate_every: 0
checkpoint_minutes: 1000
precision: fp32
seed: 3
"""


def go(config, out: Path, **options):
    return run(config, out, progress=False, **options)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture
def detect_config() -> PretrainDetectorConfig:
    return PretrainDetectorConfig(
        DetectorConfig.preset("tiny"),
        EASY,
        OptimizerConfig(warmup_steps=4, average=0.9),
        max_steps=10,
        validate_every=0,
        log_every=5,
        checkpoint_minutes=1000,
        precision="fp32",
        seed=3,
        windows=LabelledWindows(
            (LabelledShape(64), LabelledShape(128, 2)), values_per_batch=1024, steps_per_chunk=4
        ),
    )


def fresh(seed: int = 0) -> DetectingNetwork:
    torch.manual_seed(seed)
    config = dataclasses.replace(DetectorConfig.preset("tiny"), kinds=KIND_NAMES[1:])
    network = DetectingNetwork(config)
    for parameter in network.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return network


LABELS_OUT_OF_SIGHT = 5
"""A seed whose batch has anomalous steps that are missing or hidden."""


def labelled(seed: int = 0, **changes) -> LabelledWindowBatch:
    mask = MaskConfig(short_context=0.0, hidden_rows=1.0, hidden_share=0.4, hidden_span=2)
    windows = LabelledWindows(
        (LabelledShape(128, 2),), values_per_batch=2048, steps_per_chunk=1, missing=0.5, mask=mask
    )
    batch = labelled_batches(EASY, windows, 8, seed, 0)[0]
    return dataclasses.replace(batch, **changes)


def padded(batch: LabelledWindowBatch, steps: int) -> LabelledWindowBatch:
    """The same windows with steps after them that are not part of them."""
    pad = torch.nn.functional.pad
    return LabelledWindowBatch(
        pad(batch.values, (0, steps), value=torch.nan),
        pad(batch.expected, (0, steps), value=torch.nan),
        pad(batch.labels, (0, steps), value=True),
        pad(batch.kind, (0, steps), value=1),
        pad(batch.hidden, (0, steps // 8)),
    )


def test_steps_outside_of_the_window_do_not_count():
    network, batch = fresh(), labelled()
    one, parts = detection_loss(network, batch, DetectionLoss())
    two, others = detection_loss(network, padded(batch, 64), DetectionLoss())
    assert {*parts} == {"label", "hidden", "seen", "kind"}
    for name, part in parts.items():
        torch.testing.assert_close(part, others[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_labels_of_missing_and_hidden_steps_do_not_count():
    network, batch = fresh(), labelled(LABELS_OUT_OF_SIGHT)
    unseen = batch.values.isnan() | batch.hidden.repeat_interleave(8, dim=-1)
    assert batch.labels[unseen].any()
    flipped = dataclasses.replace(batch, labels=batch.labels ^ unseen)
    alike = DetectionLoss(
        short_exponent=0.0
    )  # how long an event is does not depend on what is seen
    _, one = detection_loss(network, batch, alike)
    _, two = detection_loss(network, flipped, alike)
    assert torch.equal(one["label"], two["label"])
    assert torch.equal(one["kind"], two["kind"])
    other = dataclasses.replace(batch, labels=~batch.labels)
    assert detection_loss(network, other, DetectionLoss())[1]["label"] > one["label"]


def test_steps_of_short_events_count_more():
    labels = torch.zeros(2, 3, 100, dtype=torch.bool)
    labels[0, 0, 10] = True  # one step
    labels[0, 1, 90:] = True  # ten, up to the end of a row
    labels[0, 2, :10] = True  # ten, from the begin of the next
    labels[1, 0, 10:90] = True  # eighty
    weights = event_weights(labels, 64, 0.5)
    assert (weights[~labels] == 1).all()
    assert weights[0, 0, 10] == 8
    torch.testing.assert_close(weights[0, 1:][labels[0, 1:]], torch.full((20,), 6.4**0.5))
    assert (weights[1] == 1).all()
    assert (event_weights(labels, 64, 0.0) == 1).all()


def test_hidden_and_missing_values_are_targets_but_never_inputs():
    network, batch = fresh(), labelled()
    covered = batch.hidden.repeat_interleave(8, dim=-1)
    wild = dataclasses.replace(batch, values=batch.values.masked_fill(covered, 1e6))
    one = detection_loss(network, batch, DetectionLoss())[1]
    two = detection_loss(network, wild, DetectionLoss())[1]
    for name in one:
        assert torch.equal(one[name], two[name])
    shifted = dataclasses.replace(
        batch, expected=batch.expected + 3.0 * (covered | batch.values.isnan())
    )
    three = detection_loss(network, shifted, DetectionLoss())[1]
    assert three["hidden"] != one["hidden"]
    assert torch.equal(three["seen"], one["seen"])


def test_the_unit_of_a_series_does_not_matter():
    network, batch = fresh(), labelled()
    unit = torch.rand(batch.values.shape[:2])[..., None] * 1e4 + 1
    other = dataclasses.replace(
        batch, values=batch.values * unit - 5e3, expected=batch.expected * unit - 5e3
    )
    one, two = (detection_loss(network, b, DetectionLoss())[0] for b in (batch, other))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("edit", ["all missing", "all hidden", "constant", "no anomaly"])
def test_windows_with_nothing_to_learn_do_no_harm(edit):
    network, batch = fresh(), labelled()
    if edit == "all missing":
        batch = dataclasses.replace(batch, values=batch.values * torch.nan)
    elif edit == "all hidden":
        batch = dataclasses.replace(batch, hidden=torch.ones_like(batch.hidden))
    elif edit == "constant":
        flat = torch.full_like(batch.values, 2.0)
        batch = dataclasses.replace(batch, values=flat, expected=flat)
    else:
        none = torch.zeros_like(batch.labels)
        batch = dataclasses.replace(batch, labels=none, kind=none.to(torch.int16))
    loss, _ = detection_loss(network, batch, DetectionLoss())
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_focal_weight_and_class_weight():
    network, batch = fresh(), labelled()
    plain = DetectionLoss(smoothing=0.0, focal=0.0)
    value = detection_loss(network, batch, plain)[1]["label"]
    focal = detection_loss(network, batch, dataclasses.replace(plain, focal=1.0))[1]["label"]
    heavy = dataclasses.replace(plain, positive_weight=3.0)
    assert focal < value < detection_loss(network, batch, heavy)[1]["label"]
    without, parts = detection_loss(network, batch, DetectionLoss(kind_weight=0.0))
    assert "kind" not in parts
    assert without < detection_loss(network, batch, DetectionLoss())[0]
    with pytest.raises(ValueError, match=r"loss\.focal must not be negative"):
        DetectionLoss(focal=-1.0)
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\)"):
        DetectionLoss(smoothing=1.0)


@pytest.fixture(scope="module")
def trained() -> tuple[Detector, list[float]]:
    """A network that has seen some dozen batches of spikes on sine waves."""
    windows = LabelledWindows(
        (LabelledShape(128),), values_per_batch=128 * 32, steps_per_chunk=20, missing=0.0
    )
    torch.manual_seed(0)
    network = DetectingNetwork(DetectorConfig.preset("tiny"))
    optimizer = build_optimizer(network, OptimizerConfig(learning_rate=1e-2))
    losses = []
    for chunk in range(3):
        for batch in labelled_batches(EASY, windows, 8, 0, chunk):
            loss, _ = detection_loss(network, batch, DetectionLoss())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
    return Detector(network), losses


def test_the_loss_falls_and_spikes_rank_above_normal_steps(trained):
    detector, losses = trained
    assert np.mean(losses[-10:]) < 0.75 * losses[0]
    batch = anomaly_batch(EASY, 24, 1, 128, torch.Generator().manual_seed(99))
    marks, scores = [], []
    for values, labels in zip(batch.values, batch.labels, strict=True):
        scores.append(detector.score(values.T.numpy()).score.ravel())
        marks.append(labels.numpy().ravel())
    score, mark = np.concatenate(scores), np.concatenate(marks)
    rank = score.argsort().argsort()
    positives, negatives = mark.sum(), (~mark).sum()
    auc = (rank[mark].sum() - positives * (positives - 1) / 2) / (positives * negatives)
    assert auc > 0.85


def test_overlapping_windows_say_what_single_ones_say_in_their_interior(trained):
    detector, _ = trained
    values = anomaly_batch(EASY, 1, 1, 1024, torch.Generator().manual_seed(7)).values[0, 0]
    one, two = (
        1 / (1 + np.exp(-detector.score(values.numpy(), window=128, overlap=share).score[:, 0]))
        for share in (0.0, 0.5)
    )
    interior = (np.arange(1024) % 128 >= 16) & (np.arange(1024) % 128 < 112)
    assert np.abs(one - two)[interior].mean() < 0.05
    assert np.abs(one - two).max() > 0


def test_validation_tells_what_is_found(trained):
    network = trained[0].network
    state = {name: weight.clone() for name, weight in network.state_dict().items()}
    scores = validate_detector(network, EASY, n=32, length=128, wide=(4, 2))
    assert scores == validate_detector(network, EASY, n=32, length=128, wide=(4, 2))
    assert all(torch.equal(w, state[name]) for name, w in network.state_dict().items())
    assert scores.metrics["average_precision"] > 0.3
    assert 0 <= scores.metrics["false_alarms"] <= 1
    assert {row[0] for row in scores.rows} <= set(SPIKES)
    assert all(0 <= float(share) <= 1 for row in scores.rows for share in row[2:])
    assert len(scores.columns) == len(scores.rows[0])
    narrow = validate_detector(network, EASY, n=8, length=128, wide=(0, 0))
    assert "average_precision_wide" not in narrow.metrics
    calm = validate_detector(network, dataclasses.replace(EASY, clean=1.0), n=4, length=64)
    assert calm.rows == []
    assert calm.metrics["average_precision"] == 0


def test_events_end_where_the_row_or_the_type_does():
    kind = torch.tensor([[1, 1, 2, 0, 2], [2, 0, 0, 0, 1]])
    kinds, peaks = event_peaks(kind, torch.arange(10.0).view(2, 5))
    assert kinds.tolist() == [1, 2, 2, 2, 1]
    assert peaks.tolist() == [1, 2, 4, 5, 9]


def test_slices_end_like_one_run(detect_config, tmp_path):
    whole = go(detect_config, tmp_path / "whole")
    assert (whole.step, whole.finished, whole.task) == (10, True, "detect")
    out = tmp_path / "sliced"
    for steps in (3, 4, 7):  # inside a chunk, at its end, inside another
        go(dataclasses.replace(detect_config, max_steps=steps), out, resume=steps > 3)
    slice_ = go(detect_config, out, resume=True, max_minutes=0)
    assert (slice_.step, slice_.finished) == (8, False)
    assert Detector.from_pretrained(out, device="cpu").score(np.arange(30.0)).score.shape
    assert go(detect_config, out, resume=True).finished
    assert weights(out) == weights(tmp_path / "whole")
    one, two = (
        torch.load(folder / "trunk.ckpt", weights_only=True)["state_dict"]
        for folder in (out, tmp_path / "whole")
    )
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_a_decay_branch_leaves_the_trunk_alone(detect_config, tmp_path):
    go(dataclasses.replace(detect_config, max_steps=4), tmp_path)
    trunk = (tmp_path / "trunk.ckpt").read_bytes()
    decayed = go(detect_config, tmp_path, decay_steps=3)
    assert (decayed.step, decayed.finished) == (7, True)
    assert (tmp_path / "trunk.ckpt").read_bytes() == trunk


def test_a_file_validates_logs_and_cannot_go_on_as_another_task(detect_config, config, tmp_path):
    (tmp_path / "corpus.yaml").write_text(
        "families: {waves: 1}\nwave_share: 1.0\nwaves: {sine: 1}\nclean: 0.3\nblock: 8\n"
    )
    path = tmp_path / "detector.yaml"
    path.write_text(FILE)
    read = load_run(path, {"optimizer.clip": 2.0})
    assert isinstance(read, PretrainDetectorConfig)
    assert (read.optimizer.clip, read.model.kinds) == (2.0, KIND_NAMES[1:])
    out = tmp_path / "run"
    changes = {"max_steps": 2, "validate_every": 2, "log_every": 1}
    go(path, out, overrides=changes)
    rows = (out / "validation.csv").read_text().splitlines()
    assert rows[0] == "step,kind,events,recall,recall_1_in_1000"
    assert all(row.startswith("2,") for row in rows[1:])
    header = next((out / "logs").glob("csv_*/metrics.csv")).read_text().splitlines()[0]
    for column in ("loss", "loss/label", "loss/kind", "validation/false_alarms"):
        assert column in header.split(",")
    assert Detector.from_pretrained(out, device="cpu").config.kinds == KIND_NAMES[1:]
    before = weights(out)
    with pytest.raises(ValueError, match="holds a run of the task 'detect', not 'forecast'"):
        go(config, out, resume=True)
    assert isinstance(config, PretrainConfig)
    assert weights(out) == before


def test_a_run_may_start_from_a_detector(detect_config, tmp_path):
    go(dataclasses.replace(detect_config, max_steps=1), tmp_path / "first")
    still = detect_config.replace({"max_steps": 1, "optimizer.learning_rate": 0.0})
    go(still, tmp_path / "second", initial=tmp_path / "first")
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    changes = {"model.backbone.d_hidden": 96}
    with pytest.raises(ValueError, match="only forecasters grow"):
        go(still, tmp_path / "third", initial=tmp_path / "first", overrides=changes)


def test_recurrent_detectors_train(detect_config, tmp_path):
    changes = {"model.backbone.name": "mamba2", "model.backbone.d_state": 8, "max_steps": 1}
    assert go(detect_config, tmp_path, overrides=changes).finished


def test_settings_must_go_together(detect_config):
    with pytest.raises(ValueError, match=r"at most model\.max_context=64"):
        detect_config.replace({"model.max_context": 64})
    with pytest.raises(ValueError, match=r"model\.kinds are not the types"):
        detect_config.replace({"model.kinds": ["spike"]})
    with pytest.raises(ValueError, match=r"Unknown configuration key 'windows\.rows'"):
        detect_config.replace({"windows.rows": 3})
    network = PretrainModule(detect_config.replace({})).network
    assert network.config.kinds == KIND_NAMES[1:]
    bare = detect_config.replace({"loss.kind_weight": 0.0})
    assert PretrainModule(bare).network.kinds is None
