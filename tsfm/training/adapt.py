"""Fine-tune a pretrained model on the caller's series, unless that makes it no better."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from tqdm.auto import tqdm

from tsfm.models.inputs import check_contexts, check_horizon, check_seasons, pick_device
from tsfm.models.network import ForecastingNetwork
from tsfm.models.pipeline import TSFM
from tsfm.models.quantiles import pinball
from tsfm.models.scaler import Scale
from tsfm.nn.lora import add_low_rank, merge_low_rank
from tsfm.training.adapt_config import AdaptConfig
from tsfm.training.adapt_data import AdaptBatch, AdaptWindows
from tsfm.training.adapt_validation import Gain, HeldOut
from tsfm.training.finetune import check_minutes

_log = logging.getLogger(__name__)

ZERO_SHOT = 0
"""Number of the epoch before the first: the model as it came."""


@dataclass(frozen=True)
class AdaptEpoch:
    """What happened in one epoch; epoch 0 is the zero-shot model, which has no training loss."""

    number: int
    train_loss: float | None
    gain: Gain
    seconds: float


@dataclass(frozen=True)
class AdaptResult:
    """A fine-tuned model and how it came about.

    Parameters
    ----------
    model
        With the weights of the best epoch, merged; the very model that was given where none was
        better than that.
    history
        All epochs, the zero-shot one first.
    best
        The one whose weights the model has.
    stopped
        "epochs", "patience" or "time".
    n_windows
        Training windows there are.
    n_trained
        Number of weights that were trained.
    """

    model: TSFM
    history: tuple[AdaptEpoch, ...]
    best: AdaptEpoch
    stopped: str
    n_windows: int
    n_trained: int

    @property
    def improved(self) -> bool:
        """Whether the model has other weights than the zero-shot one."""
        return self.best.number != ZERO_SHOT


def adapt(
    model: TSFM,
    series: Sequence[ArrayLike],
    prediction_length: int,
    config: AdaptConfig | None = None,
    *,
    context_length: int | None = None,
    season_lengths: Sequence[int | None] | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    progress: bool = False,
) -> AdaptResult:
    """Train a pretrained model on some series.

    The loss is that of pretraining, on windows of the series and on the forecast alone: what is
    trained is what `forecast` does. The end of every series is held out:
    each epoch forecasts windows of it just as `forecast` does, and the epoch with the lowest loss
    there is kept. The zero-shot model is the epoch before the first, and is kept itself where no
    epoch beats it by more than `config.margin` standard errors.

    Parameters
    ----------
    model
        The pretrained model; it is not changed.
    series
        One-dimensional arrays, NaN = missing.
    prediction_length
        Steps to forecast.
    config
        What is trained and how; low-rank updates by default.
    context_length
        Steps of history read, at most `model.max_context`, which is the default.
    season_lengths
        Season lengths in steps that the calendar suggests, as in `TSFM.forecast`.
    max_minutes
        Stop after so many minutes (above 0), in the middle of an epoch if need be.
    device
        "auto", "cpu", "cuda", ...
    progress
        Whether to show a progress bar.

    Returns
    -------
    AdaptResult
        The model is an ordinary `TSFM`.

    Raises
    ------
    TypeError
        If `max_minutes` is no number.
    ValueError
        If the series are too short, no numbers or all constant, or the training diverged.

    Examples
    --------
    >>> from tsfm.models.config import ModelConfig
    >>> model = TSFM.from_config(ModelConfig.preset("tiny"))
    >>> waves = [np.sin(np.arange(400.0) / 4)]
    >>> result = adapt(model, waves, 8, AdaptConfig(epochs=1, windows_per_epoch=32))
    >>> [epoch.number for epoch in result.history]
    [0, 1]
    """
    config = config or AdaptConfig()
    check_minutes(max_minutes)
    if not len(series):
        raise ValueError("There is no series to train on.")
    usable = check_contexts(series, None, max(np.size(x) for x in series))
    windows = AdaptWindows.of(
        usable,
        min(context_length or model.max_context, model.max_context),
        check_horizon(prediction_length),
        patch_length=model.config.tokenizer.patch_length,
        max_horizon=model.config.max_horizon,
        validation_share=config.validation_share,
        validation_windows=config.validation_windows,
        seasons=check_seasons(season_lengths, len(usable)),
    )
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        training = _Training.of(model, windows, config, pick_device(device))
        stopped = training.run(deadline, progress)
    return training.result(model, stopped)


@dataclass
class _Training:
    """A copy of the model while it is trained."""

    network: ForecastingNetwork
    trained: dict[str, nn.Parameter]
    windows: AdaptWindows
    held_out: HeldOut
    config: AdaptConfig
    history: list[AdaptEpoch]
    average: dict[str, Tensor]
    """Running average of the trained weights: what is validated and kept."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """Averages of the best epoch so far, the zero-shot one aside."""

    @classmethod
    def of(
        cls,
        model: TSFM,
        windows: AdaptWindows,
        config: AdaptConfig,
        device: torch.device,
    ) -> _Training:
        """Copy the model, choose what is trained, and score the zero-shot forecasts."""
        started = time.monotonic()
        network = copy.deepcopy(model.network).float().to(device)
        held_out = HeldOut.of(windows, TSFM(network))
        if not (held_out.base > 0).any():
            raise ValueError(
                "Nothing to learn: the zero-shot forecasts of the held-out part are exact. Are "
                "the series constant?"
            )
        zero_shot = AdaptEpoch(ZERO_SHOT, None, Gain(0.0, 0.0), time.monotonic() - started)
        trained = trainable(network, config)
        return cls(network, trained, windows, held_out, config, [zero_shot], _copies(trained))

    @property
    def best(self) -> AdaptEpoch | None:
        """The trained epoch that validated best."""
        return max(self.history[1:], key=lambda epoch: epoch.gain.mean, default=None)

    def run(self, deadline: float, progress: bool) -> str:
        """Train until something says stop; what it was."""
        config = self.config
        per_epoch = min(config.windows_per_epoch, self.windows.n_train)
        n_steps = -(-per_epoch // config.batch_size)
        rng = np.random.default_rng(config.seed)
        optimizer = torch.optim.AdamW(
            self.trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        total = config.epochs * n_steps
        with tqdm(total=total, disable=not progress, unit="step", desc="finetune") as bar:
            for number in range(1, config.epochs + 1):
                started = time.monotonic()
                losses = []
                for loss in self._steps(optimizer, rng, (number - 1) * n_steps, n_steps, total):
                    losses.append(loss)
                    bar.update()
                    if time.monotonic() >= deadline:
                        break
                self._validate(number, float(np.mean(losses)), started)
                bar.set_postfix(gain=f"{self.history[-1].gain.mean:+.1%}", refresh=False)
                if time.monotonic() >= deadline:
                    return "time"
                assert self.best is not None
                if number - self.best.number >= config.patience:
                    return "patience"
        return "epochs"

    def _steps(
        self,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
        first: int,
        n_steps: int,
        total: int,
    ) -> Iterator[float]:
        """One epoch; the loss of every step."""
        config = self.config
        index = self.windows.draw(n_steps * config.batch_size, rng)
        device = next(self.network.parameters()).device
        for step, rows in enumerate(np.array_split(index, n_steps), first):
            self.network.train()
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(step, total)
            steps = self.windows.draw_context_length(config.shortest_context, rng)
            batch = self.windows.batch(rows, rng, steps).to(device)
            loss = forecast_loss(self.network, batch)
            if not loss.isfinite():
                raise ValueError(
                    f"The loss became {loss.item()} in step {step}; lower the learning rate "
                    f"({config.learning_rate}) or look for extreme values in the series."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained.values(), config.clip)
            optimizer.step()
            self._fold_in(step)
            yield loss.item()

    @torch.no_grad()
    def _fold_in(self, step: int) -> None:
        """Move the average towards the weights after a step; faster in the first ones."""
        share = max(1 - self.config.average, 1 / (step + 2))
        for name, parameter in self.trained.items():
            self.average[name].lerp_(parameter, share)

    @torch.no_grad()
    def _take(self, weights: dict[str, Tensor]) -> None:
        """Give the network other weights in place of the trained ones."""
        for name, parameter in self.trained.items():
            parameter.copy_(weights[name])

    def _validate(self, number: int, train_loss: float, started: float) -> None:
        """Score an epoch, and keep its weights if it is the best."""
        latest, before = _copies(self.trained), self.best
        self._take(self.average)
        gain = self.held_out.gain(TSFM(self.network))
        self._take(latest)
        self.history.append(AdaptEpoch(number, train_loss, gain, time.monotonic() - started))
        _log.info("%s", self.history[-1])
        if before is None or gain.mean > before.gain.mean:
            self.kept = {name: value.clone() for name, value in self.average.items()}

    def result(self, model: TSFM, stopped: str) -> AdaptResult:
        """The best weights as an ordinary model, or the zero-shot model where they do not pay."""
        best = self.best
        assert best is not None
        facts = (
            stopped,
            self.windows.n_train,
            sum(parameter.numel() for parameter in self.trained.values()),
        )
        if not best.gain.mean > self.config.margin * best.gain.error:
            return AdaptResult(model, tuple(self.history), self.history[0], *facts)
        self._take(self.kept)
        merge_low_rank(self.network)
        learnt = dict(model.network.named_parameters())
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(learnt[name].requires_grad)
        title = self.network.config.name.removesuffix("-finetuned") + "-finetuned"
        self.network.config = replace(self.network.config, name=title)
        tuned = TSFM(self.network)
        tuned._autocast = model._autocast
        return AdaptResult(tuned, tuple(self.history), best, *facts)


def forecast_loss(network: ForecastingNetwork, batch: AdaptBatch) -> Tensor:
    """Mean pinball loss of the forecasts of a batch, in units of each row's naive error.

    That of `ForecastingNetwork.loss` for the tokens after the context. The tokens of the context
    do not count: pretraining has them forecast the next span, too, but they are told cycles and
    scale of the whole context, later steps included, as no forecast ever is.

    Parameters
    ----------
    network
        The network to train.
    batch
        Windows in the series' units.

    Returns
    -------
    Tensor
        Scalar.
    """
    observed, known = batch.context.isfinite(), batch.target.isfinite()
    scale = Scale.of(batch.context, observed)
    z = torch.where(observed, scale.forward(batch.context), 0)
    target = torch.where(known, scale.forward(batch.target), 0)
    quantiles = network(z, observed, target.shape[1], batch.season)  # [B, H, Q]
    with torch.no_grad():
        unit = network.tokenizer.describe(z, observed, batch.season).error_scale.clamp_min(0.1)
    levels = torch.tensor(network.config.head.quantile_levels, device=z.device)
    losses = pinball(target[..., None] - quantiles, levels).mean(-1)  # [B, H]
    total = torch.where(known, losses, 0).sum(1) / known.sum(1).clamp_min(1)
    loss: Tensor = (2 * total / unit).mean()
    return loss


def _copies(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def trainable(network: ForecastingNetwork, config: AdaptConfig) -> dict[str, nn.Parameter]:
    """Freeze a network but for what is to be trained; that by name.

    Parameters
    ----------
    network
        Changed in place: with the method "lora" its backbone has low-rank updates afterwards.
    config
        The method, and rank and size of the updates.
    """
    learnt = {name for name, p in network.named_parameters() if p.requires_grad}
    network.requires_grad_(False)
    if config.method == "lora":
        added = add_low_rank(network.backbone, config.rank, config.alpha)
        chosen = {id(p) for p in added}
    else:
        part = network.head if config.method == "head" else network
        frozen = {id(p) for name, p in network.named_parameters() if name not in learnt}
        chosen = {id(p) for p in part.parameters()} - frozen
    trained = {name: p for name, p in network.named_parameters() if id(p) in chosen}
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return trained
