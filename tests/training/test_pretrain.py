"""Runs: sliced, killed, branched and resumed, they end like runs that were left alone."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tsfm.models import TSFM
from tsfm.training import forecasting, pretrain
from tsfm.training.config import PretrainConfig
from tsfm.training.precision import use_bf16
from tsfm.training.pretrain import run

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


def go(config, out, **options):
    return run(config, out, progress=False, **options)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture
def batches(monkeypatch) -> list[float]:
    """A fingerprint of every batch trained on."""
    seen: list[float] = []
    original = forecasting.training_loss

    def recording(network, batch, *rest):
        seen.append(float(batch.values.nan_to_num().double().abs().sum()))
        return original(network, batch, *rest)

    monkeypatch.setattr(forecasting, "training_loss", recording)
    return seen


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain.shutil, "which", lambda name: None)
    monkeypatch.setattr(pretrain.torch.cuda, "is_available", lambda: False)
    config = PretrainConfig.load(ROOT / "configs/pretrain/nano.yaml", {"compile": True})
    with pytest.raises(ValueError, match="--set compile=false"):
        pretrain.check_compiler(config)
    pretrain.check_compiler(config.replace({"compile": False}))


def test_slices_end_like_one_run(config, tmp_path, batches):
    whole = go(config, tmp_path / "whole")
    assert (whole.step, whole.finished) == (20, True)
    data = batches.copy()
    assert len(set(data)) == 20
    batches.clear()
    out = tmp_path / "sliced"
    for steps in (3, 8, 13):  # inside a chunk, at its end, inside another
        go(dataclasses.replace(config, max_steps=steps), out, resume=steps > 3)
    slice_ = go(config, out, resume=True, max_minutes=0)
    assert (slice_.step, slice_.finished) == (14, False)
    assert TSFM.from_pretrained(out).forecast([[1.0, 2.0, 3.0]], 2).quantiles.shape == (1, 2, 9)
    last = go(config, out, resume=True)
    assert (last.step, last.finished) == (20, True)
    assert batches == data  # nothing skipped, nothing twice
    assert weights(out) == weights(tmp_path / "whole")
    assert (out / "config.json").read_bytes() == (tmp_path / "whole/config.json").read_bytes()


def test_resuming_restores_raw_weights_average_and_optimiser(config, tmp_path):
    go(config, tmp_path / "whole")
    go(dataclasses.replace(config, max_steps=9), tmp_path / "sliced")
    go(config, tmp_path / "sliced", resume=True)
    one, two = (
        torch.load(tmp_path / name / "trunk.ckpt", weights_only=True)
        for name in ("whole", "sliced")
    )
    assert int(one["state_dict"]["averaged.n_averaged"]) == 20
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, two["state_dict"][name]), name
    for index, entry in one["optimizer_states"][0]["state"].items():
        for name, value in entry.items():
            assert torch.equal(value, two["optimizer_states"][0]["state"][index][name]), name
    raw = one["state_dict"]["network.backbone.norm.weight"]
    assert not torch.equal(raw, one["state_dict"]["averaged.module.backbone.norm.weight"])


def test_dropout_draws_survive_a_restart(config, tmp_path):
    config = config.replace({"model.backbone.dropout": 0.3, "max_steps": 6})
    go(config, tmp_path / "whole")
    go(dataclasses.replace(config, max_steps=3), tmp_path / "sliced")
    torch.rand(5)
    go(config, tmp_path / "sliced", resume=True)
    assert weights(tmp_path / "sliced") == weights(tmp_path / "whole")


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_and_resumed(config_file, tmp_path, seed):
    """SIGKILL, at a random moment after the first checkpoint; then the run goes on."""
    overrides = {"max_steps": 150, "checkpoint_minutes": 5e-4}
    out = tmp_path / "killed"
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tsfm.training.pretrain import run\n"
        f"run(sys.argv[1], sys.argv[2], progress=False, overrides={overrides!r})"
    )
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(config_file), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        patience = time.monotonic() + 120
        while not (out / "trunk.ckpt").exists() and time.monotonic() < patience:
            assert child.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0, 0.8))
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    first = pretrain._steps_in(out / "trunk.ckpt")
    assert 0 < first < 150
    resumed = go(config_file, out, resume=True, overrides={"max_steps": 150})
    assert resumed.finished
    go(config_file, tmp_path / "whole", overrides={"max_steps": 150})
    assert weights(out) == weights(tmp_path / "whole")
    assert not list(out.glob("*.part"))


def test_a_run_with_stages_resumes_in_the_middle_of_one(config, tmp_path):
    stage = {"until": 11, "windows": [{"context": 1, "horizon": 1, "weight": 1.0}]}
    config = config.replace({"recipe.curriculum": [stage], "max_steps": 14})
    go(config, tmp_path / "whole")
    for steps in (6, 12, 14):
        part = dataclasses.replace(config, max_steps=steps)
        go(part, tmp_path / "sliced", resume=steps > 6)
    assert weights(tmp_path / "sliced") == weights(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"was begun with recipe\.curriculum="):
        go(config.replace({"recipe.curriculum": []}), tmp_path / "whole", resume=True)


def test_a_run_with_a_ring_resumes_with_the_same_series(config, tmp_path, batches):
    settings = {"recipe.ring.series": 32, "recipe.ring.refresh": 0.25}
    settings |= {"recipe.ring.device": "cpu", "recipe.short.share": 0.3}
    config = config.replace(settings)
    go(config, tmp_path / "whole")
    data = batches.copy()
    batches.clear()
    for steps in (3, 8, 13, 20):
        part = dataclasses.replace(config, max_steps=steps)
        go(part, tmp_path / "sliced", resume=steps > 3)
    assert batches == data
    assert weights(tmp_path / "sliced") == weights(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"recipe\.ring\.series=32, now it is 64"):
        go(config.replace({"recipe.ring.series": 64}), tmp_path / "whole", resume=True)


def test_a_kill_between_state_and_model_is_mended(config, tmp_path):
    go(config, tmp_path)
    good = weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    result = go(config, tmp_path, resume=True)
    assert result.finished
    assert weights(tmp_path) == good


def test_a_decay_branch_leaves_the_trunk_alone(config, tmp_path):
    go(config, tmp_path / "plain")
    out = tmp_path / "run"
    go(dataclasses.replace(config, max_steps=8), out)
    trunk = (out / "trunk.ckpt").read_bytes()
    decayed = go(config, out, decay_steps=6)
    assert (decayed.step, decayed.finished) == (14, True)
    assert (out / "trunk.ckpt").read_bytes() == trunk
    whole = weights(out)
    assert TSFM.from_pretrained(out).n_parameters > 0
    # the branch again, cut in two
    part = go(config, out, decay_steps=6, max_minutes=0)
    assert (part.step, part.finished) == (9, False)
    rest = go(config, out, decay_steps=6, resume=True)
    assert (rest.step, rest.finished) == (14, True)
    assert weights(out) == whole
    # and the trunk goes on as if there had been no branch
    go(config, out, resume=True)
    assert weights(out) == weights(tmp_path / "plain") != whole


def test_the_learning_rate_of_a_branch_falls(config, tmp_path):
    go(config, tmp_path)
    go(config, tmp_path, decay_steps=5)
    state = torch.load(tmp_path / "decay.ckpt", weights_only=True)
    rate = state["optimizer_states"][0]["param_groups"][0]["lr"]
    assert rate == pytest.approx(config.optimizer.learning_rate * config.optimizer.final_fraction)


def test_a_run_is_not_overwritten(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="starts from a trunk"):
        go(config, tmp_path / "new", decay_steps=3)
    short = dataclasses.replace(config, max_steps=1)
    go(short, tmp_path, resume=True)  # nothing to resume is a fresh start
    before = weights(tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        go(config, tmp_path)
    assert weights(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 99},
        {"overrides": {"optimizer.learning_rate": 1e-4}},
        {"decay_steps": 2, "seed": 99},
    ],
)
def test_other_settings_than_the_run_began_with_are_refused(config, tmp_path, change):
    go(dataclasses.replace(config, max_steps=1), tmp_path)
    before = weights(tmp_path)
    with pytest.raises(ValueError, match=r"was begun with (seed|optimizer\.learning_rate)="):
        go(config, tmp_path, resume=True, **change)
    assert weights(tmp_path) == before
    longer = dataclasses.replace(config, max_steps=2, log_every=1, validate_every=0)
    assert go(longer, tmp_path, resume=True).step == 2


def test_families_in_another_order_are_refused(config, tmp_path):
    families = {"waves": 0.5, "sarima": 0.5}
    begun = config.replace({"recipe.families": families, "max_steps": 1})
    go(begun, tmp_path)
    turned = begun.replace({"recipe.families": dict(reversed(families.items())), "max_steps": 2})
    with pytest.raises(ValueError, match=r"begun with recipe\.families\.waves where recipe"):
        go(turned, tmp_path, resume=True)


def test_seed_and_overrides_of_a_configuration_object_count(config, tmp_path):
    go(config, tmp_path / "a", overrides={"max_steps": 2})
    go(config, tmp_path / "b", overrides={"max_steps": 2}, seed=config.seed)
    result = go(config, tmp_path / "c", overrides={"max_steps": 2}, seed=99)
    assert result.step == 2
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    with pytest.raises(ValueError, match="Unknown configuration key 'steps'"):
        go(config, tmp_path / "d", overrides={"steps": 2})


def test_a_run_may_start_from_a_model(config, tmp_path):
    tiny = ROOT / "tests/assets/tiny"
    still = config.replace({"max_steps": 1, "optimizer.learning_rate": 0.0})
    go(still, tmp_path, initial=tiny)
    one, two = (TSFM.from_pretrained(folder).network.state_dict() for folder in (tiny, tmp_path))
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_a_run_with_another_tokenizer_starts_from_backbone_and_head(config, tmp_path, caplog):
    tiny = ROOT / "tests/assets/tiny"
    still = config.replace({"max_steps": 1, "optimizer.learning_rate": 0.0})
    with caplog.at_level("INFO"):
        go(still, tmp_path / "a", initial=tiny, overrides={"model.tokenizer.name": "entropy"})
    assert "embedding" in caplog.text
    found = (TSFM.from_pretrained(f).network.state_dict() for f in (tiny, tmp_path / "a"))
    one, two = found
    kept = [name for name in one if name.startswith(("backbone.", "head."))]
    assert kept
    assert all(torch.equal(one[name], two[name]) for name in kept)
    with pytest.raises(ValueError, match="another backbone or head"):
        go(still, tmp_path / "b", initial=tiny, overrides={"model.backbone.d_model": 40})


def test_validation_logs_and_records(config, tmp_path):
    config = dataclasses.replace(config, validate_every=5, max_steps=10)
    go(config, tmp_path)
    go(dataclasses.replace(config, max_steps=15), tmp_path, resume=True)
    rows = (tmp_path / "validation.csv").read_text().splitlines()
    assert rows[0] == "step,family,group,scaled_crps,coverage_80"
    found = [tuple(row.split(",")[:2]) for row in rows[1:]]
    assert found == [(s, f) for s in ("5", "10", "15") for f in ("waves", "local_level")]
    logs = sorted((tmp_path / "logs").glob("csv_*/metrics.csv"))
    assert len(logs) == 2  # the second slice left the first one's log alone
    assert "loss" in logs[0].read_text().splitlines()[0]
    go(
        dataclasses.replace(config, max_steps=10),
        tmp_path / "quiet",
        overrides={"validate_every": 0},
    )
    go(config, tmp_path / "checked")
    assert weights(tmp_path / "quiet") == weights(tmp_path / "checked")


def test_tensorboard_is_optional(config, tmp_path, monkeypatch):
    def missing(*_args, **_kwargs):
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr(pretrain, "TensorBoardLogger", missing)
    go(dataclasses.replace(config, max_steps=1), tmp_path)
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["csv_trunk_00000000"]


def test_settings_of_the_process_are_left_alone(config, tmp_path):
    def settings():
        return (
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
        )

    before = settings()
    go(dataclasses.replace(config, max_steps=2), tmp_path)
    assert settings() == before


def test_precision_names():
    assert use_bf16("bf16")
    assert not use_bf16("fp32")
    assert isinstance(use_bf16("auto"), bool)
    with pytest.raises(ValueError, match="precision must be"):
        use_bf16("fp8")


def test_bf16_trains(config, tmp_path):
    go(dataclasses.replace(config, max_steps=2, precision="bf16"), tmp_path)
    state = torch.load(tmp_path / "trunk.ckpt", weights_only=True)["state_dict"]
    assert all(v.dtype == torch.float32 for k, v in state.items() if k.startswith("network"))


def test_a_config_file_is_the_same_as_its_object(config_file, tmp_path):
    go(config_file, tmp_path / "file", overrides={"max_steps": 3})
    config = PretrainConfig.load(config_file, {"max_steps": 3})
    go(config, tmp_path / "object")
    assert weights(tmp_path / "file") == weights(tmp_path / "object")
