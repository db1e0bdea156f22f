"""Rotary position embedding on real-valued positions (time steps, not token indices)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_FREQUENCIES = 64
"""Bands of the spectrum that adaptive frequencies are chosen by."""


def rotary_factors(position: Tensor, d_head: int, base: float) -> tuple[Tensor, Tensor]:
    """Factors that rotate queries and keys; see `rotate`.

    Source: Su et al., "RoFormer" (arXiv 2104.09864).

    Parameters
    ----------
    position
        [B, T] positions, any real numbers; only differences matter to attention.
    d_head
        Width of one head (even).
    base
        Ratio of the slowest to the fastest wavelength.

    Returns
    -------
    tuple of Tensor
        Factors of a vector and of its swapped halves, each [B, T, 1, 1, d_head]; the second
        carries the sign, so that a rotation is one multiplication and one fused multiply-add.
    """
    exponent = torch.arange(0, d_head, 2, device=position.device, dtype=torch.float32) / d_head
    return _factors(position, base**-exponent)


def _factors(position: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    """Factors for positions [B, T] and angles per unit, [d_head / 2] or [B, 1, d_head / 2]."""
    angle = (position.float()[:, :, None] * frequency)[:, :, None, None]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of the last axis of `x` [B, T, ..., d_head] by the given angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([b, a], dim=-1), sin)


class AdaptiveRotary(nn.Module):
    """Rotary factors whose frequencies depend on the spectrum of the series.

    Frequency i becomes `exp(gamma_i ln theta_i + beta_i)`, where a small network reads gamma and
    beta off the spectrum. It starts with gamma = 1 and beta = 0, the standard frequencies.

    Source: instance-adaptive rotary embedding of "Kairos" (arXiv 2509.25826); there the spectrum
    is that of the first 128 bins of a transform, which depends on how far a series is padded.

    Parameters
    ----------
    d_head
        Width of one head (even).
    base
        Ratio of the slowest to the fastest of the standard wavelengths.
    n_frequencies
        Width of the spectrum, S.
    d_hidden
        Width of the first hidden layer; the second is half as wide.

    Examples
    --------
    >>> rotary = AdaptiveRotary(16, 1000.0)
    >>> cos, sin = rotary(torch.arange(5.0).expand(2, -1), torch.rand(2, 64))
    >>> bool(torch.equal(cos, rotary_factors(torch.arange(5.0).expand(2, -1), 16, 1000.0)[0]))
    True
    """

    def __init__(
        self,
        d_head: int,
        base: float,
        n_frequencies: int = N_FREQUENCIES,
        d_hidden: int = 64,
    ) -> None:
        super().__init__()
        self.d_head = d_head
        self.base = base
        self.hidden1 = nn.Linear(n_frequencies, d_hidden)
        self.hidden2 = nn.Linear(d_hidden, d_hidden // 2)
        self.out = nn.Linear(d_hidden // 2, d_head)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def frequency(self, spectrum: Tensor) -> Tensor:
        """[B, d_head / 2] angles per unit of position, of rows with spectra [B, S]."""
        with torch.autocast(spectrum.device.type, enabled=False):  # angles grow with position
            x = F.layer_norm(spectrum.float(), spectrum.shape[-1:])
            x = F.relu(self.hidden2(F.relu(self.hidden1(x))))
            change, shift = self.out(x).chunk(2, dim=-1)  # gamma - 1 and beta
        exponent = torch.arange(0, self.d_head, 2, device=x.device, dtype=torch.float32)
        exponent = exponent / self.d_head
        adapted = torch.exp(shift - change * exponent * math.log(self.base))
        return self.base**-exponent * adapted

    def forward(self, position: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Factors as in `rotary_factors`, for positions [B, T] of rows with spectra [B, S]."""
        return _factors(position, self.frequency(spectrum)[:, None])
