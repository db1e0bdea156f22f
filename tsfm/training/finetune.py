"""Train a preset on a data set: a plain loop with early stopping."""

from __future__ import annotations

import copy
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm.auto import tqdm

from tsfm.models.inputs import check_contexts, pick_device
from tsfm.models.presets.config import PresetConfig
from tsfm.models.presets.intervals import Intervals
from tsfm.models.presets.model import PresetModel, PresetNetwork
from tsfm.models.presets.smamba import SMambaNetwork
from tsfm.models.presets.windows import Array, scaled
from tsfm.training.finetune_config import FinetuneConfig
from tsfm.training.finetune_data import Index, WindowSet, evenly
from tsfm.training.finetune_start import fit_autoregression

_log = logging.getLogger(__name__)

_LARGEST_TABLE = 20_000_000
"""Errors kept at once to measure intervals."""

_SETTLE_EVERY = 10
"""Steps after which a closed loop is measured again."""


@dataclass(frozen=True)
class Epoch:
    """What happened in one epoch; errors are mean squares in units of each series.

    A preset that begins with a closed-form fit has it as epoch -1, which has no training loss.
    """

    number: int
    train_loss: float | None
    validation_error: float
    seconds: float
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FinetuneResult:
    """A trained model and how it came about.

    Parameters
    ----------
    model
        With the weights of the epoch that validated best.
    history
        All epochs, after the closed-form start if there is one.
    best
        The best one.
    stopped
        "epochs", "patience" or "time".
    n_windows
        Training windows.
    """

    model: PresetModel
    history: tuple[Epoch, ...]
    best: Epoch
    stopped: str
    n_windows: int


def finetune(
    series: Sequence[ArrayLike],
    config: PresetConfig,
    settings: FinetuneConfig | None = None,
    *,
    validation_length: int | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    progress: bool = False,
    names: Sequence[str] | None = None,
) -> FinetuneResult:
    """Train a preset on some series, and measure its intervals on their last part.

    The end of every series is held out: it decides when to stop and which epoch's weights are
    kept, and its errors give the prediction intervals. These are therefore a little optimistic.
    What a preset fits in closed form counts as an epoch before the first.
    The same data, configuration and seed give the same weights on the same machine, unless
    `max_minutes` ended the run.

    Parameters
    ----------
    series
        One-dimensional arrays, NaN = missing. S-Mamba takes them as variates of one system that
        end at the same time.
    config
        The preset's sizes.
    settings
        Optimisation; the preset's defaults if left out.
    validation_length
        Steps held out at the end of every series, instead of `settings.validation_share`.
    max_minutes
        Stop after so many minutes (above 0), in the middle of an epoch if need be; a warning
        says when that was the first.
    device
        "auto", "cpu", "cuda", ...
    progress
        Whether to show a progress bar.
    names
        One per series, all different: kept in the model, which then knows the order of its
        variates, and used in messages.

    Returns
    -------
    FinetuneResult
        The model is in evaluation mode.

    Raises
    ------
    TypeError
        If `max_minutes` is no number.
    ValueError
        If a series is not numeric, the series are too short or constant, `max_minutes` is not
        positive or over before the first step, or the training diverged.

    Examples
    --------
    >>> from tsfm.models.presets import SMambaConfig
    >>> wave = np.sin(np.arange(200) / 4)
    >>> config = SMambaConfig(context_length=16, prediction_length=4, d_model=8, d_hidden=8)
    >>> result = finetune([wave, -wave], config, FinetuneConfig(epochs=1))
    >>> result.model.forecast([wave, -wave], 4).median.shape
    (2, 4)
    """
    settings = settings or FinetuneConfig.of(config.kind)
    check_minutes(max_minutes)
    usable = check_contexts(series, None, max((np.size(x) for x in series), default=0))
    if not usable:
        raise ValueError("There is no series to train on.")
    model = PresetModel.from_config(config, seed=settings.seed)
    windows = WindowSet.of(
        usable,
        config.context_length,
        config.prediction_length,
        together=model.network.mixes_variates,
        standardise=config.scaling == "standard",
        validation_share=settings.validation_share,
        validation_length=validation_length,
        names=names,
    )
    network = model.network.to(pick_device(device))
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        history, stopped = _fit(network, windows, settings, deadline, progress)
    network.eval()
    model.intervals = _intervals(network, windows, settings)
    model.series_names = None if names is None else tuple(names)
    best = min(history, key=lambda epoch: epoch.validation_error)
    return FinetuneResult(model, tuple(history), best, stopped, len(windows.train))


def check_minutes(max_minutes: float | None) -> None:
    """Refuse a time limit that is no positive number.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not positive.
    """
    if max_minutes is None:
        return
    if isinstance(max_minutes, bool) or not isinstance(max_minutes, int | float | np.number):
        raise TypeError(f"max_minutes={max_minutes!r} must be a number of minutes, or None.")
    if not max_minutes > 0:
        raise ValueError(
            f"max_minutes={max_minutes!r} must be above 0; leave it out for no limit."
        )


