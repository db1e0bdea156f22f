"""`tsfm models`: the models that came with the package."""

from __future__ import annotations

import typer

EPILOG = """\
[bold]Example[/bold]

  tsfm models

  tsfm forecast datasets/air_passengers.csv -n 24 --model tsfm-nano
"""


def models() -> None:
    """List the models that came with the package.

    Any of the names can be given to --model; so can a folder written by `tsfm pretrain`.
    """
    from tsfm.models.hub import list_models

    found = list_models()
    if not found:
        raise FileNotFoundError(
            "no model found; `tsfm doctor` says where models are looked for, and "
            "`tsfm forecast --model DIR` takes a folder"
        )
    width = max(len(info.name) for info in found)
    typer.secho(f"{'name':<{width}}  {'task':<8}  {'parameters':>10}  what it is", bold=True)
    for info in found:
        size = f"{info.n_parameters / 1e6:.2f} M"
        typer.echo(f"{info.name:<{width}}  {info.task:<8}  {size:>10}  {info.summary}")
        typer.secho(f"{'':<{width}}  {'':<8}  {'':>10}  {info.path}", dim=True)
