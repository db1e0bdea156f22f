"""`TSFM`: a trained network that forecasts arrays of any length, unit and number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm.auto import tqdm

from tsfm.models.arrays import Array, ArrayForecaster, Mode
from tsfm.models.batching import is_out_of_memory, shared_lengths, tokens_per_pass
from tsfm.models.config import ModelConfig
from tsfm.models.hub import DEFAULT_MODEL, load_network, resolve, save_network
from tsfm.models.inputs import (
    check_contexts,
    check_horizon,
    check_seasons,
    floors,
    is_whole,
    pick_device,
)
from tsfm.models.network import ForecastingNetwork
from tsfm.models.output import DECILES, ForecastOutput
from tsfm.models.quantiles import (
    at_least_as_wide,
    at_levels,
    check_levels,
    mixture_quantiles,
)
from tsfm.models.resampling import resampled_quantiles
from tsfm.models.scaler import Scale
from tsfm.models.views import reach

if TYPE_CHECKING:
    from tsfm.models.streaming import Stream

__all__ = ["DECILES", "TSFM", "ForecastOutput", "Mode"]


class TSFM(ArrayForecaster):
    """A trained forecaster for arrays.

    Parameters
    ----------
    network
        The network, already on its device.

    Examples
    --------
    >>> import numpy as np
    >>> model = TSFM.from_config(ModelConfig.preset("tiny"), seed=0)
    >>> model.forecast([np.arange(50.0)], prediction_length=3).quantiles.shape
    (1, 3, 9)
    """

    network: ForecastingNetwork

    def __init__(self, network: ForecastingNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | Path = DEFAULT_MODEL, *, device: str = "auto", dtype: str = "auto"
    ) -> TSFM:
        """Load a shipped model by name, or any saved one by folder. Never uses the network.

        Parameters
        ----------
        name_or_dir
            Name such as "tsfm-mini", or a folder with `config.json` and `model.safetensors`.
        device
            "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", ...
        dtype
            "auto" or "float32" (the same), or "bfloat16" for the network's matrices.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If the device or the dtype is not to be had, or the model is no forecaster.
        """
        place = pick_device(device)
        dtypes = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
        if dtype not in dtypes:
            raise ValueError(f"dtype must be one of {', '.join(dtypes)}, got {dtype!r}.")
        network = load_network(resolve(name_or_dir))
        if not isinstance(network, ForecastingNetwork):
            raise ValueError(
                f"{name_or_dir} is a model for {network.config.task!r}, not for forecasts; load "
                "it with tsfm.models.Detector.from_pretrained."
            )
        model = cls(network.to(place))
        model._autocast = dtypes[dtype] is torch.bfloat16
        return model

    @classmethod
    def from_config(cls, config: ModelConfig, *, seed: int = 0) -> TSFM:
        """Untrained model; the random weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(ForecastingNetwork(config).float())

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder."""
        save_network(self.network, directory)

    _autocast = False

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.network.config

    @property
    def n_levels(self) -> int:
        """Number of trained quantile levels."""
        return len(self.config.head.quantile_levels)

    @property
    def max_context(self) -> int:
        """Longest history, in steps, a forecast is based on."""
        return self.config.max_context

    @property
    def keeps_state(self) -> bool:
        """Whether streams go on: fixed patches, no prompts, recurrent, context not extended."""
        backbone = self.network.backbone
        limits = (n for name, n in backbone.named_buffers() if name.endswith("trained_tokens"))
        recurrent = hasattr(backbone, "initial_state")
        tokenizer = self.config.tokenizer
        resumes = tokenizer.name == "fixed" and not tokenizer.n_prompts
        return recurrent and resumes and not any(n > 0 for n in limits)

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
        """Quantile forecasts of the steps after each series.

        Parameters
        ----------
        series
            N one-dimensional arrays, oldest value first; NaN and infinities count as missing.
            They are read, never changed.
        prediction_length
            Steps to forecast, H >= 1. Up to `config.max_horizon` come in one pass; longer horizons
            continue from the forecast's own quantile paths, so that uncertainty carries over.
        quantile_levels
            Levels in (0, 1), in any order. Untrained ones are interpolated, tails are Gaussian.
        mode
            "fast": one pass over each series and its mirror image. "best": several resamplings of
            the context, weighted by how well each would have forecast the series' own recent past.
        season_lengths
            Season lengths in steps that the calendar suggests, one per series or None. They help
            series that are too short or too noisy to show their season clearly.
        non_negative
            True: no forecast below zero. "auto": for series that never were below zero.
        context_length
            Use at most that many last steps.
        batch_size
            Series per pass; "auto" bounds memory and halves when memory runs out.
        progress
            Whether to show a progress bar.

        Returns
        -------
        ForecastOutput
            Forecasts in the order of `series`.

        Raises
        ------
        ValueError
            If an argument is out of range, or a series has no finite value; the message names it.
        """
        levels = check_levels(quantile_levels)
        horizon = check_horizon(prediction_length)
        contexts = check_contexts(series, context_length, self.max_context)
        if batch_size != "auto" and not (is_whole(batch_size) and batch_size >= 1):
            raise ValueError(f"batch_size must be 'auto' or at least 1, got {batch_size!r}.")
        seasons = check_seasons(season_lengths, len(contexts))
        if mode == "fast":
            quantiles = self.quantiles(contexts, horizon, batch_size, progress, seasons)
        elif mode == "best":
            quantiles = resampled_quantiles(self, contexts, horizon, batch_size, progress, seasons)
        else:
            raise ValueError(f"mode must be 'fast' or 'best', got {mode!r}.")
        answer = self._at_levels(quantiles, levels)
        median = self._at_levels(quantiles, (0.5,))[..., 0]
        floor = floors(series, non_negative)
        np.maximum(answer, floor[:, None, None], out=answer)
        np.maximum(median, floor[:, None], out=median)
        seen = [
            min(len(c), self.max_context)
            if mode == "fast"
            else reach(len(c), horizon, self.max_context)
            for c in contexts
        ]
        used = np.array(seen, dtype=np.int64)
        return ForecastOutput(answer, levels, median, used)

    def stream(
        self,
        contexts: Sequence[ArrayLike],
        season_lengths: Sequence[int | None] | None = None,
    ) -> Stream:
        """Follow growing series: `Stream(self, contexts, season_lengths)`, which has more options.

        Parameters
        ----------
        contexts, season_lengths
            What is known of the series so far, as in `forecast`.
        """
        from tsfm.models.streaming import Stream

        return Stream(self, contexts, season_lengths)

    def quantiles(
        self,
        contexts: Sequence[Array],
        horizon: int,
        batch_size: int | Literal["auto"] = "auto",
        progress: bool = False,
        seasons: Sequence[int] | None = None,
        mirrored: bool = True,
    ) -> Array:
        """Quantiles at the trained levels, [N, H, Q], in the series' units.

        Parameters
        ----------
        contexts
            Arrays with NaN for missing values, at least one value finite.
        horizon
            Steps to forecast.
        batch_size, progress
            As in `forecast`.
        seasons
            Season length of each series, 0 where none is known.
        mirrored
            Whether to average with the forecast of the mirror image, at twice the cost.
        """
        longest = self.max_context
        contexts = [x[-longest:] for x in contexts]
        lengths = [len(x) for x in contexts]
        answer = np.empty((len(contexts), horizon, self.n_levels))
        order = sorted(range(len(contexts)), key=lengths.__getitem__)
        bar = tqdm(total=len(order), disable=not progress, unit="series", desc="forecast")
        done, limit = 0, None if batch_size == "auto" else batch_size
        n_paths = 1 if horizon <= self.config.max_horizon else self.n_levels
        most = tokens_per_pass(self.device)
        patch = self.config.tokenizer.patch_length
        ahead = min(horizon, self.config.max_horizon) // patch + 1
        padded = shared_lengths(lengths, longest, patch, mirrored)
        while done < len(order):
            length = padded[order[done]]
            n_tokens = self.network.tokenizer.n_tokens(length) + ahead
            size = limit or max(1, most // ((1 + mirrored) * n_tokens * n_paths))
            rows = [i for i in order[done : done + size] if padded[i] == length]
            try:
                season = torch.tensor([seasons[i] if seasons else 0 for i in rows])
                some = [contexts[i] for i in rows]
                answer[rows] = self._pass(some, length, horizon, season, mirrored)
            except (MemoryError, RuntimeError) as error:
                if len(rows) == 1 or not is_out_of_memory(error):
                    raise
                limit = len(rows) // 2
                continue
            done += len(rows)
            bar.update(len(rows))
        bar.close()
        return answer

    def _pass(
        self,
        contexts: list[Array],
        length: int,
        horizon: int,
        season: Tensor,
        mirrored: bool = True,
    ) -> Array:
        """Quantiles of one batch padded to `length`, continuing past the longest single pass."""
        values = np.full((len(contexts), length), np.nan)
        for row, context in enumerate(contexts):
            values[row, length - len(context) :] = context
        step = min(horizon, self.config.max_horizon)
        parts = [self._network_quantiles(torch.from_numpy(values), step, season, mirrored)]
        if horizon > step:
            parts += self._continue(values, parts[0], horizon - step, season, mirrored)
        return np.concatenate([part.cpu().numpy() for part in parts], axis=1)[:, :horizon]

    @torch.inference_mode()
    def _network_quantiles(
        self, values: Tensor, horizon: int, season: Tensor, mirrored: bool
    ) -> Tensor:
        """[B, horizon, Q] float64 quantiles, of the series and if wanted its mirror image."""
        values = values.to(self.device)
        observed = torch.isfinite(values)
        scale = Scale.of(values, observed)
        z = torch.where(observed, scale.forward(values), 0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            season = season.to(self.device)
            answer: Tensor = self.network(z, observed, horizon, season, symmetric=mirrored)
        return scale.inverse(answer)

    def _continue(
        self, values: Array, first: Tensor, remaining: int, season: Tensor, mirrored: bool
    ) -> list[Tensor]:
        """Later passes: each quantile path is appended as if it had happened, all are mixed."""
        n_rows, n_paths = first.shape[0], first.shape[-1]
        levels = self.config.head.quantile_levels
        weights = torch.full((n_paths * n_paths,), 1 / n_paths**2)
        history = np.repeat(values, n_paths, axis=0)
        seasons = season.repeat_interleave(n_paths)
        parts: list[Tensor] = []
        latest = first
        while remaining > 0:
            paths = latest.transpose(1, 2).flatten(0, 1).cpu().numpy()  # [B Q, step]
            history = np.concatenate([history, paths], axis=1)[:, -self.max_context :]
            step = self.config.max_horizon
            spread = self._network_quantiles(torch.from_numpy(history), step, seasons, mirrored)
            spread = spread.view(n_rows, n_paths, step, n_paths).transpose(1, 2).flatten(2)
            latest = at_least_as_wide(mixture_quantiles(spread, weights, levels), parts or [first])
            parts.append(latest)
            remaining -= step
        return parts

    def _at_levels(self, quantiles: Array, levels: tuple[float, ...]) -> Array:
        """Quantiles at the wanted levels, a fresh array."""
        trained = self.config.head.quantile_levels
        answer: Array = at_levels(torch.from_numpy(quantiles), trained, levels).numpy().copy()
        return answer
