"""What a task brings to a run: its network, its batches, its loss and its validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import IterableDataset

from tsfm.config import read_yaml
from tsfm.training.config import FOLDER, PretrainConfig, RunConfig
from tsfm.training.detect_config import PretrainDetectorConfig

Mean = Callable[[Tensor], Tensor]
"""Mean of a tensor over the processes of a run, each of which has a share of the batch's rows."""


def alone(x: Tensor) -> Tensor:
    """The mean over the one process there is."""
    return x


@dataclass(frozen=True)
class Scores:
    """What a validation found: a table for people, and its summary for the log.

    Parameters
    ----------
    columns
        Names of the table's columns.
    rows
        Its cells, formatted.
    metrics
        Numbers by name.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    metrics: dict[str, float]


class Task(ABC):
    """All that differs between runs of different tasks."""

    @abstractmethod
    def network(self) -> Any:
        """A fresh network with `config`, and with a method `answer` that does all the work."""

    @abstractmethod
    def batches(self, first_step: int) -> IterableDataset[Any]:
        """Endless batches from a step on; that of a step depends on seed and step alone."""

    @property
    @abstractmethod
    def rests(self) -> bool:
        """Whether some steps do not use all parameters of the network."""

    @abstractmethod
    def rows_per_batch(self) -> dict[str, int]:
        """Rows of the batches of each shape, by a description of the shape."""

    @abstractmethod
    def loss(
        self, network: Any, batch: Any, mean: Mean = alone
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, a scalar, and parts of it to log; nothing in it is random.

        Where `batch` is the share of one of several processes, the `mean` of their losses is the
        loss of the whole batch, and so is that of the parts.
        """

    @abstractmethod
    def validate(self, network: Any) -> Scores:
        """Score a network on data it is never trained on; the network stays as it is."""


def task_of(config: RunConfig) -> Task:
    """The task of a run.

    Raises
    ------
    TypeError
        If the configuration is of no known task.
    """
    # late: the tasks' loops and losses import more than a look at a configuration needs
    from tsfm.training.detecting import Detecting
    from tsfm.training.forecasting import Forecasting

    if isinstance(config, PretrainConfig):
        return Forecasting(config)
    if isinstance(config, PretrainDetectorConfig):
        return Detecting(config)
    raise TypeError(f"No task trains from a {type(config).__name__}.")


_CONFIGS: dict[str, type[RunConfig]] = {
    "forecast": PretrainConfig,
    "detect": PretrainDetectorConfig,
}


def load_run(path: str | Path, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read a run of any task from YAML; its entry `task` says which, "forecast" without one.

    Parameters
    ----------
    path, overrides
        As in `RunConfig.load`.

    Raises
    ------
    ValueError
        If a file is no mapping in YAML, or the task or a key is unknown.
    FileNotFoundError
        If the file or its recipe does not exist.
    """
    values = read_yaml(path, "config", FOLDER)
    task = values.get("task", "forecast")
    if task not in _CONFIGS:
        raise ValueError(f"{path}: task must be one of {', '.join(_CONFIGS)}; got {task!r}.")
    return _CONFIGS[task].load(path, overrides)
