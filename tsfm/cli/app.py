"""The root of the command line: which commands there are, and what happens when one fails."""

from __future__ import annotations

from typing import Annotated

import typer

from tsfm import __version__
from tsfm.cli import (
    calibrate,
    corpus,
    detect,
    doctor,
    evaluate,
    families,
    finetune,
    forecast,
    labelled,
    longterm,
    models,
    pretrain,
    tokenize,
)
from tsfm.cli.errors import PoliteGroup

app = typer.Typer(
    cls=PoliteGroup,
    name="tsfm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command explains itself with examples: [bold]tsfm forecast --help[/bold].",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsfm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the whole traceback of an error (works after a command too)."
        ),
    ] = False,
) -> None:
    """Forecast the series in a table, or find what is wrong in them, without training, offline.

    A small pretrained model reads the past of every series and answers with
    quantiles of its future. Start here:

    [bold]tsfm forecast FILE --prediction-length 24[/bold]
    """


app.command("forecast", epilog=forecast.EPILOG)(forecast.forecast)
app.command("detect", epilog=detect.EPILOG)(detect.detect)
app.command("finetune", epilog=finetune.EPILOG)(finetune.finetune)
app.command("pretrain", epilog=pretrain.EPILOG)(pretrain.pretrain)
app.command("tokenize", epilog=tokenize.EPILOG)(tokenize.tokenize)
app.command("models", epilog=models.EPILOG)(models.models)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(corpus.app, name="corpus")
evaluate.app.command("families", epilog=families.EPILOG)(families.families)
evaluate.app.command("longterm", epilog=longterm.EPILOG)(longterm.longterm)
evaluate.app.command("calibrate", epilog=calibrate.EPILOG)(calibrate.calibrate)
evaluate.app.command("anomalies", epilog=labelled.EPILOG)(labelled.anomalies)
app.add_typer(evaluate.app, name="evaluate")