def _fit(
    network: PresetNetwork,
    windows: WindowSet,
    settings: FinetuneConfig,
    deadline: float,
    progress: bool,
) -> tuple[list[Epoch], str]:
    """Train until something says stop; the network then has its best weights."""
    optimizer = _optimizer(network, settings)
    shuffle = np.random.default_rng(settings.seed)
    validation = evenly(windows.validation, settings.validation_windows)
    per_epoch = min(settings.windows_per_epoch or len(windows.train), len(windows.train))
    n_steps = -(-per_epoch // settings.batch_size)
    history = _start(network, windows, validation)
    best = min((epoch.validation_error for epoch in history), default=math.inf)
    weights = copy.deepcopy(network.state_dict())
    since, stopped = 0, "epochs"
    bar = tqdm(total=settings.epochs * n_steps, disable=not progress, unit="step", desc="train")
    for number in range(settings.epochs):
        started = time.monotonic()
        index = windows.train[shuffle.permutation(len(windows.train))[:per_epoch]]

        def rate(step: int, epoch: int = number) -> float:
            return settings.learning_rate_at(epoch + step / n_steps)

        losses = list(_steps(network, windows, index, optimizer, settings, rate, deadline, bar))
        _check_progress(number, len(losses), n_steps)
        if not losses:
            stopped = "time"
            break
        network.settle()
        error = _error(network, windows, validation)
        seconds = time.monotonic() - started
        history.append(
            Epoch(number, float(np.mean(losses)), error, seconds, network.diagnostics())
        )
        _log.info("%s", history[-1])
        bar.set_postfix(validation=f"{error:.4f}", refresh=False)
        since = 0 if error < best else since + 1
        if error < best:
            best, weights = error, copy.deepcopy(network.state_dict())
        if time.monotonic() >= deadline or since >= settings.patience:
            stopped = "time" if time.monotonic() >= deadline else "patience"
            break
    bar.close()
    network.load_state_dict(weights)
    network.settle()
    return history, stopped


def _start(network: PresetNetwork, windows: WindowSet, validation: Index) -> list[Epoch]:
    """Fit what has a closed form; the record of it, or nothing where there is none."""
    if isinstance(network, SMambaNetwork) or network.autoregression is None:
        return []
    started = time.monotonic()
    network.settle()
    error = fit_autoregression(
        network.autoregression,
        windows,
        network.config.scaling,
        lambda: _error(network, windows, validation),
    )
    seconds = time.monotonic() - started
    return [Epoch(-1, None, error, seconds, network.diagnostics())]


def _check_progress(epoch: int, done: int, n_steps: int) -> None:
    """Say when the time was too short to train, or to see all windows once."""
    if epoch > 0 or done == n_steps:
        return
    if done == 0:
        raise ValueError(
            "The time was over before the first step, so nothing was trained: allow more minutes "
            "(max_minutes), or leave the limit out."
        )
    warnings.warn(
        f"The time was over after {done} of the {n_steps} steps of the first epoch: the model has "
        "not seen all windows once. Allow more minutes (max_minutes).",
        UserWarning,
        stacklevel=4,
    )


def _steps(
    network: PresetNetwork,
    windows: WindowSet,
    index: Index,
    optimizer: torch.optim.Optimizer,
    settings: FinetuneConfig,
    rate: Callable[[int], float],
    deadline: float,
    bar: tqdm,
) -> Iterator[float]:
    """One epoch, or what fits before the deadline; the loss of every step."""
    network.train()
    device = next(network.parameters()).device
    for step, start in enumerate(range(0, len(index), settings.batch_size)):
        if time.monotonic() >= deadline:
            return
        if step % _SETTLE_EVERY == 0:
            network.settle()
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        context, target = windows.batch(index[start : start + settings.batch_size])
        z, scale, target, observed = _scaled_batch(network, context.to(device), target.to(device))
        loss = network.loss(z, scale, target, observed)
        if not loss.isfinite():
            raise ValueError(
                f"The loss became {loss.item()} in step {step}; lower the learning rate "
                f"({settings.learning_rate}) or look for extreme values in the series."
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        bar.update()
        yield loss.item()


def _scaled_batch(
    network: PresetNetwork, context: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled contexts, their unit, targets in that unit, and which targets are known.

    A constant context has no unit; its targets are counted in the series' own, around zero.
    """
    z, loc, scale = scaled(context, network.config.scaling)
    scale = scale.where(scale > 0, 1)
    observed = target.isfinite()
    return z, scale, ((target - loc) / scale).where(observed, 0), observed


@torch.no_grad()
def _error(network: PresetNetwork, windows: WindowSet, index: Index) -> float:
    """Mean square error of the forecasts of some windows, in units of each series."""
    total = count = 0.0
    for z, scale, target, observed in _validation_batches(network, windows, index):
        square = (scale * (network(z, windows.prediction_length) - target)).square()
        total += float(square.where(observed, 0).double().sum())
        count += float(observed.sum())
    return total / max(count, 1.0)


@torch.no_grad()
def _intervals(network: PresetNetwork, windows: WindowSet, settings: FinetuneConfig) -> Intervals:
    """Intervals from the errors of the validation windows, in units of each context."""
    n_series = windows.systems[0].shape[0]
    limit = max(1, _LARGEST_TABLE // (n_series * windows.prediction_length))
    index = evenly(windows.validation, min(settings.validation_windows, limit))
    parts: list[Array] = []
    for z, _, target, observed in _validation_batches(network, windows, index):
        observed = observed & (z != 0).any(-1, keepdim=True)  # constant contexts have no unit
        error = (network(z, windows.prediction_length) - target).abs().double()
        parts.append(error.where(observed, math.nan).flatten(0, 1).cpu().numpy())
    return Intervals.of(np.concatenate(parts))


def _validation_batches(
    network: PresetNetwork, windows: WindowSet, index: Index
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Scaled batches of the validation windows, for a network in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    for start in range(0, len(index), 64):
        context, target = windows.batch(index[start : start + 64])
        yield _scaled_batch(network, context.to(device), target.to(device))


def _optimizer(network: PresetNetwork, settings: FinetuneConfig) -> torch.optim.Optimizer:
    """AdamW; vectors and the matrices of state-space models are not decayed."""
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for parameter in network.parameters():
        undecayed = getattr(parameter, "_no_weight_decay", False) or parameter.ndim < 2
        (free if undecayed else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)
