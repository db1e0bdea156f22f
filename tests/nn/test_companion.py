"""Companion kernels: the paths agree, unit roots are safe, convolution is causal."""

from __future__ import annotations

import pytest
import torch

from tsfm.nn import companion
from tsfm.nn.companion import (
    causal_convolution,
    companion_kernel,
    companion_matrix,
    companion_step,
    fft_size,
    final_state,
    krylov,
    normalise,
    preprocessing_kernels,
    residual_taps,
    transfer_function,
)

PATHS = ("recurrence", "krylov", "spectral")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def triple(*shape: int, dtype=torch.float64):
    """Random a of L1 norm one, b and c, such that taps are of order one."""
    torch.manual_seed(sum(shape))
    a, b, c = torch.randn(3, *shape, dtype=dtype)
    return normalise(a), b, c / shape[-1] ** 0.5


def by_powers(a, b, c, length: int):
    """The definition, with dense powers in float64."""
    matrix = companion_matrix(a.double())
    powers = [torch.linalg.matrix_power(matrix, i) for i in range(length)]
    return torch.stack(
        [(c.double() * (p @ b.double()[..., None])[..., 0]).sum(-1) for p in powers], -1
    )


def unit_root(kind: str, d: int, dtype):
    """Random walk (a = e_d) or seasonal difference (a = e_1): roots on the unit circle."""
    a = torch.zeros(d, dtype=dtype)
    a[-1 if kind == "walk" else 0] = 1
    return a


def test_matrix_shifts_down_and_has_a_as_last_column():
    a = torch.tensor([0.1, 0.2, 0.3])
    wanted = torch.tensor([[0.0, 0.0, 0.1], [1.0, 0.0, 0.2], [0.0, 1.0, 0.3]])
    torch.testing.assert_close(companion_matrix(a), wanted)
    assert companion_matrix(torch.tensor([0.5])).tolist() == [[0.5]]
    state = torch.randn(4, 3)
    torch.testing.assert_close(companion_step(a, state), state @ wanted.T)


@pytest.mark.parametrize("path", PATHS)
def test_kernel_is_its_definition(path):
    a, b, c = triple(2, 3, 5)
    taps = companion_kernel(a, b, c, 40, path)
    torch.testing.assert_close(taps, by_powers(a, b, c, 40), atol=1e-11, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("length", [1, 9, 63, 64, 336, 720])
@pytest.mark.parametrize("d", [2, 16, 64])
def test_paths_agree(d, length, dtype):
    a, b, c = triple(8, d, dtype=dtype)
    reference = companion_kernel(a, b, c, length, "recurrence")
    assert reference.shape == (8, length)
    for path in ("krylov", "spectral"):
        taps = companion_kernel(a, b, c, length, path)
        assert taps.dtype == dtype
        torch.testing.assert_close(taps, reference, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("length", [1, 9, 720])
def test_paths_agree_on_a_single_state(length):
    a = torch.tensor([[0.9], [-0.5], [0.0]])  # without the unit root of a normalised scalar
    b, c = torch.randn(2, 3, 1)
    reference = companion_kernel(a, b, c, length, "recurrence")
    for path in ("krylov", "spectral"):
        taps = companion_kernel(a, b, c, length, path)
        torch.testing.assert_close(taps, reference, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-3), (torch.float64, 1e-7)])
@pytest.mark.parametrize(("d", "length"), [(1, 720), (16, 336), (24, 720), (64, 64), (64, 9)])
@pytest.mark.parametrize("kind", ["walk", "season"])
def test_unit_roots_are_safe(kind, d, length, dtype, limit):
    torch.manual_seed(d)
    a = unit_root(kind, d, dtype).requires_grad_()
    b, c = (torch.randn(d, dtype=dtype, requires_grad=True) for _ in range(2))
    taps = companion_kernel(a, b, c, length, "spectral")
    reference = companion_kernel(a.double(), b.double(), c.double(), length, "recurrence")
    assert (taps - reference).abs().max() < limit
    gradients = torch.autograd.grad(taps.square().mean(), (a, b, c))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("length", [5, 40])
def test_gradients_of_the_paths_agree(length):
    inputs = [v.requires_grad_() for v in triple(3, 16)]
    weight = torch.randn(3, length, dtype=torch.float64)
    wanted, *others = (
        torch.autograd.grad((weight * companion_kernel(*inputs, length, path)).sum(), inputs)
        for path in PATHS
    )
    for other in others:
        for one, two in zip(wanted, other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-10, rtol=1e-9)


def test_leading_dimensions_broadcast():
    a, b, c = triple(4, 6)
    many = torch.stack([c, 2 * c])  # two readouts of each model
    for path in PATHS:
        taps = companion_kernel(a, b, many, 12, path)
        assert taps.shape == (2, 4, 12)
        torch.testing.assert_close(taps[1], 2 * taps[0])


def test_transfer_function_is_the_ratio_of_determinants():
    a, b, c = triple(5)
    numerator, denominator = transfer_function(a, b, c)
    assert numerator.shape == (5,)
    assert denominator.shape == (6,)
    z, eye = 0.7, torch.eye(5, dtype=torch.float64)
    resolvent = eye - z * companion_matrix(a)
    at = [(v * z ** torch.arange(len(v))).sum() for v in (numerator, denominator)]
    torch.testing.assert_close(at[1], torch.linalg.det(resolvent))
    torch.testing.assert_close(at[0] / at[1], c @ torch.linalg.solve(resolvent, b))


