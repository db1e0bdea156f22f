"""Companion state-space kernels, causal convolution and fixed preprocessing filters.

A companion state-space model with state size d reads a signal u and answers

    x_{t+1} = A x_t + b u_t,    y_t = c^T x_{t+1},    x_0 = 0,    A = S + a e_d^T,

where S shifts the state down by one and `a` is the last column of A. Unrolled, y is the causal
convolution of u with the kernel k_i = c^T A^i b. Autoregressions, ARIMA and exponential smoothing
are special cases (Zhang et al., "Effectively Modeling Time Series with Simple Discrete State
Spaces", arXiv 2303.09489). The kernel has three paths that agree: `recurrent_kernel` is the
readable reference, `krylov_kernel` squares A repeatedly, and `spectral_kernel` never forms A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

KernelPath = Literal["recurrence", "krylov", "spectral"]
ConvolutionPath = Literal["fft", "toeplitz"]

_TOEPLITZ_UP_TO = 64
"""Signal length up to which the Toeplitz product is used: it is the faster one there when many
signals share a kernel. The number of signals does not decide, so that rows never depend on their
batch mates."""
_STATE_CHUNK = 64
"""Inputs that `final_state` folds into the state at once."""


def companion_matrix(a: Tensor) -> Tensor:
    """The matrix A = S + a e_d^T: ones below the diagonal, `a` as last column.

    Its characteristic polynomial is z^d - a_{d-1} z^{d-1} - ... - a_0.

    Parameters
    ----------
    a
        [..., d].

    Returns
    -------
    Tensor
        [..., d, d].
    """
    size = a.shape[-1]
    shift = torch.diag(a.new_ones(size - 1), -1)
    last = F.one_hot(torch.tensor(size - 1, device=a.device), size).to(a.dtype)
    return shift + a[..., None] * last


def companion_step(a: Tensor, state: Tensor) -> Tensor:
    """`A @ state` in O(d): shift down by one, add `a` times the last component.

    Parameters
    ----------
    a, state
        [..., d]; leading dimensions broadcast.

    Returns
    -------
    Tensor
        [..., d].
    """
    return F.pad(state[..., :-1], (1, 0)) + a * state[..., -1:]


def normalise(v: Tensor, order: float = 1.0, floor: float = 1e-4) -> Tensor:
    """Divide each vector by its p-norm, or by `floor` where the norm is smaller.

    With order 1 the companion matrix of the result has no eigenvalue outside the unit circle:
    |z| > 1 and z^d = sum_i a_i z^i would give |z|^d <= |z|^{d-1} sum_i |a_i| <= |z|^{d-1}.
    Other orders give no such bound. Every vector is divided by its own norm, and the floor keeps
    the map continuous with gradients of at most 1 / floor: the zero vector stays zero. With
    floor = 1 only vectors longer than one change, so smaller coefficients stay expressible.

    Parameters
    ----------
    v
        [..., d].
    order
        p >= 1, or 0 to return `v` as it is.
    floor
        Smallest divisor, > 0.

    Returns
    -------
    Tensor
        [..., d].
    """
    if order == 0:
        return v
    if order < 1 or floor <= 0:
        raise ValueError(f"order={order} must be 0 or >= 1 and floor={floor} must be > 0.")
    norm: Tensor = torch.linalg.vector_norm(v, order, dim=-1, keepdim=True)
    return v / norm.clamp_min(floor)


def companion_kernel(
    a: Tensor, b: Tensor, c: Tensor, length: int, path: KernelPath = "spectral"
) -> Tensor:
    """First taps k_i = c^T A^i b of the companion state-space model, i = 0 .. length-1.

    Parameters
    ----------
    a, b, c
        [..., d]; leading dimensions broadcast.
    length
        Number of taps, >= 1.
    path
        "recurrence" (O(d l), one step after another), "krylov" (O(d^3 log l + d l) products and
        O(d l) memory) or "spectral" (O((d + l) log(d + l)), needs eigenvalues within the unit
        circle). All three carry gradients.

    Returns
    -------
    Tensor
        [..., length].

    Examples
    --------
    >>> first = torch.tensor([1.0, 0.0])
    >>> companion_kernel(torch.tensor([0.0, 0.5]), first, first.flip(0), 5, "recurrence")
    tensor([0.0000, 1.0000, 0.5000, 0.2500, 0.1250])
    """
    paths = {
        "recurrence": recurrent_kernel,
        "krylov": krylov_kernel,
        "spectral": spectral_kernel,
    }
    if path not in paths:
        raise ValueError(f"path={path!r} is none of {', '.join(paths)}.")
    if length < 1:
        raise ValueError(f"length={length} must be at least 1.")
    return paths[path](a, b, c, length)


def recurrent_kernel(a: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
    """The kernel of `companion_kernel` by its definition, one power of A per tap."""
    a, state, c = torch.broadcast_tensors(a, b, c)
    taps = [(c * state).sum(-1)]
    for _ in range(length - 1):
        state = companion_step(a, state)
        taps.append((c * state).sum(-1))
    return torch.stack(taps, -1)


def krylov_kernel(a: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
    """The kernel of `companion_kernel` from the vectors b, A b, A^2 b, ..."""
    a, b, c = torch.broadcast_tensors(a, b, c)
    return (c[..., None, :] @ krylov(companion_matrix(a), b, length)).squeeze(-2)


def krylov(matrix: Tensor, vector: Tensor, length: int) -> Tensor:
    """Columns M^i v, i = 0 .. length-1, by repeated squaring of M.

    Parameters
    ----------
    matrix
        [..., d, d].
    vector
        [..., d], the same leading dimensions.
    length
        Number of columns, >= 1.

    Returns
    -------
    Tensor
        [..., d, length].
    """
    columns, power = vector[..., None], matrix
    while columns.shape[-1] < length:
        columns = torch.cat([columns, power @ columns], -1)
        if columns.shape[-1] < length:
            power = power @ power
    return columns[..., :length]


def spectral_kernel(a: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
    """The kernel of `companion_kernel` from its transfer function on a circle of radius r < 1.

    The generating function sum_i k_i z^i is a ratio N(z) / D(z), see `transfer_function`. On the
    unit circle it has poles as soon as A has a unit root, which L1-normalised `a` allows (random
    walk, seasonal difference). Within the circle it has none: n points of radius r give the taps
    r^i k_i plus their aliases r^{i+n} k_{i+n} by one inverse FFT. Undoing r^i amplifies rounding,
    of relative size eps, by up to r^-l, and leaves aliases of r^n; r = eps^(1 / (n + l)) makes
    the two equal, eps^(n / (n + l)), with n >= 4 (l + d). Eigenvalues outside the unit circle
    are not supported: their taps alias. Parameters as for `companion_kernel`.
    """
    a, b, c = torch.broadcast_tensors(a, b, c)
    numerator, denominator = transfer_function(a, b, c)
    size = fft_size(4 * (length + a.shape[-1]))
    decay = math.log(torch.finfo(a.dtype).eps) / (size + length)
    count = max(length, denominator.shape[-1])
    radii = torch.exp(decay * torch.arange(count, dtype=a.dtype, device=a.device))  # r^i
    above = torch.fft.rfft(numerator * radii[: numerator.shape[-1]], size)
    below = torch.fft.rfft(denominator * radii[: denominator.shape[-1]], size)
    taps = torch.fft.irfft(above / below, size)[..., :length]
    return taps / radii[:length]


def transfer_function(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of N and D with sum_i (c^T A^i b) z^i = N(z) / D(z), in O(d log d).

    X = (I - z A)^{-1} b solves X = b + z S X + z a X_d, and X_d, its last component, is
    R(z) / D(z) with R(z) = sum_j b_{d-j} z^{j-1} and D(z) = 1 - sum_j a_{d+1-j} z^j, j = 1 .. d.
    With C_v(z) = c^T (I - z S)^{-1} v = sum_m z^m sum_j c_{j+m} v_j, a correlation,

        N(z) = C_b(z) D(z) + z C_a(z) R(z),

    whose terms of degree >= d cancel (N = c^T adj(I - z A) b) and are therefore never kept.

    Parameters
    ----------
    a, b, c
        [..., d], the same leading dimensions.

    Returns
    -------
    tuple of Tensor
        N [..., d] and D [..., d + 1], constant term first.
    """
    width = a.shape[-1]
    size = fft_size(2 * width)
    spectrum = torch.fft.rfft(torch.stack([a, b]), size).conj() * torch.fft.rfft(c, size)
    along_a, along_b = torch.fft.irfft(spectrum, size)[..., :width].unbind(0)  # C_a, C_b
    denominator = F.pad(-a.flip(-1), (1, 0))
    denominator = denominator + F.one_hot(a.new_zeros((), dtype=torch.long), width + 1)
    delayed = F.pad(along_a[..., :-1], (1, 0))  # z C_a
    factors = torch.stack([along_b, denominator[..., :width], delayed, b.flip(-1)])
    c_b, d, c_a, r = torch.fft.rfft(factors, size).unbind(0)
    numerator = torch.fft.irfft(c_b * d + c_a * r, size)[..., :width]
    return numerator, denominator


