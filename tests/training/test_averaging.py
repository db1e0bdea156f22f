"""The mean of the last snapshots of a decay branch, whole and resumed."""

from __future__ import annotations

import pytest
import torch

from tsfm.models import TSFM
from tsfm.training.averaging import averaging, snapshot_steps
from tsfm.training.config import OptimizerConfig
from tsfm.training.module import PretrainModule
from tsfm.training.pretrain import run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


def go(config, out, **options):
    return run(config, out, progress=False, **options)


def test_snapshots_are_spread_over_the_end_of_the_decay():
    config = OptimizerConfig(last_k=4, last_k_share=0.4)
    assert snapshot_steps(config, 50, 100) == (120, 130, 140, 150)
    assert snapshot_steps(OptimizerConfig(last_k=1), 50, 100) == (150,)
    whole = OptimizerConfig(last_k=3, last_k_share=1.0)
    assert snapshot_steps(whole, 0, 10) == (3, 7, 10)
    assert snapshot_steps(OptimizerConfig(), 50, 100) == ()
    assert snapshot_steps(config, None, 0) == ()  # the trunk


def test_too_short_a_decay_is_refused_with_the_length_it_needs(config, tmp_path):
    config = config.replace({"optimizer.last_k": 8, "max_steps": 1})
    go(config, tmp_path)
    with pytest.raises(ValueError, match=r"last 0\.25 of 20 decay steps: run at least 32 "):
        go(config, tmp_path, decay_steps=20)
    assert snapshot_steps(config.optimizer, 0, 32) == tuple(range(25, 33))


def test_the_moving_average_goes_on_until_the_first_snapshot_and_then_the_mean():
    config = OptimizerConfig(average=0.5, last_k=2, last_k_share=0.5)
    fold_in = averaging(config, 10, 8)  # snapshots after steps 16 and 18
    average, means = torch.zeros(1), []
    for step in range(11, 19):
        fold_in([average], [torch.full((1,), float(step))], torch.tensor(step - 1))
        means.append(average.item())
    assert means[0] == 5.5
    assert means[5:] == [16, 16, 17]


@pytest.fixture
def raw(monkeypatch) -> dict[int, torch.Tensor]:
    """Raw weights of the final norm after every step."""
    seen: dict[int, torch.Tensor] = {}
    step = PretrainModule.optimizer_step

    def recording(self, *args, **kwargs):
        step(self, *args, **kwargs)
        seen[int(self.averaged.n_averaged)] = self.network.backbone.norm.weight.detach().clone()

    monkeypatch.setattr(PretrainModule, "optimizer_step", recording)
    return seen


def test_a_branch_releases_the_mean_of_its_snapshots_however_often_it_is_stopped(
    config, tmp_path, raw
):
    config = config.replace({"max_steps": 6})
    out = tmp_path / "run"
    go(config, out)
    average = (out / "model.safetensors").read_bytes()
    last_three = {"optimizer.last_k": 3, "optimizer.last_k_share": 0.75}
    go(config, out, decay_steps=8, overrides=last_three)  # the trunk need not know of them
    whole = (out / "model.safetensors").read_bytes()
    weights = TSFM.from_pretrained(out).network.backbone.norm.weight
    mean = torch.stack([raw[step] for step in (10, 12, 14)]).mean(0)
    torch.testing.assert_close(weights, mean, atol=1e-7, rtol=1e-6)
    part = go(config, out, decay_steps=8, overrides=last_three, max_minutes=0)
    while not part.finished:  # one step at a time
        before = part.step
        part = go(config, out, decay_steps=8, overrides=last_three, resume=True, max_minutes=0)
        assert part.step == before + 1
    assert (out / "model.safetensors").read_bytes() == whole
    other = {**last_three, "optimizer.last_k": 2}
    with pytest.raises(ValueError, match=r"begun with optimizer\.last_k=3, now it is 2"):
        go(config, out, decay_steps=8, overrides=other, resume=True)
    go(config, out, resume=True)  # the trunk goes on without them
    assert (out / "model.safetensors").read_bytes() == average
