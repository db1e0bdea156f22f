"""`run`: pretrain a model on synthetic or stored series in resumable slices."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from tsfm.models.network import ForecastingNetwork
from tsfm.training.config import RunConfig
from tsfm.training.growth import grown, misfit
from tsfm.training.memory import keep_freed_memory
from tsfm.training.module import PretrainModule
from tsfm.training.precision import use_bf16
from tsfm.training.processes import check_rows, check_settings, strategy_of
from tsfm.training.record import check_same_run, read_record, write_record
from tsfm.training.slices import DECAY, TRUNK, SliceCallback, averaged_network
from tsfm.training.task import load_run, task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """How a slice of training ended.

    Parameters
    ----------
    directory
        Where model, state and logs are.
    step
        Optimiser steps taken so far.
    finished
        Whether the trunk or the decay branch has reached its end.
    seconds
        Wall-clock seconds of this slice.
    task
        What was learnt, "forecast" or "detect".
    rank
        Number of this process among those that trained; the first, 0, has written the files.
    """

    directory: Path
    step: int
    finished: bool
    seconds: float
    task: str = "forecast"
    rank: int = 0


def run(
    config: str | Path | RunConfig,
    out: str | Path,
    *,
    max_minutes: float | None = None,
    resume: bool = False,
    decay_steps: int | None = None,
    initial: str | Path | None = None,
    seed: int | None = None,
    overrides: dict[str, Any] | None = None,
    progress: bool = True,
) -> RunResult:
    """Train one slice of a run; afterwards `out` loads as a model.

    The trunk runs at a constant learning rate and can be continued any number of times. A decay
    branch starts from the trunk's latest checkpoint, lowers the learning rate to almost nothing
    and is what one releases; the trunk stays where it was, ready to go on.

    Parameters
    ----------
    config
        YAML file or configuration.
    out
        Folder of the run: `config.json` and `model.safetensors` (the averaged weights),
        `trunk.ckpt` and `decay.ckpt` (full training state), `run.json`, `logs/`.
    max_minutes
        End the slice with the first step that ends after so many minutes (compiling is part of
        the first steps); the schedule counts steps, so this changes nothing about the result of a
        run that is resumed.
    resume
        Continue from the checkpoint in `out`.
    decay_steps
        Run the decay branch of this many steps instead of the trunk.
    initial
        Saved model whose weights the trunk starts from. Its tokenizer and embedding may be others,
        which then start fresh, as the optimiser does; or it may be a smaller transformer, which
        then grows into the run's (`tsfm.training.growth`).
    seed
        Overrides the configuration's seed.
    overrides
        Values by dotted key, replacing those of the configuration.
    progress
        Whether to show a progress bar.

    Raises
    ------
    FileExistsError
        If `out` holds a run and `resume` is False.
    FileNotFoundError
        If a decay branch has no trunk to start from.
    ValueError
        If the run in `out` was begun with another configuration, or `initial` has another backbone
        or head and cannot grow, as the message says; or if the batches have too few rows for the
        processes.
    """
    started = time.monotonic()
    values = dict(overrides or {})
    if seed is not None:
        values["seed"] = seed
    config = config.replace(values) if isinstance(config, RunConfig) else load_run(config, values)
    check_settings(config)
    config = config.pinned()
    check_compiler(config)
    out = Path(out)
    checkpoint, decay_start = _entry(out, resume, decay_steps)
    if checkpoint is not None:
        check_same_run(config, out, decaying=checkpoint.name == DECAY)
    last_step = config.max_steps if decay_start is None else decay_start + (decay_steps or 0)
    first_step = _steps_in(checkpoint) if checkpoint else 0
    name = DECAY if decay_steps else TRUNK
    saver = SliceCallback(config, out, name, max_minutes, started, first_step)
    trainer = _trainer(config, out, first_step, last_step, saver, progress)
    check_rows(task_of(config).rows_per_batch(), trainer.world_size)
    first = trainer.is_global_zero
    if first:
        out.mkdir(parents=True, exist_ok=True)
    if first and checkpoint is None:
        write_record(out, config, 0, "trunk", None, 0)
    L.seed_everything(config.seed, verbose=False)
    keep_freed_memory()
    if config.compile and first:
        logger.info("compiling in the first steps: minutes on a busy CPU, within the time limit")
    module = PretrainModule(config, decay_start, decay_steps or 0)
    if initial is not None and checkpoint is None:
        _start_from(module, initial)
    if first_step < last_step:
        trainer.fit(
            module,
            DataLoader(module.task.batches(first_step), batch_size=None),
            ckpt_path=str(checkpoint) if checkpoint else None,
            weights_only=True,
        )
    elif checkpoint and first:  # at its end, but perhaps stopped before the model was written
        module.load_state_dict(_load(checkpoint)["state_dict"])
        saver.write_model(module, first_step)
    step = max(first_step, saver.step)
    seconds = time.monotonic() - started
    return RunResult(out, step, step >= last_step, seconds, config.task, trainer.global_rank)


def _entry(out: Path, resume: bool, decay_steps: int | None) -> tuple[Path | None, int | None]:
    """The checkpoint to continue from, and the step a decay branch left the trunk at."""
    trunk, decay = out / TRUNK, out / DECAY
    if not resume and decay_steps is None:
        if trunk.exists():
            raise FileExistsError(
                f"{out} already holds a run. Continue it with resume=True (--resume), "
                "or choose another folder."
            )
        return None, None
    if decay_steps is None:
        return (trunk if trunk.exists() else None), None
    if not trunk.exists():
        raise FileNotFoundError(f"{trunk} does not exist: a decay branch starts from a trunk.")
    if resume and decay.exists():
        record = read_record(out)
        if record["branch"] == "decay" and record["decay_steps"] == decay_steps:
            return decay, int(record["decay_start"])
    return trunk, _steps_in(trunk)


def _steps_in(checkpoint: Path) -> int:
    """Optimiser steps a checkpoint has seen."""
    return int(_load(checkpoint)["global_step"])


def _load(checkpoint: Path) -> dict[str, Any]:
    """A training state, without unpickling code."""
    state: dict[str, Any] = torch.load(
        checkpoint, map_location="cpu", weights_only=True, mmap=True
    )
    return state


def _start_from(module: PretrainModule, model: str | Path) -> None:
    """Copy a saved model's weights into a fresh module; grown, or with tokens that start fresh."""
    from tsfm.models.hub import load_network, resolve

    saved, network = load_network(resolve(model)), module.network
    weights, own = saved.state_dict(), network.state_dict()
    misfits = {k for k in weights.keys() | own.keys() if _shape(weights, k) != _shape(own, k)}
    fresh = {k.split(".")[0] for k in misfits}  # the whole part, not half of it
    hindrance: str | None = "only forecasters grow"
    if isinstance(saved, ForecastingNetwork) and isinstance(network, ForecastingNetwork):
        hindrance = misfit(saved.config, network.config)
        if misfits and hindrance is None:
            logger.info("%s grows to the size of the run", model)
            weights, fresh = grown(saved, network), set()
    if fresh - {"tokenizer", "embedding"}:
        raise ValueError(
            f"{model} has another backbone or head than the run: {min(misfits)} does not fit, and "
            f"it cannot grow into the run's size: {hindrance}. Choose the sizes of that model; "
            "or start from a smaller transformer with the same tokens and heads of equal width; "
            "or, with equal backbone and head, change the tokenizer alone."
        )
    if fresh:
        logger.info("%s of %s do not fit and start fresh", " and ".join(sorted(fresh)), model)
    start = own | {k: v for k, v in weights.items() if k.split(".")[0] not in fresh}
    network.load_state_dict(start)
    averaged_network(module).load_state_dict(start)