def final_state(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """State x_L = sum_j A^{L-1-j} b u_j after the whole signal, in chunks of fixed memory.

    Parameters
    ----------
    a, b
        [..., d].
    u
        [..., N, L]: N signals for each kernel.

    Returns
    -------
    Tensor
        [..., N, d].
    """
    matrix = companion_matrix(a)
    u = F.pad(u, (-u.shape[-1] % _STATE_CHUNK, 0))  # zeros leave a zero state as it is
    state = u.new_zeros(*u.shape[:-1], a.shape[-1])
    if u.shape[-1] == 0:
        return state
    columns = krylov(matrix, b, _STATE_CHUNK).flip(-1).transpose(-1, -2)  # [..., chunk, d]
    jump = torch.linalg.matrix_power(matrix, _STATE_CHUNK).transpose(-1, -2)
    for chunk in u.split(_STATE_CHUNK, -1):
        state = state @ jump + chunk @ columns
    return state


def causal_convolution(u: Tensor, kernel: Tensor, path: ConvolutionPath | None = None) -> Tensor:
    """Causal convolution y_t = sum_{i <= t} k_i u_{t-i}.

    Parameters
    ----------
    u
        [..., N, L]: N signals for each kernel.
    kernel
        [..., l]; taps beyond L are not used, taps beyond l are zero.
    path
        "fft" (signal and kernel zero-padded, so that nothing wraps around), "toeplitz" (product
        with the [L, L] matrix of taps) or None: Toeplitz for short signals, FFT for long ones.

    Returns
    -------
    Tensor
        [..., N, L] in the dtype of the kernel.

    Examples
    --------
    >>> causal_convolution(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([1.0, -1.0]), "toeplitz")
    tensor([[1., 1., 2.]])
    """
    length = u.shape[-1]
    u, kernel = u.to(kernel.dtype), kernel[..., :length]
    if path is None:
        path = "toeplitz" if length <= _TOEPLITZ_UP_TO else "fft"
    if path == "toeplitz":
        return u @ toeplitz(kernel, length).transpose(-1, -2)
    if path != "fft":
        raise ValueError(f"path={path!r} is neither 'fft' nor 'toeplitz'.")
    size = fft_size(2 * length)
    product = torch.fft.rfft(u, size) * torch.fft.rfft(kernel, size)[..., None, :]
    return torch.fft.irfft(product, size)[..., :length]


def toeplitz(kernel: Tensor, length: int) -> Tensor:
    """Lower-triangular matrices with entry k_{t-s} in row t, column s.

    Parameters
    ----------
    kernel
        [..., l] with l <= length; missing taps are zero.
    length
        Rows and columns.

    Returns
    -------
    Tensor
        [..., length, length].
    """
    reversed_taps = F.pad(kernel, (0, length - kernel.shape[-1])).flip(-1)
    return F.pad(reversed_taps, (0, length - 1)).unfold(-1, length, 1).flip(-2)


def fft_size(least: int) -> int:
    """The smallest size 2^k or 3 * 2^k that is at least `least`: FFTs of it are fast.

    Examples
    --------
    >>> [fft_size(n) for n in (1, 5, 7, 33, 49, 1440)]
    [1, 6, 8, 48, 64, 1536]
    """
    power = 1 << (least - 1).bit_length()
    smaller = 3 * power // 4
    return smaller if power >= 4 and smaller >= least else power


def differencing_taps(order: int) -> list[float]:
    """Taps of the difference of an order: signed binomials, (1 - z)^order.

    Examples
    --------
    >>> differencing_taps(2)
    [1.0, -2.0, 1.0]
    """
    return [float((-1) ** i * math.comb(order, i)) for i in range(order + 1)]


def residual_taps(width: int) -> list[float]:
    """Taps of the signal minus its moving average over the last `width` steps, width >= 2.

    Examples
    --------
    >>> residual_taps(4)
    [0.75, -0.25, -0.25, -0.25]
    """
    if width < 2:
        raise ValueError(f"width={width} must be at least 2: one step is its own average.")
    return [1 - 1 / width, *[-1 / width] * (width - 1)]


def preprocessing_kernels(
    orders: Sequence[int] = (0, 1, 2, 3), widths: Sequence[int] = ()
) -> Tensor:
    """Fixed filters for `causal_convolution`: differences, then moving-average residuals.

    Parameters
    ----------
    orders
        Differencing orders; order 0 passes the signal through.
    widths
        Widths of the moving averages, each >= 2.

    Returns
    -------
    Tensor
        [n_orders + n_widths, l] float32, zero-padded to the longest filter.
    """
    taps = [differencing_taps(order) for order in orders]
    taps += [residual_taps(width) for width in widths]
    longest = max(map(len, taps), default=0)
    return torch.tensor([row + [0.0] * (longest - len(row)) for row in taps])