def test_spectral_work_grows_with_the_sum_of_sizes(monkeypatch):
    """K6 without a clock: no transform is longer than O(d + l), no matrix is ever formed."""
    sizes = []
    for name in ("rfft", "irfft"):
        whole = getattr(torch.fft, name)
        monkeypatch.setattr(
            torch.fft, name, lambda x, n, whole=whole: (sizes.append(n), whole(x, n))[1]
        )
    monkeypatch.setattr(companion, "companion_matrix", None)
    for d, length in ((64, 720), (512, 720), (64, 8192)):
        sizes.clear()
        companion_kernel(*triple(d, dtype=torch.float32), length, "spectral")
        assert len(sizes) == 8
        assert max(sizes) <= 6 * (d + length)


def test_norm_is_taken_kernel_by_kernel_and_safe_at_zero():
    v = torch.tensor([[3.0, -1.0], [0.0, 0.0], [2e-6, 0.0], [0.1, 0.3]], requires_grad=True)
    wanted = torch.tensor([[0.75, -0.25], [0.0, 0.0], [0.02, 0.0], [0.25, 0.75]])
    torch.testing.assert_close(normalise(v), wanted)
    for order in (1.0, 2.0):
        (gradient,) = torch.autograd.grad(normalise(v, order).square().sum(), v)
        assert gradient.isfinite().all()
    assert normalise(v, 0) is v
    torch.testing.assert_close(normalise(v, floor=1.0)[3], v[3])
    torch.testing.assert_close(normalise(v, 2.0)[0].norm(), torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"order=0\.5"):
        normalise(v, 0.5)


def test_l1_norm_bounds_the_spectral_radius():
    a, _, _ = triple(200, 12)
    assert torch.linalg.eigvals(companion_matrix(a)).abs().max() <= 1 + 1e-9


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (7, 3), (64, 64), (65, 90), (720, 720)])
def test_convolution_paths_agree(length, taps):
    torch.manual_seed(length)
    u, kernel = torch.randn(3, 4, length), torch.randn(3, taps) / taps**0.5
    padded = torch.nn.functional.pad(kernel, (0, length))[:, :length].double()
    wanted = torch.stack(
        [(padded[:, None, : t + 1].flip(-1) * u[..., : t + 1]).sum(-1) for t in range(length)], -1
    )
    for path in ("fft", "toeplitz", None):
        y = causal_convolution(u, kernel, path)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y.double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", ["fft", "toeplitz"])
def test_convolution_is_causal_and_differentiable(path):
    u = torch.randn(2, 1, 30, requires_grad=True)
    kernel = torch.randn(2, 30, requires_grad=True)
    y = causal_convolution(u, kernel, path)
    grad_u, grad_k = torch.autograd.grad(y[..., 10].sum(), (u, kernel))
    assert grad_u[..., 11:].abs().max() < 1e-5
    torch.testing.assert_close(grad_u[:, 0, :11], kernel[:, :11].flip(-1).detach())
    torch.testing.assert_close(grad_k[:, :11], u[:, 0, :11].flip(-1).detach())


@pytest.mark.parametrize("length", [0, 1, 64, 65, 200])
def test_final_state_is_the_recurrence(length):
    a, b, _ = triple(3, 6)
    u = torch.randn(3, 2, length, dtype=torch.float64)
    state = torch.zeros(3, 2, 6, dtype=torch.float64)
    for u_t in u.unbind(-1):
        state = companion_step(a[:, None], state) + b[:, None] * u_t[..., None]
    torch.testing.assert_close(final_state(a, b, u), state, atol=1e-12, rtol=0)


def test_krylov_columns_are_powers():
    matrix, vector = torch.randn(2, 4, 4).double() / 2, torch.randn(2, 4).double()
    columns = krylov(matrix, vector, 11)
    assert columns.shape == (2, 4, 11)
    for i in (0, 1, 7, 10):
        wanted = (torch.linalg.matrix_power(matrix, i) @ vector[..., None])[..., 0]
        torch.testing.assert_close(columns[..., i], wanted)


def test_preprocessing_removes_trends_and_levels():
    kernels = preprocessing_kernels(widths=(4, 7))
    assert kernels.shape == (6, 7)
    assert kernels[3].tolist() == [1, -3, 3, -1, 0, 0, 0]
    t = torch.arange(40.0)
    y = causal_convolution((t**2)[None].expand(6, 1, -1), kernels, "toeplitz")[:, 0]
    torch.testing.assert_close(y[0], t**2)
    torch.testing.assert_close(y[2, 3:], torch.full((37,), 2.0))
    torch.testing.assert_close(y[3, 3:], torch.zeros(37), atol=1e-3, rtol=0)
    torch.testing.assert_close(y[5, 6:], (t**2)[6:] - (t**2).unfold(0, 7, 1).mean(-1))
    with pytest.raises(ValueError, match="width=1"):
        residual_taps(1)


def test_fft_sizes_are_least_and_smooth():
    smooth = sorted({2**k for k in range(14)} | {3 * 2**k for k in range(12)} - {3})
    for least in range(1, 4000, 13):
        assert fft_size(least) == next(size for size in smooth if size >= least)


def test_unknown_choices_are_refused():
    a, b, c = triple(4)
    with pytest.raises(ValueError, match="path='woodbury'"):
        companion_kernel(a, b, c, 8, "woodbury")
    with pytest.raises(ValueError, match="length=0"):
        companion_kernel(a, b, c, 0)
    with pytest.raises(ValueError, match="path='direct'"):
        causal_convolution(a[None], b, "direct")
