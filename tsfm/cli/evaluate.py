"""`tsfm evaluate`: score a model or a baseline on benchmarks of forecasts and of anomalies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from tsfm.evaluation.anomaly_baselines import Detector
    from tsfm.evaluation.anomaly_report import TsbReport
    from tsfm.evaluation.nab import NabReport
    from tsfm.evaluation.report import EvaluationReport

EPILOG_GIFT = """\
[bold]Examples[/bold]

All configurations, the table on the screen and the details in a file:

  tsfm evaluate gift --data ../shared/benchmarks/gift --out gift.json

Hourly data only, in the slower and better mode, a checkpoint of your own:

  tsfm evaluate gift --data DIR --model runs/mine --mode best --configs /H/

Check the protocol: seasonal naive must equal its published row.

  tsfm evaluate gift --data DIR --model seasonal-naive
"""

EPILOG_CLASSICS = """\
[bold]Example[/bold]

  tsfm evaluate classics --data ../shared/benchmarks/lsf/classics.parquet --mode best
"""

EPILOG_TSB = """\
[bold]Protocols[/bold]

full scores every step, as most published methods did; test scores only the
steps after the training part, as Time-RCD did. Figures of the two are not
comparable: published methods are listed with theirs, and ranked within one.

[bold]Measures[/bold]

VUS-PR is the headline: the area under precision and recall, averaged over
buffers around each anomaly, so a score a few steps off still counts. AUC-PR
and Standard-F1 look at single steps. The JSON holds all nine measures.

[bold]Baselines[/bold]

sub-pca, abs-diff, abs-deviation, z-score, rolling-z-score,
windowed-gaussian, matrix-profile (needs stumpy), random. A detector has to beat them to be of use.

[bold]Detectors[/bold]

--model scores a shipped detector or a checkpoint of `tsfm pretrain` instead.
Of several channels the highest score of a step counts unless --aggregation
says otherwise, and on/off channels only where there are no others.

[bold]Examples[/bold]

The strongest baseline on 55 univariate series, details in a file:

  tsfm evaluate tsb --data DIR --protocol full --out sub-pca.json

Several channels, only the series whose names hold MSL:

  tsfm evaluate tsb --data DIR --protocol test --variates multivariate \
--baseline abs-diff --series MSL

A detector of your own, by the mean of the three highest channels:

  tsfm evaluate tsb --data DIR --protocol test --variates multivariate \
--model runs/detector --aggregation 3
"""

EPILOG_NAB = """\
[bold]Example[/bold]

NAB's own windowed Gaussian: 40.1 here, 39.6 on NAB's scoreboard.

  tsfm evaluate nab --data ../shared/benchmarks --baseline windowed-gaussian
