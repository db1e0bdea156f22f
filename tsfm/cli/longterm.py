"""`tsfm evaluate longterm`: train a preset on a classic data set and score its test windows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tsfm.cli.finetune import above_zero

EPILOG = """\
[bold]Examples[/bold]

S-Mamba on ETTh1, a third of an hour on two cores:

  tsfm evaluate longterm --data ../shared/benchmarks --dataset ETTh1 \
--config configs/finetune/smamba-etth1.yaml --out ETTh1.json

SpaceTime on one series, 720 steps ahead, in ten minutes at most:

  tsfm evaluate longterm --data DIR --dataset ETTh1 --variate OT --preset spacetime \
--context-length 336 --prediction-length 720 --max-minutes 10
"""

Data = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="TSFM_BENCHMARKS",
        help="Folder with the Parquet files, or the one above it.",
    ),
]
Dataset = Annotated[str, typer.Option(help="ETTh1, ETTm1, weather, exchange_rate ...")]
Preset = Annotated[
    Literal["smamba", "spacetime"] | None,
    typer.Option(help="What to train. Default: what --config names, else smamba."),
]
Config = Annotated[Path | None, typer.Option(help="YAML file with sizes and optimisation.")]
ContextLength = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps of history per window. Default: the file's, else 96 (spacetime: 336)."
    ),
]
PredictionLength = Annotated[
    int | None,
    typer.Option("--prediction-length", "-n", min=1, help="Default: the file's, else 96."),
]
Variate = Annotated[
    list[str] | None, typer.Option(help="Only this series, such as OT; repeat for several.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Most passes over the data.")]
MaxMinutes = Annotated[
    float | None, typer.Option(callback=above_zero, help="Bound of the training.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the training. Default: the file's, or 0.")]
Out = Annotated[Path | None, typer.Option(metavar="JSON", help="Write the report here too.")]
Device = Annotated[str, typer.Option(help="Torch device, or auto.")]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]


def longterm(
    data: Data,
    dataset: Dataset,
    preset: Preset = None,
    config: Config = None,
    context_length: ContextLength = None,
    prediction_length: PredictionLength = None,
    variate: Variate = None,
    epochs: Epochs = None,
    max_minutes: MaxMinutes = None,
    seed: Seed = None,
    out: Out = None,
    device: Device = "auto",
    progress: Progress = True,
) -> None:
    """Train a preset on a classic long-horizon set and score all test windows.

    Beside it stand a linear model fitted to the same windows, and the last
    value repeated. Errors are in units of each series' training part.
    """
    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable

    if out is not None:
        need_writable(out)
    from tsfm.evaluation.longterm import LongTermTask, report
    from tsfm.training.finetune import finetune
    from tsfm.training.finetune_config import read_recipe

    lengths = {"context_length": context_length, "prediction_length": prediction_length}
    if preset is None and config is None:
        preset = "smamba"
    model, settings = read_recipe(
        config, preset, model=lengths, training={"epochs": epochs, "seed": seed}
    )
    task = LongTermTask.load(
        data,
        dataset,
        context_length=model.context_length,
        prediction_length=model.prediction_length,
        variates=variate,
    )
    result = finetune(
        list(task.history),
        model,
        settings,
        validation_length=task.validation_length,
        max_minutes=max_minutes,
        device=device,
        progress=progress,
    )
    run = {"seed": settings.seed, "epochs": len(result.history), "stopped": result.stopped}
    answer = report(task, model.kind, result.model.points, str(result.model.device), run)
    typer.echo(answer.table())
    if out is not None:
        answer.to_json(out)
        note(f"report written to {out}")
