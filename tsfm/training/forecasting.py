"""The task of forecasting: pinball loss on windows of synthetic and stored series."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tsfm.datasets.ring import ring_device
from tsfm.datasets.windows import WindowBatch
from tsfm.models.network import ForecastingNetwork
from tsfm.models.scaler import Scale
from tsfm.training.config import PretrainConfig
from tsfm.training.stored_validation import validate_stored
from tsfm.training.stream import ChunkStream, CorpusStream, StoredStream
from tsfm.training.task import Mean, Scores, Task, alone
from tsfm.training.validation import validate


def training_loss(
    network: ForecastingNetwork, batch: WindowBatch, horizon_share: float | None = None
) -> Tensor:
    """Mean pinball loss of a batch, in units of each row's naive error.

    Parameters
    ----------
    network
        The network to train.
    batch
        Windows with missing values as NaN.
    horizon_share
        As in `ForecastingNetwork.loss`.

    Returns
    -------
    Tensor
        Scalar.
    """
    observed = torch.isfinite(batch.values)
    patch = network.config.tokenizer.patch_length
    known = observed & ~batch.hidden.repeat_interleave(patch, dim=1)
    context = batch.values.shape[1] - batch.prediction_length
    scale = Scale.of(batch.values[:, :context], known[:, :context])
    z = torch.where(observed, scale.forward(batch.values), 0)
    loss: Tensor = network.loss(z, observed, batch.prediction_length, batch.hidden, horizon_share)
    return loss.mean()


@dataclass(frozen=True)
class Forecasting(Task):
    """Learn quantiles of what comes next.

    Parameters
    ----------
    config
        The run.
    """

    config: PretrainConfig

    def network(self) -> ForecastingNetwork:
        """A fresh network.

        Raises
        ------
        ValueError
            If the loss cannot be shared out as configured.
        """
        network = ForecastingNetwork(self.config.model)
        if network.tokenizer.looks_ahead and self.config.horizon_share is not None:
            raise ValueError(
                f"horizon_share={self.config.horizon_share} divides the loss between context and "
                f"horizon, but tokens of the context look ahead with this tokenizer "
                f"({self.config.model.tokenizer.name!r}), and only the horizon is learnt from: "
                "leave horizon_share out, or set causal_decomposition / aligned_views otherwise."
            )
        return network

    def batches(self, first_step: int) -> ChunkStream[WindowBatch]:
        """Windows of the corpus from a step on."""
        config = self.config
        recipe, device = config.recipe, ring_device(config.recipe)
        if config.corpus is None:
            return CorpusStream(recipe, config.seed, first_step, device)
        return StoredStream(recipe, config.corpus, config.seed, first_step, device)

    @property
    def rests(self) -> bool:
        """Whether it depends on the series which embeddings are used."""
        return self.config.model.tokenizer.name != "fixed"

    def rows_per_batch(self) -> dict[str, int]:
        """Rows by context and horizon."""
        recipe = self.config.recipe
        return {
            f"context {shape.context} and horizon {shape.horizon} (patches)": max(
                1, recipe.tokens_per_step // (shape.context + shape.horizon)
            )
            for shape in recipe.shapes
        }

    def loss(
        self, network: ForecastingNetwork, batch: WindowBatch, mean: Mean = alone
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`training_loss`, in one part; by the number of rows where shares are unequal."""
        n_rows = torch.tensor(float(len(batch.values)), device=batch.values.device)
        loss = training_loss(network, batch, self.config.horizon_share)
        return loss * (n_rows / mean(n_rows)), {}

    def validate(self, network: ForecastingNetwork) -> Scores:
        """Scaled CRPS and coverage on held-out series of every family.

        A run on a corpus on disk is scored on the last part of its series, too, and there alone
        where nothing else is trained on. Without any score there is no mean and no coverage.
        """
        corpus = self.config.corpus
        alone = corpus is not None and corpus.share == 1
        scores = [] if alone else validate(network, self.config.recipe)
        if corpus is not None:
            stored = validate_stored(network, corpus)
            if not stored:
                _warn_without_validation(corpus.path, corpus.validation_share)
            scores = scores + stored
        rows: list[tuple[str, ...]] = [
            (s.name, s.group, f"{s.loss:.5f}", f"{s.coverage:.4f}") for s in scores
        ]
        metrics = {score.name: score.loss for score in scores}
        if scores:
            metrics["mean"] = sum(s.loss for s in scores) / len(scores)
            metrics["coverage"] = sum(s.coverage for s in scores) / len(scores)
        return Scores(("family", "group", "scaled_crps", "coverage_80"), rows, metrics)


@lru_cache(maxsize=64)
def _warn_without_validation(path: str, share: float) -> None:
    """Says once per process and corpus that nothing of it can be scored."""
    warnings.warn(
        f"The run is not validated on {path}: of the series drawn none has a value in its last "
        f"part, {share:g} of its steps, and two before it. Hold out more with a larger "
        "corpus.validation_share (--set corpus.validation_share=0.2 in a new run), or add series "
        "that are longer or have values there.",
        UserWarning,
        stacklevel=2,
    )
