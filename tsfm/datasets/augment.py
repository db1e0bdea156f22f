"""Augmentations of whole batches: pure functions of series, generator and `AugmentConfig`.

Two stages. `augment_series` turns complete base series into more varied complete series;
`drop_values` then removes observations. Every augmentation touches its own random subset of rows
and computes on those rows only. Sources: TSMixup (Chronos), censoring and amplitude modulation
(TiRex), structure and artefact edits (TempoPFN).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tsfm.datasets.edits import (
    add_noise,
    add_offset,
    add_season,
    add_spikes,
    censor,
    convolve,
    flip,
    hold,
    integrate,
    level_shift,
    modulate,
    pool,
    quantise,
    rescale,
    reverse,
    round_to_units,
    smooth,
    time_of,
    time_warp,
    upsample,
    zscore,
)
from tsfm.datasets.synthetic.base import choice, log_uniform, randint, uniform

Edit = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class AugmentConfig:
    """Share of rows each augmentation is applied to; all values are probabilities in [0, 1].

    Parameters
    ----------
    mixup
        Convex mixture of 2-4 series of the batch, static or moving weights.
    flip
        Sign flip.
    reverse
        Time reversal.
    modulate
        Slowly varying amplitude.
    censor
        Clipping at a random quantile, below or above.
    quantise
        Rounding to 5-200 levels.
    integers
        Rounding to whole numbers at a mean of .5-500 units: counts and prices in full units.
    season
        A random cycle of 4 steps to half of the row, added or multiplied.
    smooth
        Smoothing by a Gaussian of .5-10 steps.
    upsample
        Linear (or step) interpolation of a random crop, factor 1.2-12.
    pool
        Averaging or decimation by 2-12; the shorter result is padded with NaN on the left.
    warp
        Smooth monotone time warp.
    convolve
        Random causal convolution.
    spikes
        Added spikes, scattered or periodic.
    shift
        Level shifts, scale changes, and shocks that recover.
    integrate
        Cumulative sum, first difference, or added/removed linear trend.
    noise
        Additive white noise.
    hold
        Stretches where the last value repeats.
    scale
        Multiplication by a lognormal factor exp(2 N(0, 1)).
    offset
        Offset of up to 100 standard deviations.
    missing
        Rows that lose values in `drop_values`.
    max_missing
        Largest share of values lost by a row.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    Examples
    --------
    >>> AugmentConfig(mixup=0.0).mixup
    0.0
    """

    mixup: float = 0.3
    flip: float = 0.5
    reverse: float = 0.1
    modulate: float = 0.25
    censor: float = 0.15
    quantise: float = 0.1
    upsample: float = 0.2
    pool: float = 0.1
    warp: float = 0.1
    convolve: float = 0.05
    spikes: float = 0.05
    shift: float = 0.1
    integrate: float = 0.05
    noise: float = 0.1
    hold: float = 0.03
    scale: float = 0.1
    offset: float = 0.1
    missing: float = 0.15
    max_missing: float = 0.4
    integers: float = 0.0
    season: float = 0.0
    smooth: float = 0.0

    def __post_init__(self) -> None:
        """Check that every field is a probability."""
        for f in fields(self):
            value = getattr(self, f.name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"AugmentConfig.{f.name} is {value}; give a number from 0 to 1")


def augment_series(
    x: Tensor,
    rng: torch.Generator,
    config: AugmentConfig | None = None,
    *,
    directed: Tensor | None = None,
) -> Tensor:
    """Random augmentations of complete series.

    Parameters
    ----------
    x
        Complete finite series, float [n, length]; not modified.
    rng
        Source of randomness, on the device of `x`.
    config
        Probabilities; the defaults of `AugmentConfig` when left out.
    directed
        [n] bool: rows that are not reversed in time.

    Returns
    -------
    Tensor
        float32 [n, length], z-scored rows up to the scale and offset edits; finite except for the
        left NaN padding of pooled rows.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> augment_series(torch.randn(8, 64), rng, AugmentConfig(pool=0.0)).isfinite().all().item()
    True
    """
    config = config or AugmentConfig()
    x = zscore(x.float())
    x = _on_subset(x, rng, config.upsample, upsample)
    x = _on_subset(x, rng, config.warp, time_warp)
    x = _on_subset(x, rng, config.reverse, reverse, but=directed)
    x = mixup(x, rng, config.mixup)
    steps: tuple[tuple[float, Edit], ...] = (
        (config.season, add_season),
        (config.shift, level_shift),
        (config.modulate, modulate),
        (config.convolve, convolve),
        (config.smooth, smooth),
        (config.integrate, integrate),
        (config.noise, add_noise),
        (config.spikes, add_spikes),
        (config.flip, flip),
        (config.censor, censor),
        (config.quantise, quantise),
        (config.integers, round_to_units),
        (config.hold, hold),
    )
    for share, edit in steps:
        x = _on_subset(x, rng, share, edit)
    x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    for share, edit in ((config.pool, pool), (config.offset, add_offset), (config.scale, rescale)):
        x = _on_subset(x, rng, share, edit)
    return x


def drop_values(x: Tensor, rng: torch.Generator, config: AugmentConfig | None = None) -> Tensor:
    """Remove observations: scattered points, blocks, or gaps that recur periodically.

    Parameters
    ----------
    x
        Series, float [n, length]; not modified.
    rng
        Source of randomness, on the device of `x`.
    config
        `missing` is the share of rows touched, `max_missing` the largest share of values lost.

    Returns
    -------
    Tensor
        A copy with NaN at the removed steps.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> bool(drop_values(torch.randn(8, 64), rng, AugmentConfig(missing=1.0)).isnan().any())
    True
    """
    config = config or AugmentConfig()

    def edit(rows: Tensor, rng: torch.Generator) -> Tensor:
        return torch.where(
            _gap_mask(rows.shape[0], rows.shape[1], rng, config.max_missing), torch.nan, rows
        )

    return _on_subset(x.clone(), rng, config.missing, edit)


def _gap_mask(n: int, length: int, rng: torch.Generator, most: float) -> Tensor:
    """Boolean [n, length]: True where a value is removed.

    At most a share `most` of a row in expectation.
    """
    share = log_uniform(rng, 0.01, max(most, 0.011), n, 1)
    t = torch.arange(length, device=rng.device, dtype=torch.float32)
    points = uniform(rng, 0, 1, n, length) < share
    blocks = torch.zeros(n, length, dtype=torch.bool, device=rng.device)
    count = choice(rng, (1, 1, 2, 4, 8), n, 1)
    for k in range(8):
        start = uniform(rng, 0, 1, n, 1) * length
        inside = (t >= start) & (t < start + share * length / count)
        blocks |= inside & (count > k)
    period = log_uniform(rng, 4.0, max(5.0, length / 4), n, 1)
    cycle = t / period + uniform(rng, 0, 1, n, 1)
    periodic = cycle - torch.floor(cycle) < share
    kind = uniform(rng, 0, 1, n, 1)
    return torch.where(kind < 0.4, points, torch.where(kind < 0.85, blocks, periodic))


def _on_subset(
    x: Tensor, rng: torch.Generator, share: float, edit: Edit, but: Tensor | None = None
) -> Tensor:
    """Apply `edit` to a random subset of rows, never to those of `but`; `x` is overwritten."""
    if share <= 0:
        return x
    chosen = uniform(rng, 0, 1, x.shape[0]) < share
    rows = torch.nonzero(chosen if but is None else chosen & ~but)[:, 0]
    if rows.numel() == 0:
        return x
    return x.index_copy_(0, rows, edit(x.index_select(0, rows), rng))


def mixup(x: Tensor, rng: torch.Generator, share: float) -> Tensor:
    """TSMixup: a share of rows becomes a Dirichlet(1.5) mixture with 1-3 other rows.

    On 30% of the mixed rows the weights move from one draw to another along the window.
    """
    rows = torch.nonzero(uniform(rng, 0, 1, x.shape[0]) < share)[:, 0]
    m, length = rows.numel(), x.shape[1]
    if m == 0:
        return x
    count = choice(rng, (2, 3, 4), m, 1)
    used = torch.arange(4, device=x.device) < count
    start, end = (
        torch._standard_gamma(torch.full((m, 4), 1.5, device=x.device), generator=rng).clamp_min(
            1e-4
        )
        * used
        for _ in range(2)
    )
    start = start / start.sum(-1, keepdim=True)
    end = end / end.sum(-1, keepdim=True)
    end = torch.where(uniform(rng, 0, 1, m, 1) < 0.3, end, start)
    centre = uniform(rng, 0.1, 0.9, m, 1) * length
    progress = torch.sigmoid((time_of(x) - centre) / (log_uniform(rng, 0.02, 0.5, m, 1) * length))
    mixed = torch.zeros(m, length, device=x.device)
    for k in range(4):
        source = rows if k == 0 else randint(rng, 0, x.shape[0], m)
        weight = start[:, k : k + 1] + (end - start)[:, k : k + 1] * progress
        mixed.addcmul_(x.index_select(0, source), weight)
    return x.index_copy_(0, rows, zscore(mixed))
