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

from tsfm.models.hub import save_network
from tsfm.training.config import RunConfig
from tsfm.training.memory import keep_freed_memory
from tsfm.training.module import PretrainModule
from tsfm.training.record import check_same_run, read_record, write_record, write_scores
from tsfm.training.task import load_run, task_of

logger = logging.getLogger(__name__)

TRUNK = "trunk.ckpt"
DECAY = "decay.ckpt"


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
    """

    directory: Path
    step: int
    finished: bool
    seconds: float
    task: str = "forecast"


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
        Saved model whose weights the trunk starts from; its tokenizer and embedding may be others,
        which then start fresh, as the optimiser does.
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
        or head; the message names what differs.
    """
    started = time.monotonic()
    values = dict(overrides or {})
    if seed is not None:
        values["seed"] = seed
    config = config.replace(values) if isinstance(config, RunConfig) else load_run(config, values)
    config = config.pinned()
    check_compiler(config)
    out = Path(out)
    checkpoint, decay_start = _entry(out, resume, decay_steps)
    if checkpoint is not None:
        check_same_run(config, out)
    out.mkdir(parents=True, exist_ok=True)
    if checkpoint is None:
        write_record(out, config, 0, "trunk", None, 0)
    L.seed_everything(config.seed, verbose=False)
    keep_freed_memory()
    if config.compile:
        logger.info("compiling in the first steps: minutes on a busy CPU, within the time limit")
    module = PretrainModule(config, decay_start, decay_steps or 0)
    if initial is not None and checkpoint is None:
        _start_from(module, initial)
    last_step = config.max_steps if decay_start is None else decay_start + (decay_steps or 0)
    first_step = _steps_in(checkpoint) if checkpoint else 0
    saver = SliceCallback(config, out, DECAY if decay_steps else TRUNK, max_minutes, started)
    if first_step < last_step:
        _trainer(config, out, first_step, last_step, saver, progress).fit(
            module,
            DataLoader(module.task.batches(first_step), batch_size=None),
            ckpt_path=str(checkpoint) if checkpoint else None,
            weights_only=True,
        )
    elif checkpoint:  # at its end already, but perhaps stopped before the model was written
        module.load_state_dict(_load(checkpoint)["state_dict"])
        saver.write_model(module, first_step)
    step = max(first_step, saver.step)
    seconds = time.monotonic() - started
    return RunResult(out, step, step >= last_step, seconds, config.task)


class SliceCallback(L.Callback):
    """Saves state and model every few minutes, validates, and ends the slice on time.

    Parameters
    ----------
    config
        The run.
    out
        Its folder.
    name
        File name of the training state.
    max_minutes
        Length of the slice; None for no limit.
    started
        `time.monotonic()` at which the slice began.
    """

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        name: str,
        max_minutes: float | None,
        started: float,
    ) -> None:
        self.config = config
        self.out = out
        self.name = name
        self.deadline = None if max_minutes is None else started + 60 * max_minutes
        self.saved_at = time.monotonic()
        self.step = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Save, validate or stop when it is time."""
        self.step = trainer.global_step
        every = self.config.validate_every
        if every and self.step % every == 0:
            self._validate(trainer, pl_module)
        now = time.monotonic()
        if now - self.saved_at > 60 * self.config.checkpoint_minutes:
            self._save(trainer, pl_module)
        if self.deadline is not None and now > self.deadline:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save once more, so that nothing of the slice is lost."""
        self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        """Write state and model, each whole or not at all."""
        unfinished = self.out / (self.name + ".part")
        trainer.save_checkpoint(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(self.out / self.name)
        self.write_model(module, trainer.global_step)
        self.saved_at = time.monotonic()

    def write_model(self, module: PretrainModule, step: int) -> None:
        """Write the averaged weights and the record of the run.

        Parameters
        ----------
        module
            The module at `step`.
        step
            Optimiser steps it has taken.
        """
        save_network(averaged_network(module), self.out)
        branch = self.name.removesuffix(".ckpt")
        write_record(self.out, self.config, step, branch, module.decay_start, module.decay_steps)

    def _validate(self, trainer: L.Trainer, module: Any) -> None:
        """Score the averaged network on held-out series and log the table."""
        scores = task_of(self.config).validate(averaged_network(module).eval())
        metrics = {f"validation/{name}": value for name, value in scores.metrics.items()}
        for log in trainer.loggers:
            log.log_metrics(metrics, step=trainer.global_step)
        name = "validation.csv" if self.name == TRUNK else "validation_decay.csv"
        write_scores(scores, self.out / name, trainer.global_step)


def averaged_network(module: PretrainModule) -> Any:
    """The network with the running average of the weights."""
    return module.averaged.module


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
    """Copy a saved model's weights into a fresh module; another tokenizer's start fresh."""
    from tsfm.models.hub import load_network, resolve

    weights, own = load_network(resolve(model)).state_dict(), module.network.state_dict()
    misfits = {k for k in weights.keys() | own.keys() if _shape(weights, k) != _shape(own, k)}
    fresh = {k.split(".")[0] for k in misfits}  # the whole part, not half of it
    if fresh - {"tokenizer", "embedding"}:
        raise ValueError(
            f"{model} has another backbone or head than the run: {min(misfits)} does not fit. "
            "Only the tokenizer and its embedding may differ; choose the sizes of that model."
        )
    if fresh:
        logger.info("another tokenizer than that of %s: %s starts fresh", model, ", ".join(fresh))
    start = own | {k: v for k, v in weights.items() if k.split(".")[0] not in fresh}
    module.network.load_state_dict(start)
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
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
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
        devices=1,
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


def use_bf16(precision: str) -> bool:
    """Whether a run multiplies in bf16.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision must be 'auto', 'bf16' or 'fp32', got {precision!r}.")
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it yet
    return bool(native and native())
