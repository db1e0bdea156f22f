"""A run on several processes: what each takes of a batch, and what all must agree on.

Every process makes the batch of a step, takes its share of the rows, and scales its loss such that
the mean over processes is the loss of the whole batch, missing values or not. Gradients are
averaged before they are clipped, so weights, average and optimiser are the same everywhere and are
those of one process, up to rounding.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed

from tsfm.training.config import RunConfig

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")


def check_settings(config: RunConfig) -> None:
    """Refuse a number of processes that this machine cannot start.

    Raises
    ------
    ValueError
        If a number is not positive, the strategy is unknown, or there are too few GPUs.
    """
    for name in ("devices", "num_nodes"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}.")
    if config.strategy not in STRATEGIES:
        raise ValueError(
            f"strategy must be one of {', '.join(STRATEGIES)}; got {config.strategy!r}. The "
            "models fit on one device: only the rows of a batch are divided, never the weights."
        )
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_gpus and config.devices > n_gpus:
        raise ValueError(
            f"devices is {config.devices}, and this machine has {n_gpus} GPU(s). Give --devices "
            f"{n_gpus}, or hide them (CUDA_VISIBLE_DEVICES=) to train in processes on the CPU."
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" in os.environ and started != config.devices * config.num_nodes:
        raise ValueError(
            f"torchrun started {started} processes, the run has devices={config.devices} times "
            f"num_nodes={config.num_nodes}. Give --devices and --num-nodes to tsfm pretrain, too."
        )


def strategy_of(config: RunConfig, rests: bool) -> str | DDPStrategy:
    """What Lightning is to do: nothing for one process, else average gradients (DDP).

    Parameters
    ----------
    config
        The run.
    rests
        Whether there are steps that do not use all parameters: these then get no gradient from any
        process and rest, as with one process. To look for them takes a little time.
    """
    if config.devices * config.num_nodes == 1 and config.strategy == "auto":
        return "auto"
    looks = rests if config.strategy == "auto" else config.strategy != "ddp"
    # buffers are constants, or all processes move them alike
    return DDPStrategy(find_unused_parameters=looks, broadcast_buffers=False)


def share_of(n_rows: int, rank: int, world_size: int) -> slice:
    """The rows of a batch that one of several processes takes; shares differ by a row at most.

    Examples
    --------
    >>> [share_of(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(n_rows * rank // world_size, n_rows * (rank + 1) // world_size)


def check_rows(rows: dict[str, int], world_size: int) -> None:
    """Refuse a run some of whose batches have fewer rows than there are processes.

    Parameters
    ----------
    rows
        Rows of the batches of each shape, by its description.
    world_size
        Processes on all machines together.

    Raises
    ------
    ValueError
        If that is so; the message has the numbers.
    """
    shape = min(rows, key=lambda name: rows[name])
    if rows[shape] < world_size:
        raise ValueError(
            f"The rows of every batch are divided among {world_size} processes, but batches of "
            f"{shape} have {rows[shape]}. Use at most {rows[shape]} processes (--devices times "
            "--num-nodes), or larger batches in a new run: recipe.tokens_per_step of a "
            "forecaster, windows.values_per_batch of a detector."
        )


def mean_over_processes(x: Tensor) -> Tensor:
    """Mean of a tensor without gradient over all processes, the same in each."""
    total = x.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def any_of(trainer: L.Trainer, *wishes: bool) -> tuple[bool, ...]:
    """Whether any process has each of some wishes; every process gets the same answer.

    Clocks differ, and a signal may reach one process alone, yet all must save and stop together.
    """
    if trainer.world_size == 1:
        return wishes
    device = trainer.strategy.root_device
    votes = torch.tensor(wishes, dtype=torch.int32, device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return tuple(bool(vote) for vote in votes.tolist())


def check_alike(trainer: L.Trainer, facts: dict[str, Any]) -> None:
    """Refuse processes that would not do the same, on machines that do not see the same files.

    Parameters
    ----------
    trainer
        The trainer, whose processes are connected.
    facts
        What must be equal in all of them, by description.

    Raises
    ------
    ValueError
        In every process; the message names the first difference.
    """
    if trainer.world_size == 1:
        return
    found: list[Any] = [None] * trainer.world_size
    distributed.all_gather_object(found, facts)
    for rank, others in enumerate(found):
        for name in [*found[0], *others]:
            value, other = found[0].get(name), others.get(name)
            if other != value:
                raise ValueError(
                    f"Processes 0 and {rank} differ in {name}: {value!r} and {other!r}. "
                    "All machines need the same configuration and corpus, and --out must be a "
                    "folder that all of them see."
                )


def on_sigterm(action: Callable[[], None]) -> None:
    """Call `action` at SIGTERM while the trainer runs; it restores the handler of before.

    Lightning's own handler talks to the other processes from wherever the signal strikes, which
    hangs if they are about to talk of gradients.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: action())
