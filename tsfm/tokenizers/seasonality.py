"""What a context says about its own cycles: repeat lags and periodogram peaks.

Both are computed from the observed context alone, in a few FFTs, identically on CPU and GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

_SEASON_TRUST = 0.25
"""Share of the deepest dip that a calendar season must show to be believed."""
_LONG_TOLERANCE = 1.15
"""A lag is as good as the best up to so many times the best mean squared difference."""


@dataclass(frozen=True)
class RepeatLags:
    """Lags at which a series repeats itself; all [B].

    Parameters
    ----------
    short, long
        Lag in steps (int64) of the shortest and of the best repeat; 0 where there is none.
    short_dip, long_dip
        How far the variogram falls at the lag below its earlier maximum, in [0, 1].
    step_error, short_error, long_error
        Root mean square difference at lag 1 and at the two lags, in the units of the input.
    spread
        Root mean square difference over all lags.
    """

    short: Tensor
    long: Tensor
    short_dip: Tensor
    long_dip: Tensor
    step_error: Tensor
    short_error: Tensor
    long_error: Tensor
    spread: Tensor


def detrend(z: Tensor, observed: Tensor) -> Tensor:
    """Remove mean and linear trend of the observed values; missing values become 0.

    Parameters
    ----------
    z, observed
        [B, L] values and mask.
    """
    mask = observed.to(z.dtype)
    t = torch.linspace(-1, 1, z.shape[1], device=z.device, dtype=z.dtype)
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    t_mean = (mask * t).sum(-1, keepdim=True) / count
    z_mean = (mask * z).sum(-1, keepdim=True) / count
    t_centred = mask * (t - t_mean)
    slope = (t_centred * z).sum(-1, keepdim=True) / t_centred.square().sum(
        -1, keepdim=True
    ).clamp_min(1e-6)
    return mask * (z - z_mean - slope * (t - t_mean))


def size_classes(observed: Tensor) -> list[tuple[Tensor | slice, int]]:
    """Group rows by how far back their data reaches, rounded up to a power of two.

    FFT grids must depend on a row's own data and not on the padding it shares with batch mates.

    Parameters
    ----------
    observed
        [B, L] mask; leading unobserved steps count as padding.

    Returns
    -------
    list of (Tensor or slice, int)
        Row indices, or a slice where all rows are alike, and their common size.
    """
    length = observed.shape[1]
    first = torch.where(observed.any(-1), observed.to(torch.int8).argmax(-1), length - 1)
    sizes = [max(8, 1 << (length - k - 1).bit_length()) for k in first.tolist()]
    if len(set(sizes)) == 1:
        return [(slice(None), sizes[0])]
    size_of = torch.tensor(sizes, device=observed.device)
    return [((size_of == size).nonzero().squeeze(1), size) for size in sorted(set(sizes))]


def find_cycles(
    x: Tensor, observed: Tensor, n_cycles: int, season: Tensor | None = None
) -> tuple[RepeatLags, Tensor]:
    """Repeat lags and significant cycles of every row, independent of left padding.

    Parameters
    ----------
    x, observed
        [B, L] detrended values (0 where missing) and mask.
    n_cycles
        Periodogram peaks per row.
    season
        [B] known season lengths, 0 for none; see `find_repeat_lags`.

    Returns
    -------
    tuple of RepeatLags and Tensor
        The lags and [B, n_cycles, 4] cycles of `significant_cycles`.
    """
    classes = size_classes(observed)
    parts = []
    for rows, size in classes:
        recent, mask = (_last_steps(v[rows], size) for v in (x, observed))
        spectrum = _spectrum(recent)
        known = None if season is None else season[rows]
        found = find_repeat_lags(recent, mask, known, spectrum)
        parts.append((found, significant_cycles(recent, mask, n_cycles, spectrum=spectrum)))
    if len(classes) == 1:
        return parts[0]
    back = torch.cat([rows for rows, _ in classes if isinstance(rows, Tensor)]).argsort()
    lags = {
        f.name: torch.cat([getattr(found, f.name) for found, _ in parts])[back]
        for f in fields(RepeatLags)
    }
    return RepeatLags(**lags), torch.cat([cycles for _, cycles in parts])[back]


def _last_steps(x: Tensor, size: int) -> Tensor:
    """[B, size] the end of `x` [B, L], padded on the left where that is too short."""
    length = x.shape[1]
    return F.pad(x, (size - length, 0)) if length < size else x[:, length - size :]


def _spectrum(x: Tensor) -> Tensor:
    """Discrete Fourier transform of `x` [B, L], padded so that lags do not wrap around."""
    return torch.fft.rfft(x, _n_fft(x.shape[1]))


def _n_fft(length: int) -> int:
    """Size of the transforms of `length` steps."""
    return 1 << (2 * length - 1).bit_length()


def variogram(
    x: Tensor, observed: Tensor, spectrum: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean squared difference at every lag, over pairs of observed values.

    Parameters
    ----------
    x, observed
        [B, L] values (0 where missing) and mask.
    spectrum
        Transform of `x`, where it is known already.

    Returns
    -------
    tuple of Tensor
        Mean squared difference, 0 without pairs, and number of pairs, both [B, L], lag 0 first.
    """
    length = x.shape[1]
    n_fft = _n_fft(length)
    fx = _spectrum(x) if spectrum is None else spectrum
    fq, fm = _spectrum(x * x), _spectrum(observed.to(x.dtype))
    cross = (fq * fm.conj()).real - fx.abs().square()
    squares = 2 * torch.fft.irfft(cross.to(fx.dtype), n_fft)[:, :length]
    pairs = torch.fft.irfft(fm.abs().square().to(fx.dtype), n_fft)[:, :length].round()
    # without pairs the sum is the rounding of the transforms, whose root is not small
    return squares.clamp_min(0) * (pairs > 0) / pairs.clamp_min(1), pairs


