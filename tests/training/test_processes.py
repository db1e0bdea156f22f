"""Several processes: shares of a batch, what is refused, and weights like those of one process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tsfm.datasets.anomalies import AnomalyRecipe
from tsfm.datasets.labelled_windows import LabelledShape, LabelledWindows
from tsfm.models import DetectorConfig
from tsfm.training import processes
from tsfm.training.config import OptimizerConfig
from tsfm.training.detect_config import PretrainDetectorConfig
from tsfm.training.pretrain import run
from tsfm.training.processes import check_rows, check_settings, share_of, strategy_of
from tsfm.training.record import read_record
from tsfm.training.task import task_of

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]

DETECTOR = """
task: detect
model: {preset: tiny, max_context: 256}
recipe: anomalies.yaml
windows:
  shapes: [{length: 64, weight: 2}, {length: 128, channels: 2}]
  values_per_batch: 1300
  steps_per_chunk: 4
optimizer: {learning_rate: 2e-3, warmup_steps: 4, average: 0.9}
max_steps: 6
validate_every: 0
checkpoint_minutes: 1000
precision: fp32
seed: 3
"""
ANOMALIES = "{families: {waves: 1}, wave_share: 1.0, waves: {sine: 1}, clean: 0.3, block: 8}"


@pytest.fixture
def detector() -> PretrainDetectorConfig:
    return PretrainDetectorConfig.from_dict(
        PretrainDetectorConfig(
            DetectorConfig.preset("tiny"),
            AnomalyRecipe(families={"waves": 1.0}, clean=0.3, block=8),
            OptimizerConfig(warmup_steps=4),
            windows=LabelledWindows((LabelledShape(64, 2),), 64 * 2 * 7, 2, missing=0.5),
        ).to_dict()
    )


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shares_cover_a_batch_once(world_size):
    for n in range(world_size, 20):
        parts = [range(n)[share_of(n, rank, world_size)] for rank in range(world_size)]
        assert [row for part in parts for row in part] == list(range(n))
        sizes = {len(part) for part in parts}
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("task", ["forecast", "detect"])
def test_the_mean_over_shares_is_the_loss_of_the_whole_and_so_is_the_gradient(
    config, detector, task
):
    """Three unequal shares, one of them without a value: counts differ, the mean does not."""
    task_ = task_of(config if task == "forecast" else detector)
    torch.manual_seed(0)
    network = task_.network()
    batch = next(iter(task_.batches(0)))
    values = batch.values.clone()
    values[:2] = torch.nan
    batch = dataclasses.replace(batch, values=values)
    parts = [batch.rows(share_of(len(values), rank, 3)) for rank in range(3)]
    assert len({len(part.values) for part in parts}) == 2 or task == "forecast"
    loss, named = task_.loss(network, batch)
    loss.backward()
    whole = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    counts: list[torch.Tensor] = []

    def told(x: torch.Tensor) -> torch.Tensor:
        counts.append(x)
        return x

    for part in parts:
        task_.loss(network, part, told)
    shared = torch.stack(counts).mean(0)
    answers = [task_.loss(network, part, lambda _: shared) for part in parts]
    sum(answer for answer, _ in answers).div(3).backward()
    torch.testing.assert_close(torch.stack([a for a, _ in answers]).mean(), loss)
    for name, value in named.items():
        torch.testing.assert_close(torch.stack([p[name] for _, p in answers]).mean(), value)
    for name, parameter in network.named_parameters():
        if name in whole:
            torch.testing.assert_close(parameter.grad, whole[name], atol=1e-6, rtol=1e-4)


def test_what_cannot_be_started_is_refused(config, tmp_path, monkeypatch):
    check_settings(config)
    for change, message in (
        ({"devices": 0}, "devices must be at least 1"),
        ({"num_nodes": 0}, "num_nodes must be at least 1"),
        ({"strategy": "fsdp"}, "strategy must be one of auto, ddp"),
    ):
        with pytest.raises(ValueError, match=message):
            run(config.replace(change), tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="torchrun started 4 processes"):
        check_settings(config.replace({"devices": 2}))
    check_settings(config.replace({"devices": 2, "num_nodes": 2}))
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"has 1 GPU.*--devices 1"):
        check_settings(config.replace({"devices": 2, "num_nodes": 2}))


@pytest.mark.parametrize(("one", "other"), [({}, {"b": 1}), ({"b": 1}, {}), ({"b": 1}, {"b": 2})])
def test_processes_that_differ_are_refused(monkeypatch, one, other):
    def gather(found, facts):
        found[:] = [{"a": 0, **one}, {"a": 0, **other}]

    monkeypatch.setattr(processes.distributed, "all_gather_object", gather)
    trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match="Processes 0 and 1 differ in b"):
        processes.check_alike(trainer, {})


def test_batches_with_fewer_rows_than_processes_are_refused(config, detector):
    rows = task_of(config).rows_per_batch()
    assert list(rows.values()) == [16, 32]
    check_rows(rows, 16)
    with pytest.raises(ValueError, match=r"17 processes.*context 4 and horizon 2.*have 16"):
        check_rows(rows, 17)
    with pytest.raises(ValueError, match=r"64 steps of 2 channel\(s\) have 7\. Use at most 7"):
        check_rows(task_of(detector).rows_per_batch(), 8)
    for task in (task_of(config), task_of(detector)):
        sizes = {len(batch.values) for batch in islice(task.batches(0), 8)}
        assert sizes <= set(task.rows_per_batch().values())


def test_strategies(config, detector):
    assert strategy_of(config, rests=False) == "auto"
    two = config.replace({"devices": 2})
    for name, rests, looks in (
        ("auto", False, False),
        ("auto", True, True),
        ("ddp", True, False),
        ("ddp_find_unused_parameters_true", False, True),
    ):
        chosen = strategy_of(two.replace({"strategy": name}), rests)
        assert not isinstance(chosen, str)
        assert chosen._ddp_kwargs["find_unused_parameters"] is looks
    assert not task_of(config).rests
    assert not task_of(detector).rests
    alone = {"windows.shapes": [{"length": 64}, {"length": 64, "channels": 2}]}
    assert task_of(detector.replace(alone)).rests


def pretrain(config: Path, out: Path, *options: str) -> str:
    """The command with two processes; what it says."""
    command = [sys.executable, "-m", "tsfm.cli", "pretrain", "--config", str(config)]
    done = subprocess.run(
        [*command, "--out", str(out), "--devices", "2", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def states(*folders: Path) -> list[dict[str, torch.Tensor]]:
    return [torch.load(f / "trunk.ckpt", weights_only=True)["state_dict"] for f in folders]


def assert_alike(one: Path, two: Path) -> None:
    a, b = states(one, two)
    assert a.keys() == b.keys()
    for name, weight in a.items():
        torch.testing.assert_close(weight, b[name], atol=1e-5, rtol=0, msg=name)


def test_a_forecaster_goes_on_in_two_processes_and_ends_like_one(config_file, tmp_path):
    """Rows do not divide evenly, and the run changes hands in the middle of a chunk."""
    common = {"recipe.tokens_per_step": 90, "max_steps": 9, "validate_every": 6}
    run(config_file, tmp_path / "one", overrides=common, progress=False)
    out = tmp_path / "two"
    run(config_file, out, overrides={**common, "max_steps": 3}, progress=False)
    options = [item for key, value in common.items() for item in ("--set", f"{key}={value}")]
    said = pretrain(config_file, out, "--resume", *options)
    assert said.count("step 9 after") == 1  # the first process speaks
    assert_alike(tmp_path / "one", out)
    one, two = ((f / "validation.csv").read_text() for f in (tmp_path / "one", out))
    assert one.splitlines()[0] == two.splitlines()[0]
    assert len(one.splitlines()) == len(two.splitlines()) == 3
    assert read_record(out)["step"] == 9
    logs = sorted((out / "logs").glob("csv_*"))
    assert [log.name for log in logs] == ["csv_trunk_00000000", "csv_trunk_00000003"]


def test_a_detector_begun_in_two_processes_goes_on_in_one(tmp_path):
    (tmp_path / "anomalies.yaml").write_text(ANOMALIES)
    file = tmp_path / "detector.yaml"
    file.write_text(DETECTOR)
    run(file, tmp_path / "one", progress=False)
    pretrain(file, tmp_path / "two", "--set", "max_steps=4")
    run(file, tmp_path / "two", resume=True, progress=False)
    assert_alike(tmp_path / "one", tmp_path / "two")
