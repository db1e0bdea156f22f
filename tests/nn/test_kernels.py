"""Fused kernels: who gets them, what they are handed, and that their numbers are torch's.

The kernels themselves need a GPU. Without one, stand-ins in plain loops that take exactly the
arguments mamba-ssm documents show that layouts, masks and states are handed over correctly.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import pytest
import torch

from tsfm.nn import kernels
from tsfm.nn.scan import selective_scan, ssd

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
    return_last_state=False,
):  # fmt: skip
    """The recurrence in mamba-ssm's layout; like theirs, the last state carries no gradient."""
    rows, width, length = u.shape
    n = A.shape[1]
    assert u.dtype == delta.dtype == B.dtype == C.dtype == A.dtype == torch.float32
    assert delta.shape == u.shape
    assert B.shape == C.shape == (rows, n, length)
    assert A.shape == (width, n)
    assert D is None
    assert not delta_softplus
    assert return_last_state
    assert all(each.stride(-1) == 1 or length == 1 for each in (u, delta, B, C))
    state, outputs = u.new_zeros(rows, width, n), []
    for t in range(length):
        write = (delta[..., t] * u[..., t])[..., None] * B[:, None, :, t]
        state = torch.exp(delta[..., t, None] * A) * state + write
        outputs.append((state * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, -1), state.detach()


def mamba_chunk_scan_combined(
    x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None, seq_idx=None,
    cu_seqlens=None, dt_softplus=False, dt_limit=(0.0, float("inf")), return_final_states=False,
):  # fmt: skip
    """The recurrence in mamba-ssm's layout."""
    rows, length, heads, width = x.shape
    groups, n = B.shape[2:]
    assert x.dtype == B.dtype == C.dtype
    assert dt.dtype == A.dtype == torch.float32
    assert dt.shape == (rows, length, heads)
    assert B.shape == C.shape == (rows, length, groups, n)
    assert chunk_size >= 16
    assert not chunk_size & (chunk_size - 1)
    assert not dt_softplus
    assert return_final_states
    state = x.new_zeros(rows, heads, width, n, dtype=torch.float32)
    if initial_states is not None:
        assert initial_states.dtype == torch.float32
        state = state + initial_states
    B, C = (each.float().repeat_interleave(heads // groups, 2) for each in (B, C))
    outputs = []
    for t in range(length):
        write = (dt[:, t, :, None] * x[:, t].float())[..., None] * B[:, t, :, None]
        state = torch.exp(dt[:, t] * A)[..., None, None] * state + write
        outputs.append((state * C[:, t, :, None]).sum(-1))
    y = torch.stack(outputs, 1)
    if D is not None:
        assert D.shape == (heads,)
        y = y + x.float() * D[:, None]
    return y.to(x.dtype), state


STAND_INS = {"selective_scan": selective_scan_fn, "ssd": mamba_chunk_scan_combined}


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_F32_DEFAULT", raising=False)


@pytest.fixture
def installed(monkeypatch):
    """mamba-ssm with kernels that count how often they are called."""
    calls = []

    def loaded(op):
        def kernel(*arguments, **options):
            calls.append(op)
            return STAND_INS[op](*arguments, **options)

        return kernel, None

    monkeypatch.setattr(kernels, "_loaded", loaded)
    return calls


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(kernels, "_loaded", lambda op: (None, "mamba-ssm is not installed"))


def inputs(op, length=19, rows=2, width=6, n=5, groups=2, device=CPU, dtype=torch.float32):
    """x, dt, A, B, C, D and a state; `width` channels, or heads of three."""
    shape = (rows, length, width) if op == "selective_scan" else (rows, length, width, 3)
    draw = functools.partial(torch.randn, device=device)
    dt = torch.rand(rows, length, width, device=device)
    mask = torch.rand(rows, length, 1, device=device) < 0.3
    inner = (n,) if op == "selective_scan" else (groups, n)
    A = -8 * torch.rand((width, n) if op == "selective_scan" else (width,), device=device)
    return [
        draw(*shape).to(dtype),
        dt.masked_fill(mask, 0.0),
        A,
        draw(rows, length, *inner).to(dtype),
        draw(rows, length, *inner).to(dtype),
        draw(width),
        draw(rows, width, n) if op == "selective_scan" else draw(rows, width, 3, n),
    ]


def scan(op):
    return selective_scan if op == "selective_scan" else ssd


def run(op, arguments, with_state=True, weight=1.0):
    """Outputs, final state, and gradients of everything through both."""
    leaves = [each.detach().clone().requires_grad_() for each in arguments]
    state = leaves[-1] if with_state else None
    y, final = scan(op)(*leaves[:-1], state)
    (y.float().sin().sum() + weight * final.cos().sum()).backward()
    return [y.detach(), final.detach(), *(each.grad for each in leaves if each.grad is not None)]


def largest_error(got, wanted):
    assert [each.shape for each in got] == [each.shape for each in wanted]
    return max(
        ((a.double() - b.double()).norm() / (b.double().norm() + 1e-6)).item()
        for a, b in zip(got, wanted, strict=True)
    )


@pytest.mark.parametrize("op", kernels.OPS)
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("length", [1, 19])
def test_handed_over_as_documented(op, with_state, length, installed, monkeypatch):
    """Layout, read-only tokens (dt = 0), groups, states, and gradients through the final state."""
    torch.manual_seed(0)
    arguments = inputs(op, length)
    wanted = run(op, arguments, with_state)
    assert installed == []
    monkeypatch.setattr(kernels, "fused", lambda op, x, d_state: True)
    got = run(op, arguments, with_state)
    assert installed == [op]
    assert got[0].dtype == torch.float32
    assert largest_error(got, wanted) < 1e-4
    with torch.no_grad():  # the other way to the final state
        y, final = scan(op)(*arguments[:-1], arguments[-1] if with_state else None)
    assert largest_error([y, final], wanted[:2]) < 1e-5


@pytest.mark.parametrize("op", kernels.OPS)
def test_half_precision_keeps_its_dtype_and_states_stay_fp32(op, installed, monkeypatch):
    torch.manual_seed(0)
    arguments = inputs(op, dtype=torch.bfloat16)
    wanted = run(op, arguments)
    monkeypatch.setattr(kernels, "fused", lambda op, x, d_state: True)
    got = run(op, arguments)
    assert [each.dtype for each in got] == [each.dtype for each in wanted]
    assert got[0].dtype == torch.bfloat16
    assert got[1].dtype == torch.float32
    assert largest_error(got, wanted) < 2e-2


def test_writing_an_initial_state_is_exact(installed):
    """Also for extreme decays and states: nothing decays while the state is written."""
    state = torch.randn(1, 4, 3) * torch.tensor([1e-12, 1e-3, 1.0, 1e12])[:, None]
    x, dt = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
    A = -torch.tensor([0.0, 1.0, 1e3, 1e8])[:, None].expand(4, 3)
    ones = torch.ones(1, 1, 3)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            _, final = kernels.fused_selective_scan(x, dt, A, ones, ones, state)
        assert torch.equal(final, state)


@dataclass(frozen=True)
class OnGPU:
    """What the choice looks at, of a tensor that this machine cannot make."""

    device: torch.device = CUDA
    dtype: torch.dtype = torch.bfloat16
    shape: tuple[int, ...] = (2, 19, 6)
    is_cuda: bool = True


@pytest.mark.parametrize("op", kernels.OPS)
def test_the_device_of_the_tensor_decides(op, installed, monkeypatch):
    arguments = inputs(op)
    scan(op)(*arguments)
    assert installed == []  # installed, but the tensors are on the CPU
    assert not kernels.fused(op, arguments[0], 5)
    assert kernels.fused(op, OnGPU(), 5)
    asked = []
    monkeypatch.setattr(kernels, "fused", lambda op, x, n: asked.append((op, x, n)))
    scan(op)(*arguments)
    assert asked == [(op, arguments[0], 5)]


@pytest.mark.parametrize("op", kernels.OPS)
def test_torch_stands_in_on_a_gpu(op, absent, monkeypatch):
    assert not kernels.fused(op, OnGPU(), 5)
    assert kernels.plan(op, CUDA, torch.bfloat16) == ("torch", "mamba-ssm is not installed")
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    with pytest.raises(RuntimeError, match=f"{op}, but mamba-ssm is not installed"):
        kernels.fused(op, OnGPU(), 5)


@pytest.mark.parametrize("op", kernels.OPS)
def test_override(op, installed, monkeypatch):
    arguments = inputs(op)
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    assert kernels.fused(op, OnGPU(dtype=torch.float32), 5)
    with pytest.raises(RuntimeError, match=r"the tensor is on the cpu.*TSFM_KERNELS=auto"):
        scan(op)(*arguments)
    monkeypatch.setenv(kernels.VARIABLE, "torch")
    scan(op)(*arguments)
    assert not kernels.fused(op, OnGPU(), 5)
    assert kernels.plan(op, CUDA, torch.bfloat16) == ("torch", "TSFM_KERNELS=torch")
    monkeypatch.setenv(kernels.VARIABLE, "fast")
    with pytest.raises(ValueError, match="TSFM_KERNELS='fast' is none of"):
        kernels.fused(op, OnGPU(), 5)
    assert installed == []


def test_what_the_kernels_cannot_do_is_done_in_torch(installed, monkeypatch):
    plan = kernels.plan
    assert plan("ssd", CUDA, torch.bfloat16).path == "fused"
    assert plan("selective_scan", CUDA, torch.float32).path == "fused"
    assert plan("ssd", CUDA, torch.float64) == ("torch", "the kernel does not compute in float64")
    assert plan("ssd", CUDA, torch.bfloat16, d_state=512).path == "torch"
    assert plan("ssd", CUDA, torch.bfloat16, length=1).path == "torch"
    assert "TF32" in plan("ssd", CUDA, torch.float32).why
    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")
    assert plan("ssd", CUDA, torch.float32).path == "fused"
    monkeypatch.delenv("TRITON_F32_DEFAULT")
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    assert plan("ssd", CUDA, torch.float32).path == "fused"
    assert plan("ssd", CUDA, torch.float64).path == "impossible"


def test_a_broken_installation_is_told_and_survived(monkeypatch):
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: object())

    def broken(name):
        raise OSError("libcudart.so.11: cannot\nopen")

    monkeypatch.setattr(kernels.importlib, "import_module", broken)
    kernels._loaded.cache_clear()
    try:
        why = kernels.missing("ssd")
        assert why == "mamba-ssm cannot be imported (OSError: libcudart.so.11: cannot open)"
        assert kernels.plan("ssd", CUDA, torch.bfloat16) == ("torch", why)
    finally:
        kernels._loaded.cache_clear()


# ---- the kernels themselves

GRID = [  # rows, tokens, channels or heads, states, groups
    (1, 2, 4, 16, 1),
    (3, 17, 8, 16, 2),
    (2, 64, 5, 64, 1),
    (4, 160, 5, 64, 5),
    (2, 300, 8, 128, 4),
    (1, 2500, 6, 16, 1),
]


@pytest.fixture
def real(monkeypatch):
    """A GPU and the real kernels, with fp32 products in fp32."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")  # read when a kernel is compiled
    for op in kernels.OPS:
        if (why := kernels.missing(op)) is not None:
            pytest.skip(why)


@pytest.mark.gpu
@pytest.mark.parametrize("op", kernels.OPS)
@pytest.mark.parametrize("shape", GRID, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_kernels_give_the_numbers_of_torch(op, shape, with_state, dtype, limit, real, monkeypatch):
    rows, length, width, n, groups = shape
    torch.manual_seed(0)
    arguments = inputs(op, length, rows, width, n, groups, CUDA, dtype)
    monkeypatch.setenv(kernels.VARIABLE, "torch")
    wanted = run(op, arguments, with_state)
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    got = run(op, arguments, with_state)
    assert largest_error(got, wanted) < limit


@pytest.mark.gpu
@pytest.mark.parametrize("op", kernels.OPS)
def test_a_gpu_takes_them_by_itself(op, real):
    assert os.environ.get(kernels.VARIABLE) is None
    assert kernels.fused(op, torch.zeros(1, 4, 2, 2, device=CUDA), 16)