def find_repeat_lags(
    x: Tensor, observed: Tensor, season: Tensor | None = None, spectrum: Tensor | None = None
) -> RepeatLags:
    """Lags at which the variogram dips significantly below its earlier maximum.

    The short lag is the first dip almost as deep as the deepest, the long lag the first that is
    as deep up to sampling error: for hourly data with a weekly pattern typically 24 and 168. A
    dip counts when it exceeds about three standard errors of a variogram of white noise.

    Parameters
    ----------
    x, observed
        [B, L] detrended values (0 where missing) and mask.
    season
        [B] season lengths known from elsewhere (the calendar), 0 for none. It is the short lag
        where the variogram dips there at least a quarter as deep as at its deepest.
    spectrum
        As in `variogram`.
    """
    length = x.shape[1]
    semi, pairs = variogram(x, observed, spectrum)
    n_observed = observed.sum(-1, keepdim=True).to(x.dtype)
    enough = pairs >= (0.3 * n_observed).clamp_min(3)
    spread = (semi * enough)[:, 1:].sum(-1) / enough[:, 1:].sum(-1).clamp_min(1)
    ceiling = torch.where(enough, semi, 0).cummax(-1).values.clamp_min(1e-12)
    dip = (1 - semi / ceiling).clamp(0, 1)
    minimum = torch.zeros_like(enough)
    if length > 3:
        inner = semi[:, 2:-1]
        minimum[:, 2:-1] = (inner <= semi[:, 1:-2]) & (inner <= semi[:, 3:])
    significant = dip > (3 / pairs.clamp_min(1).sqrt()).clamp(max=0.7)
    candidate = torch.where(minimum & enough & significant, dip, 0)
    deepest = candidate.amax(-1, keepdim=True)
    short = _first_lag(candidate >= 0.85 * deepest, deepest > 0)
    long = _first_lag(candidate >= 1 - _LONG_TOLERANCE * (1 - deepest), deepest > 0)
    if season is not None:
        lag = season.clamp(0, length - 1)
        at_season = torch.where(enough, dip, 0).gather(1, lag[:, None]).squeeze(1)
        trusted = (season > 1) & (lag == season) & (at_season > 0)
        trusted &= at_season >= _SEASON_TRUST * deepest.squeeze(1)
        short = torch.where(trusted, lag, short)
        long = torch.where(trusted & (long == 0), lag, long)
    found = short > 0

    def error_at(lag: Tensor) -> Tensor:
        return semi.gather(1, lag[:, None]).squeeze(1).sqrt()

    step_error = semi[:, 1].sqrt() if length > 1 else torch.zeros_like(spread)
    return RepeatLags(
        short=short,
        long=long,
        short_dip=torch.where(found, dip.gather(1, short[:, None]).squeeze(1), 0),
        long_dip=torch.where(found, dip.gather(1, long[:, None]).squeeze(1), 0),
        step_error=step_error,
        short_error=torch.where(found, error_at(short), step_error),
        long_error=torch.where(found, error_at(long), step_error),
        spread=spread.sqrt(),
    )


