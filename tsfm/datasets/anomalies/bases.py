"""Base series of the labelled corpus: waves of known parameters and the generator families."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsfm.datasets.anomalies.events import box_mean
from tsfm.datasets.anomalies.negatives import Cycle, add_negatives
from tsfm.datasets.anomalies.recipe import AnomalyRecipe
from tsfm.datasets.anomalies.waves import SHAPES, Waves, draw_waves, render
from tsfm.datasets.augment import augment_series
from tsfm.datasets.corpus import generate
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.synthetic.base import bernoulli, choice, log_uniform, normal, uniform
from tsfm.datasets.synthetic.processes import smooth_path


@dataclass(frozen=True)
class Bases:
    """n normal series and what is known about their seasons.

    Parameters
    ----------
    x
        [n, L] mean 0, standard deviation 1.
    season
        [n, L] the periodic part of `x`, 0 where there is none.
    period
        [n, 1] steps per cycle, 0 where there is none.
    lag
        [n, 1] the period, or else the steps between recurrences of a hard negative; 0 for neither.
    wave
        [n] row in `waves`, -1 for series that are no waves.
    waves
        Parameters of the waves, in units of `x`.
    known
        [n, L] bool, steps that have a value of their own; None for all.
    """

    x: Tensor
    season: Tensor
    period: Tensor
    lag: Tensor
    wave: Tensor
    waves: Waves
    known: Tensor | None = None

    def rows(self, index: Tensor) -> Bases:
        """Some of the series."""
        return replace(
            self,
            x=self.x[index],
            season=self.season[index],
            period=self.period[index],
            lag=self.lag[index],
            wave=self.wave[index],
            known=None if self.known is None else self.known[index],
        )


def draw_bases(recipe: AnomalyRecipe, n: int, length: int, rng: torch.Generator) -> Bases:
    """Normal series of the recipe's mixture, in random order.

    Parameters
    ----------
    recipe
        Shares of waveforms and families, hard negatives.
    n, length
        Number and length of series.
    rng
        Source of every draw; its device is where the series are built.
    """
    n_waves = int(bernoulli(rng, recipe.wave_share, n).sum())
    parts, waves = _wave_rows(recipe, max(n_waves, 1), length, rng)
    parts, waves = (
        [x[:n_waves] for x in parts],
        waves.rows(torch.arange(n_waves, device=rng.device)),
    )
    others = _family_rows(recipe, n - n_waves, length, rng)
    x, season, period = (torch.cat(both) for both in zip(parts, others, strict=True))
    x, lag = add_negatives(x, Cycle(period, season), recipe.negatives, rng)
    sd = x.std(-1, correction=0, keepdim=True).clamp_min(1e-6)
    x = (x - x.mean(-1, keepdim=True)) / sd
    waves = replace(waves, gain=waves.gain / sd[:n_waves])
    wave = torch.arange(n, device=rng.device)
    wave = torch.where(wave < n_waves, wave, -1)
    order = torch.randperm(n, generator=rng, device=rng.device)
    return Bases(x, season / sd, period, lag, wave, waves).rows(order)


def known_bases(x: Tensor) -> Bases:
    """Series [n, L] of which nothing else is known, standardised; periods are estimated."""
    x = x - x.mean(-1, keepdim=True)
    x = x / x.std(-1, correction=0, keepdim=True).clamp_min(1e-6)
    period = estimate_period(x)
    wave = torch.full((x.shape[0],), -1, device=x.device)
    none = draw_waves(torch.Generator(x.device).manual_seed(0), wave[:0], period[:0], x.shape[1])
    return Bases(x, seasonal_part(x, period), period, period, wave, none)


def _draw_periods(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Whole steps per cycle: 10-30, 30-100, or 4-20 cycles in the row; [n, 1]."""
    slow = (length / uniform(rng, 4, 20, n, 1)).clamp(100, 1500)
    options = torch.stack([uniform(rng, 10, 30, n, 1), uniform(rng, 30, 100, n, 1), slow])
    kind = choice(rng, (0, 1, 2), 1, n, 1, weights=(0.3, 0.3, 0.4)).long()
    return options.gather(0, kind)[0].clamp_max(max(6.0, length / 4)).round()


