"""How a series' power is spread over frequencies that are the same for every series."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.nn.rotary import N_FREQUENCIES

_SLOWEST, _FASTEST = 1 / 2048, 1 / 2
_FLOOR = 1e-3
"""Shares of the power far below it are taken for none."""


def frequencies(n: int = N_FREQUENCIES) -> Tensor:
    """The frequencies of `band_power`, in cycles per step.

    Parameters
    ----------
    n
        How many.

    Returns
    -------
    Tensor
        [n] float64, evenly spaced in the logarithm from 1/2048 to 1/2.
    """
    return torch.logspace(
        math.log10(_SLOWEST), math.log10(_FASTEST), n, dtype=torch.float64
    ).clamp(max=_FASTEST)


def band_power(x: Tensor, observed: Tensor, n: int = N_FREQUENCIES) -> Tensor:
    """Share of a series' power in the band around each of some fixed frequencies.

    The periodogram of the observed steps about their mean, integrated exactly over bands that tile
    the frequencies from 0 to 1/2: a cycle of any length is found, however long the series. It is
    computed from the autocovariance, so that phases cancel; missing steps count for nothing,
    wherever they are, and neither sign nor unit of the series matter.

    Parameters
    ----------
    x, observed
        [B, L] series and mask; masked values are ignored.
    n
        Number of bands, S.

    Returns
    -------
    Tensor
        [B, S] float32, `log(1 + 1000 share)`: 0 where there is no power, at most 6.9.

    Examples
    --------
    >>> x = torch.sin(torch.arange(400) * 2 * torch.pi / 24)[None]
    >>> strongest = band_power(x, torch.ones(1, 400) > 0).argmax()
    >>> round(1 / float(frequencies()[strongest]), 1)
    25.1
    """
    weight = observed.double()  # rounding must not depend on the padded length
    x = torch.where(observed, x, 0).double()
    mean = x.sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(1)
    x = (x - mean) * weight
    length = x.shape[1]
    size = 1 << (2 * length - 1).bit_length()
    lagged = torch.fft.irfft(torch.fft.rfft(x, size).abs().square(), size)[:, :length]  # [B, L]
    power = (lagged @ _bands(length, n, x.device)).clamp_min(0)
    share = power / power.sum(-1, keepdim=True).clamp_min(1e-12)
    return torch.log1p(share / _FLOOR).float()


def _bands(length: int, n: int, device: torch.device) -> Tensor:
    """[L, S] what each lag of an autocovariance adds to the power in each band."""
    centre = frequencies(n).to(device)
    middle = (centre[:-1] * centre[1:]).sqrt()
    edges = torch.cat([torch.zeros_like(centre[:1]), middle, centre[-1:]])
    lag = torch.arange(length, dtype=torch.float64, device=device)[:, None]
    # twice the integral of cos(2 pi f lag) from 0 to each edge, and once more for the lag -lag
    upto = 4 * edges * torch.sinc(2 * edges * lag)
    upto[0] /= 2
    return upto.diff(dim=1)
