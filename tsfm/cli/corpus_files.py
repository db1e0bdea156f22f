"""`tsfm corpus build|inspect|stratify`: corpora on disk, from the files people have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

BUILD_EPILOG = """\
[bold]Examples[/bold]

Tables, Monash files and GluonTS folders into one corpus:

  tsfm corpus build sales.csv sensors.parquet traffic_hourly.tsf m4_weekly/ --out corpora/mine

Keep out every series that holds a piece of a benchmark (tables of published scores and the like
in its folder hold no series: they are named and passed over):

  tsfm corpus build data/*.parquet --out corpora/clean --exclude benchmarks/

Look at it, and train on it:

  tsfm corpus inspect corpora/mine --out mine.png

  tsfm pretrain --config configs/pretrain/mini.yaml --corpus corpora/mine --out runs/mine
"""
INSPECT_EPILOG = """\
[bold]Examples[/bold]

  tsfm corpus inspect corpora/mine

  tsfm corpus inspect corpora/mine --by stratum --out mine.png
"""
STRATIFY_EPILOG = """\
[bold]Examples[/bold]

Five strata, the most predictable drawn five times as often as the least:

  tsfm corpus stratify corpora/mine

Three, and nothing from the least predictable:

  tsfm corpus stratify corpora/mine --weights 0,1,2
"""

_TEXT = {"object", "str", "string"}

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the corpus.")]


def build(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="CSV or Parquet tables, Monash .tsf, GluonTS files or folders, other corpora.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the corpus.")],
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            help="Evaluation set (file or folder): series that hold windows of it, in any unit, "
            "stay out. Repeatable. Tables without series in a folder are named and passed over."
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=12, help="Steps that must agree to be a window of --exclude.")
    ] = 32,
    on_leak: Annotated[
        Literal["drop", "raise"],
        typer.Option(help="What to do with such series: leave out and list, or refuse."),
    ] = "drop",
    on_error: Annotated[
        Literal["raise", "skip"],
        typer.Option(help="What to do with series that cannot be read: refuse, or leave out."),
    ] = "raise",
    id_col: Annotated[str | None, typer.Option(help="Column of the ids.")] = None,
    timestamp_col: Annotated[
        str | None, typer.Option(help="Column of the times; none: rows are equally spaced.")
    ] = None,
    target_col: Annotated[
        list[str] | None, typer.Option(help="Column of the values. Repeatable.")
    ] = None,
    freq: Annotated[str | None, typer.Option(help="Step of the series, e.g. h or 15min.")] = None,
    on_gaps: Annotated[
        Literal["insert", "raise"], typer.Option(help="Missing rows: insert as missing values?")
    ] = "insert",
    on_duplicates: Annotated[
        Literal["raise", "mean", "last"], typer.Option(help="Two rows at one time.")
    ] = "raise",
    timezone: Annotated[str | None, typer.Option(help="Time zone of the times.")] = None,
    date_format: Annotated[
        str | None, typer.Option(help="Format of the dates, such as %d/%m/%Y.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a corpus that is there.")
    ] = False,
) -> None:
    """Write series of any number of files into a corpus to train on.

    Files larger than memory are read piece by piece, whatever the order of their
    rows. The corpus appears when it is complete; a build that was stopped
    leaves nothing but DIR.part, and can simply be run again.
    """
    from tqdm import tqdm

    from tsfm.cli.errors import note
    from tsfm.corpora import TableOptions, build_corpus

    columns = {None: "auto", "none": None}
    target: str | list[str] = target_col or "auto"
    index = freq is not None and freq.isdigit()
    options = TableOptions(
        id_col=columns.get(id_col, id_col),
        timestamp_col=columns.get(timestamp_col, timestamp_col),
        target_col=target[0] if target_col and len(target_col) == 1 else target,
        freq=int(freq) if index and freq is not None else freq,
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        on_error=on_error,
        read=_whole_reader(id_col, timestamp_col, date_format, timezone),
        dates=_chunk_dates(id_col, timestamp_col, date_format, timezone),
    )
    with tqdm(unit=" series", disable=None, leave=False) as bar:
        corpus = build_corpus(
            files,
            out,
            options=options,
            exclude=exclude or (),
            window=window,
            on_leak=on_leak,
            overwrite=overwrite,
            progress=lambda name, n: bar.update(),
        )
    meta = corpus.meta
    note(f"{meta.n_series:,} series, {meta.n_values:,} steps in {out}")
    excluded = sum(source.n_excluded for source in meta.sources)
    skipped = sum(source.n_skipped for source in meta.sources)
    if meta.guard:
        note(f"{excluded:,} series hold windows of an evaluation set and stayed out")
        if meta.guard["n_unprotected"]:
            note(
                f"{meta.guard['n_unprotected']:,} of {meta.guard['n_series']:,} evaluation series "
                "have no window to compare (short, constant or mostly missing): not protected"
            )
    if skipped:
        note(f"{skipped:,} series could not be read and were left out")
    note(f"look at it: tsfm corpus inspect {out}")


def _whole_reader(
    id_col: str | None, timestamp_col: str | None, date_format: str | None, timezone: str | None
) -> Callable[[Path], Any]:
    """Reads a small file as `tsfm forecast` does."""

    def read(path: Path) -> Any:
        from tsfm.cli.tables import read_table

        return read_table(
            path,
            id_col=None if id_col == "none" else id_col,
            timestamp_col=timestamp_col,
            date_format=date_format,
            timezone=timezone,
        )

    return read


def _chunk_dates(
    id_col: str | None, timestamp_col: str | None, date_format: str | None, timezone: str | None
) -> Callable[[Any], Any]:
    """Parses the dates of a piece of a large file, which must not depend on the piece."""

    def dates(chunk: Any) -> Any:
        from tsfm.cli.dates import DateOptions, parse_columns

        if timestamp_col == "none":
            return chunk
        texts = {
            n: chunk[n].dropna().head(1) for n in chunk.columns if str(chunk[n].dtype) in _TEXT
        }
        options = DateOptions(timestamp_col, date_format, timezone, lines=False)
        chunk = parse_columns(chunk, id_col, options)
        for name, first in texts.items():
            parsed = chunk[name].dtype.kind == "M"
            if parsed and date_format is None and not str(first.iloc[0]).strip()[:4].isdigit():
                raise ValueError(
                    f"column {name!r}: dates such as {first.iloc[0]!r} do not begin with the "
                    "year; in a file that is read in pieces say how they are written with "
                    "--date-format, such as --date-format '%d/%m/%Y'"
                )
        return chunk

    return dates


def inspect(
    folder: FolderArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw a sheet of pictures (.png, .svg, .pdf).")
    ] = None,
    by: Annotated[
        Literal["frequency", "stratum"], typer.Option(help="One row per frequency or stratum.")
    ] = "frequency",
    seed: Annotated[int, typer.Option(help="Seed of the series that are drawn.")] = 0,
) -> None:
    """Count what a corpus holds: series, lengths, frequencies, missing values."""
    import pandas as pd

    from tsfm.cli.errors import note
    from tsfm.cli.tables import need_writable, write_table
    from tsfm.datasets.stored import Corpus
    from tsfm.datasets.stored.summary import sheet, summarise

    corpus = Corpus(folder)
    if out is not None:
        need_writable(out)
    summary = summarise(corpus)
    groups = summary.strata if by == "stratum" else summary.frequencies
    if not groups:
        raise ValueError(f"{folder} has no strata yet: tsfm corpus stratify {folder}")
    table = pd.DataFrame([asdict(group) for group in groups])
    write_table(table.rename(columns={"name": by}), None)
    meta = corpus.meta
    note(f"{meta.n_series:,} series, {meta.n_values:,} steps, {len(meta.shards)} shards")
    if summary.n_duplicates:
        note(f"{summary.n_duplicates:,} series have the values of an earlier one")
    for source in meta.sources:
        note(f"  {source.n_series:,} from {source.name}")
    if out is not None:
        import matplotlib as mpl

        mpl.use("Agg")
        sheet(corpus, seed=seed).savefig(out, dpi=110)
        note(f"sheet saved to {out}")


def stratify(
    folder: FolderArgument,
    strata: Annotated[
        int | None, typer.Option(min=1, max=100, help="Number of strata. Default: 5.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Chance of a series of each stratum, the least predictable first. "
            "Default: 1,4,9,16,25."
        ),
    ] = None,
    validation_share: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Last part of every series not looked at.")
    ] = 0.1,
) -> None:
    """Sort the series by predictability, so that training can draw some more often.

    The measure is the mean of skill (how much a seasonal repetition or an
    autoregression beats last value and mean in a backtest) and order (one minus
    the spectral entropy of the differences). `tsfm pretrain --corpus` uses the
    strata when they are there; --set corpus.stratified=false switches them off.
    """
    import pandas as pd
    from tqdm import tqdm

    from tsfm.cli.errors import note
    from tsfm.cli.tables import write_table
    from tsfm.datasets.stored import Corpus
    from tsfm.datasets.stored.strata import stratify as run

    try:
        chances = None if weights is None else [float(w) for w in weights.split(",")]
    except ValueError:
        raise ValueError(f"--weights {weights}: give numbers with commas, such as 1,2,3") from None
    n = strata or (5 if chances is None else len(chances))
    corpus = Corpus(folder)
    with tqdm(total=len(corpus), unit=" series", disable=None, leave=False) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        meta = run(
            corpus, strata=n, weights=chances, validation_share=validation_share, progress=progress
        )
    edges = ["", "", *meta["edges"]]
    rows = {
        "stratum": range(n + 1),
        "predictability_from": edges[: n + 1],
        "n_series": meta["n_series"],
        "weight": meta["weights"],
    }
    write_table(pd.DataFrame(rows), None)
    note("stratum 0: constant or too short to tell")
