"""Which changes stand out from their own context, and which nobody could see.

Let x be the row without events, y the row with this one, and lag one period, or the event's length
where nothing recurs. A change is labelled if its largest value is at least 2.5% of the range of x
and it passes one of five tests against ordinary variation near the event:

size      The core of the change are the steps with at least 30% of its largest value. Its size
          sqrt(mean of (y[t] - x[t - lag])^2 - (x[t] - x[t - lag])^2) over the core reaches
          need(n) * noise, need(n) = max(long, point * n ** -exponent), n steps in the core (at
          most 8 for lasting changes: only the edge counts). Noise is the spread of
          x[t] - x[t - lag] over sampled steps t, divided by sqrt(2). Cores of up to 10 steps also
          reach the largest sampled |x[t] - x[t - lag]|: among natural spikes a spike is normal.
jump      The largest step-to-step difference of y is `jump` times the usual one, 1.3 times the
          largest sampled one, and 1.3 times that of x at the same place.
range     y leaves the range of x by at least a fifth of that range.
level     A lasting change of at least 15% of the range is 3 times the spread of the second
          difference of means over adjacent windows of a tenth of the row.
texture   The mean squared step-to-step difference of y inside the event is below .4 times the 5%
          or above 2.5 times the 95% quantile of that of x in sampled windows of the same length
          (events of at least 10 steps).

Noise replaced by other noise of the same kind passes none of them. Spread is the larger of
1.4826 median |.| and 95%-quantile |.| / 1.96, for lasting changes the former, at least 2% of the
row's standard deviation (1% for step-to-step differences).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm.datasets.anomalies.recipe import Visibility
from tsfm.datasets.synthetic.base import uniform

SAMPLES = 128
WINDOWS = 48


@dataclass(frozen=True)
class Spread:
    """Ordinary variation of m rows: robust spread, that of the middle half, largest; [m, 1]."""

    usual: Tensor
    middle: Tensor
    largest: Tensor


def spread(sample: Tensor, least: float) -> Spread:
    """Spread of sampled differences [m, K] as of a normal distribution."""
    ordered = sample.abs().sort(-1).values
    k = ordered.shape[1]
    middle = (1.4826 * ordered[:, k // 2, None]).clamp_min(least)
    return Spread(middle.maximum(ordered[:, int(0.95 * k), None] / 1.96), middle, ordered[:, -1:])


def local_noise(
    x: Tensor, lag: Tensor, centre: Tensor, reach: Tensor, rng: torch.Generator
) -> tuple[Spread, Spread]:
    """Spread over `lag` steps and from step to step, around the event.

    Parameters
    ----------
    x
        [m, L] series without events.
    lag
        [m, 1] steps between values that should be alike.
    centre, reach
        [m, 1] steps are sampled within `reach` of `centre`.
    rng
        Source of draws.

    Returns
    -------
    tuple of Spread
        Of x[t] - x[t - lag] over sqrt(2), and of its (or for `lag` beyond a quarter of the row,
        of x's) step-to-step differences.
    """
    m, length = x.shape
    lag = lag.round().clamp(1, max(1, length // 3))
    low = (centre - reach).clamp_min(0).maximum(lag)
    high = (centre + reach).clamp_max(length - 2).maximum(low)
    t = (low + (high - low) * uniform(rng, 0, 1, m, SAMPLES)).long().clamp_max(length - 2)
    before = (t - lag).long().clamp_min(0)
    now, then = x.gather(1, t), x.gather(1, before)
    step = x.gather(1, t + 1) - now
    return spread((now - then) / math.sqrt(2), 0.02), spread(step, 0.01)


def texture(x: Tensor, size: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """5% and 95% quantile [m, 1] of the mean squared difference in windows of `size` steps."""
    m, length = x.shape
    energy = torch.diff(x, dim=-1).square()
    total = torch.nn.functional.pad(energy.cumsum(-1), (1, 0))  # [m, L]
    width = size.clamp(2, length - 2)
    begin = (uniform(rng, 0, 1, m, WINDOWS) * (length - 1 - width)).long()
    end = (begin + width.long()).clamp_max(length - 1)
    mean = ((total.gather(1, end) - total.gather(1, begin)) / width).sort(-1).values
    return mean[:, 2:3], mean[:, WINDOWS - 3 : WINDOWS - 2]


def visible(
    x: Tensor,
    delta: Tensor,
    label: Tensor,
    settled: Tensor,
    lag: Tensor,
    limits: Visibility,
    rng: torch.Generator,
) -> Tensor:
    """Whether a change stands out, [m] bool.

    Parameters
    ----------
    x
        [m, L] rows without events, standard deviation 1.
    delta
        [m, L] what the event adds.
    label, settled
        [m, L] bool, the steps it would label and those of the new normal.
    lag
        [m, 1] steps after which a row looks alike, 0: never.
    limits
        Thresholds.
    rng
        Source of the sampled steps.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> x, at = torch.randn(2, 500, generator=rng), torch.arange(500) == 250
    >>> delta = at * torch.tensor([[1.0], [9.0]])
    >>> mark, never = at.expand(2, -1), torch.zeros(2, 500, dtype=torch.bool)
    >>> visible(x, delta, mark, never, torch.zeros(2, 1), Visibility(), rng).tolist()
    [False, True]
    """
    n = label.sum(-1, keepdim=True).float()
    t = torch.arange(x.shape[1], device=x.device)
    centre = (t * label).sum(-1, keepdim=True) / n.clamp_min(1)
    reach = torch.maximum(torch.full_like(n, x.shape[1] / 8), 3 * n).maximum(2 * lag)
    alike = torch.where(lag > 0, lag, n).round().clamp(1, max(1, x.shape[1] // 3))
    wide, fine = local_noise(x, alike, centre, reach, rng)
    lasts = settled.any(-1, keepdim=True)
    size, count = _size(x, delta, label | settled, alike)
    count = torch.where(lasts, count.clamp_max(8), count)
    need = (limits.point * count.clamp_min(1) ** -limits.exponent).clamp_min(limits.long)
    need = need * torch.where(lasts, wide.middle, wide.usual)
    brief = (count <= 10) & ~lasts
    large = size >= torch.where(brief, need.maximum(math.sqrt(2) * wide.largest), need)
    pairs = label[:, 1:] | label[:, :-1]
    before, after = (_largest(torch.diff(row, dim=-1), pairs) for row in (x, x + delta))
    usual = (limits.jump * fine.usual).maximum(1.3 * fine.largest)
    jumps = after >= usual.maximum(1.3 * before)
    odd = _odd_texture(x, delta, label, n, rng)
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    y = torch.where(label, x + delta, low)
    beyond = torch.maximum(y.amax(-1, keepdim=True) - high, low - y.amin(-1, keepdim=True))
    outside = beyond >= 0.2 * (high - low)
    peak = _largest(delta, label)
    high_low = high - low
    moved = _largest(delta, settled)
    shifted = (moved >= 0.15 * high_low) & (moved >= 3 * _level_spread(x, rng))
    noticed = (peak >= 0.025 * high_low) & (peak > 0)
    return ((large | jumps | odd | outside | shifted) & noticed)[:, 0]


def _size(x: Tensor, delta: Tensor, where: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
    """Size of the change at its core, beyond ordinary variation, and steps in the core."""
    change = delta.abs() * where
    core = where & (change >= 0.3 * change.amax(-1, keepdim=True))
    t = torch.arange(x.shape[1], device=x.device)
    source = torch.where(t >= lag, t - lag, t + lag).long().clamp(0, x.shape[1] - 1)
    apart = x - x.gather(1, source)
    excess = delta * (delta + 2 * apart)  # (y - then)^2 - (x - then)^2
    count = core.sum(-1, keepdim=True).float()
    mean = (excess * core).sum(-1, keepdim=True) / count.clamp_min(1)
    return mean.clamp_min(0).sqrt(), count


def _largest(x: Tensor, where: Tensor) -> Tensor:
    return (x.abs() * where).amax(-1, keepdim=True)


def _odd_texture(
    x: Tensor, delta: Tensor, label: Tensor, n: Tensor, rng: torch.Generator
) -> Tensor:
    """Rows [m, 1] that are unusually smooth or rough inside the event."""
    low, high = texture(x, n, rng)
    inside = label[:, 1:] & label[:, :-1]
    rough = size_of(torch.diff(x + delta, dim=-1), inside).square()
    return (n >= 10) & ((rough < 0.4 * low) | (rough > 2.5 * high))


def _level_spread(x: Tensor, rng: torch.Generator) -> Tensor:
    """Spread [m, 1] of the difference between means of adjacent windows of a tenth of the row."""
    width = max(2, x.shape[1] // 10)
    total = torch.nn.functional.pad(x.double().cumsum(-1), (1, 0))
    begin = torch.randint(
        0, x.shape[1] - 2 * width + 1, (x.shape[0], WINDOWS), generator=rng, device=x.device
    )
    first, middle, last = (total.gather(1, begin + k * width) for k in range(3))
    return spread(((last - 2 * middle + first) / width).float(), 0.02).usual


def size_of(x: Tensor, where: Tensor) -> Tensor:
    """Root mean square over some steps of each row, [m, 1]."""
    count = where.sum(-1, keepdim=True).clamp_min(1)
    return ((x.square() * where).sum(-1, keepdim=True) / count).sqrt()
