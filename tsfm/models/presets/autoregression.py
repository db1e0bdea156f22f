"""A linear autoregression of differences: the straight part of a SpaceTime forecast.

The next difference of a series is a weighted sum of its last ones; a forecast adds up what this
recursion answers when it is fed its own predictions. Levels keep their unit root, so that a window
without movement is continued as it stands. The roll-out is linear in the window: it is computed a
chunk at a time, by one matrix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 32
"""Steps rolled at once; fixed, so that a short forecast is bitwise the beginning of a long one."""


class DifferenceAutoregression(nn.Module):
    """Forecasts z_t - z_{t-1} = sum_i c_i (z_{t-i} - z_{t-i-1}), rolled to any horizon.

    Parameters
    ----------
    order
        Number of coefficients p; they start at zero, where the forecast is the last value.

    Examples
    --------
    >>> rolled = DifferenceAutoregression(1)
    >>> rolled.set_coefficients(torch.tensor([0.5]))
    >>> rolled(torch.tensor([[1.0, 2.0]]), 3)
    tensor([[2.5000, 2.7500, 2.8750]])
    """

    coefficients: Tensor

    def __init__(self, order: int) -> None:
        super().__init__()
        self.radius = float("nan")
        self.register_buffer("coefficients", torch.zeros(order))  # [p], latest difference first

    @property
    def order(self) -> int:
        """Number of coefficients p."""
        return len(self.coefficients)

    def set_coefficients(self, coefficients: Tensor) -> None:
        """Take over coefficients [p], and shrink them if their recursion would grow.

        `radius` becomes the largest modulus of their eigenvalues. Where it exceeds one, c_i is
        divided by its i-th power, which divides all eigenvalues by it.
        """
        self.radius = spectral_radius(coefficients)
        # a hair more than the radius, so that rounding does not leave it above one
        divisor = max(1.0, self.radius * (1 + 1e-6))
        powers = divisor ** -torch.arange(1, self.order + 1, dtype=torch.float64)
        self.coefficients.copy_(coefficients.double().cpu() * powers)

    def forward(self, z: Tensor, prediction_length: int) -> Tensor:
        """Roll windows forward.

        Parameters
        ----------
        z
            [R, L] windows, missing values zero.
        prediction_length
            Steps, any number.

        Returns
        -------
        Tensor
            [R, prediction_length].
        """
        known = filled(z)
        recent, level = self._recent(known), known[:, -1:]
        ahead = self._map()
        parts: list[Tensor] = []
        for _ in range(0, prediction_length, _CHUNK):
            following = recent @ ahead  # [R, _CHUNK] differences
            recent = torch.cat([recent, following], 1)[:, -self.order :].contiguous()
            parts.append(level + following.cumsum(1))
            level = parts[-1][:, -1:]
        return torch.cat(parts, 1)[:, :prediction_length]

    def one_step(self, z: Tensor) -> Tensor:
        """What is expected after each value of windows [R, L], from the differences before it."""
        known = filled(z)
        moved = F.pad(known.diff(dim=1), (self.order, 0))[:, None]  # [R, 1, L - 1 + p]
        taps = self.coefficients.flip(0)[None, None]
        return known + F.conv1d(moved, taps)[:, 0]

    def _recent(self, known: Tensor) -> Tensor:
        """The last p differences [R, p] of windows, oldest first, zero before their beginning."""
        differences = known.diff(dim=1)[:, -self.order :]
        return F.pad(differences, (self.order - differences.shape[1], 0))

    def _map(self) -> Tensor:
        """Matrix [p, _CHUNK] from the last p differences to the next ones.

        The next differences f solve (I - T) f = G d: T holds the coefficients that meet other new
        ones, G those that meet the known ones.
        """
        order = self.order
        steps = torch.arange(_CHUNK, device=self.coefficients.device)
        lags = order + steps[:, None] - torch.arange(order, device=steps.device)
        taps = F.pad(self.coefficients, (1, 1))  # lag 0 and lags beyond p have no weight
        known = taps[lags.clamp(max=order + 1)]  # [_CHUNK, p]
        new = taps[(steps[:, None] - steps).clamp(0, order + 1)]  # [_CHUNK, _CHUNK]
        eye = torch.eye(_CHUNK, dtype=taps.dtype, device=taps.device)
        solved: Tensor = torch.linalg.solve_triangular(
            eye - new, known, upper=False, unitriangular=True
        )
        return solved.T.contiguous()


def filled(z: Tensor) -> Tensor:
    """Windows [R, L] whose missing values, held as zero, repeat the last value before them.

    Examples
    --------
    >>> filled(torch.tensor([[0.0, 2.0, 0.0, 3.0]]))
    tensor([[2., 2., 2., 3.]])
    """
    steps = torch.arange(z.shape[1], device=z.device)
    known = z != 0
    first = known.int().argmax(1, keepdim=True)
    latest = steps.where(known, 0).cummax(1).values
    return z.gather(1, latest.maximum(first))


def spectral_radius(coefficients: Tensor) -> float:
    """Largest modulus of the eigenvalues of a linear recursion.

    Examples
    --------
    >>> spectral_radius(torch.tensor([0.0, 0.25]))
    0.5
    """
    matrix = torch.diag(torch.ones(len(coefficients) - 1, dtype=torch.float64), -1)
    matrix[0] = coefficients.double().cpu()
    return float(torch.linalg.eigvals(matrix).abs().max())
