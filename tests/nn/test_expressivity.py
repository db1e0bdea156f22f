"""What each mixer can express that another of its size cannot.

A companion filter with as many states as an autoregression has lags is that autoregression; a
diagonal one is not. A selective recurrence can ignore tokens, and with them the time they take; a
linear time-invariant one sees every gap.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tsfm.nn.companion_layers import CompanionSSM
from tsfm.nn.companion_mixer import CompanionMixer
from tsfm.nn.mamba import Mamba1, Mamba2

# ---- autoregressions: companion against diagonal, at equal state size

TAPS = 64


class CompanionFilter(nn.Module):
    """The taps of one companion kernel, started close to a finite filter."""

    def __init__(self, d_state):
        super().__init__()
        self.ssm = CompanionSSM(1, d_state=d_state, norm_floor=1.0).double()
        with torch.no_grad():
            self.ssm.a *= 0.01

    def taps(self):
        return self.ssm.kernel(TAPS)[0]


class DiagonalFilter(nn.Module):
    """S4D-Lin (arXiv 2206.11893): modes -1/2 + i pi n, zero-order hold; real part, twice."""

    def __init__(self, d_state):
        super().__init__()
        bounds = math.log(1e-3), math.log(0.1)
        self.log_dt = nn.Parameter(torch.empty((), dtype=torch.float64).uniform_(*bounds))
        self.log_decay = nn.Parameter(torch.full((d_state,), math.log(0.5)).double())
        self.frequency = nn.Parameter(math.pi * torch.arange(d_state).double())
        self.c = nn.Parameter(torch.randn(d_state, 2).double() * 0.5**0.5)

    def taps(self):
        modes = torch.complex(-self.log_decay.exp(), self.frequency)
        step = modes * self.log_dt.exp()
        gain = torch.view_as_complex(self.c) * (step.exp() - 1) / modes
        powers = (step[:, None] * torch.arange(TAPS)).exp()
        return 2 * (gain[:, None] * powers).real.sum(0)


def autoregression(periods):
    """Coefficients whose rollout continues any sum of sines of these periods, latest lag first."""
    polynomial = torch.ones(1, dtype=torch.float64)
    for period in periods:
        factor = torch.tensor([1, -2 * math.cos(2 * math.pi / period), 1], dtype=torch.float64)
        product = polynomial[:, None] * factor
        polynomial = torch.stack(
            [product.flip(1).diagonal(i).sum() for i in range(2, -len(polynomial), -1)]
        )
    return -polynomial[1:]


def fitted(model, target):
    """Taps after gradient descent on their squared error, and that error."""

    def error():
        return (model.taps() - target).square().sum()

    adam = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(300):
        adam.zero_grad()
        error().backward()
        adam.step()
    options = {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-12, "history_size": 20}
    lbfgs = torch.optim.LBFGS(model.parameters(), max_iter=300, tolerance_change=1e-15, **options)

    def closure():
        lbfgs.zero_grad()
        loss = error()
        loss.backward()
        return loss

    lbfgs.step(closure)
    with torch.no_grad():
        return error().nan_to_num(math.inf).item(), model.taps()


def rollout_error(taps, signal, steps):
    """Largest error of a forecast that continues from its own predictions."""
    history = signal[:-steps]
    for _ in range(steps):
        following = (taps.flip(0) * history[-TAPS:]).sum()
        history = torch.cat([history, following[None]])
    return (history - signal)[-steps:].abs().amax().item()


@pytest.mark.parametrize("periods", [(12, 5.3), (24, 7.7, 4.1)], ids=["AR(4)", "AR(6)"])
def test_companion_is_an_autoregression_where_a_diagonal_system_is_not(periods):
    phi = autoregression(periods)
    order, steps = len(phi), 5 * max(periods)
    assert order == 2 * len(periods)
    time = torch.arange(TAPS + steps).double()
    signal = sum(torch.sin(2 * math.pi * time / p + i) for i, p in enumerate(periods))
    target = F.pad(phi, (0, TAPS - order))
    assert rollout_error(target, signal, steps) < 1e-8
    errors = {}
    for kind in (CompanionFilter, DiagonalFilter):
        torch.manual_seed(0)
        best = min((fitted(kind(order), target) for _ in range(4)), key=lambda fit: fit[0])
        errors[kind] = rollout_error(best[1], signal, steps)
    assert errors[CompanionFilter] < 1e-3
    assert errors[DiagonalFilter] > 10 * 1e-3


# ---- selective copying: selective against time-invariant, at equal size

N_SYMBOLS, N_COPIED, WIDTH = 4, 3, 32
BLANK, ASK = N_SYMBOLS, N_SYMBOLS + 1


def sequences(rows, length):
    """Symbols at random places among blanks, then questions; and the symbols in their order."""
    symbols = torch.randint(0, N_SYMBOLS, (rows, N_COPIED))
    places = torch.rand(rows, length).argsort(1)[:, :N_COPIED].sort(1).values
    tokens = torch.full((rows, length), BLANK).scatter(1, places, symbols)
    return F.pad(tokens, (0, N_COPIED), value=ASK), symbols


class Copier(nn.Module):
    """Two residual mixers between an embedding and a linear readout at the questions."""

    def __init__(self, mixer):
        super().__init__()
        self.embedding = nn.Embedding(N_SYMBOLS + 2, WIDTH)
        self.mixers = nn.ModuleList([mixer(), mixer()])
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)])
        self.out = nn.Linear(WIDTH, N_SYMBOLS)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for mixer, norm in zip(self.mixers, self.norms, strict=True):
            x = x + mixer(norm(x))[0]
        return self.out(x[:, -N_COPIED:])


def trained(mixer, steps=450):
    """A copier trained on 16 tokens, and its number of weights."""
    torch.manual_seed(0)
    model = Copier(mixer)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for _ in range(steps):
        tokens, symbols = sequences(64, 16)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), symbols.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model, sum(p.numel() for p in model.parameters())


@torch.no_grad()
def share_solved(model, length):
    """Share of sequences copied without a mistake; guessing solves 1 in 64."""
    tokens, symbols = sequences(1000, length)
    return (model(tokens).argmax(-1) == symbols).all(1).double().mean().item()


@functools.cache
def time_invariant():
    return trained(lambda: CompanionMixer(WIDTH, d_state=48))


@pytest.mark.parametrize(
    "selective",
    [
        pytest.param(lambda: Mamba2(WIDTH, d_state=16, d_head=16, expand=1), id="mamba2"),
        pytest.param(
            lambda: Mamba1(WIDTH, d_state=16, expand=1), id="mamba1", marks=pytest.mark.slow
        ),
    ],
)
def test_selective_copying_needs_selection(selective):
    """Twice the tokens, the same symbols: to who ignores blanks nothing has changed."""
    model, n_weights = trained(selective)
    other, n_other = time_invariant()
    assert n_weights <= n_other  # the time-invariant one is not the smaller one
    assert share_solved(model, 16) > 0.97
    assert share_solved(model, 32) > 0.5
    assert share_solved(other, 32) < 0.3
