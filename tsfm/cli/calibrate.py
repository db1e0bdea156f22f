"""`tsfm evaluate calibrate`: how high a detector scores where nothing is wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """\
[bold]Examples[/bold]

Of a detector just trained; about a quarter of an hour on two cores:

  tsfm evaluate calibrate --model runs/detector --recipe datasets/anomalies.yaml

Also for alerts that wait three steps, from fewer series:

  tsfm evaluate calibrate --model runs/detector --recipe datasets/anomalies.yaml \
--delay 0 --delay 3 --n-series 256
"""

ModelOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the detector.")]
RecipeOption = Annotated[
    Path, typer.Option(metavar="FILE", help="Recipe of the labelled corpus (YAML).")
]
SeriesOption = Annotated[
    int,
    typer.Option(min=20, help="Clean series of each length; fewer make a less certain threshold."),
]
LongestOption = Annotated[
    int, typer.Option(min=16, help="Longest series; the lengths double from 16 on.")
]
DelayOption = Annotated[
    list[int] | None,
    typer.Option(
        min=0, help="Also for alerts that wait so many steps; repeat for several. Default: 0."
    ),
]
CausalSeriesOption = Annotated[
    int, typer.Option(min=0, help="Series for alerts, a pass per step; 0 for no such table.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the draws.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Progress = Annotated[bool, typer.Option(help="Show progress bars.")]


def calibrate(
    model: ModelOption,
    recipe: RecipeOption,
    n_series: SeriesOption = 1536,
    longest: LongestOption = 8192,
    delay: DelayOption = None,
    n_causal: CausalSeriesOption = 256,
    seed: SeedOption = 20_251_103,
    device: DeviceOption = "auto",
    progress: Progress = True,
) -> None:
    """Score clean synthetic series and write calibration.json beside the checkpoint.

    From it come the p-values and the default threshold: what .4 % of these series exceed, so that
    of all clean series at most 1 % do, with a confidence of 99 % for the default number. Without
    it `tsfm detect` warns that it has neither.
    """
    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable

    if 0 < n_causal < 20:
        raise typer.BadParameter("--n-causal must be 0, or 20 or more")
    from tsfm.models.calibration import FALSE_ALARMS, FILE

    started = time.perf_counter()

    from tsfm.datasets.anomalies import AnomalyRecipe
    from tsfm.models import Detector
    from tsfm.training.calibrate import calibrate as make

    corpus = AnomalyRecipe.load(recipe)
    detector = Detector.from_pretrained(model, device=device)
    need_writable(model / FILE, "--model")
    lengths = [2**k for k in range(4, 32) if 2**k <= longest]
    delays = tuple(sorted(set(delay or (0,)))) if n_causal else ()
    known = make(
        detector,
        corpus,
        n_series=n_series,
        lengths=lengths,
        delays=delays,
        n_causal=n_causal,
        seed=seed,
        progress=progress,
    )
    known.save(model)
    table = known.tables[0]
    typer.echo(f"length  threshold (log odds, {FALSE_ALARMS:.1%} of these series)")
    for length in lengths:
        typer.echo(f"{length:6d}  {table.threshold(length):9.3f}")
    note(f"written to {model / FILE}: {time.perf_counter() - started:.0f} s")
