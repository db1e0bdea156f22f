"""`tsfm evaluate anomalies`: a detector on held-out labelled synthetic series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """\
[bold]What is measured[/bold]

AUC-PR over the steps of mixed series; by type of anomaly the mean AUC-PR of a
series beside baselines, and the share of events above the default threshold;
and the share of series without anomaly in which that threshold marks a step.

[bold]Examples[/bold]

A shipped detector, about five minutes on two cores:

  tsfm evaluate anomalies --model tsfm-detector-mini --recipe datasets/anomalies.yaml

Beside the matrix profile, too (needs stumpy), details in a file:

  tsfm evaluate anomalies --model runs/detector --recipe datasets/anomalies.yaml \
--baseline z-score --baseline matrix-profile --out report.json
"""

ModelOption = Annotated[str, typer.Option(help="Name of a shipped detector, or a folder.")]
RecipeOption = Annotated[
    Path, typer.Option(metavar="FILE", help="Recipe of the labelled corpus (YAML).")
]
LengthOption = Annotated[int, typer.Option(min=64, help="Steps of every series.")]
MixedOption = Annotated[int, typer.Option(min=8, help="Mixed series.")]
EachOption = Annotated[int, typer.Option(min=1, help="Series of each type.")]
CleanOption = Annotated[int, typer.Option(min=6, help="Series without anomaly.")]
BaselineOption = Annotated[
    list[str] | None,
    typer.Option(help="Compare with this, by type; repeat for several. Default: two of them."),
]
KindOption = Annotated[
    list[str] | None, typer.Option(help="Only this type; repeat for several. Default: all.")
]
ForecasterOption = Annotated[
    str | None,
    typer.Option(help="Also measure the surprise of this forecaster, alone and combined; slow."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "--json", metavar="JSON", help="Write the report here too."),
]
ClassicsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Real series that are taken for normal: the file classics.parquet, or its folder.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]


def anomalies(
    model: ModelOption,
    recipe: RecipeOption,
    length: LengthOption = 1024,
    n_mixed: MixedOption = 512,
    n_each: EachOption = 40,
    n_clean: CleanOption = 1024,
    baseline: BaselineOption = None,
    kind: KindOption = None,
    classics: ClassicsOption = None,
    forecaster: ForecasterOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    progress: Progress = True,
) -> None:
    """Score a detector on labelled synthetic series that training never draws."""
    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable

    if out is not None:
        need_writable(out)

    from tsfm.anomalies.loading import load_detector
    from tsfm.datasets.anomalies import KIND_NAMES, AnomalyRecipe
    from tsfm.evaluation.classics import read_series
    from tsfm.evaluation.labelled import BASELINES, evaluate
    from tsfm.loading import load_model

    corpus = AnomalyRecipe.load(recipe)
    loaded = load_detector(model, device)
    if loaded.calibration is None:
        note(f"{model} has no calibration.json: neither recall nor false alarms are measured")
    real = [] if classics is None else [series for _, series in read_series(classics)]
    report = evaluate(
        loaded.model,
        corpus,
        name=Path(model).name,
        table=loaded.calibration.table() if loaded.calibration else None,
        length=length,
        n_mixed=n_mixed,
        n_each=n_each,
        n_clean=n_clean,
        baselines=baseline or BASELINES,
        kinds=kind or KIND_NAMES[1:],
        forecaster=load_model(forecaster, device) if forecaster else None,
        real={series.item_id: series.values for series in real},
        progress=progress,
    )
    typer.echo(report.table())
    if out is not None:
        report.to_json(out)
        note(f"report written to {out}")
