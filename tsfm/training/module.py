"""The Lightning side of pretraining, the same for all tasks."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tsfm.training.config import OptimizerConfig, RunConfig
from tsfm.training.task import task_of


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
        average = get_ema_multi_avg_fn(config.optimizer.average)
        self.averaged = AveragedModel(self.network, multi_avg_fn=average)
        if config.compile:
            compiled = torch.compile(self.network.answer, dynamic=True)
            self.network.answer = compiled

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Loss of one batch."""
        if self.config.model.backbone.dropout:  # the same draws whether resumed or not
            torch.manual_seed(1_000_003 * self.config.seed + self.global_step)
        loss, parts = self.task.loss(self.network, batch)
        self.log("loss", loss, prog_bar=True)
        self.log_dict({f"loss/{name}": part for name, part in parts.items()})
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


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only, without those that say otherwise (A_log of Mamba).

    Raises
    ------
    ValueError
        If the optimiser is unknown.
    """
    free = {p for p in network.parameters() if p.ndim < 2 or hasattr(p, "_no_weight_decay")}
    matrices = [p for p in network.parameters() if p not in free]
    vectors = [p for p in network.parameters() if p in free]
    if config.name == "adamw":
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        beta1, beta2 = config.betas
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(beta1, beta2))
    raise ValueError(f"Unknown optimizer {config.name!r}; choose 'adamw'.")
