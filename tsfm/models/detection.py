"""`Detector`: a trained network that scores every step of arrays of any length and unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from tsfm.models.arrays import Array, ArrayModel
from tsfm.models.detecting import DetectingNetwork, standardised
from tsfm.models.detector_config import DetectorConfig
from tsfm.models.hub import DEFAULT_DETECTOR, load_network, resolve, save_network
from tsfm.models.inputs import check_values, is_whole, pick_device
from tsfm.models.judgement import SHORTEST

__all__ = ["Detection", "Detector"]

_TOKENS_PER_PASS = 8_192
_TOKENS_PER_WINDOW = 65_536
"""Of all channels together; wide series are read in shorter windows."""
_SHORTEST_WINDOW = 256


@dataclass(frozen=True)
class Detection:
    """What a detector says of L steps of C channels.

    Parameters
    ----------
    score
        [L, C] log odds that a step is out of line with its context: above 0 where the network
        holds an anomaly for more likely than not. NaN where the value is missing.
    expected
        [L, C] what the series would be without anomaly, in its own unit; missing values are filled
        in. NaN where a whole window is missing.
    scale
        [L, C] size of ordinary deviations of the windows around each step from their median, in
        the unit of the series; 0 where a window is constant.
    """

    score: Array
    expected: Array
    scale: Array


@dataclass(frozen=True)
class _Window:
    """Steps `start` to `stop` are read together."""

    start: int
    stop: int


class Detector(ArrayModel):
    """A trained detector of anomalies in arrays.

    Parameters
    ----------
    network
        The network, already on its device.

    Examples
    --------
    >>> import numpy as np
    >>> detector = Detector.from_config(DetectorConfig.preset("tiny"), seed=0)
    >>> detector.score(np.sin(np.arange(200.0))).score.shape
    (200, 1)
    """

    network: DetectingNetwork

    def __init__(self, network: DetectingNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | Path = DEFAULT_DETECTOR, *, device: str = "auto"
    ) -> Detector:
        """Load a shipped detector by name, or any saved one by folder. Never uses the network.

        Parameters
        ----------
        name_or_dir
            Name such as "tsfm-detector-mini", or a folder with `config.json` and
            `model.safetensors`.
        device
            "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", ...

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If the device is not to be had, or the model is no detector.
        """
        place = pick_device(device)
        network = load_network(resolve(name_or_dir))
        if not isinstance(network, DetectingNetwork):
            raise ValueError(
                f"{name_or_dir} is a model for forecasts, not for anomalies; load it with "
                "tsfm.TSFM.from_pretrained."
            )
        return cls(network.to(place))

    @classmethod
    def from_config(cls, config: DetectorConfig, *, seed: int = 0) -> Detector:
        """Untrained detector; the random weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(DetectingNetwork(config).float())

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder."""
        save_network(self.network, directory)

    @property
    def config(self) -> DetectorConfig:
        """The model's configuration."""
        return self.network.config

    @property
    def max_context(self) -> int:
        """Steps of the longest window."""
        return self.config.max_context

    def score(
        self,
        values: ArrayLike,
        *,
        window: int | None = None,
        overlap: float = 0.5,
        progress: bool = False,
    ) -> Detection:
        """Score every step of one series.

        A series longer than the window is read in overlapping windows, each on its own scale; what
        they say of a step is averaged with weights that fall towards the ends of a window, so that
        every step counts where it is seen with context on both sides. Windows are read in batches:
        memory grows with the series by its inputs and answers only.

        Parameters
        ----------
        values
            [L] or [L, C], L >= 8 steps, oldest first; NaN and infinities count as missing. Read,
            never changed.
        window
            Steps read at once, at most and by default `max_context`. Very wide series
            are read in shorter windows: `window` times C is kept below 65,536 patches, down to 256
            steps.
        overlap
            Share of a window that the next one reads again, from 0 to .9.
        progress
            Whether to show a progress bar.

        Returns
        -------
        Detection
            In the order of `values`.

        Raises
        ------
        ValueError
            If `values` are no numbers, too few or of another shape, or an option is out of range.
        """
        series = _checked_series(values)
        length, n_channels = series.shape
        span = self._window(window, n_channels)
        if not 0 <= overlap <= 0.9:
            raise ValueError(f"overlap must be between 0 and 0.9, got {overlap!r}.")
        plan = _overlapping(length, span, overlap)
        n_patches = -(-min(span, length) // self.config.patch_length)
        rows = max(1, _TOKENS_PER_PASS // (n_patches * n_channels))
        sums = _Sums.of(series.shape)
        with tqdm(total=length, disable=not progress, unit="step", desc="score") as bar:
            while windows := list(islice(plan, rows)):
                answers = self._pass(series, windows)
                for row, one in enumerate(windows):
                    sums.add(one, *(answer[row] for answer in answers))
                bar.update(windows[-1].stop - bar.n)
        return sums.mean(np.isfinite(series))

    def _window(self, window: int | None, n_channels: int) -> int:
        """Steps to read at once."""
        if window is not None and not (
            is_whole(window) and SHORTEST <= window <= self.max_context
        ):
            raise ValueError(
                f"window must be a whole number of steps from {SHORTEST} to {self.max_context}, "
                f"got {window!r}."
            )
        wanted = int(window or self.max_context)
        patch = self.config.patch_length
        fitting = max(_SHORTEST_WINDOW, _TOKENS_PER_WINDOW // n_channels * patch)
        return min(wanted, fitting)

    def score_windows(self, windows: ArrayLike) -> list[Detection]:
        """Score windows of equal length in one pass, each by itself and on its own scale.

        Parameters
        ----------
        windows
            [n, L, C], NaN where missing, 8 to `max_context` steps.

        Raises
        ------
        ValueError
            If the shape is another.

        Examples
        --------
        >>> detector = Detector.from_config(DetectorConfig.preset("tiny"))
        >>> [one.score.shape for one in detector.score_windows(np.zeros((3, 64, 2)))]
        [(64, 2), (64, 2), (64, 2)]
        """
        values = np.asarray(windows, dtype=np.float64)
        if values.ndim != 3 or not SHORTEST <= values.shape[1] <= self.max_context:
            raise ValueError(
                f"windows must have shape [n, L, C], L from {SHORTEST} to {self.max_context}; got "
                f"{values.shape}."
            )
        n_patches = -(-values.shape[1] // self.config.patch_length)
        rows = max(1, _TOKENS_PER_PASS // (n_patches * max(1, values.shape[2])))
        found: list[Detection] = []
        for start in range(0, len(values), rows):
            part = np.ascontiguousarray(values[start : start + rows].swapaxes(1, 2))
            score, expected, scale, known = self._answers(part)
            score[~np.isfinite(part)] = np.nan
            expected[known == 0] = scale[known == 0] = np.nan
            found += [
                Detection(*(x.T for x in row)) for row in zip(score, expected, scale, strict=True)
            ]
        return found

    def _pass(self, series: Array, windows: list[_Window]) -> tuple[Array, Array, Array, Array]:
        """`_answers` to windows of a series [L, C], the shorter ones padded at their end."""
        longest = max(one.stop - one.start for one in windows)
        values = np.full((len(windows), series.shape[1], longest), np.nan)
        for row, one in enumerate(windows):
            values[row, :, : one.stop - one.start] = series[one.start : one.stop].T
        return self._answers(values)

    @torch.inference_mode()
    def _answers(self, values: Array) -> tuple[Array, Array, Array, Array]:
        """Score, expected value, scale and whether anything is known, of windows [n, C, L]."""
        stacked = torch.from_numpy(values).to(self.device)
        observed = torch.isfinite(stacked)
        z, scale = standardised(stacked, observed)
        answer = self.network(z, observed)
        expected = scale.inverse(answer.expected.flatten(0, 1)).view(stacked.shape)
        size = scale.scale.view(*stacked.shape[:2], 1).expand_as(stacked)
        known = observed.any(-1, keepdim=True).expand_as(stacked)
        parts = (answer.logit.double(), expected, size, known.double())
        score, level, spread, something = (part.cpu().numpy().copy() for part in parts)
        return score, level, spread, something


@dataclass(frozen=True)
class _Sums:
    """Weighted sums over windows, [L, C] each."""

    weight: Array
    score: Array
    expected: Array
    scale: Array

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> _Sums:
        return cls(*(np.zeros(shape) for _ in range(4)))

    def add(
        self,
        window: _Window,
        score: Array,
        expected: Array,
        scale: Array,
        known: Array,
    ) -> None:
        """Add what a window says, [C, longest] each."""
        target = slice(window.start, window.stop)
        source = slice(window.stop - window.start)
        weights = (_triangle(window) * known[:, source]).T
        self.weight[target] += weights
        for total, part in (
            (self.score, score),
            (self.expected, expected),
            (self.scale, scale),
        ):
            total[target] += weights * part[:, source].T

    def mean(self, observed: np.ndarray) -> Detection:
        """Averages; nothing where nothing is known."""
        for total in (self.score, self.expected, self.scale):
            np.divide(total, self.weight, out=total, where=self.weight > 0)
            total[self.weight == 0] = np.nan
        self.score[~observed] = np.nan
        return Detection(self.score, self.expected, self.scale)


def _overlapping(length: int, window: int, overlap: float) -> Iterator[_Window]:
    """Windows that cover a series, the last one ending with it."""
    stride = max(1, round(window * (1 - overlap)))
    start = 0
    while start + window < length:
        yield _Window(start, start + window)
        start += stride
    start = max(0, length - window)
    yield _Window(start, length)


def _triangle(window: _Window) -> Array:
    """Weights of the steps of a window: the further from its ends, the more."""
    steps = np.arange(1.0, window.stop - window.start + 1)
    weights: Array = np.minimum(steps, steps[::-1])
    return weights


def _checked_series(values: ArrayLike) -> Array:
    """A float64 copy [L, C] with NaN for what is missing."""
    array = np.ma.asarray(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    if array.ndim not in (1, 2) or array.shape[0] < SHORTEST or array.size == 0:
        raise ValueError(
            f"A series must have shape [L] or [L, C], with at least {SHORTEST} steps and a "
            f"channel; got {array.shape}."
        )
    columns = array[:, None] if array.ndim == 1 else array
    return np.stack([check_values(columns[:, i], i) for i in range(columns.shape[1])], axis=1)
