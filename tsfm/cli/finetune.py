"""`tsfm finetune`: train a model on the series of a table, into a folder that forecasts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tsfm.cli.forecast import (
    DateFormatOption,
    DeviceOption,
    FileArgument,
    FreqOption,
    IdColOption,
    OnDuplicatesOption,
    OnGapsOption,
    PredictionLengthOption,
    TargetColOption,
    TimestampColOption,
    TimezoneOption,
    column,
    one_or_many,
    read_input,
    step,
)

if TYPE_CHECKING:
    from tsfm import Forecaster

EPILOG = """\
[bold]Examples[/bold]

Go on from a shipped model, then forecast with what comes out:

  tsfm finetune load.parquet --prediction-length 24 --out runs/load

  tsfm forecast load.parquet --prediction-length 24 --model runs/load

All weights of another model, in at most ten minutes:

  tsfm finetune load.parquet -n 24 --model tsfm-mini-mamba --method full --max-minutes 10 \
--out runs/load

A network from nothing, for many sensors that influence each other:

  tsfm finetune sensors.csv --preset smamba --prediction-length 24 --out runs/sensors

Other sizes or another learning rate: copy a file of configs/finetune and pass it as --config.
"""

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Pretrained model to go on from: a name (see `tsfm models`) or a folder. "
        "Default: tsfm-mini."
    ),
]
MethodOption = Annotated[
    Literal["lora", "full", "head"] | None,
    typer.Option(
        help="What of it is trained. lora: low-rank updates of its matrices. full: all weights. "
        "head: the last layers. Default: lora."
    ),
]
PresetOption = Annotated[
    Literal["smamba", "spacetime"] | None,
    typer.Option(
        help="Train a network from nothing instead. smamba: all series are one system and help "
        "each other. spacetime: each series on its own, any horizon."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the trained model.")]
ContextLengthOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps of history read. Default: all the model can take; 96 or 336 of a preset, less "
        "in short series.",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file with sizes and optimisation.")
]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help="Most epochs. Default: the model's own.")
]


def above_zero(value: float | None) -> float | None:
    """Refuse a time limit in which nothing can be done."""
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value:g} is not above 0; leave it out for no limit")
    return value


MaxMinutesOption = Annotated[
    float | None,
    typer.Option(
        callback=above_zero, help="Stop after so many minutes (above 0); keep the best so far."
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Seed of weights and order of windows. Default: the file's, or 0."),
]
ProgressOption = Annotated[bool, typer.Option(help="Show a progress bar.")]


def finetune(
    context: typer.Context,
    file: FileArgument,
    prediction_length: PredictionLengthOption,
    out: OutOption,
    model: ModelOption = None,
    method: MethodOption = None,
    preset: PresetOption = None,
    context_length: ContextLengthOption = None,
    config: ConfigOption = None,
    epochs: EpochsOption = None,
    max_minutes: MaxMinutesOption = None,
    seed: SeedOption = None,
    id_col: IdColOption = None,
    timestamp_col: TimestampColOption = None,
    target_col: TargetColOption = None,
    freq: FreqOption = None,
    on_gaps: OnGapsOption = "insert",
    on_duplicates: OnDuplicatesOption = "raise",
    timezone: TimezoneOption = None,
    date_format: DateFormatOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = True,
) -> None:
    """Train a model on your own series.

    Many series need no training: try `tsfm forecast` first. Training pays where
    there are thousands of rows, or many series that move together.

    The last fifth of every series is held out (more if the horizon is longer). It
    says when to stop, and whether a pretrained model gained anything: if not, its
    weights are written as they were, with a warning. The folder then works wherever
    a model is asked for, on other series of the same kind, too.
    """
    chosen = _model(model, preset, method)
    if config is not None:  # before the table is read
        from tsfm.config import read_yaml

        read_yaml(config, "config", "configs/finetune", optional=True)
    _make_room(context, out)
    columns = {"id_col": id_col, "timestamp_col": timestamp_col}
    frame, warned = read_input(
        context, file, target_col, **columns, date_format=date_format, timezone=timezone
    )
    for what in warned:
        warnings.warn(what.message, stacklevel=1)
    from tsfm import Forecaster

    untrained = Forecaster(
        chosen,
        prediction_length=prediction_length,
        context_length=context_length,
        id_col=column(id_col),
        timestamp_col=column(timestamp_col),
        target_col=one_or_many(target_col),
        freq=step(freq),
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        device=device,
        random_state=seed,
        verbose=int(progress),
    )
    trained = untrained.finetune(
        frame, method=method, config=config, epochs=epochs, max_minutes=max_minutes
    )
    _save(trained, out)


def _model(model: str | None, preset: str | None, method: str | None) -> str:
    """What `Forecaster` calls the model to train."""
    from tsfm.models.hub import DEFAULT_MODEL, PRESETS

    if preset is None and model not in PRESETS:
        return model or DEFAULT_MODEL
    if preset is not None and model not in (None, preset):
        raise typer.BadParameter(
            "--preset trains from nothing, --model goes on from trained weights; give one of them"
        )
    if method is not None:
        raise typer.BadParameter(f"--method {method} counts with --model alone, not with presets")
    return preset or model or ""


def _make_room(context: typer.Context, out: Path) -> None:
    """Try whether the folder can be written; a command that fails takes it back."""
    from tsfm.cli.tables import need_writable

    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    need_writable(out / "config.json")
    context.call_on_close(lambda: _remove_empty(made))


def _remove_empty(folders: list[Path]) -> None:
    """Take back folders, innermost first, that nothing was written into."""
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _save(trained: Forecaster, out: Path) -> None:
    """Write the model, and the table of its epochs beside it; say how it went."""
    from tsfm.cli.errors import note
    from tsfm.loading import load_model
    from tsfm.models import TSFM
    from tsfm.models.presets import PresetModel
    from tsfm.persistence import TRAINING

    model = load_model(trained.model, trained.device)
    assert isinstance(model, TSFM | PresetModel)
    model.save_pretrained(out)
    trained.training_.to_csv(out / TRAINING, index=False)
    epochs, seconds = trained.training_, trained.training_["seconds"].sum()
    first = 0 if isinstance(model, PresetModel) else 1  # epoch 0 of a TSFM is the zero-shot model
    note(
        f"{trained.n_series_} series, {(epochs['epoch'] >= first).sum()} epochs, {seconds:.0f} s; "
        f"{_verdict(trained)}"
    )
    note(f"the model is in {out}: tsfm forecast FILE -n {trained.prediction_length} --model {out}")


def _verdict(trained: Forecaster) -> str:
    """Which epoch was best, and how good it was."""
    best = trained.training_.query("kept").iloc[0]
    if "gain" not in best:
        which = "the start" if best["epoch"] < 0 else f"epoch {best['epoch']}"
        error = f"{best['validation_error']:.4g}"
        return f"{which} validated best (mean square error {error} in units of each series)"
    if not trained.finetuned_:
        return "none was better than the zero-shot model"
    return (
        f"epoch {best['epoch']} validated best, its loss {best['gain']:.1%} below that of the "
        f"zero-shot model (standard error {best['standard_error']:.1%})"
    )
