"""`PresetModel`: a preset trained on a data set, with the `forecast` method of a `TSFM`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from tsfm.models.arrays import ArrayForecaster, Mode
from tsfm.models.config import FORMAT_VERSION
from tsfm.models.hub import preset_values, resolve, write_checkpoint
from tsfm.models.inputs import (
    check_contexts,
    check_horizon,
    floors,
    is_whole,
    pick_device,
)
from tsfm.models.output import DECILES, ForecastOutput
from tsfm.models.presets.config import PresetConfig, SMambaConfig, preset_config
from tsfm.models.presets.intervals import Intervals, widening
from tsfm.models.presets.smamba import SMambaNetwork
from tsfm.models.presets.spacetime import SpaceTimeNetwork
from tsfm.models.presets.windows import Array, right_aligned, scaled
from tsfm.models.quantiles import check_levels

PresetNetwork = SMambaNetwork | SpaceTimeNetwork

_INTERVALS = "intervals.half_widths"
_NAMES = "series_names"
_VALUES_PER_PASS = 250_000


class PresetModel(ArrayForecaster):
    """A trained S-Mamba or SpaceTime for arrays.

    What is special about each:

    - **S-Mamba** takes the series of a call as the variates of one system, which end at the same
      time; the forecast of one depends on the others, on which they are and on their order, which
      should be that of training. Any number of variates may be given. Horizons beyond the trained
      one continue from the median.
    - **SpaceTime** forecasts every series on its own, and rolls to any horizon.

    In both, a context is the last `config.context_length` steps. Shorter ones are padded on the
    left as missing. Missing values count neither in mean nor in standard deviation and enter as
    zero after scaling, that is as the window's mean. Quantiles are the point forecast plus
    quantiles of the errors on the windows held out in training (see `Intervals`), whose unit is
    the context's standard deviation, widened for contexts of two to seven values (see
    `widening`); the median is the point forecast.

    Parameters
    ----------
    network
        The network, already on its device.
    intervals
        Errors of the held-out windows; None for a network that was not trained.
    series_names
        Names of the series it was trained on, in their order; None if they had none.
    """

    network: PresetNetwork

    def __init__(
        self,
        network: PresetNetwork,
        intervals: Intervals | None = None,
        series_names: tuple[str, ...] | None = None,
    ) -> None:
        self.network = network.eval()
        self.intervals = intervals
        self.series_names = series_names

    @classmethod
    def from_config(cls, config: PresetConfig, *, seed: int = 0) -> PresetModel:
        """Untrained model; the random weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(config, SMambaConfig):
                return cls(SMambaNetwork(config))
            return cls(SpaceTimeNetwork(config))

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, device: str = "auto") -> PresetModel:
        """Load what `save_pretrained` or `tsfm finetune` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If the folder holds another kind of model, or the device is not to be had.
        RuntimeError
            If weights and configuration do not fit (keys are strict).
        """
        from safetensors.torch import load_file

        place = pick_device(device)
        folder = resolve(directory)
        kind, values = preset_values(folder)
        names = values.pop(_NAMES, None)
        model = cls.from_config(preset_config(kind, values))
        model.series_names = None if names is None else tuple(names)
        weights = load_file(folder / "model.safetensors")
        half_widths = weights.pop(_INTERVALS, None)
        model.network.load_state_dict(weights)
        model.network.to(place)
        if half_widths is not None:
            model.intervals = Intervals(half_widths.double().numpy())
        return model

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder."""
        from dataclasses import asdict

        values: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "task": "forecast",
            "kind": self.config.kind,
        }
        weights = dict(self.network.state_dict())
        if self.intervals is not None:
            weights[_INTERVALS] = torch.from_numpy(self.intervals.half_widths)
        if self.series_names is not None:
            values[_NAMES] = list(self.series_names)
        write_checkpoint(directory, {**values, **asdict(self.config)}, weights)

    @property
    def config(self) -> PresetConfig:
        """The model's configuration."""
        return self.network.config

    @property
    def max_context(self) -> int:
        """Longest history, in steps, a forecast is based on."""
        return self.config.context_length

    @property
    def variate_names(self) -> tuple[str, ...] | None:
        """Names that the series of a call should have, in their order.

        Empty where they had none in training; None where each series is forecast on its own.
        """
        return (self.series_names or ()) if self.network.mixes_variates else None

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
        average_orders: int | None = None,
        random_state: int = 0,
    ) -> ForecastOutput:
        """Quantile forecasts of the steps after each series.

        Parameters
        ----------
        series, quantile_levels, non_negative, context_length, progress
            As in `TSFM.forecast`.
        prediction_length
            Steps to forecast, H >= 1, also beyond those of training: intervals then never narrow.
        mode, season_lengths
            As `TSFM` has them, but without effect: both modes are the same, and the season was
            learnt in training.
        batch_size
            Series per pass (SpaceTime); "auto" bounds memory.
        average_orders
            S-Mamba: average the point forecasts over so many orders of the series, the given one
            and random others; 1 by default. Only worth it where the validation error says so: a
            network trained in one order may be much worse in others.
        random_state
            Seed of these orders.

        Raises
        ------
        ValueError
            As in `TSFM.forecast`, or if the model is not trained.
        """
        levels = check_levels(quantile_levels)
        horizon = check_horizon(prediction_length)
        if mode not in ("fast", "best"):
            raise ValueError(f"mode must be 'fast' or 'best', got {mode!r}.")
        n_orders = 1 if average_orders is None else average_orders
        for name, value in (("batch_size", batch_size), ("average_orders", n_orders)):
            if value != "auto" and not (is_whole(value) and value >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        if self.intervals is None:
            raise ValueError(
                f"This {self.config.kind} is not trained; train it with tsfm.training.finetune."
            )
        contexts = check_contexts(series, context_length, self.max_context)
        windows = right_aligned(contexts, self.max_context)[None]
        orders = self._orders(len(contexts), n_orders, random_state)
        points = np.mean(
            [self.points(windows, horizon, batch_size, progress, order)[0] for order in orders],
            axis=0,
        )
        scale = scaled(torch.from_numpy(windows[0]), self.config.scaling)[2].numpy()  # [N, 1]
        if self.config.scaling == "standard" and self.max_context >= 8:
            scale = scale * widening(np.isfinite(windows[0]).sum(-1, keepdims=True))
        offsets = self.intervals.offsets(levels, horizon)
        floor = floors(series, non_negative)
        quantiles = points[..., None] + scale[..., None] * offsets
        np.maximum(quantiles, floor[:, None, None], out=quantiles)
        median = np.maximum(points, floor[:, None])
        used = np.array([min(len(x), self.max_context) for x in contexts], dtype=np.int64)
        return ForecastOutput(quantiles, levels, median, used)

    def points(
        self,
        windows: Array,
        prediction_length: int,
        batch_size: int | Literal["auto"] = "auto",
        progress: bool = False,
        order: NDArray[np.intp] | None = None,
    ) -> Array:
        """Point forecasts of many windows at once, for evaluation.

        Parameters
        ----------
        windows
            [W, N, T] with NaN = missing; what is longer than the context is cut.
        prediction_length
            Steps to forecast.
        batch_size
            Windows (S-Mamba) or series (SpaceTime) per pass.
        progress
            Whether to show a progress bar.
        order
            Permutation of the N series in which the network reads them; as given by default.

        Returns
        -------
        ndarray
            [W, N, prediction_length] in the unit of the windows.
        """
        n_windows, n_series = windows.shape[:2]
        rows = windows if order is None else windows[:, order]
        if not self.network.mixes_variates:
            rows = rows.reshape(n_windows * n_series, 1, -1)
        cost = rows.shape[1] * (self.max_context + prediction_length)
        if not self.network.mixes_variates:
            cost *= 8
        size = max(1, _VALUES_PER_PASS // cost) if batch_size == "auto" else batch_size
        parts = [
            self._pass(rows[start : start + size], prediction_length)
            for start in tqdm(range(0, len(rows), size), disable=not progress, desc="forecast")
        ]
        answer = np.concatenate(parts).reshape(n_windows, n_series, prediction_length)
        return answer if order is None else answer[:, np.argsort(order)]

    @torch.inference_mode()
    def _pass(self, windows: Array, horizon: int) -> Array:
        """Point forecasts [W, N, horizon] of windows [W, N, T], continued where they must be."""
        longest = self.max_context
        missing = max(0, longest - windows.shape[-1])
        history = np.pad(windows, ((0, 0), (0, 0), (missing, 0)), constant_values=np.nan)
        step = self.config.prediction_length if self.network.mixes_variates else horizon
        parts: list[Array] = []
        for done in range(0, horizon, step):
            recent = torch.from_numpy(np.ascontiguousarray(history[..., -longest:]))
            z, loc, scale = scaled(recent, self.config.scaling)
            answer = self.network(z.to(self.device), min(step, horizon - done)).double().cpu()
            parts.append((answer * scale + loc).numpy())
            history = np.concatenate([history, parts[-1]], axis=-1)
        return np.concatenate(parts, axis=-1)

    def _orders(self, n_series: int, count: int, seed: int) -> list[NDArray[np.intp] | None]:
        """The given order (None) and random ones, for networks to which they matter."""
        if not self.network.mixes_variates or n_series == 1:
            return [None]
        rng = np.random.default_rng(seed)
        return [None, *(rng.permutation(n_series) for _ in range(count - 1))]
