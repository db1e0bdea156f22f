"""SpaceTime: companion state-space layers that read one series and roll its future.

Source: Zhang et al., "Effectively Modeling Time Series with Simple Discrete State Spaces"
(arXiv 2303.09489). The window passes fixed filters (differences, residuals of moving averages), a
block of learnt filters, and a closed loop that feeds its own predictions back: the horizon is a
number given at run time, and a short forecast is the beginning of a long one.

A closed loop may grow: the norms of its coefficients do not bound its eigenvalues. `settle`
measures them and keeps, with the weights, the divisor that brings each kernel's largest one back
to the unit circle; training calls it every few steps, `diagnostics` reports what it found.

A companion matrix can hold an autoregression exactly, but gradient descent from random weights
does not arrive there. With `autoregression` in the configuration one is fitted in closed form and
rolled out beside the loop, whose read-out starts at zero: training begins at its forecast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.models.presets.autoregression import DifferenceAutoregression
from tsfm.models.presets.config import SpaceTimeConfig
from tsfm.models.presets.smamba import mean_where
from tsfm.nn.companion import causal_convolution, preprocessing_kernels
from tsfm.nn.companion_layers import ClosedLoopCompanionSSM, CompanionSSM

_CHUNK = 32
"""Steps read out at once."""


class BrakedLoop(ClosedLoopCompanionSSM):
    """A closed loop whose transition is divided by a stored number per kernel.

    Parameters
    ----------
    n_kernels, d_state
        As for `ClosedLoopCompanionSSM`.
    """

    brake: Tensor

    def __init__(self, n_kernels: int, d_state: int) -> None:
        super().__init__(n_kernels, d_state=d_state)
        self.register_buffer("brake", torch.ones(n_kernels))

    def transition(self) -> Tensor:
        """The braked matrices of the loop [n_kernels, d_state, d_state]."""
        matrix: Tensor = super().transition() / self.brake[:, None, None]
        return matrix

    @torch.no_grad()
    def set_brake(self) -> Tensor:
        """Measure the free loop's spectral radius [n_kernels] and brake what exceeds one."""
        self.brake.fill_(1.0)
        radius = self.spectral_radius()
        # a hair more than the radius, so that rounding does not leave it above one
        self.brake.copy_((radius * (1 + 1e-6)).clamp_min(1.0))
        return radius


