"""Environment families: solar production, weather variables and river flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsfm.datasets.synthetic.base import (
    Family,
    bernoulli,
    choice,
    log_uniform,
    normal,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.signals import (
    ar1,
    ar1_spectrum,
    col,
    decay_filter,
    finish,
    fourier_table,
    lookup,
    per_day,
    rms,
    spectral_noise,
)

_STEPS = (24.0, 48.0, 96.0, 144.0, 288.0, 1440.0)
_WEIGHTS = (0.42, 0.12, 0.18, 0.08, 0.17, 0.03)


def steps_per_day(rng: torch.Generator, n: int, length: int, *, generic: float = 0.15) -> Tensor:
    """Steps per day `[n]`.

    Clock rates that fit into `length`, and a share `generic` of log-uniform real periods.

    Parameters
    ----------
    generic
        Share of rows whose cycle is any period between 4 and 1500 steps (at most a third of
        `length`).
    """
    fit = [i for i, s in enumerate(_STEPS) if s <= length / 1.4] or [0]
    clock = choice(rng, [_STEPS[i] for i in fit], n, weights=[_WEIGHTS[i] for i in fit])
    free = log_uniform(rng, 4.0, max(5.0, min(1500.0, length / 3)), n)
    free = torch.where(bernoulli(rng, 0.6, n), free.round(), free)
    return torch.where(bernoulli(rng, generic, n), free, clock)


def _sun(
    rng: torch.Generator, n: int, length: int, steps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Day index, phase of the year, height of the sun `[n, L]` (negative at night)."""
    u = (time_index(length, rng) + col(uniform(rng, 0.0, 1.0, n) * steps)) / col(steps)
    year = u / 365.25 + uniform(rng, 0.0, 1.0, n, 1)
    window = uniform(rng, 0.2, 0.4, n, 1) * 0.5 + 0.12  # half of the mean day, in days
    window = (window + uniform(rng, 0.0, 0.06, n, 1) * torch.sin(2 * math.pi * year)).clamp(
        0.1, 0.45
    )
    noon = 0.5 + uniform(rng, -0.08, 0.08, n, 1)
    elevation = torch.cos(2 * math.pi * (u - noon)) - torch.cos(2 * math.pi * window)
    return u.long(), year, elevation / (1 - torch.cos(2 * math.pi * window))


