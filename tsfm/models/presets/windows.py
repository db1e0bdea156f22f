"""Windows of series: padded to one length, scaled one by one, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsfm.models.presets.config import Scaling

Array = NDArray[np.float64]

_CONSTANT = 1e-10
"""Spread, relative to the largest magnitude, below which a window is constant up to rounding."""


def right_aligned(series: Sequence[Array], length: int | None = None) -> Array:
    """Series as the rows of a matrix that end together.

    Parameters
    ----------
    series
        N arrays.
    length
        Columns; earlier values are cut. The longest series' length by default.

    Returns
    -------
    ndarray
        [N, length], a copy, NaN before a series begins and where it is not finite.

    Examples
    --------
    >>> right_aligned([np.array([1.0, 2.0]), np.array([3.0])])
    array([[ 1.,  2.],
           [nan,  3.]])
    """
    columns = max(map(len, series), default=0) if length is None else length
    matrix = np.full((len(series), columns), np.nan)
    for row, values in zip(matrix, series, strict=True):
        kept = values[max(0, len(values) - columns) :]
        row[columns - len(kept) :] = kept
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def spread_of(values: Array) -> float:
    """Standard deviation of the finite values; zero where it is but rounding.

    Examples
    --------
    >>> spread_of(np.array([1.0, np.nan, 3.0])), spread_of(np.full(9, 0.1))
    (1.0, 0.0)
    """
    known = values[np.isfinite(values)]
    peak = float(np.abs(known).max(initial=0.0))
    if peak == 0:
        return 0.0
    relative = float((known / peak).std())  # squares must neither overflow nor vanish
    return relative * peak if relative > _CONSTANT else 0.0


def scaled(windows: Tensor, scaling: Scaling = "standard") -> tuple[Tensor, Tensor, Tensor]:
    """Windows around zero, and what undoes it: `window = z * scale + loc`.

    Mean and standard deviation (biased) are those of the values that are there; missing values
    become zero, the mean of what is known.

    Parameters
    ----------
    windows
        [..., L], NaN = missing.
    scaling
        "standard", or "mean" to leave the unit as it is.

    Returns
    -------
    tuple of Tensor
        z [..., L] in float32; loc and scale [..., 1] in the dtype of the windows. A constant
        window has z and scale zero, one without values loc zero as well.

    Examples
    --------
    >>> z, loc, scale = scaled(torch.tensor([[1.0, float("nan"), 3.0]]))
    >>> z.tolist(), loc.item(), scale.item()
    ([[-1.0, 0.0, 1.0]], 2.0, 1.0)
    """
    observed = windows.isfinite()
    count = observed.sum(-1, keepdim=True).clamp_min(1)
    known = windows.where(observed, 0)
    peak = known.abs().amax(-1, keepdim=True)
    unit = peak.where(peak > 0, 1)  # squares must neither overflow nor vanish
    loc = (known / unit).sum(-1, keepdim=True) / count
    centred = (known / unit - loc).where(observed, 0)
    if scaling == "mean":
        return (centred * unit).float(), loc * unit, torch.ones_like(loc)
    spread = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    spread = spread.where(spread > _CONSTANT, 0)
    z = torch.where(spread > 0, centred / spread.where(spread > 0, 1), 0)
    return z.float(), loc * unit, spread * unit
