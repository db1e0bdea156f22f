"""Put series of any unit on one scale, and forecasts back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_CONSTANT = 1e-10
"""Spread, relative to the largest magnitude, below which a series is constant up to rounding."""
_LARGEST = 1e306
"""Bound of unscaled values: differences of quantiles, and their tails, stay numbers."""


@dataclass(frozen=True)
class Scale:
    """Location and scale of each series; float64, [B, 1].

    Parameters
    ----------
    loc
        Mean or median of the observed values.
    scale
        Their standard deviation, or a robust estimate of it; 0 for constant series.
    """

    loc: Tensor
    scale: Tensor

    @classmethod
    def of(cls, values: Tensor, observed: Tensor) -> Scale:
        """Statistics of the observed values.

        Parameters
        ----------
        values, observed
            [B, L] series in their own unit (any float type) and mask.
        """
        x = torch.where(observed, values, 0).double()
        count = observed.sum(-1, keepdim=True).clamp_min(1)
        peak = x.abs().amax(-1, keepdim=True)
        unit = torch.where(peak > 0, peak, 1)  # squares must neither overflow nor vanish
        x = x / unit
        loc = x.sum(-1, keepdim=True) / count
        variance = (torch.where(observed, x - loc, 0)).square().sum(-1, keepdim=True) / count
        scale = variance.sqrt()
        return cls(loc * unit, torch.where(scale > _CONSTANT, scale, 0) * unit)

    @classmethod
    def robust(cls, values: Tensor, observed: Tensor) -> Scale:
        """Median, and mean absolute distance from it, in units of a normal standard deviation.

        A few huge values must neither move the level nor flatten everything else: one step in a
        thousand that lies a thousand standard deviations off doubles this scale, while it makes
        the standard deviation 32 times as large. Unlike the interquartile range, it is only 0
        where all values are equal, so that series of zeros with rare bursts have a scale, too.

        Parameters
        ----------
        values, observed
            As in `of`.

        Examples
        --------
        >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 1e9]])
        >>> Scale.robust(x, torch.ones_like(x) > 0).loc.item()
        3.0
        """
        peak = torch.where(observed, values, 0).double().abs().amax(-1, keepdim=True)
        unit = torch.where(peak > 0, peak, 1)
        x = torch.where(observed, values.double() / unit, torch.nan)
        loc = x.nanmedian(-1, keepdim=True).values.nan_to_num()  # 0 where nothing is observed
        count = observed.sum(-1, keepdim=True).clamp_min(1)
        distance = torch.where(observed, x - loc, 0).abs().sum(-1, keepdim=True) / count
        scale = distance * (math.pi / 2) ** 0.5
        return cls(loc * unit, torch.where(scale > _CONSTANT, scale, 0) * unit)

    def forward(self, values: Tensor) -> Tensor:
        """Float32 `arcsinh((x - loc) / scale)` of the same shape; 0 for constant series."""
        divisor = torch.where(self.scale > 0, self.scale, 1)
        centred = torch.where(self.scale > 0, values.double() - self.loc, 0)
        return torch.asinh(centred / divisor).float()

    def inverse(self, z: Tensor) -> Tensor:
        """Float64 values in the series' unit, at most 1e306 in size.

        Parameters
        ----------
        z
            [B, ...] scaled values.
        """
        shape = (-1,) + (1,) * (z.dim() - 1)
        values = torch.sinh(z.double()) * self.scale.view(shape) + self.loc.view(shape)
        return values.clamp(-_LARGEST, _LARGEST)