def _shape(weights: dict[str, Tensor], name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None


class StepsBar(TQDMProgressBar):
    """Progress in steps, without an end where the clock ends the slice.

    Parameters
    ----------
    open_ended
        Whether the slice has a time limit.
    """

    def __init__(self, open_ended: bool) -> None:
        super().__init__(refresh_rate=10)
        self.open_ended = open_ended

    @property
    def total_train_batches(self) -> int | float:
        """Steps the bar counts up to; infinite where it only counts."""
        return math.inf if self.open_ended else super().total_train_batches


def _trainer(
    config: RunConfig,
    out: Path,
    first_step: int,
    last_step: int,
    saver: SliceCallback,
    progress: bool,
) -> L.Trainer:
    """A Lightning trainer that does nothing but step, log and call the saver."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # every slice has its own CSV: the logger would delete the rows of the slice before
    version = f"csv_{saver.name.removesuffix('.ckpt')}_{first_step:08d}"
    loggers: list[Any] = [CSVLogger(out, name="logs", version=version)]
    try:
        loggers.append(TensorBoardLogger(out, name="logs", version="tensorboard"))
    except ModuleNotFoundError:
        logger.info("tensorboard is not installed; logging to CSV only")
    bar = [StepsBar(open_ended=saver.deadline is not None)] if progress else []
    return L.Trainer(
        max_steps=last_step,
        max_epochs=-1,
        precision="bf16-mixed" if use_bf16(config.precision) else "32-true",
        gradient_clip_val=config.optimizer.clip,
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=strategy_of(config, task_of(config).rests),
        use_distributed_sampler=False,
        logger=loggers,
        callbacks=[saver, *bar],
        enable_progress_bar=progress,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=config.log_every,
    )


def check_compiler(config: RunConfig) -> None:
    """Refuse a compiled run on a machine that cannot compile.

    Raises
    ------
    ValueError
        If the run is to be compiled for a CPU and there is no C++ compiler.
    """
    if not config.compile or torch.cuda.is_available():
        return
    names = [os.environ.get("CXX", ""), "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in names if name):
        raise ValueError(
            "compile: true needs a C++ compiler and none was found. Install one (g++), or train "
            "without it: --set compile=false."
        )
