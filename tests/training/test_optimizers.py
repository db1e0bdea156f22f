"""Muon and NorMuon: what a step looks like, what it leaves alone, and that a run resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from tsfm.models import ModelConfig
from tsfm.models.network import ForecastingNetwork
from tsfm.training.config import OptimizerConfig, PretrainConfig
from tsfm.training.optimizers import Muon, build_optimizer, hidden_matrices, orthogonalised
from tsfm.training.pretrain import run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    """Parameters with a gradient."""
    made = [nn.Parameter(matrix(*shape, seed=i)) for i, shape in enumerate(shapes)]
    for i, parameter in enumerate(made):
        parameter.grad = matrix(*parameter.shape, seed=100 + i)
    return made


def muon(weights: list[nn.Parameter], **options) -> Muon:
    options = {"lr": 0.1, "dtype": torch.float32} | options
    return Muon([{"params": weights, "orthogonal": True}], **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 40, 16), (2, 16, 40), (1, 416, 80)])
def test_singular_values_come_near_one_and_directions_stay(shape, dtype):
    x = matrix(*shape)
    y = orthogonalised(x, dtype)
    assert y.dtype == torch.float32
    values = torch.linalg.svdvals(y)
    assert values.min() > 0.6
    assert values.max() < 1.25
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    nearest = left @ right
    cosine = (y * nearest).sum((1, 2)) / (y.norm(dim=(1, 2)) * nearest.norm(dim=(1, 2)))
    assert cosine.min() > 0.97


def test_scale_does_not_count_and_zero_stays_zero():
    x = matrix(1, 8, 12)
    y = orthogonalised(torch.cat([x, 1e4 * x, torch.zeros_like(x)]), torch.float32)
    torch.testing.assert_close(y[0], y[1])
    assert not y[2].any()


@pytest.mark.parametrize("shape", [(24, 10), (10, 24), (16, 16)])
def test_one_step_of_plain_muon_is_that_of_torch(shape):
    ours, theirs = parameters(shape), parameters(shape)
    rates = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    one = muon(ours, dtype=torch.bfloat16, **rates)
    two = torch.optim.Muon(theirs, **rates)
    start = ours[0].detach().clone()
    for _ in range(3):
        one.step()
        two.step()
    off, moved = (ours[0] - theirs[0]).norm(), (theirs[0] - start).norm()
    assert off < 0.03 * moved  # bf16: they divide by a rounded norm, and sum in another order


def test_equal_shapes_in_one_batch_are_as_one_by_one():
    shapes = [(6, 4), (4, 6), (6, 4), (6, 4)]
    together, alone = parameters(*shapes), parameters(*shapes)
    for equal_rows in (False, True):
        muon(together, equal_rows=equal_rows).step()
        for weight in alone:
            muon([weight], equal_rows=equal_rows).step()
    for one, two in zip(together, alone, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_normuon_equalises_rows_and_keeps_the_norm():
    def step(equal_rows: bool) -> torch.Tensor:
        (weight,) = parameters((40, 8))
        weight.grad *= torch.linspace(0.01, 1, 40)[:, None]  # some outputs learn much faster
        before = weight.detach().clone()
        muon([weight], equal_rows=equal_rows).step()
        return before - weight.detach()

    plain, normed = step(False), step(True)
    torch.testing.assert_close(plain.norm(), normed.norm())
    rows, spread = normed.norm(dim=1), plain.norm(dim=1)
    assert rows.max() / rows.min() < 1.001  # the first moments are the rows' own
    assert spread.max() / spread.min() > 5
    torch.testing.assert_close(rows.mean(), plain.norm() / 40**0.5, atol=1e-5, rtol=1e-4)


def test_a_row_without_gradient_stays():
    (weight,) = parameters((6, 4))
    weight.grad[2] = 0
    before = weight.detach().clone()
    muon([weight], equal_rows=True).step()
    assert torch.isfinite(weight).all()
    assert torch.equal(weight[2], before[2])
    (weight,) = parameters((6, 4))
    weight.grad.zero_()
    muon([weight], equal_rows=True).step()  # as the first gradient behind a map that is zero
    assert torch.isfinite(weight).all()


@pytest.mark.parametrize("name", ["muon", "normuon"])
def test_backbone_matrices_by_muon_and_the_rest_as_by_adamw(name):
    def network() -> ForecastingNetwork:
        torch.manual_seed(0)
        made = ForecastingNetwork(ModelConfig.preset("tiny"))
        for i, parameter in enumerate(made.parameters()):
            parameter.grad = matrix(*parameter.shape, seed=i)
        return made

    one, two, start = network(), network(), network()
    config = OptimizerConfig(name=name, weight_decay=0.3, learning_rate=1e-2)
    optimizer = build_optimizer(one, config)
    reference = build_optimizer(two, dataclasses.replace(config, name="adamw"))
    for _ in range(3):
        optimizer.step()
        reference.step()
    hidden = {id(p) for p in hidden_matrices(one)}
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(one.parameters()))
    names = {key for key, p in one.named_parameters() if id(p) in hidden}
    assert names
    assert all(key.startswith("backbone.") and key.endswith("weight") for key in names)
    others, starts = dict(two.named_parameters()), dict(start.named_parameters())
    for key, parameter in one.named_parameters():
        assert not torch.equal(parameter, starts[key]), key
        assert torch.equal(parameter, others[key]) == (key not in names), key
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for parameter in one.parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim >= 2 else 0)
    assert optimizer.param_groups[0]["lr"] == config.matrix_learning_rate


@pytest.mark.parametrize("backbone", ["companion", "mamba1", "mamba2"])
def test_what_says_it_does_not_decay_is_no_hidden_matrix(backbone):
    model = ModelConfig.preset("tiny")
    model = dataclasses.replace(model, backbone=dataclasses.replace(model.backbone, name=backbone))
    network = ForecastingNetwork(model)
    optimizer = build_optimizer(network, OptimizerConfig(name="normuon"))
    marked = [p for p in network.parameters() if hasattr(p, "_no_weight_decay")]
    assert marked
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert all(decays[id(p)] == 0 for p in marked)
    assert all(p.ndim == 2 for p in optimizer.param_groups[0]["params"])
    assert len(optimizer.param_groups[0]["params"]) >= 3


@pytest.mark.parametrize("name", ["muon", "normuon"])
def test_a_toy_is_learnt(name):
    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Linear(8, 16)
            self.backbone = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16))
            self.head = nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.backbone(torch.tanh(self.embedding(x))))

    torch.manual_seed(0)
    network, x = Toy(), matrix(64, 8)
    y = torch.tanh(x @ matrix(8, 4, seed=1))
    config = OptimizerConfig(name=name, learning_rate=1e-2, matrix_learning_rate=0.02)
    optimizer, losses = build_optimizer(network, config), []
    for _ in range(80):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = (network(x) - y).square().mean()
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ["muon", "normuon"])
def test_a_run_that_is_stopped_ends_like_one_that_is_not(config: PretrainConfig, tmp_path, name):
    config = config.replace({"optimizer.name": name, "max_steps": 12})
    for out, steps in (("whole", (12,)), ("sliced", (5, 9, 12))):
        for end in steps:
            part = dataclasses.replace(config, max_steps=end)
            run(part, tmp_path / out, resume=end != steps[0], progress=False)
        run(config, tmp_path / out, decay_steps=4, progress=False)

    def state(out: str, file: str) -> dict:
        return torch.load(tmp_path / out / file, weights_only=True)

    for file in ("trunk.ckpt", "decay.ckpt"):
        one, two = (state(out, file)["optimizer_states"][0] for out in ("whole", "sliced"))
        assert one["param_groups"] == two["param_groups"]
        kinds = {frozenset(entry) for entry in one["state"].values()}
        hidden = {"momentum", "row_moment"} if name == "normuon" else {"momentum"}
        assert kinds == {frozenset(hidden), frozenset({"step", "exp_avg", "exp_avg_sq"})}
        for index, entry in one["state"].items():
            for key, value in entry.items():
                assert torch.equal(value, two["state"][index][key]), (index, key)
    rates = [g["lr"] / g["initial_lr"] for g in one["param_groups"]]
    assert rates == pytest.approx([config.optimizer.final_fraction] * 3)  # all groups decay alike
    files = [Path(tmp_path / out / "model.safetensors") for out in ("whole", "sliced")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="choose one of 'adamw', 'muon', 'normuon'"):
        OptimizerConfig(name="sgd")
    with pytest.raises(ValueError, match="Linear has no linear map inside a backbone"):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(name="muon"))
    with pytest.raises(ValueError, match=r"a parameter has shape \(3,\)"):
        muon(parameters((3,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": 1.0}, r"optimizer\.momentum must be in \[0, 1\), got 1\.0"),
        ({"betas": (0.9, 1.2)}, r"optimizer\.betas\[1\] must be in \[0, 1\)"),
        ({"betas": (0.9,)}, r"optimizer\.betas must be two numbers"),
        ({"average": -0.1}, r"optimizer\.average must be in \[0, 1\)"),
        ({"learning_rate": -1.0}, r"optimizer\.learning_rate must be 0 or more"),
        ({"matrix_learning_rate": float("nan")}, r"optimizer\.matrix_learning_rate must be 0"),
        ({"warmup_steps": -1}, r"optimizer\.warmup_steps must be a whole number from 0"),
        ({"last_k": 2.5}, r"optimizer\.last_k must be a whole number from 0, got 2\.5"),
        ({"last_k_share": 0.0}, r"optimizer\.last_k_share must be in \(0, 1\]"),
        ({"final_fraction": 1.1}, r"optimizer\.final_fraction must be in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**change)
