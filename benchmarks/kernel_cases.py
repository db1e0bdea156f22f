"""What `kernels.py` times: every path of every operation, and the work each cannot avoid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tsfm.models.backbone import build_backbone
from tsfm.models.config import ModelConfig
from tsfm.nn import companion, scan
from tsfm.nn.attention import Attention, causal_bias
from tsfm.nn.rotary import rotary_factors
from tsfm.tokenizers import FixedPatchTokenizer

BACKBONES = ("transformer", "companion", "mamba1", "mamba2")
ROWS = 4
N_KERNELS = 128  # companion filters, as many as SpaceTime's layers have
HEADS, WIDTH, STATES = 8, 32, 16  # of the SSD; the selective scan has HEADS * WIDTH channels
PATCH = 32


@dataclass(frozen=True)
class Case:
    """One path of one operation at one size.

    Parameters
    ----------
    op, path, length, size
        What it is; paths of the same op, length and size take turns.
    forward
        From the inputs to one tensor.
    inputs
        Tensors whose gradient the backward pass wants.
    flops
        Floating-point operations of the forward pass: a formula, matrix products only for
        backbones and attention.
    """

    op: str
    path: str
    length: int
    size: str
    forward: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    flops: float

    @property
    def least_bytes(self) -> int:
        """Inputs read once and outputs written once."""
        with torch.no_grad():
            answer = self.forward(*self.inputs)
        return sum(x.numel() * x.element_size() for x in (*self.inputs, answer))


def _fft(size: int) -> float:
    return 2.5 * size * math.log2(size)  # a real transform


def companion_kernels(d: int, length: int, device: str) -> Iterator[Case]:
    """Taps of N_KERNELS companion filters."""
    a, b, c = torch.randn(3, N_KERNELS, d, device=device).unbind(0)
    size = companion.fft_size(4 * (length + d))
    squarings = math.ceil(math.log2(length))
    flops = {
        "recurrence": 4.0 * d * length,
        "krylov": 2.0 * d**3 * max(0, squarings - 1) + 2.0 * d**2 * length,
        "spectral": 3 * _fft(size) + 5 * _fft(companion.fft_size(2 * d)),
    }
    for path, work in flops.items():
        forward = partial(_taps, length=length, path=path)
        inputs = (companion.normalise(a), b, c / d)
        yield Case("companion kernel", path, length, f"d={d}", forward, inputs, work * N_KERNELS)


def _taps(a: Tensor, b: Tensor, c: Tensor, length: int, path: Any) -> Tensor:
    return companion.companion_kernel(a, b, c, length, path)


def convolutions(length: int, device: str) -> Iterator[Case]:
    """Causal convolution of ROWS signals with each of N_KERNELS kernels."""
    inputs = (
        torch.randn(N_KERNELS, ROWS, length, device=device),
        torch.randn(N_KERNELS, length, device=device),
    )
    signals = N_KERNELS * ROWS
    transforms = (2 * signals + N_KERNELS) * _fft(companion.fft_size(2 * length))
    for path, work in {"fft": transforms, "toeplitz": 2.0 * signals * length**2}.items():
        if path == "toeplitz" and length > 1024:  # a gigabyte of matrices and more
            continue
        forward = partial(_convolved, path=path)
        yield Case("causal convolution", path, length, "128 kernels", forward, inputs, work)


def _convolved(u: Tensor, kernel: Tensor, path: Any) -> Tensor:
    return companion.causal_convolution(u, kernel, path)


def selective_scans(length: int, device: str, sequential: bool) -> Iterator[Case]:
    """Scan of Mamba-1."""
    width = HEADS * WIDTH
    inputs = (
        torch.randn(ROWS, length, width, device=device),
        torch.rand(ROWS, length, width, device=device) * 0.1,
        -torch.rand(width, STATES, device=device) * 8,
        torch.randn(ROWS, length, STATES, device=device),
        torch.randn(ROWS, length, STATES, device=device),
        torch.zeros(ROWS, width, STATES, device=device),
    )
    paths: dict[str, Callable[..., Any]] = {
        "chunked": partial(scan.selective_scan_chunked, chunk=32),
        "chunked, recomputed": partial(scan.selective_scan_chunked, chunk=32, recompute=True),
    }
    if sequential:
        paths["sequential"] = scan.selective_scan_sequential
    if device == "cuda":
        paths["chosen"] = lambda x, dt, A, B, C, h: scan.selective_scan(x, dt, A, B, C, None, h)
    work = 7.0 * ROWS * length * width * STATES
    size = f"{ROWS} x {width} channels, N={STATES}"
    for path, function in paths.items():
        yield Case("selective scan", path, length, size, _first(function), inputs, work)


def ssd_scans(length: int, device: str, sequential: bool) -> Iterator[Case]:
    """Scan of Mamba-2."""
    inputs = (
        torch.randn(ROWS, length, HEADS, WIDTH, device=device),
        torch.rand(ROWS, length, HEADS, device=device) * 0.1,
        -torch.rand(HEADS, device=device) * 8,
        torch.randn(ROWS, length, 1, STATES, device=device),
        torch.randn(ROWS, length, 1, STATES, device=device),
        torch.zeros(ROWS, HEADS, WIDTH, STATES, device=device),
    )
    tokens = float(ROWS * length)
    cell = HEADS * WIDTH * STATES
    paths: dict[str, tuple[Callable[..., Any], float]] = {}
    for chunk in (16, 32, 64, 128):
        within = 2 * chunk * (STATES + HEADS * WIDTH) + 3 * chunk * HEADS
        work = tokens * (within + 4 * cell)
        paths[f"chunks of {chunk}"] = (partial(scan.ssd_chunked, chunk=chunk), work)
    if sequential:
        paths["sequential"] = (scan.ssd_sequential, 5 * tokens * cell)
    if device == "cuda":
        chosen = lambda x, dt, A, B, C, h: scan.ssd(x, dt, A, B, C, None, h)  # noqa: E731
        paths["chosen"] = (chosen, 5 * tokens * cell)
    size = f"{ROWS} x {HEADS} heads of {WIDTH}, N={STATES}"
    for path, (function, work) in paths.items():
        yield Case("SSD", path, length, size, _first(function), inputs, work)


def _first(function: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda *inputs: function(*inputs)[0]


def attentions(length: int, device: str) -> Iterator[Case]:
    """Attention of the size mini."""
    config = ModelConfig.preset("mini").backbone
    layer = Attention(config.d_model, config.n_heads).to(device)
    position = torch.arange(length, device=device).float().expand(ROWS, -1)
    cos, sin = rotary_factors(position, config.d_model // config.n_heads, config.rope_base)
    bias = causal_bias(torch.ones(ROWS, length, dtype=torch.bool, device=device))
    x = torch.randn(ROWS, length, config.d_model, device=device)
    case = Case("attention", "torch", length, f"{ROWS} x mini", _empty, (x,), 0.0)
    yield _counted(replace(case, forward=lambda x: layer(x, cos, sin, bias)))


def backbones(n_tokens: int, device: str) -> Iterator[Case]:
    """Every backbone in the widths of the size mini."""
    z = torch.randn(ROWS, PATCH * n_tokens, device=device)
    observed = torch.ones_like(z, dtype=torch.bool)
    batch = FixedPatchTokenizer(PATCH).tokenize(z, observed, PATCH)
    config = ModelConfig.preset("mini").backbone
    x = torch.randn(*batch.kind.shape, config.d_model, device=device)
    for name in BACKBONES:
        net = build_backbone(replace(config, name=name)).to(device)
        case = Case("backbone", name, n_tokens, f"{ROWS} x mini", _empty, (x,), 0.0)
        yield _counted(replace(case, forward=lambda x, net=net: net(x, batch)[0]))


def _empty(x: Tensor) -> Tensor:
    return x


def _counted(case: Case) -> Case:
    """The case with its matrix products counted."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        case.forward(*case.inputs)
    return replace(case, flops=float(counter.get_total_flops()))
