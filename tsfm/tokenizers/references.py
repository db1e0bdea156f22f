"""Simple forecasts of the spans ahead: last value, seasonal repeats, recent mean.

Small models learn slowly to copy a profile from one day ago when a day is not a multiple of the
patch length. These references hand them the copy; the head decides per step how much to trust it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.seasonality import RepeatLags

N_REFERENCES = 5
"""Last value, last short cycle, mean of short cycles, last long cycle, recent mean."""

_CYCLES_TRIED = 4
_RECENT_STEPS = 32
_GAP_BRIDGED = 3


def last_observed(z: Tensor, observed: Tensor) -> Tensor:
    """[B, L + 1]: the last observed value before each step; 0 where there is none."""
    steps = torch.arange(1, z.shape[1] + 1, device=z.device)
    latest = torch.where(observed, steps, 0).cummax(-1).values
    latest = torch.cat([torch.zeros_like(latest[:, :1]), latest], dim=1)
    padded = torch.cat([torch.zeros_like(z[:, :1]), torch.where(observed, z, 0)], dim=1)
    return padded.gather(1, latest)


def _repeats(
    z: Tensor, available: Tensor, steps: Tensor, known: Tensor, lag: Tensor, n_cycles: int
) -> tuple[Tensor, Tensor]:
    """Values one, two, ... cycles before `steps`, available at `known`; [n_cycles, B, T, P]."""
    size = lag.clamp_min(1)[:, None, None]
    back = torch.div(steps - known[..., None] + size, size, rounding_mode="floor").clamp_min(1)
    newest = steps - back * size
    index = torch.stack([newest - j * size for j in range(n_cycles)])  # [n, B, T, P]
    usable = (index >= 0) & (index < z.shape[1]) & (lag > 0)[:, None, None]
    flat = index.clamp(0, z.shape[1] - 1).transpose(0, 1).flatten(1)  # [B, n T P]
    shape = (z.shape[0], n_cycles, *steps.shape[1:])
    values = z.gather(1, flat).view(shape).transpose(0, 1)
    usable &= available.gather(1, flat).view(shape).transpose(0, 1) <= known[..., None]
    return torch.where(usable, values, 0), usable


def bridge_gaps(z: Tensor, observed: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Interpolate gaps of at most `longest` steps between observed values.

    Parameters
    ----------
    z, observed
        [B, L] values and mask.
    longest
        Longer gaps stay missing.

    Returns
    -------
    tuple of Tensor
        [B, L] values (0 where still missing), and [B, L] the number of steps that must have passed
        for a value to be known: a bridged one waits for the right end of its gap.
    """
    length = z.shape[1]
    steps = torch.arange(length, device=z.device)
    if observed.all():
        return z, (steps + 1).expand(z.shape)
    left = torch.where(observed, steps, -length).cummax(-1).values
    right = torch.where(observed, steps, 2 * length).flip(-1).cummin(-1).values.flip(-1)
    known = observed | (right - left <= longest + 1)
    a, b = z.gather(1, left.clamp_min(0)), z.gather(1, right.clamp(max=length - 1))
    share = (steps - left).to(z.dtype) / (right - left).clamp_min(1)
    bridged = torch.where(known, torch.where(observed, z, a + share * (b - a)), 0)
    return bridged, torch.where(known, right + 1, 2 * length + 1)


def simple_forecasts(
    z: Tensor, observed: Tensor, start: Tensor, known: Tensor, patch_length: int, lags: RepeatLags
) -> Tensor:
    """What last value and seasonal repeats say about spans ahead.

    Parameters
    ----------
    z, observed
        [B, L] scaled context and mask.
    start
        [B, T] first step of each span.
    known
        [B, T] step before which values may be used.
    patch_length
        Steps per span, P.
    lags
        Repeat lags of the rows.

    Returns
    -------
    Tensor
        [B, T, P, N_REFERENCES].
    """
    length = z.shape[1]
    steps = start[..., None] + torch.arange(patch_length, device=z.device)  # [B, T, P]
    at = known.clamp(0, length)
    last = last_observed(z, observed).gather(1, at)[..., None].expand(steps.shape)  # [B, T, P]
    total = F.pad(torch.where(observed, z, 0).cumsum(-1), (1, 0))
    count = F.pad(observed.cumsum(-1), (1, 0))
    since = (at - _RECENT_STEPS).clamp_min(0)
    n_recent = count.gather(1, at) - count.gather(1, since)
    recent_sum = total.gather(1, at) - total.gather(1, since)
    recent = (recent_sum / n_recent.clamp_min(1))[..., None].expand(steps.shape)
    recent = torch.where((n_recent > 0)[..., None], recent, last)
    z, available = bridge_gaps(z, observed, _GAP_BRIDGED)
    values, usable = _repeats(z, available, steps, known, lags.short, _CYCLES_TRIED)
    n_usable = usable.sum(0)
    mean = torch.where(n_usable > 0, values.sum(0) / n_usable.clamp_min(1), last)
    short = _first_usable(values, usable, last)
    long = _first_usable(*_repeats(z, available, steps, known, lags.long, _CYCLES_TRIED), short)
    return torch.stack([last, short, mean, long, recent], dim=-1)


def _first_usable(values: Tensor, usable: Tensor, fallback: Tensor) -> Tensor:
    """First usable of the stacked candidates [n, B, T, P], else the fallback."""
    picked = fallback
    for value, ok in zip(values.flip(0), usable.flip(0), strict=True):
        picked = torch.where(ok, value, picked)
    return picked