def _wave_rows(
    recipe: AnomalyRecipe, n: int, length: int, rng: torch.Generator
) -> tuple[list[Tensor], Waves]:
    """Season of unit range, trend and noise: (x, season, period) and the parameters."""
    weights = [recipe.waves.get(shape, 0.0) for shape in SHAPES]
    shape = choice(rng, range(len(SHAPES)), n, weights=weights).long()
    period = _draw_periods(rng, n, length)
    waves = draw_waves(rng, shape, period, length)
    season = render(waves)
    base = (5 + normal(rng, n, 1)).abs()
    level = choice(rng, (0.003, 0.01, 0.02, 0.03), n, 1, weights=(0.4, 0.4, 0.12, 0.08)) * base
    noise = level * normal(rng, n, length)
    return [season + _trend(rng, n, length) + noise, season, period], waves


def _trend(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Rise or fall of a simple shape, a path of several pieces, or nothing; [n, L]."""
    u = torch.arange(length, device=rng.device) / length
    shapes = torch.stack([u**2, torch.sin(1.5708 * u), u, 1 - (1 - u) ** 2])
    simple = shapes[choice(rng, range(4), n).long()] * choice(rng, (-1.0, 1.0), n, 1)
    simple = simple * uniform(rng, 0.1, 1.5, n, 1)
    pieces = smooth_path(rng, n, length, 6) * log_uniform(rng, 0.05, 0.6, n, 1)
    kind = uniform(rng, 0, 1, n, 1)
    trend = torch.where(kind < 0.45, simple, pieces)
    return torch.where(kind < 0.75, trend, 0.0)


def _family_rows(
    recipe: AnomalyRecipe, n: int, length: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Series of the generator families with estimated period: (x, season, period)."""
    mixture = Recipe(recipe.name, recipe.families, (), block=recipe.block)
    x, _ = generate(mixture, max(n, 1), length, rng)
    x = without_singular_peaks(augment_series(x[:n], rng, recipe.augment)) if n else x[:0]
    period = estimate_period(x)
    return x, seasonal_part(x, period), period


def without_singular_peaks(x: Tensor, factor: float = 2.5) -> Tensor:
    """Rows [n, L] whose one to three highest peaks, if they dwarf all others, are cut down.

    A normal series must not hold what would be labelled if it were put in: where at most .3% of
    the steps, or 3, lie more than `factor` times the 98% quantile from the moving mean over 31
    steps, they are brought to that distance. Peaks that recur more often stay.
    """
    level = box_mean(x, torch.full((x.shape[0], 1), 31.0, device=x.device))
    apart = x - level
    ordered = apart[:, :: max(1, x.shape[1] // 1024)].abs().sort(-1).values
    bound = factor * ordered[:, int(0.98 * ordered.shape[1]), None].clamp_min(0.02)
    high = apart.abs() > bound
    few = high.sum(-1, keepdim=True) <= max(3, round(0.003 * x.shape[1]))
    return torch.where(high & few, level + apart.clamp(-bound, bound), x)


def estimate_period(x: Tensor, least: float = 0.5) -> Tensor:
    """Steps per cycle of rows [n, L] from their autocorrelation, [n, 1]; 0: not periodic.

    The highest peak among the shortest lags between 4 and a quarter of the row that come to 90% of
    the highest of all, behind the first lag with a correlation below a quarter.
    """
    n, length = x.shape
    if n == 0:
        return x.new_zeros(0, 1)
    u = torch.linspace(-1, 1, length, device=x.device)
    x = x - x.mean(-1, keepdim=True)
    x = x - (x @ u)[:, None] / (u @ u) * u
    power = torch.fft.rfft(x, n=2 * length).abs().square()
    most = max(5, length // 4)
    acf = torch.fft.irfft(power)[:, : most + 1]
    lag = torch.arange(most + 1, device=x.device)
    acf = acf / acf[:, :1].clamp_min(1e-6) * (length / (length - lag))
    behind = (acf < 0.25).cumsum(-1) > 0
    middle = acf[:, 1:-1]
    peak = (middle >= acf[:, :-2]) & (middle >= acf[:, 2:]) & behind[:, 1:-1] & (lag[1:-1] >= 4)
    height = torch.where(peak, middle, -1.0)
    highest = height.amax(-1, keepdim=True)
    first = (height >= 0.9 * highest).float().argmax(-1, keepdim=True) + 1
    near = (lag[1:-1] >= first) & (lag[1:-1] <= 1.25 * first)  # noise puts peaks beside the top
    best = torch.where(near, height, -1.0).argmax(-1, keepdim=True) + 1
    return torch.where(highest > least, best.float(), 0.0)


def seasonal_part(x: Tensor, period: Tensor) -> Tensor:
    """Rows without their moving mean over one period; 0 where the period is 0."""
    return torch.where(period > 0, x - box_mean(x, period), 0.0)
