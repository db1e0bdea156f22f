"""Part of a day at seconds or minutes per step, under cycles of the clock: monitoring, trading."""

from __future__ import annotations

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import (
    Family,
    bernoulli,
    choice,
    log_uniform,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.signals import (
    ar1,
    bump_table,
    col,
    finish,
    fourier_table,
    lookup,
    mixed_noise,
    random_table,
    slow_path,
    unit_rows,
)

STEPS_PER_DAY = (1440.0, 2880.0, 8640.0, 17280.0, 86400.0)
CLOCK_SECONDS = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 3600.0)
SHORTEST_CYCLE = 4.0


def _clock_cycle(rng: torch.Generator, t: Tensor, seconds_per_step: Tensor) -> Tensor:
    """A cycle of minutes or an hour at steps `t` [n, L], on the clock; of unit size.

    Sharp jobs on six rows of ten, smooth waves on the others.
    """
    n = t.shape[0]
    period = col(choice(rng, CLOCK_SECONDS, n) / seconds_per_step).clamp_min(SHORTEST_CYCLE)
    jobs = bump_table(rng, n, 240, 3)
    table = torch.where(bernoulli(rng, 0.6, n, 1), jobs, fourier_table(rng, n, 240, 6))
    return lookup(table, t / period + uniform(rng, 0.0, 1.0, n, 1))


def high_rate(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Part of a day at 1-60 seconds per step: slow profile, cycles of 1-60 minutes, noise.

    Steps per day from {1440, 2880, 8640, 17280, 86400}, so that a row shows from minutes to two
    days; one or two clock cycles of .1-2 times the profile, present on 80% and 40% of the rows;
    a wandering level of .03-1 and noise of .02-1.5 of it; an exponential link on a third.
    Source: the calendar profiles of ForecastPFN at the rates where a window is less than a day.
    """
    rate = choice(rng, STEPS_PER_DAY, n, weights=(0.4, 0.15, 0.25, 0.1, 0.1))
    seconds = 86400.0 / rate
    t = time_index(length, rng) + torch.floor(uniform(rng, 0.0, 1.0, n, 1) * col(rate))
    day = unit_rows(lookup(random_table(rng, n, 288), t / col(rate)))
    first = _clock_cycle(rng, t, seconds) * log_uniform(rng, 0.1, 2.0, n, 1)
    second = _clock_cycle(rng, t, seconds) * log_uniform(rng, 0.1, 1.0, n, 1)
    swing = torch.exp(
        uniform(rng, 0.0, 0.6, n, 1) * slow_path(rng, n, length, 12) * bernoulli(rng, 0.5, n, 1)
    )
    cycles = first * bernoulli(rng, 0.8, n, 1) + second * bernoulli(rng, 0.4, n, 1)
    level = ar1(rng, log_uniform(rng, 5.0, 4.0 * length + 5.0, n), length)
    x = day + cycles * swing
    x = x + level * log_uniform(rng, 0.03, 1.0, n, 1)
    x = x + mixed_noise(rng, n, length, memory=30.0) * log_uniform(rng, 0.02, 1.5, n, 1)
    link = torch.exp(unit_rows(x).clamp(-5, 5) * uniform(rng, 0.2, 1.0, n, 1))
    return finish(torch.where(bernoulli(rng, 0.33, n, 1), link, x))


FAMILIES: tuple[Family, ...] = (
    Family(
        "high_rate",
        "calendar",
        high_rate,
        "part of a day at seconds or minutes per step, with cycles of the clock",
    ),
)
