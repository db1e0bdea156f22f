"""`tsfm corpus`: what models are trained on, synthetic series and corpora on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsfm.cli import corpus_files

EPILOG = """\
[bold]Examples[/bold]

One row of pictures per family of generators:

  tsfm corpus preview --out gallery.png

The families of one recipe, with their shares:

  tsfm corpus preview --recipe datasets/synthetic.yaml --out gallery.png

More of one family:

  tsfm corpus preview --family solar --out solar.png --columns 8

Every type of anomaly of the labelled corpus, with its labels and its clean twin:

  tsfm corpus preview --anomalies --out anomalies.png
"""

app = typer.Typer(no_args_is_help=True, help="Build and look at training corpora.")


@app.callback()
def corpus() -> None:
    """Build and look at training corpora."""


@app.command("preview", epilog=EPILOG)
def preview(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The picture (.png, .svg, .pdf). Default: corpus.png, or "
            "anomalies.png with --anomalies.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe YAML; draws its families and their shares.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Draw this one family only.")] = None,
    anomalies: Annotated[
        bool, typer.Option("--anomalies", help="Draw the labelled corpus: types of anomalies.")
    ] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="Draw this type of anomaly only; may be repeated.")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=12, help="Series per family.")] = 5,
    length: Annotated[int, typer.Option(min=16, help="Steps per series.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Draw a gallery: one row per family of generators or type of anomaly, one picture."""
    from importlib.util import find_spec

    from tsfm.cli.errors import note

    if find_spec("matplotlib") is None:
        raise ImportError("the gallery needs matplotlib; install it with `pip install matplotlib`")
    if anomalies and family is not None:
        raise ValueError("--family belongs to the forecasting corpus; with --anomalies use --kind")
    if kind and not anomalies:
        raise ValueError("--kind names a type of anomaly; add --anomalies")
    import matplotlib as mpl

    mpl.use("Agg")
    from tsfm.datasets.preview import anomaly_gallery, gallery

    out = out or Path("anomalies.png" if anomalies else "corpus.png")
    if anomalies:
        figure = anomaly_gallery(
            recipe=recipe, kinds=tuple(kind or ()), columns=columns, length=length, seed=seed
        )
    else:
        figure = gallery(recipe=recipe, family=family, columns=columns, length=length, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    note(f"gallery saved to {out}")


app.command("build", epilog=corpus_files.BUILD_EPILOG)(corpus_files.build)
app.command("inspect", epilog=corpus_files.INSPECT_EPILOG)(corpus_files.inspect)
app.command("stratify", epilog=corpus_files.STRATIFY_EPILOG)(corpus_files.stratify)
