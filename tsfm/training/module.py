"""The Lightning side of pretraining, the same for all tasks."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from tsfm.training.averaging import averaging
from tsfm.training.config import OptimizerConfig, RunConfig
from tsfm.training.optimizers import build_optimizer
from tsfm.training.processes import mean_over_processes, share_of
from tsfm.training.task import alone, task_of


def learning_rate_factor(
    step: int, config: OptimizerConfig, decay_start: int | None, decay_steps: int
) -> float:
    """Share of the constant learning rate at a step: warm-up, trunk, or decay branch.

    Source: warm-up, stable, decay with `1 - sqrt` decay (arXiv 2405.18392).
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if decay_start is None:
        return warm
    progress = min(1.0, (step - decay_start) / max(1, decay_steps))
    return warm * max(config.final_fraction, 1 - math.sqrt(max(0.0, progress)))


class PretrainModule(L.LightningModule):
    """Network, optimiser and running average of one run.

    Parameters
    ----------
    config
        The run.
    decay_start, decay_steps
        Step at which a decay branch left the trunk and its length; None and 0 on the trunk.

    Raises
    ------
    ValueError
        If the decay is too short for the snapshots that are to be averaged.
    """

    def __init__(
        self, config: RunConfig, decay_start: int | None = None, decay_steps: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.decay_start = decay_start
        self.decay_steps = decay_steps
        self.task = task_of(config)
        self.network = self.task.network()
        fold_in = averaging(config.optimizer, decay_start, decay_steps)
        self.averaged = AveragedModel(self.network, multi_avg_fn=fold_in)
        self.averaged.requires_grad_(False)
        if config.compile:
            compiled = torch.compile(self.network.answer, dynamic=True)
            self.network.answer = compiled

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The rows of a batch that fall to this process."""
        world_size = self.trainer.world_size
        if world_size == 1:
            return batch
        return batch.rows(share_of(len(batch.values), self.global_rank, world_size))

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Loss of one batch, or of a share of it."""
        together = self.trainer.world_size > 1
        if self.config.model.backbone.dropout:  # the same draws whether resumed or not
            draws = 1_000_003 * self.config.seed + self.global_step
            torch.manual_seed(draws + 1_000_000_007 * self.global_rank)
        mean = mean_over_processes if together else alone
        loss, parts = self.task.loss(self.network, batch, mean)
        self.log("loss", loss, prog_bar=True, sync_dist=together)
        self.log_dict({f"loss/{name}": part for name, part in parts.items()}, sync_dist=together)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then fold the new weights into the average."""
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """Optimisers with one step-counted schedule each."""
        optimizer = build_optimizer(self.network, self.config.optimizer)

        def factor(step: int) -> float:
            return learning_rate_factor(
                step, self.config.optimizer, self.decay_start, self.decay_steps
            )

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