def _first_lag(fitting: Tensor, found: Tensor) -> Tensor:
    """[B] the shortest fitting lag [B, L] of rows where one was found [B, 1], else 0."""
    return torch.where(found.squeeze(1), fitting.to(torch.int8).argmax(-1), 0)


def significant_cycles(
    x: Tensor, observed: Tensor, k: int, alpha: float = 0.05, spectrum: Tensor | None = None
) -> Tensor:
    """The `k` strongest significant peaks of the periodogram.

    Local maxima above the Bonferroni bound `ln(N / alpha) / N` of Fisher's test, with the
    frequency refined by a parabola through the peak.

    Parameters
    ----------
    x, observed
        [B, L] detrended values (0 where missing) and mask.
    k
        Number of cycles to return.
    alpha
        Significance level.
    spectrum
        As in `variogram`.

    Returns
    -------
    Tensor
        [B, k, 4]: frequency (cycles per step), cosine and sine amplitude at the end of the
        series, share of power. All zero where a cycle is missing.
    """
    length = x.shape[1]
    if length < 8 or k == 0:
        return x.new_zeros(x.shape[0], k, 4)
    n_fft = _n_fft(length)
    spectrum = _spectrum(x) if spectrum is None else spectrum
    power = spectrum.abs().square()  # [B, n_fft/2 + 1]
    n_frequencies = observed.sum(-1, keepdim=True).clamp_min(4).to(x.dtype) / 2
    share = power / (power.sum(-1, keepdim=True).clamp_min(1e-12) * length / n_fft)
    bound = torch.log(n_frequencies / alpha) / n_frequencies
    peak = torch.zeros_like(power, dtype=torch.bool)
    peak[:, 1:-1] = (power[:, 1:-1] > power[:, :-2]) & (power[:, 1:-1] >= power[:, 2:])
    extent = length - observed.to(torch.int8).argmax(-1, keepdim=True)
    bins = torch.arange(power.shape[1], device=x.device)
    peak &= bins * extent >= 1.5 * n_fft  # fewer than 1.5 cycles in view is trend, not season
    top, index = torch.where(peak & (share > bound), share, 0).topk(min(k, power.shape[1]), dim=-1)
    left, mid, right = (
        power.gather(1, (index + d).clamp(0, power.shape[1] - 1)) for d in (-1, 0, 1)
    )
    shift = 0.5 * (left - right) / (left - 2 * mid + right).clamp(max=-1e-12)
    frequency = (index + shift.clamp(-0.5, 0.5)) / n_fft  # [B, k]
    t = torch.arange(-length, 0, device=x.device, dtype=x.dtype)
    angle = 2 * math.pi * frequency[..., None] * t  # [B, k, L]
    scale = 2 / observed.sum(-1)[:, None].clamp_min(1).to(x.dtype)
    cosine = (x[:, None] * angle.cos()).sum(-1) * scale
    sine = (x[:, None] * angle.sin()).sum(-1) * scale
    found = torch.stack([frequency, cosine, sine, top.clamp(max=1)], dim=-1)
    found = torch.where((top > 0)[..., None], found, 0)
    return F.pad(found, (0, 0, 0, k - found.shape[1]))  # short series have few frequencies


def cycle_features(cycles: Tensor, step: Tensor) -> Tensor:
    """Where each cycle stands at given steps.

    Parameters
    ----------
    cycles
        [B, k, 4] from `significant_cycles`.
    step
        [B, T] steps counted from the end of the context.

    Returns
    -------
    Tensor
        [B, T, 4 k]: the cycle's value, its quadrature, log period / 10 and share of power.
    """
    frequency, cosine, sine, share = cycles[:, None].unbind(-1)  # each [B, 1, k]
    angle = 2 * math.pi * frequency * step[..., None]
    c, s = angle.cos(), angle.sin()
    present = (frequency > 0).to(step.dtype)
    amplitude = (cosine.square() + sine.square()).sqrt().clamp_min(1e-6)
    value = (cosine * c + sine * s) / amplitude * present
    quadrature = (sine * c - cosine * s) / amplitude * present
    period = -torch.log2(frequency.clamp_min(1e-6)) / 10 * present
    features = [value, quadrature, period.expand_as(value), share.expand_as(value)]
    return torch.cat(features, dim=-1)
