"""What the models of arrays have in common, and the forecasters among them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from tsfm.models.inputs import check_contexts, is_whole, persistence
from tsfm.models.output import DECILES, ForecastOutput
from tsfm.models.quantiles import sample_paths

Mode = Literal["fast", "best"]
Array = NDArray[np.float64]

_GRID = tuple(
    np.round(np.concatenate([[0.005], np.arange(0.02, 0.99, 0.02), [0.995]]), 4).tolist()
)
"""Levels from which sample paths are drawn."""


class ArrayModel:
    """Something that answers for arrays with a network."""

    network: nn.Module

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.network.parameters()).device


class ArrayForecaster(ArrayModel, ABC):
    """A network that forecasts arrays, such as `TSFM`; sample paths follow from its quantiles."""

    @property
    @abstractmethod
    def max_context(self) -> int:
        """Longest history, in steps, a forecast is based on."""

    @abstractmethod
    def forecast(
        self,
        series: Sequence[ArrayLike],
        prediction_length: int,
        quantile_levels: Sequence[float] = DECILES,
        *,
        mode: Mode = "fast",
        season_lengths: Sequence[int | None] | None = None,
        non_negative: bool | Literal["auto"] = "auto",
        context_length: int | None = None,
        batch_size: int | Literal["auto"] = "auto",
        progress: bool = False,
    ) -> ForecastOutput:
        """Quantile forecasts of the steps after each series, see `TSFM.forecast`."""

    def sample_paths(
        self,
        series: Sequence[ArrayLike],
        prediction_length: int,
        num_samples: int = 100,
        *,
        random_state: int | None = None,
        mode: Mode = "fast",
        season_lengths: Sequence[int | None] | None = None,
        non_negative: bool | Literal["auto"] = "auto",
        context_length: int | None = None,
        batch_size: int | Literal["auto"] = "auto",
        progress: bool = False,
    ) -> Array:
        """Joint sample paths: forecast marginals tied by an AR(1) Gaussian copula.

        The dependence between successive steps is the lag-one autocorrelation of the detrended
        context, kept in [0, 0.99].

        Parameters
        ----------
        series, prediction_length, mode, season_lengths
            As in `forecast`.
        num_samples
            Paths per series, S.
        random_state
            Seed; None draws a fresh one.
        non_negative, context_length, batch_size, progress
            As in `forecast`.

        Returns
        -------
        ndarray
            [N, S, H].

        Raises
        ------
        ValueError
            As in `forecast`, or if `num_samples` is not a whole number of at least one.
        """
        if not (is_whole(num_samples) and num_samples >= 1):
            raise ValueError(f"num_samples must be a whole number >= 1, got {num_samples!r}.")
        output = self.forecast(
            series,
            prediction_length,
            _GRID,
            mode=mode,
            season_lengths=season_lengths,
            non_negative=non_negative,
            context_length=context_length,
            batch_size=batch_size,
            progress=progress,
        )
        contexts = check_contexts(series, context_length, self.max_context)
        memory = np.array([persistence(x[-self.max_context :]) for x in contexts])
        rng = np.random.default_rng(random_state)
        return sample_paths(output.quantiles, _GRID, memory, num_samples, rng)
