"""The arithmetic of a training step, without a trainer around it."""

from __future__ import annotations

import torch

from tsfm.datasets.windows import WindowBatch
from tsfm.training.config import PretrainConfig
from tsfm.training.forecasting import training_loss
from tsfm.training.module import PretrainModule
from tsfm.training.optimizers import build_optimizer
from tsfm.training.precision import use_bf16


class TrainingLoop:
    """Loss, gradient, clipping, optimiser and running average, as `tsfm pretrain` does them.

    Logging, validation and checkpoints are left out: a real step takes a little longer.

    Parameters
    ----------
    config
        The run.
    """

    def __init__(self, config: PretrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.module = PretrainModule(config).train()
        self.network = self.module.network
        self.optimizer = build_optimizer(self.network, config.optimizer)
        self.bf16 = use_bf16(config.precision)

    def step(self, batch: WindowBatch) -> float:
        """One optimiser step; the loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = training_loss(self.network, batch, self.config.horizon_share)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.module.averaged.update_parameters(self.network)
        return float(loss.detach())

    def warm_up(self, batches: list[WindowBatch]) -> None:
        """Twice through each shape of window there is, so that all is compiled."""
        shapes = {tuple(batch.values.shape): batch for batch in batches}
        for batch in [*shapes.values(), *shapes.values()]:
            self.step(batch)


def tokens_in(batch: WindowBatch) -> int:
    """Context and forecast tokens of a batch."""
    return batch.hidden.numel()