def solar(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Solar production or radiation.

    Exact night zeros, day window of 20-40%, cloudy days, passing clouds, inverter caps.
    """
    steps = steps_per_day(rng, n, length, generic=0.1).clamp_min(8.0)
    day, _, elevation = _sun(rng, n, length, steps)
    clear = torch.relu(elevation) ** uniform(rng, 0.7, 1.8, n, 1)
    days = int(day.max().item()) + 1
    overcast = per_day(ar1(rng, log_uniform(rng, 0.3, 4.0, n), days), day)
    passing = ar1(rng, steps * log_uniform(rng, 0.005, 0.12, n), length)
    sky = uniform(rng, -1.0, 3.5, n, 1) + uniform(rng, 0.3, 2.5, n, 1) * overcast
    sky = sky + uniform(rng, 0.1, 2.5, n, 1) * passing
    bright = torch.sigmoid(2 * sky)
    darkest = uniform(rng, 0.03, 0.4, n, 1)
    power = (
        clear
        * (darkest + (1 - darkest) * bright)
        * (1 + log_uniform(rng, 0.002, 0.08, n, 1) * normal(rng, n, length))
    )
    cap = torch.where(bernoulli(rng, 0.2, n, 1), uniform(rng, 0.4, 0.9, n, 1), 10.0)
    power = torch.minimum(power.clamp_min(0.0), cap)
    base = -uniform(rng, 0.0, 0.02, n, 1) * (clear <= 0) * bernoulli(rng, 0.1, n, 1)
    return finish(power + base)


def _temperature(rng: torch.Generator, n: int, length: int, steps: Tensor) -> Tensor:
    """Annual and daily wave, the latter following the cloudiness, over fronts lasting days."""
    day, year, elevation = _sun(rng, n, length, steps)
    lag = uniform(rng, 0.05, 0.2, n, 1) * col(steps)
    warm = decay_filter(torch.relu(elevation), lag.squeeze(1).clamp_min(0.3)) / lag.clamp_min(1.0)
    days = int(day.max().item()) + 1
    cloud = (
        1 + uniform(rng, 0.1, 0.6, n, 1) * ar1(rng, log_uniform(rng, 0.5, 5.0, n), days)
    ).clamp_min(0.05)
    wave = warm / rms(warm) * per_day(cloud, day)
    fronts = spectral_noise(
        rng,
        ar1_spectrum(steps * log_uniform(rng, 1.0, 6.0, n), length)
        + 0.3 * ar1_spectrum(steps * log_uniform(rng, 0.1, 0.5, n), length)
        + col(log_uniform(rng, 1e-4, 0.02, n)),
        length,
    )
    annual = torch.sin(2 * math.pi * year) * uniform(rng, 0.5, 4.0, n, 1)
    return (
        annual + wave * log_uniform(rng, 0.15, 2.0, n, 1) + fronts * uniform(rng, 0.4, 1.8, n, 1)
    )


def weather(n: int, length: int, rng: torch.Generator) -> Tensor:
    """One weather variable per row.

    Temperature, humidity (saturating at 100), pressure, wind speed, wind power, or rain.
    """
    steps = steps_per_day(rng, n, length, generic=0.05).clamp_min(8.0)
    temperature = _temperature(rng, n, length, steps)
    front = spectral_noise(
        rng,
        ar1_spectrum(steps * log_uniform(rng, 0.3, 4.0, n), length)
        + col(log_uniform(rng, 0.02, 0.5, n))
        * ar1_spectrum(steps * log_uniform(rng, 0.02, 0.2, n), length)
        + col(log_uniform(rng, 1e-3, 0.1, n)),
        length,
    )
    u = time_index(length, rng) / col(steps)
    breeze = lookup(fourier_table(rng, n, 96, 3), u) * log_uniform(rng, 0.05, 0.8, n, 1)
    humidity = 75 - 14 * temperature * uniform(rng, 0.4, 1.2, n, 1) + 12 * front
    humidity = 100 - torch.nn.functional.softplus((100 - humidity) / 4) * 4
    humidity = torch.where(
        bernoulli(rng, 0.5, n, 1), humidity.clamp(12, 99.5), humidity.clamp(5, 100).round()
    )
    speed = torch.relu(1.2 + 0.7 * (front + breeze)) ** uniform(rng, 1.0, 2.2, n, 1)
    rated = uniform(rng, 1.5, 4.0, n, 1)
    wind_power = ((speed / rated) ** 3).clamp(0, 1) * torch.where(speed < 0.25, 0.0, 1.0)
    rain = torch.relu(front - uniform(rng, 0.2, 1.3, n, 1)) ** uniform(rng, 0.8, 1.6, n, 1)
    rain = rain * torch.exp(0.4 * normal(rng, n, length))
    kind = torch.rand(n, 1, generator=rng, device=rng.device)
    bounds = (0.42, 0.56, 0.66, 0.80, 0.92, 1.01)
    values = (temperature, humidity, front, speed, wind_power, rain)
    x = torch.zeros_like(temperature)
    low = 0.0
    for high, value in zip(bounds, values, strict=True):
        x = torch.where((kind >= low) & (kind < high), value, x)
        low = high
    wet = (
        x.std(-1, keepdim=True) > 1e-4
    )  # a dry or becalmed row becomes the pressure of its fronts
    return finish(torch.where(wet, x, front))


def hydrology(n: int, length: int, rng: torch.Generator) -> Tensor:
    """River flow and levels.

    Storms with sharp rises and two exponential recessions, snow season, base flow.
    """
    steps = choice(rng, (1.0, 4.0, 24.0, 96.0), n, weights=(0.5, 0.1, 0.3, 0.1))
    year = time_index(length, rng) / col(steps * 365.25) + uniform(rng, 0.0, 1.0, n, 1)
    season = torch.exp(uniform(rng, 0.0, 1.6, n, 1) * torch.sin(2 * math.pi * year))
    rate = (col(log_uniform(rng, 0.03, 0.4, n) / steps.sqrt().sqrt()) * season).clamp(max=0.6)
    storms = torch.rand(n, length, generator=rng, device=rng.device) < rate
    size = torch.exp(uniform(rng, 0.3, 1.1, n, 1) * normal(rng, n, length))
    rain = storms * size
    quick = log_uniform(rng, 0.7, 8.0, n) * steps.sqrt()
    slow = quick * log_uniform(rng, 3.0, 25.0, n)
    flow = decay_filter(rain, quick)
    flow = flow + decay_filter(rain, slow) * uniform(rng, 0.02, 0.3, n, 1)
    rise = torch.where(
        bernoulli(rng, 0.5, n),
        log_uniform(rng, 0.5, 4.0, n),
        torch.full((n,), 0.2, device=rng.device),
    )
    flow = decay_filter(flow.clamp_min(0.0), rise).clamp_min(0.0)
    base = (1 + uniform(rng, 0.0, 0.9, n, 1) * torch.sin(2 * math.pi * year)) * log_uniform(
        rng, 0.05, 2.0, n, 1
    )
    flow = flow / rms(flow) + base
    flow = flow * (1 + log_uniform(rng, 0.003, 0.1, n, 1) * normal(rng, n, length))
    stage = torch.log(flow.clamp_min(0.0) + 0.2)
    return finish(torch.where(bernoulli(rng, 0.3, n, 1), stage, flow))


FAMILIES: tuple[Family, ...] = (
    Family("solar", "calendar", solar, "night zeros, day windows, clouds and caps"),
    Family(
        "weather",
        "calendar",
        weather,
        "temperature, humidity, pressure, wind and rain at calendar rates",
    ),
    Family(
        "hydrology",
        "calendar",
        hydrology,
        "river flow: sharp rises, exponential recessions, season",
    ),
)
