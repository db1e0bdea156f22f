"""Which implementation computes a scan: plain torch, or the fused CUDA kernels of mamba-ssm.

The device of the tensor decides, never what happens to be installed: a CPU tensor is computed in
torch on every machine. The environment variable TSFM_KERNELS overrides it: "auto" (default) takes
the fused kernel where it can be had and gives the numbers of the torch path, and torch elsewhere;
"torch" never takes it; "triton" always, and is an error where that cannot be.

Two promises of `tsfm.nn.scan` need help. The fused selective scan takes no initial state and has
no gradient of the final one: N tokens of almost no duration before the first write the state, and
N of none after the last read it, with exact gradients. Triton multiplies fp32 matrices in TF32
unless TRITON_F32_DEFAULT=ieee is set, which is three digits instead of seven: "auto" therefore
takes the fused SSD for half precision only, unless that variable is set.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

Op = Literal["selective_scan", "ssd"]
Mode = Literal["auto", "torch", "triton"]

OPS: tuple[Op, ...] = ("selective_scan", "ssd")
"""Operations that have a fused kernel."""
VARIABLE = "TSFM_KERNELS"
"""Environment variable that overrides the choice."""

_HOMES: dict[Op, tuple[str, str]] = {
    "selective_scan": ("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn"),
    "ssd": ("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined"),
}
_HALF = (torch.bfloat16, torch.float16)
_MAX_STATE = 256
"""Largest N of the fused kernels."""
_LARGEST_CHUNK = 256
"""Tokens per matrix product of the fused SSD, the default of its own block."""
_MOMENT = 2.0**-60
"""Duration of tokens that write an initial state: a power of two, so that dividing by it and
multiplying with it is exact, and so short that nothing decays meanwhile."""


class Plan(NamedTuple):
    """How an operation will be computed.

    Parameters
    ----------
    path
        "torch", "fused", or "impossible" where TSFM_KERNELS asks for what cannot be.
    why
        The reason, as a phrase.
    """

    path: Literal["torch", "fused", "impossible"]
    why: str


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def mode() -> Mode:
    """What TSFM_KERNELS asks for.

    Raises
    ------
    ValueError
        If it is none of "auto", "torch" and "triton".
    """
    wanted = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if wanted not in ("auto", "torch", "triton"):
        raise ValueError(f"{VARIABLE}={wanted!r} is none of 'auto', 'torch' and 'triton'.")
    return cast(Mode, wanted)


def plan(
    op: Op, device: torch.device, dtype: torch.dtype, d_state: int = 64, length: int = 2
) -> Plan:
    """How `op` is computed for such tensors, and why. It never raises for what cannot be.

    Parameters
    ----------
    op
        "selective_scan" or "ssd".
    device, dtype
        Of the tensor x.
    d_state
        States per channel or head, N.
    length
        Tokens, L.

    Examples
    --------
    >>> plan("ssd", torch.device("cpu"), torch.float32).path
    'torch'
    """
    wanted = mode()
    if wanted == "torch":
        return Plan("torch", f"{VARIABLE}=torch")
    obstacle = _obstacle(op, device, dtype, d_state)
    if obstacle is not None:
        return Plan("impossible" if wanted == "triton" else "torch", obstacle)
    if wanted == "triton":
        return Plan("fused", f"{VARIABLE}=triton")
    if length == 1:
        return Plan("torch", "a single token needs no scan")
    if op == "ssd" and dtype not in _HALF and not _exact_triton():
        return Plan("torch", "Triton rounds fp32 to TF32 unless TRITON_F32_DEFAULT=ieee is set")
    return Plan("fused", "the tensor is on a GPU and mamba-ssm is installed")


def fused(op: Op, x: Tensor, d_state: int) -> bool:
    """Whether to compute `op` of x [B, L, ...] with its fused kernel.

    Raises
    ------
    RuntimeError
        If TSFM_KERNELS=triton asks for it where it cannot be.
    ValueError
        If TSFM_KERNELS holds something else.
    """
    if not x.is_cuda and mode() != "triton":  # the common case first
        return False
    chosen = plan(op, x.device, x.dtype, d_state, x.shape[1])
    if chosen.path == "impossible":
        raise RuntimeError(
            f"{VARIABLE}=triton asks for the fused kernel of {op}, but {chosen.why}. "
            f"Set {VARIABLE}=auto to use torch where the kernel cannot be used."
        )
    return chosen.path == "fused"


def _obstacle(op: Op, device: torch.device, dtype: torch.dtype, d_state: int) -> str | None:
    """What makes the fused kernel impossible, or None."""
    if device.type != "cuda":
        return f"the tensor is on the {device.type}, and the kernel runs on CUDA devices only"
    if dtype not in (torch.float32, *_HALF):
        return f"the kernel does not compute in {str(dtype).removeprefix('torch.')}"
    if d_state > _MAX_STATE:
        return f"the kernel holds at most {_MAX_STATE} states, not {d_state}"
    return missing(op)


def missing(op: Op) -> str | None:
    """Why the fused kernel of `op` cannot be loaded; None if it can."""
    return _loaded(op)[1]


@functools.cache
def _loaded(op: Op) -> tuple[Callable[..., Any] | None, str | None]:
    """The fused kernel, or why there is none; tried once per process."""
    module, name = _HOMES[op]
    if importlib.util.find_spec("mamba_ssm") is None:
        return None, "mamba-ssm is not installed"
    try:
        return getattr(importlib.import_module(module), name), None
    except Exception as error:  # a build for another torch or CUDA may raise anything
        text = " ".join(str(error).split())
        return None, f"mamba-ssm cannot be imported ({type(error).__name__}: {text})"


def _kernel(op: Op) -> Callable[..., Any]:
    kernel = _loaded(op)[0]
    assert kernel is not None, op
    return kernel


def _exact_triton() -> bool:
    return os.environ.get("TRITON_F32_DEFAULT", "").lower() == "ieee"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def fused_selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`tsfm.nn.scan.selective_scan` without the skip, by mamba-ssm's CUDA kernel, in fp32.

    Parameters
    ----------
    x, dt
        [B, L, E] fp32.
    A
        [E, N] fp32.
    B, C
        [B, L, N] fp32.
    state
        [B, E, N] fp32 before the first token; None for zeros.

    Returns
    -------
    tuple of Tensor
        Outputs [B, L, E] and the final state [B, E, N].
    """
    n_rows, length, width = x.shape
    n = A.shape[1]
    unit = torch.eye(n, dtype=x.dtype, device=x.device).expand(n_rows, n, n)
    before = 0
    if state is not None:  # token j writes component j
        before = n
        x = torch.cat([state.mT / _MOMENT, x], 1)
        dt = torch.cat([dt.new_full((n_rows, n, width), _MOMENT), dt], 1)
        B, C = torch.cat([unit, B], 1), torch.cat([torch.zeros_like(unit), C], 1)
    reads = torch.is_grad_enabled()
    if reads:  # token j reads component j
        nothing = x.new_zeros(n_rows, n, width)
        x, dt = torch.cat([x, nothing], 1), torch.cat([dt, nothing], 1)
        B, C = torch.cat([B, torch.zeros_like(unit)], 1), torch.cat([C, unit], 1)
    u, delta, b, c = (tensor.mT.contiguous() for tensor in (x, dt, B, C))  # [B, channels, tokens]
    kernel = _kernel("selective_scan")
    y, last = kernel(u, delta, A.contiguous(), b, c, delta_softplus=False, return_last_state=True)
    end = before + length
    return y.mT[:, before:end], y[..., end:] if reads else last


@torch.compiler.disable  # type: ignore[untyped-decorator]
def fused_ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`tsfm.nn.scan.ssd` by mamba-ssm's Triton kernel: products in the dtype of x, sums in fp32.

    Parameters
    ----------
    x
        [B, L, H, P] fp32, bf16 or fp16.
    dt
        [B, L, H] fp32.
    A
        [H] fp32.
    B, C
        [B, L, G, N]; taken in the dtype of x.
    D
        [H] fp32, the skip; None for none.
    state
        [B, H, P, N] fp32 before the first token; None for zeros.

    Returns
    -------
    tuple of Tensor
        Outputs [B, L, H, P] in the dtype of x and the final state [B, H, P, N] in fp32.
    """
    length = x.shape[1]
    chunk = max(16, min(_LARGEST_CHUNK, 1 << (length - 1).bit_length()))
    B, C = B.to(x.dtype), C.to(x.dtype)
    y, last = _kernel("ssd")(
        x,
        dt,
        A,
        B,
        C,
        chunk,
        D=D,
        initial_states=state,
        dt_softplus=False,
        return_final_states=True,
    )
    return y, last.float()
