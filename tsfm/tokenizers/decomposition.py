"""A series as the sum of trend, seasonal pattern and the rest, for many rows at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Decomposition(NamedTuple):
    """Parts that sum to the series; all [B, L], 0 at missing steps.

    Parameters
    ----------
    trend
        Rolling mean.
    seasonal
        What is left on average at steps a whole number of seasons apart.
    residual
        The rest.
    """

    trend: Tensor
    seasonal: Tensor
    residual: Tensor


def decompose(
    z: Tensor, observed: Tensor, width: Tensor, season: Tensor, causal: bool = False
) -> Decomposition:
    """Split series into trend, seasonal pattern and residual.

    The trend is the mean of the observed values among `width` steps, the seasonal part that of
    the detrended observed values at steps a whole number of seasons apart, all in double
    precision. Missing steps count in no mean. A row begins at its first observed step, and
    seasons are counted from its end: missing steps in front change nothing. The parts of -z are
    those of z with the other sign.

    Centred windows, near the ends, stay where they just fit: without missing steps that is
    `x.rolling(width, center=True).mean().bfill().ffill()` in pandas. A row shorter than the window
    has its mean as trend. Causal parts know nothing of later steps: the window ends at the step,
    having begun no earlier than the row, and the seasonal part is the mean so far.

    Parameters
    ----------
    z, observed
        [B, L] values and mask; masked values are ignored.
    width
        [B] int64 steps of the rolling mean, at least 1.
    season
        [B] int64 steps per season; 0 or 1 for none, then the seasonal part is 0.
    causal
        Whether a step's parts may depend on earlier steps and itself only.

    Returns
    -------
    Decomposition
        Trend, seasonal part and residual, in the precision of `z`.

    Examples
    --------
    >>> z = torch.tensor([[0.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.0]])
    >>> parts = decompose(z, torch.ones_like(z) > 0, torch.tensor([2]), torch.tensor([2]))
    >>> parts.trend
    tensor([[1.5000, 1.5000, 2.5000, 3.5000, 4.5000, 5.5000, 6.5000, 7.5000]])
    >>> parts.seasonal[0, 1:3]
    tensor([ 1.5000, -0.7500])
    """
    mask = observed.to(torch.float64)
    x = torch.where(observed, z, 0).to(torch.float64)
    trend = _rolling_mean(x, mask, width[:, None], causal) * mask
    seasonal = _phase_mean(x - trend, mask, season[:, None], causal) * mask
    return Decomposition(*(part.to(z.dtype) for part in (trend, seasonal, x - trend - seasonal)))


def _rolling_mean(x: Tensor, mask: Tensor, width: Tensor, causal: bool) -> Tensor:
    """[B, L] mean of the observed values around, or up to, each step; 0 where there are none."""
    length = x.shape[1]
    step = torch.arange(length, device=x.device)
    first = (mask > 0).to(torch.int8).argmax(-1, keepdim=True)  # [B, 1]
    if causal:
        end = (step + 1).expand_as(x)
        begin = torch.maximum(end - width, first.clamp(max=length))
    else:
        width = torch.minimum(width, length - first)
        centre = torch.maximum(step, first + width // 2)
        centre = torch.minimum(centre, length - 1 - (width - 1) // 2)
        begin = centre - width // 2
        end = begin + width
    begin = torch.minimum(begin, end)

    def total(values: Tensor) -> Tensor:
        sums = F.pad(values.cumsum(-1), (1, 0))
        return sums.gather(1, end) - sums.gather(1, begin)

    return total(x) / total(mask).clamp_min(1)


def _phase_mean(x: Tensor, mask: Tensor, season: Tensor, causal: bool) -> Tensor:
    """[B, L] mean of the observed values at the phase of each step; 0 where there is no season."""
    n_rows, length = x.shape
    to_end = torch.arange(length - 1, -1, -1, device=x.device)
    phase = to_end % season.clamp_min(1)  # [B, L]
    order = phase.argsort(dim=-1, stable=True)  # phase after phase, in each from left to right
    sorted_phase = phase.gather(1, order)
    place = torch.arange(length, device=x.device).expand(n_rows, -1)
    changes = sorted_phase.diff(dim=-1) != 0
    opens = torch.where(F.pad(changes, (1, 0), value=True), place, 0).cummax(-1).values
    if causal:
        closes = place
    else:
        last = torch.where(F.pad(changes, (0, 1), value=True), place, length)
        closes = last.flip(-1).cummin(-1).values.flip(-1)

    def total(values: Tensor) -> Tensor:
        sums = F.pad(values.gather(1, order).cumsum(-1), (1, 0))
        return sums.gather(1, closes + 1) - sums.gather(1, opens)

    mean = total(x * mask) / total(mask).clamp_min(1)
    return torch.zeros_like(x).scatter(1, order, mean) * (season > 1)