"""

AGGREGATION, NEIGHBOURHOOD = "max", 0.04
"""As in `tsfm.evaluation.detector_scorer`, which is slow to import."""

app = typer.Typer(no_args_is_help=True, help="Score a model or a baseline on real series.")

GiftData = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="TSFM_BENCHMARKS",
        help="Folder with the Parquet files and manifest.json, or the one above it.",
    ),
]
ClassicsData = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        envvar="TSFM_BENCHMARKS",
        help="The file classics.parquet, or a folder that holds it.",
    ),
]
Model = Annotated[
    str, typer.Option(help="Name or folder of a checkpoint, or seasonal-naive, or naive.")
]
Mode = Annotated[Literal["fast", "best"], typer.Option(help="best is slower and more accurate.")]
Configs = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Only configurations this finds.")
]
Out = Annotated[Path | None, typer.Option(metavar="JSON", help="Write the report here too.")]
Device = Annotated[str, typer.Option(help="Torch device, or auto.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Series per batch; chosen by the model if left out.")
]
MaxWindows = Annotated[
    int | None, typer.Option(min=1, help="At most so many windows each: a quick look only.")
]
Engine = Annotated[
    Literal["fast", "gluonts"],
    typer.Option(help="gluonts runs gluonts' own loop and metrics: slower, same numbers."),
]
Hints = Annotated[bool, typer.Option(help="Tell the model the season of each frequency.")]
Seed = Annotated[int, typer.Option(help="Seed of torch's generators.")]
AnomalyData = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="TSFM_BENCHMARKS",
        help="Folder with the Parquet files of TSB-AD or NAB, or the one above it.",
    ),
]
Protocol = Annotated[
    Literal["full", "test"],
    typer.Option(help="Score every step, or only those after the training part."),
]
Variates = Annotated[
    Literal["univariate", "multivariate"], typer.Option(help="Which of the two files.")
]
Baseline = Annotated[
    str | None,
    typer.Option(help="Scorer by name; the list is below.", show_default="sub-pca"),
]
NabBaseline = Annotated[
    str | None,
    typer.Option(
        help="Scorer by name, as in tsfm evaluate tsb.", show_default="windowed-gaussian"
    ),
]
DetectorModel = Annotated[
    str | None, typer.Option(help="Score this detector, by name or folder, instead.")
]
Aggregation = Annotated[
    str, typer.Option(help="Of --model: max, mean, or k for the mean of the k highest channels.")
]
Neighbourhood = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Of --model: share of the series over which the score of a step fades on either "
        "side; 0 for none.",
    ),
]
SeriesNames = Annotated[
    str | None, typer.Option("--series", metavar="REGEX", help="Only series this finds.")
]
JsonOut = Annotated[
    Path | None,
    typer.Option("--out", "--json", metavar="JSON", help="Write the report here too."),
]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]


@app.command("gift", epilog=EPILOG_GIFT)
def gift(
    data: GiftData,
    model: Model = "tsfm-mini",
    mode: Mode = "fast",
    configs: Configs = None,
    out: Out = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    max_windows: MaxWindows = None,
    engine: Engine = "fast",
    season_hints: Hints = True,
    seed: Seed = 0,
    progress: Progress = True,
) -> None:
    """Score on GIFT-Eval and print the table beside published models."""
    from tsfm.evaluation.gift import evaluate
    from tsfm.evaluation.runner import resolve_model

    _finish(
        lambda: evaluate(
            resolve_model(model, device),
            data,
            configs=configs,
            mode=mode,
            batch_size=batch_size or "auto",
            max_windows=max_windows,
            engine=engine,
            season_hints=season_hints,
            seed=seed,
            progress=progress,
        ),
        out,
    )


@app.command("classics", epilog=EPILOG_CLASSICS)
def classics(
    data: ClassicsData,
    model: Model = "tsfm-mini",
    mode: Mode = "fast",
    configs: Configs = None,
    out: Out = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    max_windows: MaxWindows = None,
    engine: Engine = "fast",
    season_hints: Hints = True,
    seed: Seed = 0,
    progress: Progress = True,
) -> None:
    """Score on small classic series: the panel to develop on."""
    from tsfm.evaluation.classics import evaluate
    from tsfm.evaluation.runner import resolve_model

    _finish(
        lambda: evaluate(
            resolve_model(model, device),
            data,
            configs=configs,
            mode=mode,
            batch_size=batch_size or "auto",
            max_windows=max_windows,
            engine=engine,
            season_hints=season_hints,
            seed=seed,
            progress=progress,
        ),
        out,
    )


@app.command("tsb", epilog=EPILOG_TSB)
def tsb(
    data: AnomalyData,
    protocol: Protocol,
    variates: Variates = "univariate",
    baseline: Baseline = None,
    model: DetectorModel = None,
    aggregation: Aggregation = AGGREGATION,
    neighbourhood: Neighbourhood = NEIGHBOURHOOD,
    series: SeriesNames = None,
    out: JsonOut = None,
    device: Device = "auto",
    progress: Progress = True,
) -> None:
    """Score anomalies on TSB-AD and print the table beside published methods."""
    from tsfm.evaluation.tsb import evaluate

    scorer = _anomaly_scorer(
        baseline, model, aggregation, neighbourhood, device, default="sub-pca"
    )
    _finish(
        lambda: evaluate(
            scorer,
            data,
            protocol=protocol,
            variates=variates,
            series=series,
            progress=progress,
        ),
        out,
    )


@app.command("nab", epilog=EPILOG_NAB)
def nab(
    data: AnomalyData,
    baseline: NabBaseline = None,
    model: DetectorModel = None,
    series: SeriesNames = None,
    out: JsonOut = None,
    device: Device = "auto",
    progress: Progress = True,
) -> None:
    """Score anomalies on NAB's files under its three profiles."""
    from tsfm.evaluation.nab import evaluate

    scorer = _anomaly_scorer(
        baseline, model, AGGREGATION, None, device, default="windowed-gaussian"
    )
    _finish(lambda: evaluate(scorer, data, series=series, progress=progress), out)


def _anomaly_scorer(
    baseline: str | None,
    model: str | None,
    aggregation: str,
    neighbourhood: float | None,
    device: str,
    *,
    default: str,
) -> Detector:
    """The baseline or the trained detector that flags name."""
    from tsfm.evaluation.anomaly_baselines import scorer_named

    if model is None:
        if (aggregation, neighbourhood or NEIGHBOURHOOD) != (AGGREGATION, NEIGHBOURHOOD):
            raise typer.BadParameter("--aggregation and --neighbourhood belong to --model")
        return scorer_named(baseline or default)
    if baseline is not None:
        raise typer.BadParameter("give --baseline or --model, not both")
    if not (aggregation.isdigit() and int(aggregation)) and aggregation not in ("max", "mean"):
        raise ValueError(f"--aggregation {aggregation}: use max, mean or a number of channels")
    from tsfm.evaluation.detector_scorer import model_scorer

    how: Any = int(aggregation) if aggregation.isdigit() else aggregation
    return model_scorer(model, aggregation=how, neighbourhood=neighbourhood or 0.0, device=device)


def _finish(
    evaluate: Callable[[], EvaluationReport | TsbReport | NabReport],
    out: Path | None,
) -> None:
    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable

    if out is not None:
        need_writable(out)  # not after an hour of work
    report = evaluate()
    typer.echo(report.table())
    if out is not None:
        report.to_json(out)
        note(f"report written to {out}")
