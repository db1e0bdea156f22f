"""`tsfm finetune`: train a preset on the series of a table, into a folder that forecasts."""

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

Hourly readings of many sensors that influence each other, a day ahead; then forecast with it:

  tsfm finetune sensors.csv --preset smamba --prediction-length 24 --out runs/sensors

  tsfm forecast sensors.csv --prediction-length 24 --model runs/sensors

A long horizon, in at most ten minutes:

  tsfm finetune load.parquet --preset spacetime -n 720 --context-length 336 --max-minutes 10 \
--out runs/load

Other sizes or another learning rate: copy a file of configs/finetune and pass it as --config.
"""

PresetOption = Annotated[
    Literal["smamba", "spacetime"],
    typer.Option(
        help="smamba: all series are one system and help each other. spacetime: each series on "
        "its own, any horizon."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the trained model.")]
ContextLengthOption = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of history read. Default: 96 or 336, less in short series."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file with sizes and optimisation.")
]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help="Most passes over the data. Default: 10 or 30.")
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
    preset: PresetOption,
    prediction_length: PredictionLengthOption,
    out: OutOption,
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
    """Train a preset on your own series.

    Most series need no training: try `tsfm forecast` first. Training pays where
    there are thousands of rows, or many series that move together.

    The last fifth of every series is held out (more if the horizon is longer). It
    says when to stop, and its errors give the quantiles. The folder then works
    wherever a model is asked for, on other series of the same kind, too.
    """
    if config is not None and not config.is_file():
        raise FileNotFoundError(f"--config {config} does not exist; look in configs/finetune")
    _make_room(context, out)
    columns = {"id_col": id_col, "timestamp_col": timestamp_col}
    frame, warned = read_input(
        context, file, target_col, **columns, date_format=date_format, timezone=timezone
    )
    for what in warned:
        warnings.warn(what.message, stacklevel=1)
    from tsfm import Forecaster

    untrained = Forecaster(
        preset,
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
    trained = untrained.finetune(frame, config=config, epochs=epochs, max_minutes=max_minutes)
    _save(trained, out)


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
    from tsfm.models.presets import PresetModel

    assert isinstance(trained.model, PresetModel)
    epochs, horizon = trained.training_, trained.model.config.prediction_length
    trained.model.save_pretrained(out)
    epochs.to_json(out / "training.json", orient="records", indent=1)
    best = epochs.query("kept").iloc[0]
    which = "the start" if best["epoch"] < 0 else f"epoch {best['epoch']}"
    note(
        f"{trained.n_series_} series, {(epochs['epoch'] >= 0).sum()} epochs, "
        f"{epochs['seconds'].sum():.0f} s; {which} validated best "
        f"(mean square error {best['validation_error']:.4g} in units of each series)"
    )
    note(f"the model is in {out}: tsfm forecast FILE -n {horizon} --model {out}")