class SpaceTimeBlock(nn.Module):
    """Learnt filters, then a residual MLP, then the block's input again.

    Parameters
    ----------
    n_kernels, n_heads
        Filters, and channels that share one.
    d_state
        State size.
    dropout
        Share of activations dropped in training.
    """

    def __init__(self, n_kernels: int, n_heads: int, d_state: int, dropout: float) -> None:
        super().__init__()
        self.filters = CompanionSSM(n_kernels, n_heads, d_state)
        self.linear = nn.Linear(n_kernels * n_heads, n_kernels * n_heads)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [R, L, d_model] to [R, L, d_model]."""
        filtered: Tensor = self.filters(x)
        mapped: Tensor = F.gelu(self.linear(self.dropout(F.gelu(filtered))))
        return filtered + mapped + x


class SpaceTimeNetwork(nn.Module):
    """From scaled windows of single series to scaled forecasts of any length.

    Parameters
    ----------
    config
        Everything that shapes the network.

    Examples
    --------
    >>> network = SpaceTimeNetwork(SpaceTimeConfig(context_length=64, n_kernels=2, d_state=8))
    >>> network(torch.randn(5, 1, 64), prediction_length=200).shape
    torch.Size([5, 1, 200])
    """

    mixes_variates = False
    taps: Tensor

    def __init__(self, config: SpaceTimeConfig) -> None:
        super().__init__()
        self.config = config
        taps = preprocessing_kernels(config.differences, config.average_widths)
        self.register_buffer("taps", taps, persistent=False)  # [n_filters, l]
        width, n_filters = config.d_model, len(taps)
        self.blocks = nn.ModuleList(
            [SpaceTimeBlock(config.n_kernels, n_filters, config.d_state, config.dropout)]
        )
        for _ in range(config.n_extra_blocks):
            self.blocks.append(SpaceTimeBlock(width, 1, config.d_state, config.dropout))
        self.loop = BrakedLoop(width, config.d_state)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, 1)
        self.autoregression: DifferenceAutoregression | None = None
        if config.autoregression:
            self.autoregression = DifferenceAutoregression(config.autoregression)
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)
        self._radius = float("nan")

    def encode(self, z: Tensor) -> Tensor:
        """Channels [R, L, d_model] of windows [R, L]."""
        filtered = causal_convolution(z[None], self.taps)  # [n_filters, R, L]
        x = filtered.permute(1, 2, 0).repeat(1, 1, self.config.n_kernels)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, z: Tensor, prediction_length: int | None = None) -> Tensor:
        """Forecast.

        Parameters
        ----------
        z
            [W, N, L] windows, scaled, missing values zero; the N series do not see each other.
        prediction_length
            Steps to forecast, any number; `config.prediction_length` by default.

        Returns
        -------
        Tensor
            [W, N, prediction_length], in the same scale.
        """
        horizon = prediction_length or self.config.prediction_length
        # chunks of one size, so that a short forecast holds bitwise the first steps of a long one
        rolled = -(-horizon // _CHUNK) * _CHUNK
        rows = z.flatten(0, 1)  # [R, L]
        closed, _ = self.loop(self.encode(rows), rolled)
        parts = [self._read_out(part.contiguous()) for part in closed.split(_CHUNK, 1)]
        forecast = torch.cat(parts, 1)[:, :horizon]
        if self.autoregression is not None:
            forecast = forecast + self.autoregression(rows, horizon)
        answer: Tensor = forecast.unflatten(0, z.shape[:2])
        return answer

    def loss(self, z: Tensor, scale: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Sum of three root mean square errors: forecast, and one step ahead within the window.

        The one-step terms compare, once the state is full, the open loop's answer with the next
        value (missing ones are those that `z` holds as zero) and its fed-back input with the next
        encoded one; `config.one_step_weight` weighs both.

        Parameters
        ----------
        z
            [W, N, L], as for `forward`.
        scale
            [W, N, 1] unit of `z`.
        target, observed
            [W, N, H] what followed, in the scale of `z`, and which of it is known.
        """
        rows = z.flatten(0, 1)  # [R, L]
        unit = scale.flatten(0, 1)  # [R, 1]
        if self.config.loss_unit == "window":
            unit = torch.ones_like(unit)
        x = self.encode(rows)
        closed, _ = self.loop(x, target.shape[-1])
        forecast = self._read_out(closed)
        if self.autoregression is not None:
            forecast = forecast + self.autoregression(rows, target.shape[-1])
        error = unit * (forecast - target.flatten(0, 1))
        total = _root(mean_where(error.square(), observed.flatten(0, 1)))
        full = min(self.config.d_state - 1, (rows.shape[1] - 1) // 2)
        if rows.shape[1] < 2:
            return total
        y, fed_back = self.loop.open_loop(x)
        known = rows[:, full + 1 :] != 0
        expected = self._read_out(y[:, full:-1])
        if self.autoregression is not None:
            expected = expected + self.autoregression.one_step(rows)[:, full:-1]
        ahead = unit * (expected - rows[:, full + 1 :])
        weight = self.config.one_step_weight
        total = total + weight * _root(mean_where(ahead.square(), known))
        return total + weight * _root((fed_back[:, full:-1] - x[:, full + 1 :]).square().mean())

    def settle(self) -> None:
        """Measure the loop and set its brake; call it when the weights have changed."""
        self._radius = float(self.loop.set_brake().max())

    def diagnostics(self) -> dict[str, float]:
        """Largest eigenvalue of the free loop at the last `settle`, and of the autoregression."""
        found = {"spectral_radius": self._radius}
        if self.autoregression is not None:
            found["autoregression_radius"] = self.autoregression.radius
        return found

    def _read_out(self, y: Tensor) -> Tensor:
        """One value per step: [R, H, d_model] to [R, H]."""
        answer: Tensor = self.head(self.dropout(F.gelu(y)))
        return answer[..., 0]


def _root(mean_square: Tensor) -> Tensor:
    """Root with a finite slope at zero."""
    return (mean_square + 1e-12).sqrt()
