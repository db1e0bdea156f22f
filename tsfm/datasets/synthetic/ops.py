"""Operations families: counts, demand, server metrics, machine states, river flow and rain.

Bounded, integer-valued, bursty and zero-floored series as found in monitoring, retail and
hydrology.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tsfm.datasets.synthetic.base import (
    Family,
    bernoulli,
    choice,
    log_uniform,
    normal,
    or_zero,
    randint,
    time_index,
    uniform,
)
from tsfm.datasets.synthetic.processes import (
    ar1,
    draw_periods,
    fourier_profile,
    heavy_noise,
    linear_scan,
    pick,
    power_noise,
    segment_ids,
    segment_levels,
    smooth_path,
    split_rows,
    spread,
)

STEPS_PER_DAY = (24, 48, 96, 144, 288, 288, 288)


def _poisson(rng: torch.Generator, rate: Tensor) -> Tensor:
    """Poisson draws; beyond a rate of 50 a rounded normal, which is what it then looks like."""
    large = torch.round(rate + rate.sqrt() * normal(rng, *rate.shape)).clamp_min(0)
    small = torch.poisson(rate.clamp_max(50.0).contiguous(), generator=rng)
    return torch.where(rate > 50, large, small)


def activity(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Human activity on a log scale: daily shape, weekday effect, slow drift; [n, length].

    The period is a number of steps per day or any other season; 1-2 of 7 days may be quieter.
    """
    daily = choice(rng, [p for p in STEPS_PER_DAY if p <= max(24, length // 2)], n)
    period = torch.where(uniform(rng, 0, 1, n) < 0.7, daily, draw_periods(rng, n, length))
    smooth = fourier_profile(rng, period, length, harmonics=10)
    phase = time_index(length, rng) / period[:, None] + uniform(rng, 0, 7, n, 1)
    hours = (phase - torch.floor(phase) - 0.5).abs() * 2
    width = uniform(rng, 0.2, 0.7, n, 1)
    office = torch.sigmoid((width - hours) * log_uniform(rng, 5, 60, n, 1)) * 2.5
    shape = torch.where(bernoulli(rng, 0.6, n, 1), smooth, office)
    weekend = (torch.floor(phase) % 7) >= choice(rng, (5, 5, 5, 6), n, 1)
    damp = or_zero(rng, uniform(rng, 0.2, 1.0, n, 1), 0.6)
    shape = torch.where(weekend, shape * (1 - damp) - damp * uniform(rng, 0, 1, n, 1), shape)
    trend = (time_index(length, rng) / length - 0.5) * normal(rng, n, 1)
    drift = power_noise(rng, uniform(rng, 1.0, 2.2, n, 1), length)
    return (
        shape * log_uniform(rng, 0.15, 1.2, n, 1)
        + or_zero(rng, trend, 0.4)
        + or_zero(rng, drift * log_uniform(rng, 0.05, 0.7, n, 1), 0.7)
    )


def _bursts(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Non-negative bursts: rare arrivals with heavy-tailed heights and exponential decay."""
    rate = log_uniform(rng, 0.5, 40.0, n, 1) / max(length, 64)
    arrivals = uniform(rng, 0, 1, n, length) < rate
    height = torch.exp(normal(rng, n, length) * uniform(rng, 0.2, 1.0, n, 1)) * log_uniform(
        rng, 0.3, 4.0, n, 1
    )
    keep = torch.where(
        bernoulli(rng, 0.3, n, 1), 0.0, torch.exp(-1 / log_uniform(rng, 0.7, 60.0, n, 1))
    )
    return linear_scan(keep, arrivals * height).clamp_max(50.0)


def counts(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Poisson or negative-binomial counts: daily profile, bursts, zero inflation, growth."""
    load = activity(rng, n, length)
    linear = (1 + 0.6 * load).clamp_min(0.02)
    rate = torch.where(
        bernoulli(rng, 0.4, n, 1), linear, torch.exp(load.clamp(-4, 4))
    ) * log_uniform(rng, 0.1, 300.0, n, 1)
    rate = rate * (1 + or_zero(rng, _bursts(rng, n, length), 0.4))
    dispersion = log_uniform(rng, 0.02, 1.0, n, 1)
    rough = torch.where(bernoulli(rng, 0.4, n, 1), uniform(rng, 0.3, 0.98, n, 1), 0.0)
    mixing = torch.exp(
        dispersion.sqrt() * ar1(rng, rough, length) - 0.5 * dispersion
    )  # lognormal for the gamma
    rate = torch.where(bernoulli(rng, 0.55, n, 1), rate * mixing, rate)
    x = _poisson(rng, rate.clamp(0, 1e6))
    closed = uniform(rng, 0, 1, n, length) < or_zero(rng, uniform(rng, 0.02, 0.5, n, 1), 0.1)
    return torch.where(closed, torch.zeros_like(x), x)


def intermittent(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Croston-like demand.

    Occurrence probability .02-.6 with season and life cycle, lognormal sizes.
    """
    base = log_uniform(rng, 0.02, 0.6, n, 1)
    logit = torch.log(base / (1 - base))
    season = fourier_profile(rng, draw_periods(rng, n, length, 0.8), length, harmonics=5)
    logit = logit + or_zero(rng, season * uniform(rng, 0.2, 1.5, n, 1), 0.5)
    logit = logit + or_zero(rng, smooth_path(rng, n, length, 5), 0.5)
    clustered = ar1(rng, 1 - log_uniform(rng, 0.02, 0.5, n, 1), length)
    logit = logit + or_zero(rng, clustered * uniform(rng, 0.5, 2.0, n, 1), 0.4)
    occurs = uniform(rng, 0, 1, n, length) < torch.sigmoid(logit)
    tail = uniform(rng, 0.0, 1.2, n, 1)
    size = torch.exp(tail * normal(rng, n, length) + 0.3 * or_zero(rng, season, 0.3))
    size = size * log_uniform(rng, 0.8, 60.0, n, 1)
    whole = torch.ceil(size)
    x = torch.where(
        occurs, torch.where(bernoulli(rng, 0.8, n, 1), whole, size), torch.zeros_like(size)
    )
    dead = time_index(length, rng) < uniform(rng, 0.1, 0.6, n, 1) * length  # not on sale yet
    x = torch.where(dead & bernoulli(rng, 0.1, n, 1), torch.zeros_like(x), x)
    row = torch.arange(n, device=rng.device)
    at = (uniform(rng, 0.5, 1, n) * (length - 1)).long()
    x[row, at] = torch.where(x.amax(-1) > 0, x[row, at], size[row, at].ceil())
    return x


def server_metrics(n: int, length: int, rng: torch.Generator) -> Tensor:
    """CPU, memory, latency and request metrics.

    Daily load, bursts, saturation, heavy tails, deploys.
    """
    load = activity(rng, n, length)
    jitter = heavy_noise(rng, n, length) * log_uniform(rng, 0.03, 0.6, n, 1)
    correlated = ar1(rng, uniform(rng, 0.3, 0.98, n, 1), length) * log_uniform(
        rng, 0.03, 0.6, n, 1
    )
    ids = segment_ids(rng, uniform(rng, 0.15, 1.0, n, 1) * length, length)
    deploys = or_zero(rng, segment_levels(rng, ids) * log_uniform(rng, 0.1, 1.0, n, 1), 0.3)
    burst = or_zero(rng, _bursts(rng, n, length), 0.45)
    logit = load - uniform(rng, -1.0, 3.0, n, 1) + deploys + correlated
    cpu = 100 * torch.sigmoid(logit + jitter + burst)
    requests = torch.exp((load + deploys + correlated + 0.5 * jitter).clamp(-6, 6)) * (1 + burst)
    pressure = torch.sigmoid(logit).clamp_max(0.97)
    tail = torch.exp(jitter.clamp(-3, 5)) * (1 + burst)
    latency = tail * (1 + pressure / (1 - pressure))  # queueing: explodes near saturation
    saturated = requests.clamp_max(1e6)
    peak = torch.gather(saturated, 1, randint(rng, 0, length, n, 32)).amax(-1, keepdim=True)
    cap = peak * uniform(rng, 0.5, 1.2, n, 1)
    gauge = torch.minimum(saturated, cap)
    floor = torch.where(bernoulli(rng, 0.3, n, 1), uniform(rng, 0, 8, n, 1), 0.0)
    cpu = torch.maximum(cpu, floor + jitter.abs())
    x = pick(rng, [cpu, latency, requests, gauge], [4, 2.5, 2.5, 1])
    outage = (
        segment_ids(
            rng, log_uniform(rng, 0.2, 2.0, n, 1) * length, length, log_uniform(rng, 1, 30, n, 1)
        )
        % 2
    )
    x = torch.where((outage == 1) & bernoulli(rng, 0.1, n, 1), torch.zeros_like(x), x)
    grid = spread(x) * log_uniform(rng, 0.02, 0.3, n, 1)
    return torch.where(bernoulli(rng, 0.15, n, 1), torch.round(x / grid) * grid, x)


def _fallback(rng: torch.Generator, x: Tensor) -> Tensor:
    """Rows that came out constant are replaced by autocorrelated noise."""
    still = x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True) < 1e-5
    return torch.where(still, ar1(rng, uniform(rng, 0, 0.9, x.shape[0], 1), x.shape[1]), x)


def _plateaus(rng: torch.Generator, n: int, length: int) -> Tensor:
    """On/off or multi-level plateaus, with sharp or rounded edges."""
    mean = log_uniform(rng, 3.0, max(8.0, length / 8), n, 1)
    ids = segment_ids(rng, mean, length, mean * log_uniform(rng, 0.1, 3.0, n, 1))
    level = segment_levels(rng, ids)
    on = (ids % 2 == 0).float()
    x = torch.where(
        bernoulli(rng, 0.6, n, 1),
        on * (1 + or_zero(rng, 0.3 * level, 0.4)),
        torch.round(level * 1.5) * 0.7,
    )
    lag = torch.exp(-1 / log_uniform(rng, 0.3, 15.0, n, 1)) * bernoulli(rng, 0.5, n, 1)
    return linear_scan(lag, x * (1 - lag))


def _gauges(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Levels that fill and empty at constant rates and saturate at both ends."""
    mean = log_uniform(rng, 3.0, max(8.0, length / 8), n, 1)
    on = (segment_ids(rng, mean, length, mean * log_uniform(rng, 0.2, 3.0, n, 1)) % 2 == 0).float()
    rate = log_uniform(rng, 0.01, 0.2, n, 1)
    return linear_scan(1 - log_uniform(rng, 1e-3, 0.1, n, 1), (on - 0.5) * rate).clamp(-0.6, 0.6)


def _cycles(rng: torch.Generator, n: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Phase and number of a slightly irregular cycle, [n, length], and its period [n, 1]."""
    period = draw_periods(rng, n, length, 0.6)[:, None]
    wobble = torch.cumsum(normal(rng, n, length), -1) * log_uniform(rng, 1e-4, 0.01, n, 1)
    cycle = time_index(length, rng) / period + uniform(rng, 0, 1, n, 1) + or_zero(rng, wobble, 0.5)
    whole = torch.floor(cycle)
    number = (whole - whole.amin(-1, keepdim=True)).long().clamp(0, length)
    return cycle - whole, number, period


def _sawtooth(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Counters that grow and reset: on a clock, or when full (log rotation, tank, battery)."""
    phase, _, period = _cycles(rng, n, length)
    fill = torch.cumsum(
        torch.exp(normal(rng, n, length) * 0.6 + smooth_path(rng, n, length, 8) * 0.5), -1
    )
    capacity = period * log_uniform(rng, 0.5, 3.0, n, 1)
    return torch.where(
        bernoulli(rng, 0.5, n, 1),
        phase ** uniform(rng, 0.5, 2.0, n, 1),
        (fill % capacity) / capacity,
    )


def _batch_jobs(rng: torch.Generator, n: int, length: int) -> Tensor:
    """Periodic pulses with jittered start, random height and skipped runs."""
    phase, number, period = _cycles(rng, n, length)
    width = log_uniform(rng, 0.01, 0.3, n, 1).clamp_min(1.2 / period)
    shift = segment_levels(rng, number) * or_zero(rng, log_uniform(rng, 0.005, 0.06, n, 1), 0.6)
    active = ((phase - 0.4 + shift).abs() < width / 2).float()
    skipped = segment_levels(rng, number) < torch.where(
        bernoulli(rng, 0.3, n, 1), uniform(rng, -2.0, -1.2, n, 1), -9.0
    )
    height = torch.exp(
        segment_levels(rng, number) * or_zero(rng, uniform(rng, 0.05, 0.6, n, 1), 0.7)
    )
    jobs = active * height * (~skipped) * uniform(rng, 1, 4, n, 1)
    lag = torch.exp(-1 / log_uniform(rng, 0.3, 15.0, n, 1)) * bernoulli(rng, 0.3, n, 1)
    return linear_scan(lag, jobs * (1 - lag))


def machine_states(n: int, length: int, rng: torch.Generator) -> Tensor:
    """On/off plateaus, gauges, counters with resets and jittered batch jobs, [n, length]."""
    x = torch.empty(n, length, device=rng.device)
    makers = (_plateaus, _gauges, _sawtooth, _batch_jobs)
    for rows, make in zip(split_rows(rng, n, [2.5, 1.5, 2.5, 3.5]), makers, strict=True):
        if rows.numel():
            x[rows] = make(rng, rows.numel(), length)
    x = _fallback(rng, x)
    size = spread(x)
    x = x + size * or_zero(
        rng, heavy_noise(rng, n, length) * log_uniform(rng, 0.01, 0.4, n, 1), 0.7
    )
    slow = power_noise(rng, uniform(rng, 1.2, 2.2, n, 1), length)
    x = x + size * or_zero(rng, slow * log_uniform(rng, 0.05, 1.0, n, 1), 0.4)
    return x * torch.where(bernoulli(rng, 0.15, n, 1), -1.0, 1.0)


def flow_and_rain(n: int, length: int, rng: torch.Generator) -> Tensor:
    """River flow (shot noise with recession, snow season) or rain-like zero-inflated amounts."""
    year = choice(rng, (365.25, 365.25, 52.18, 12.0, 24.0, 96.0, 288.0, 730.5), n)
    season = fourier_profile(rng, year, length, harmonics=2)
    weather = ar1(rng, uniform(rng, 0.3, 0.97, n, 1), length)
    logit = math.log(0.2) + normal(rng, n, 1) + season * uniform(rng, 0.0, 1.5, n, 1)
    logit = logit + weather * uniform(rng, 0.0, 2.0, n, 1)
    wet = uniform(rng, 0, 1, n, length) < torch.sigmoid(logit)
    tail = uniform(rng, 0.6, 1.6, n, 1)
    amount = torch.exp((tail * normal(rng, n, length) + 0.4 * season).clamp(-5, 5))
    rain = wet * amount
    quick = torch.exp(-1 / log_uniform(rng, 0.7, 8.0, n, 1))
    slow = torch.exp(-1 / log_uniform(rng, 15.0, 250.0, n, 1))
    share = uniform(rng, 0.1, 0.9, n, 1)
    direct = linear_scan(quick, rain * (1 - quick))
    baseflow = rain * (1 - slow)
    baseflow[:, 0] = rain.mean(-1)  # start with a filled store
    store = linear_scan(slow, baseflow)
    melt = torch.exp((season * uniform(rng, 0.5, 2.0, n, 1)).clamp(-5, 5)) * log_uniform(
        rng, 0.03, 1.0, n, 1
    )
    flow = (
        share * direct
        + (1 - share) * store
        + or_zero(rng, melt, 0.4)
        + log_uniform(rng, 1e-3, 0.3, n, 1)
    )
    rise = torch.where(bernoulli(rng, 0.5, n, 1), uniform(rng, 0.1, 0.8, n, 1), 0.0)
    flow = torch.cat([flow[:, :1], flow[:, 1:] * (1 - rise)], -1)
    flow = linear_scan(rise, flow)
    flow = flow * torch.exp(0.03 * normal(rng, n, length))
    log_flow = torch.log(flow)
    window = int(choice(rng, (3, 5, 7, 12, 24), 1))
    smooth_rain = F.avg_pool1d(rain[:, None], window, 1, window // 2, count_include_pad=False)[
        :, 0, :length
    ]
    tipped = torch.round(rain * 5) / 5  # rain gauge resolution
    return _fallback(
        rng, pick(rng, [flow, log_flow, rain, tipped, smooth_rain], [4.5, 2, 1.2, 1.3, 1])
    )


def _backlog(surplus: Tensor) -> Tensor:
    """What is left of a surplus per step: `w[t] = max(0, w[t-1] + surplus[t])`, rows [n, L]."""
    walk = torch.cumsum(surplus, -1)
    return walk - torch.cummin(walk, -1).values.clamp_max(0)


def queues(n: int, length: int, rng: torch.Generator) -> Tensor:
    """Backlog, waiting time, throughput or use of a server with limited capacity.

    Work arrives with a daily shape, bursts and noise; capacity is 1.01-2 times its mean, halved
    or lost in spells on a third of the rows. The backlog is a reflected random walk.
    Source: Lindley (1952), "The theory of queues with a single server".
    """
    load = activity(rng, n, length)
    work = torch.exp((load * uniform(rng, 0.2, 1.0, n, 1)).clamp(-4, 4))
    work = work * (1 + or_zero(rng, _bursts(rng, n, length), 0.4))
    work = work * torch.exp(log_uniform(rng, 0.03, 1.0, n, 1) * normal(rng, n, length))
    work = work / work.mean(-1, keepdim=True)
    spells = segment_ids(
        rng, log_uniform(rng, 0.05, 1.0, n, 1) * length, length, log_uniform(rng, 2, 60, n, 1)
    )
    weak = (spells % 2 == 1) & bernoulli(rng, 0.33, n, 1)
    capacity = log_uniform(rng, 1.01, 2.0, n, 1) * torch.where(weak, uniform(rng, 0, 0.6, n, 1), 1)
    backlog = _backlog(work - capacity)
    before = torch.cat([torch.zeros_like(backlog[:, :1]), backlog[:, :-1]], -1)
    done = (before + work - backlog).clamp_min(0)
    used = (done / capacity.clamp_min(1e-3)).clamp(0, 1)
    jitter = torch.exp(0.05 * normal(rng, n, length))
    x = pick(rng, [backlog, (0.1 + backlog) * jitter, done, 100 * used], [3, 3, 2.5, 1.5])
    still = x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True) < 1e-5
    return torch.where(still, work, x)  # a queue that never builds up, a server always in use


FAMILIES = (
    Family(
        "counts", "ops", counts, "Poisson and negative-binomial counts with profile and bursts"
    ),
    Family("intermittent", "ops", intermittent, "Croston-like intermittent demand"),
    Family(
        "server_metrics",
        "ops",
        server_metrics,
        "CPU, latency, requests and saturated gauges with daily load",
    ),
    Family(
        "machine_states",
        "ops",
        machine_states,
        "on/off plateaus, sawtooth counters, gauges and batch jobs",
    ),
    Family(
        "flow_and_rain",
        "ops",
        flow_and_rain,
        "river flow as shot noise, snow season, zero-inflated rain",
    ),
    Family("queues", "ops", queues, "backlog, waiting time, throughput and use of a server"),
)
