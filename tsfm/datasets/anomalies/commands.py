"""Command channels: rare but ordinary on/off signals beside measured ones.

Telemetry and plants record what was switched as well as what was measured. A pulse in a channel
that is off for the rest of the window is nothing unusual there; a detector that has never seen
such channels takes every command for an anomaly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import bernoulli, log_uniform, uniform


def command_rows(n: int, length: int, rng: torch.Generator) -> Tensor:
    """On/off signals [n, L] of mean 0 and standard deviation 1; a quarter of them never switches.

    Pulses of 1-40 steps at 1-60 random times per row, or switches that stay until the next.

    Examples
    --------
    >>> rows = command_rows(64, 512, torch.Generator().manual_seed(0))
    >>> rows.shape, max(len(row.unique()) for row in rows)
    (torch.Size([64, 512]), 2)
    """
    rate = log_uniform(rng, 1.0, 60.0, n, 1) / length
    begins = (uniform(rng, 0, 1, n, length) < rate).float()
    count = begins.cumsum(-1)
    lasts = log_uniform(rng, 1.0, 40.0, n, 1).round().long()
    t = torch.arange(length, device=rng.device)
    before = torch.where(t >= lasts, count.gather(1, (t - lasts).clamp_min(0)), 0.0)
    pulses = (count > before).float()
    stays = bernoulli(rng, 0.25, n, 1)
    silent = bernoulli(rng, 0.25, n, 1)
    x = torch.where(stays, count.remainder(2), pulses) * ~silent
    x = x - x.mean(-1, keepdim=True)
    return x / x.std(-1, correction=0, keepdim=True).clamp_min(1e-6)


def command_places(n: int, n_channels: int, share: float, rng: torch.Generator) -> Tensor:
    """[n, C] bool: in a share of the samples .2-.9 of the channels are commands, never all."""
    some = bernoulli(rng, share, n, 1)
    chosen = uniform(rng, 0, 1, n, n_channels) < uniform(rng, 0.2, 0.9, n, 1)
    kept = (uniform(rng, 0, 1, n, 1) * n_channels).long()
    return (some & chosen).scatter(1, kept, False)
