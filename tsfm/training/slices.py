"""What happens between the steps of a slice: saving, validating, stopping on time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning as L

from tsfm.models.hub import save_network
from tsfm.training.config import RunConfig
from tsfm.training.module import PretrainModule
from tsfm.training.processes import any_of, check_alike, on_sigterm
from tsfm.training.record import same_everywhere, write_record, write_scores
from tsfm.training.task import task_of

TRUNK = "trunk.ckpt"
DECAY = "decay.ckpt"


class SliceCallback(L.Callback):
    """Saves state and model every few minutes, validates, and ends the slice on time.

    Of several processes the first writes and validates; all save and stop at the same step.

    Parameters
    ----------
    config
        The run.
    out
        Its folder.
    name
        File name of the training state.
    max_minutes
        Length of the slice; None for no limit.
    started
        `time.monotonic()` at which the slice began.
    first_step
        Step at which it begins.
    """

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        name: str,
        max_minutes: float | None,
        started: float,
        first_step: int = 0,
    ) -> None:
        self.config = config
        self.out = out
        self.name = name
        self.deadline = None if max_minutes is None else started + 60 * max_minutes
        self.saved_at = time.monotonic()
        self.step = 0
        self.first_step = first_step
        self.terminated = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """See to it that all processes begin alike."""
        facts: dict[str, Any] = {
            "the step to go on from": self.first_step,
            "the last step": trainer.max_steps,
            "precision": trainer.precision,
        }
        check_alike(trainer, same_everywhere(self.config) | facts)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let SIGTERM end a slice of several processes after a step, saved."""
        if trainer.world_size > 1:
            on_sigterm(self._terminate)

    def _terminate(self) -> None:
        self.terminated = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Save, validate or stop when it is time."""
        self.step = trainer.global_step
        every = self.config.validate_every
        if every and self.step % every == 0 and trainer.is_global_zero:
            self._validate(trainer, pl_module)
        now = time.monotonic()
        late = self.deadline is not None and now > self.deadline
        due = now - self.saved_at > 60 * self.config.checkpoint_minutes
        save, stop = any_of(trainer, due, late or self.terminated)
        if save:
            self._save(trainer, pl_module)
        if stop:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save once more, so that nothing of the slice is lost."""
        self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        """Write state and model, each whole or not at all."""
        unfinished = self.out / (self.name + ".part")
        trainer.save_checkpoint(unfinished)  # a matter of all processes; the first writes
        if trainer.is_global_zero:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(self.out / self.name)
            self.write_model(module, trainer.global_step)
        self.saved_at = time.monotonic()

    def write_model(self, module: PretrainModule, step: int) -> None:
        """Write the averaged weights and the record of the run.

        Parameters
        ----------
        module
            The module at `step`.
        step
            Optimiser steps it has taken.
        """
        save_network(averaged_network(module), self.out)
        branch = self.name.removesuffix(".ckpt")
        write_record(self.out, self.config, step, branch, module.decay_start, module.decay_steps)

    def _validate(self, trainer: L.Trainer, module: Any) -> None:
        """Score the averaged network on held-out series and log the table."""
        scores = task_of(self.config).validate(averaged_network(module).eval())
        metrics = {f"validation/{name}": value for name, value in scores.metrics.items()}
        for log in trainer.loggers:
            log.log_metrics(metrics, step=trainer.global_step)
        name = "validation.csv" if self.name == TRUNK else "validation_decay.csv"
        write_scores(scores, self.out / name, trainer.global_step)


def averaged_network(module: PretrainModule) -> Any:
    """The network with the running average of the weights."""
    return module.averaged.module
