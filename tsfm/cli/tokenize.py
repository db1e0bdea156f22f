"""`tsfm tokenize`: see how a tokenizer reads the series of a table."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tsfm.cli.forecast import (
    OUTPUT,
    PICTURES,
    DateFormatOption,
    FileArgument,
    FreqOption,
    IdColOption,
    OnDuplicatesOption,
    OnGapsOption,
    TargetColOption,
    TimestampColOption,
    TimezoneOption,
    column,
    need_picture,
    one_or_many,
    read_input,
    save_current,
    step,
)

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """\
[bold]Examples[/bold]

Where does the model have to look closely? As a picture:

  tsfm tokenize datasets/air_passengers.csv --tokenizer entropy --plot tokens.png

Every token with its time, length and entropy, into a file:

  tsfm tokenize metrics.parquet --tokenizer entropy --out tokens.csv

The tokens of a model, the last 500 steps drawn:

  tsfm tokenize metrics.csv --model runs/mine --plot tokens.png --last 500
"""

TokenizerOption = Annotated[
    Literal["fixed", "entropy", "surprise"] | None,
    typer.Option(
        help="fixed: equal patches. entropy: short tokens where the next value is hard to "
        "foresee. surprise: the same by a score without weights.",
        show_default="entropy",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="Use the tokenizer of this model (name or folder) instead.")
]
PlotOption = Annotated[
    Path | None,
    typer.Option(help=f"Save a picture here ({', '.join(PICTURES)}).", rich_help_panel=OUTPUT),
]
LastOption = Annotated[
    int | None,
    typer.Option(min=2, help="Draw only so many of the last steps.", rich_help_panel=OUTPUT),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write one row per token here (.csv, .parquet ...).", rich_help_panel=OUTPUT
    ),
]


def tokenize(
    context: typer.Context,
    file: FileArgument,
    tokenizer: TokenizerOption = None,
    model: ModelOption = None,
    plot: PlotOption = None,
    last: LastOption = None,
    out: OutOption = None,
    id_col: IdColOption = None,
    timestamp_col: TimestampColOption = None,
    target_col: TargetColOption = None,
    freq: FreqOption = None,
    on_gaps: OnGapsOption = "insert",
    on_duplicates: OnDuplicatesOption = "raise",
    timezone: TimezoneOption = None,
    date_format: DateFormatOption = None,
) -> None:
    """Show how series are cut into the tokens that a model reads.

    Says for every series how many tokens it becomes and how many steps a token
    holds. With --out, one row per token: your own id column, [bold]target_name[/bold],
    [bold]start[/bold], [bold]step[/bold], [bold]length[/bold], [bold]observed[/bold] and
    [bold]entropy[/bold], in nats, of the token's first step.
    """
    from tsfm.cli import tables
    from tsfm.cli.errors import note

    if tokenizer is not None and model is not None:
        raise typer.BadParameter("give --tokenizer or --model, which has a tokenizer, not both")
    if last is not None and plot is None:
        raise typer.BadParameter("--last is about the picture: give --plot, too")
    tables.check_out(out)
    if plot is not None:
        need_picture(plot)
    columns = {"id_col": id_col, "timestamp_col": timestamp_col}
    frame, warned = read_input(
        context, file, target_col, **columns, date_format=date_format, timezone=timezone
    )
    for what in warned:
        warnings.warn(what.message, stacklevel=1)
    from tsfm import Forecaster
    from tsfm.tokenization import build, model_tokenizer

    chosen = build(tokenizer or "entropy") if model is None else model_tokenizer(model)
    forecaster = Forecaster(
        id_col=column(id_col),
        timestamp_col=column(timestamp_col),
        target_col=one_or_many(target_col),
        freq=step(freq),
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
    ).fit(frame)
    tokens = forecaster.tokenize(tokenizer=chosen)
    if out is not None:
        tables.write_table(tokens, out)
        note(f"{len(tokens):,} tokens written to {out}")
    tables.write_table(_summary(tokens, forecaster.panel_.layout.id_name), None)
    if plot is not None:
        forecaster.plot_tokens(tokenizer=chosen, last=last)
        save_current(plot)
        note(f"picture saved to {plot}")


def _summary(tokens: pd.DataFrame, id_name: object) -> pd.DataFrame:
    """One row per series: tokens, steps, steps per token, shortest and longest token."""
    length = tokens.groupby([id_name, "target_name"], sort=False, dropna=False)["length"]
    summary = length.agg(tokens="count", steps="sum", shortest="min", longest="max")
    summary.insert(2, "steps_per_token", summary["steps"] / summary["tokens"])
    return summary.reset_index()
