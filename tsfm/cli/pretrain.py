"""`tsfm pretrain`: train a model on a corpus, in slices that can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EPILOG = """\
[bold]Examples[/bold]

An hour on this machine, then another, on the same run:

  tsfm pretrain --config configs/pretrain/mini.yaml --out runs/mini --max-minutes 60

  tsfm pretrain --config configs/pretrain/mini.yaml --out runs/mini --max-minutes 60 --resume

Let the learning rate fall over 2,000 steps, which makes the best model of what was learnt:

  tsfm pretrain --config configs/pretrain/mini.yaml --out runs/mini --resume --decay-steps 2000

Another width without touching the file:

  tsfm pretrain --config configs/pretrain/mini.yaml --out runs/try --set model.backbone.d_model=96

On a corpus of your own (tsfm corpus build), alone or as half of every batch:

  tsfm pretrain --config configs/pretrain/mini.yaml --corpus corpora/mine --out runs/mine

  tsfm pretrain --config configs/pretrain/mini.yaml --corpus corpora/mine --corpus-share 0.5 \
    --out runs/mixed

On four GPUs (or, without any, in four processes); the result is that of one:

  tsfm pretrain --config configs/pretrain/mini.yaml --out runs/mini --devices 4

After every slice the folder is a model: tsfm forecast FILE -n 24 --model runs/mini
"""


def pretrain(
    config: Annotated[Path, typer.Option("--config", help="The run's YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; loads as a model.")],
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.0, help="End this slice after so many minutes; --resume goes on."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where the run in --out stopped, exactly, even after kill -9."
        ),
    ] = False,
    decay_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Branch off: so many steps of falling learning rate."),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Start from the weights of this model (a name or folder); a smaller transformer "
            "grows into the configured size."
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Train on this corpus on disk; needed again with --resume."),
    ] = None,
    corpus_share: Annotated[
        float | None,
        typer.Option(
            help="Share of every batch from --corpus; the rest is synthetic. Default: 1."
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Processes on this machine, each with a GPU of its own."),
    ] = None,
    num_nodes: Annotated[
        int | None, typer.Option(help="Machines; start the command on each of them.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Lightning's name for how processes work together."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and data.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one entry of the file: a.b=c. Repeatable."
        ),
    ] = None,
) -> None:
    """Pretrain a model on a synthetic corpus, or on one of your own.

    Synthetic series are made while the network trains: nothing is downloaded.
    With --corpus the last tenth of every series is not trained on.
    A run can be stopped at any moment and resumed; it then ends like one
    that was never stopped.
    """
    from tsfm.config import read_yaml

    read_yaml(config, "config", "configs/pretrain")  # before anything that takes time
    need_train_extra()
    import logging

    from tsfm.cli.errors import note
    from tsfm.training.pretrain import run

    processes = {"devices": devices, "num_nodes": num_nodes, "strategy": strategy}
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tsfm").setLevel(logging.INFO)
    result = run(
        config,
        out,
        max_minutes=max_minutes,
        resume=resume,
        decay_steps=decay_steps,
        initial=initial,
        seed=seed,
        overrides=parse_overrides(overrides or [])
        | corpus_overrides(corpus, corpus_share)
        | {key: value for key, value in processes.items() if value is not None},
    )
    if result.rank > 0:  # the first process says how the run ended
        return
    state = "finished" if result.finished else "to be continued with --resume"
    note(f"step {result.step} after {result.seconds / 60:.1f} minutes: {state}")
    use = f"tsfm forecast FILE -n 24 --model {result.directory}"
    if result.task == "detect":
        use = f"tsfm.models.Detector.from_pretrained({str(result.directory)!r})"
    note(f"the model is in {result.directory}: {use}")


def corpus_overrides(corpus: Path | None, share: float | None) -> dict[str, Any]:
    """What --corpus and --corpus-share change in a configuration.

    Examples
    --------
    >>> corpus_overrides(None, 0.5)
    {'corpus.share': 0.5}
    """
    values: dict[str, Any] = {}
    if corpus is not None:
        values["corpus.path"] = str(corpus.resolve())
    if share is not None:
        values["corpus.share"] = share
    return values


def parse_overrides(items: list[str]) -> dict[str, Any]:
    """Values by dotted key from KEY=VALUE; values are read as YAML.

    Examples
    --------
    >>> parse_overrides(["model.d_model=96", "name=try", "betas=[0.9, 0.95]"])
    {'model.d_model': 96, 'name': 'try', 'betas': [0.9, 0.95]}
    """
    import yaml

    values = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ValueError(f"--set {item}: write it as KEY=VALUE, for example seed=3")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"--set {item}: {text!r} is not a YAML value") from None
    return values


def need_train_extra() -> None:
    """Raise an error with the remedy when the packages for training are not installed."""
    from importlib.util import find_spec

    if find_spec("lightning") is None:
        raise ImportError(
            "training needs lightning; install the extra `train`, in a checkout with "
            "`pip install -c constraints.txt -e '.[train]'`"
        )
