"""Layers of companion state-space models: open loop (filters) and closed loop (forecasts).

Channels are laid out kernel by kernel: channel i uses kernel i // n_heads. Both layers are linear
and time-invariant: they take one value per regular time step. On tokens of unequal length they
would mis-time silently, so the caller has to refuse those; a missing value is a zero input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsfm.nn.companion import (
    KernelPath,
    causal_convolution,
    companion_kernel,
    companion_matrix,
    companion_step,
    final_state,
    krylov,
    normalise,
)

_ROLLOUT_CHUNK = 32
"""Steps a rollout answers at once; fixed, so that a short forecast is a prefix of a long one."""


class _Companion(nn.Module):
    """What both layers share: a, b and c of every kernel, and the way to and from channels."""

    def __init__(
        self, n_kernels: int, n_heads: int, d_state: int, norm_order: float, norm_floor: float
    ) -> None:
        super().__init__()
        if min(n_kernels, n_heads, d_state) < 1:
            raise ValueError(
                f"n_kernels={n_kernels}, n_heads={n_heads} and d_state={d_state} must be >= 1."
            )
        self.n_kernels, self.n_heads, self.d_state = n_kernels, n_heads, d_state
        self.n_channels = n_kernels * n_heads
        self.norm_order, self.norm_floor = norm_order, norm_floor
        self.a = nn.Parameter(torch.randn(n_kernels, d_state))
        self.b = nn.Parameter(torch.randn(n_kernels, d_state))
        self.c = nn.Parameter(torch.randn(n_kernels, d_state))
        for vectors in (self.a, self.b, self.c):
            vectors._no_weight_decay = True  # type: ignore[attr-defined]

    def _normalised(self, v: Tensor) -> Tensor:
        return normalise(v, self.norm_order, self.norm_floor)

    def _by_kernel(self, u: Tensor) -> Tensor:
        """[B, L, n_channels] to [n_kernels, B * n_heads, L] in the dtype of the parameters."""
        if u.shape[-1] != self.n_channels:
            raise ValueError(f"The input has {u.shape[-1]} channels, not {self.n_channels}.")
        by_kernel = u.unflatten(-1, (self.n_kernels, self.n_heads)).permute(2, 0, 3, 1)
        return by_kernel.flatten(1, 2).to(self.a.dtype)

    def _by_channel(self, y: Tensor) -> Tensor:
        """[n_kernels, B * n_heads, L] to [B, L, n_channels]."""
        return y.unflatten(1, (-1, self.n_heads)).permute(1, 3, 0, 2).flatten(2)

    def _state_after(self, a: Tensor, b: Tensor, u: Tensor) -> Tensor:
        """State after the signal u [B, L, n_channels]: [B, n_kernels, n_heads, d_state]."""
        state = final_state(a, b, self._by_kernel(u))
        return state.unflatten(1, (-1, self.n_heads)).transpose(0, 1)

    def initial_state(self, n_rows: int) -> Tensor:
        """State before any input: zeros [n_rows, n_kernels, n_heads, d_state]."""
        return self.a.new_zeros(n_rows, self.n_kernels, self.n_heads, self.d_state)


class CompanionSSM(_Companion):
    """Learnt causal filters y = k * u + D u with k_i = c^T A^i b, A a companion matrix.

    Source: Zhang et al. (arXiv 2303.09489), open-loop layer.

    Parameters
    ----------
    n_kernels
        Number of different filters.
    n_heads
        Channels that share a filter; there are n_kernels * n_heads channels.
    d_state
        State size d of every filter.
    norm_order
        p of the p-norm by which `a` is divided at every call; 1 keeps the eigenvalues of A within
        the unit circle, 0 switches it off (then use path "krylov" or keep A stable otherwise).
    norm_floor
        Smallest divisor; 1.0 bounds the norm of `a` by one instead of fixing it to one.
    path
        How kernels are computed, see `companion_kernel`.

    Examples
    --------
    >>> layer = CompanionSSM(n_kernels=4, n_heads=2, d_state=8)
    >>> layer(torch.randn(3, 100, 8)).shape
    torch.Size([3, 100, 8])
    """

    def __init__(
        self,
        n_kernels: int,
        n_heads: int = 1,
        d_state: int = 64,
        norm_order: float = 1.0,
        norm_floor: float = 1e-4,
        path: KernelPath = "spectral",
    ) -> None:
        super().__init__(n_kernels, n_heads, d_state, norm_order, norm_floor)
        self.path: KernelPath = path
        self.skip = nn.Parameter(torch.randn(self.n_channels))
        with torch.no_grad():
            self.c.div_(d_state)  # outputs start at the scale of the inputs

    def kernel(self, length: int) -> Tensor:
        """First taps of every filter: [n_kernels, length]."""
        return companion_kernel(self._normalised(self.a), self.b, self.c, length, self.path)

    def forward(self, u: Tensor) -> Tensor:
        """Filter signals.

        Parameters
        ----------
        u
            [B, L, n_channels], L >= 1.

        Returns
        -------
        Tensor
            [B, L, n_channels] in the dtype of `u`; step t has seen the inputs up to t.
        """
        with torch.autocast(u.device.type, enabled=False):
            filtered = causal_convolution(self._by_kernel(u), self.kernel(u.shape[1]))
            return (self._by_channel(filtered) + self.skip * u).to(u.dtype)

    def context_state(self, u: Tensor) -> Tensor:
        """State [B, n_kernels, n_heads, d_state] from which `step` continues after `u`."""
        with torch.autocast(u.device.type, enabled=False):
            return self._state_after(self._normalised(self.a), self.b, u)

    def step(self, u_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one time step in O(d_state); the same numbers as `forward`.

        Parameters
        ----------
        u_t
            [B, n_channels].
        state
            [B, n_kernels, n_heads, d_state], see `initial_state` and `context_state`.

        Returns
        -------
        tuple of Tensor
            Output [B, n_channels] in the dtype of `u_t` and the next state.
        """
        by_kernel = u_t.to(state.dtype).unflatten(-1, (self.n_kernels, self.n_heads))
        moved = companion_step(self._normalised(self.a)[:, None], state)
        state = moved + self.b[:, None] * by_kernel[..., None]
        y = (self.c[:, None] * state).sum(-1).flatten(1)
        return (y + self.skip * u_t).to(u_t.dtype), state

    def resume(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Filter a signal that goes on from a state, step by step: `forward` for its later parts.

        Parameters
        ----------
        u
            [B, L, n_channels], L >= 1.
        state
            [B, n_kernels, n_heads, d_state] before the first step.

        Returns
        -------
        tuple of Tensor
            Output [B, L, n_channels] in the dtype of `u` and the state after the last step.
        """
        outputs = []
        for t in range(u.shape[1]):
            y, state = self.step(u[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1), state


class ClosedLoopCompanionSSM(_Companion):
    """Forecasts of any length: a companion state-space model that predicts its own next input.

    The context u_0 .. u_{n-1} leaves the state x_n = sum_j A^{n-1-j} b u_j. From there on the
    input is fed back as K^T x, so that the state moves by M = A + b K^T:

        y_{n+h} = c^T M^h x_n,    uhat_{n+h} = K^T M^h x_n,    h = 0, 1, ...

    The same normalised a, b, c and K enter everywhere. Source: Zhang et al. (arXiv 2303.09489),
    closed-loop layer.

    The norms bound the eigenvalues of A, not those of M. `spectral_radius` measures the latter;
    to keep rollouts from growing either watch it in training, or set `damp`, which divides M by
    max(1, radius) in `rollout` (the radius is a constant to the gradient).

    Parameters
    ----------
    n_kernels, n_heads, d_state
        As for `CompanionSSM`.
    norm_order, norm_floor
        As for `CompanionSSM`, but applied to b, c and K as well.
    damp
        Whether to divide M by its spectral radius where that exceeds one.

    Examples
    --------
    >>> layer = ClosedLoopCompanionSSM(n_kernels=4, d_state=8)
    >>> y, fed_back = layer(torch.randn(3, 100, 4), prediction_length=24)
    >>> y.shape, fed_back.shape
    (torch.Size([3, 24, 4]), torch.Size([3, 24, 4]))
    """

    def __init__(
        self,
        n_kernels: int,
        n_heads: int = 1,
        d_state: int = 64,
        norm_order: float = 1.0,
        norm_floor: float = 1e-4,
        damp: bool = False,
    ) -> None:
        super().__init__(n_kernels, n_heads, d_state, norm_order, norm_floor)
        self.damp = damp
        self.k = nn.Parameter(torch.randn(n_kernels, d_state))
        self.k._no_weight_decay = True  # type: ignore[attr-defined]

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The normalised a, b, c and K, each [n_kernels, d_state]."""
        a, b, c, k = self._normalised(torch.stack([self.a, self.b, self.c, self.k])).unbind(0)
        return a, b, c, k

    def forward(self, u: Tensor, prediction_length: int) -> tuple[Tensor, Tensor]:
        """Continue the signals u [B, L, n_channels]; answers as `rollout`."""
        return self.rollout(self.context_state(u), prediction_length)

    def open_loop(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """One-step predictions within the context, for losses.

        Parameters
        ----------
        u
            [B, L, n_channels], L >= 1.

        Returns
        -------
        tuple of Tensor
            y and uhat, each [B, L, n_channels] in the dtype of the parameters; step t has seen
            the inputs up to t, so uhat_t predicts u_{t+1}.
        """
        with torch.autocast(u.device.type, enabled=False):
            a, b, c, k = self.coefficients()
            kernels = companion_kernel(a, b, torch.stack([c, k]), u.shape[1])
            signals = self._by_kernel(u)
            y, fed_back = (self._by_channel(causal_convolution(signals, one)) for one in kernels)
            return y, fed_back

    def context_state(self, u: Tensor) -> Tensor:
        """State x_n [B, n_kernels, n_heads, d_state] after the context u [B, n, n_channels]."""
        with torch.autocast(u.device.type, enabled=False):
            a, b, _, _ = self.coefficients()
            return self._state_after(a, b, u)

    def transition(self) -> Tensor:
        """The closed-loop matrices M = A + b K^T, undamped: [n_kernels, d_state, d_state]."""
        a, b, _, k = self.coefficients()
        return companion_matrix(a) + b[..., None] * k[..., None, :]

    @torch.no_grad()
    def spectral_radius(self) -> Tensor:
        """Largest modulus of the eigenvalues of M, in float64: [n_kernels].

        A rollout is bounded for all horizons if this is below one; at r > 1 it may grow by r per
        step, that is by r^720 over 720 steps.
        """
        radius: Tensor = torch.linalg.eigvals(self.transition().double()).abs().amax(-1)
        return radius

    def rollout(self, state: Tensor, prediction_length: int) -> tuple[Tensor, Tensor]:
        """Forecast from a state.

        The steps are computed in chunks of fixed size, so a shorter forecast holds bitwise the
        first steps of a longer one.

        Parameters
        ----------
        state
            [B, n_kernels, n_heads, d_state].
        prediction_length
            Steps to forecast, >= 1.

        Returns
        -------
        tuple of Tensor
            y and the fed-back input uhat, each [B, prediction_length, n_channels] in the dtype
            of the parameters.
        """
        if prediction_length < 1:
            raise ValueError(f"prediction_length={prediction_length} must be at least 1.")
        with torch.autocast(state.device.type, enabled=False):
            _, _, c, k = self.coefficients()
            matrix = self.transition()
            if self.damp:
                radius = self.spectral_radius().clamp_min(1.0)
                matrix = matrix / radius.to(matrix.dtype)[:, None, None]
            # rows c^T M^i and K^T M^i are the Krylov vectors of M transposed
            readout = krylov(matrix.mT, torch.stack([c, k]), _ROLLOUT_CHUNK)
            jump = torch.linalg.matrix_power(matrix, _ROLLOUT_CHUNK).mT
            x = state.transpose(0, 1).flatten(1, 2)  # [n_kernels, B * n_heads, d_state]
            chunks = []
            for _ in range(0, prediction_length, _ROLLOUT_CHUNK):
                chunks.append(x @ readout)
                x = x @ jump
            answers = torch.cat(chunks, -1)[..., :prediction_length]
            return self._by_channel(answers[0]), self._by_channel(answers[1])
