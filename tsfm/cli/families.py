"""`tsfm evaluate families`: a forecaster on held-out synthetic series, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EPILOG = """\
[bold]What is measured[/bold]

Pinball loss over nine deciles, of series that training never draws, as a share
of what seasonal naive and naive lose on them. Seasonal naive repeats the best
cycle that a series shows, if any. Groups are means by the recipe's shares.

[bold]Examples[/bold]

A shipped model on the corpus it was trained on, half a minute on two cores:

  tsfm evaluate families --model tsfm-mini

A run of your own on its own recipe, details in a file:

  tsfm evaluate families --model runs/mine --recipe mine.yaml --out families.json
"""

Model = Annotated[
    str, typer.Option(help="Name or folder of a checkpoint, or seasonal-naive, or naive.")
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE",
        help="Recipe whose families count (YAML).",
        show_default="the one of the shipped models",
    ),
]
Mode = Annotated[Literal["fast", "best"], typer.Option(help="best is slower and more accurate.")]
NSeries = Annotated[int, typer.Option(min=1, help="Series of each family.")]
ContextLength = Annotated[int, typer.Option(min=2, help="Steps of history.")]
PredictionLength = Annotated[
    int, typer.Option("--prediction-length", "-n", min=1, help="Steps to forecast.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "--json", metavar="JSON", help="Write the report here too."),
]
Device = Annotated[str, typer.Option(help="Torch device, or auto.")]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]


def families(
    model: Model = "tsfm-mini",
    recipe: RecipeFile = None,
    mode: Mode = "fast",
    n_series: NSeries = 64,
    context_length: ContextLength = 512,
    prediction_length: PredictionLength = 96,
    out: Out = None,
    device: Device = "auto",
    progress: Progress = True,
) -> None:
    """Score a forecaster on each family of synthetic series, beside naive forecasts."""
    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable

    if out is not None:
        need_writable(out)

    from tsfm.datasets.recipes import Recipe
    from tsfm.evaluation.families import evaluate
    from tsfm.evaluation.runner import resolve_model
    from tsfm.models.hub import assets

    corpus = Recipe.load(recipe or assets("datasets") / "synthetic.yaml")
    report = evaluate(
        resolve_model(model, device),
        corpus,
        n_series=n_series,
        context_length=context_length,
        prediction_length=prediction_length,
        mode=mode,
        progress=progress,
    )
    typer.echo(report.table())
    if out is not None:
        report.to_json(out)
        note(f"report written to {out}")
