"""`tsfm forecast`: a table in, its forecast out, a picture if wanted."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import pandas as pd

    from tsfm import Forecaster

EPILOG = """\
[bold]Examples[/bold]

Two years ahead, shown here and as a picture:

  tsfm forecast datasets/air_passengers.csv --prediction-length 24 --plot forecast.png

Two meters with lost and repeated rows, in local time, into a file:

  tsfm forecast datasets/building_power.csv --prediction-length 48 --id-col meter \
--timezone Europe/Berlin --on-duplicates mean --out power.csv

The range that holds the next week with 98 % probability, at higher accuracy and cost:

  tsfm forecast sales.parquet --prediction-length 7 --quantiles 0.01,0.5,0.99 --mode best
"""

COLUMNS = "Columns"
REPAIR = "Repair"
OUTPUT = "Output"
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".webp")


FileArgument = Annotated[
    Path, typer.Argument(help="CSV or Parquet file, long or wide; - reads CSV from a pipe.")
]
PredictionLengthOption = Annotated[
    int, typer.Option("--prediction-length", "-n", help="How many steps ahead to forecast.")
]
ModelOption = Annotated[
    str, typer.Option(help="Name of a shipped model (see `tsfm models`) or a folder.")
]
ModeOption = Annotated[
    Literal["fast", "best"],
    typer.Option(help="best weighs contexts by how they did on each series' own past."),
]
CalibrateOption = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Correct the quantiles by up to 16 back-tests of each series; costs as many more.",
    ),
]
QuantilesOption = Annotated[
    str, typer.Option(help="Quantile levels, comma separated, each between 0 and 1.")
]
PlotOption = Annotated[
    Path | None,
    typer.Option(help=f"Save a picture here ({', '.join(PICTURES)}).", rich_help_panel=OUTPUT),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write the forecast here instead of the terminal (.csv, .tsv, .txt, .csv.gz, "
        ".parquet, .pq).",
        rich_help_panel=OUTPUT,
    ),
]
IdColOption = Annotated[
    str | None,
    typer.Option(
        help="Column that names the series; none: a single one. Default: found.",
        rich_help_panel=COLUMNS,
    ),
]
TimestampColOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the time; none: rows are equal steps. Default: found.",
        rich_help_panel=COLUMNS,
    ),
]
TargetColOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Column to forecast; repeat for several. Default: the numeric ones.",
        rich_help_panel=COLUMNS,
    ),
]
FreqOption = Annotated[
    str | None,
    typer.Option(
        help="Time step: h, D, W-SUN, MS, 15min ... Default: inferred per series.",
        rich_help_panel=REPAIR,
    ),
]
OnGapsOption = Annotated[
    Literal["insert", "raise"],
    typer.Option(
        help="Missing rows: insert them as missing values, or stop.", rich_help_panel=REPAIR
    ),
]
OnDuplicatesOption = Annotated[
    Literal["raise", "mean", "last"],
    typer.Option(
        help="A timestamp twice in one series: stop, or keep the mean or the last.",
        rich_help_panel=REPAIR,
    ),
]
TimezoneOption = Annotated[
    str | None,
    typer.Option(
        help="Zone of the answer, such as Europe/Berlin; bare times are local there.",
        rich_help_panel=REPAIR,
    ),
]
DateFormatOption = Annotated[
    str | None,
    typer.Option(
        help="How dates are written, such as %d/%m/%Y, if that is unclear.",
        rich_help_panel=REPAIR,
    ),
]
BatchSizeOption = Annotated[
    int | None, typer.Option(min=1, help="Series at a time. Default: what fits in memory.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]


def forecast(
    context: typer.Context,
    file: FileArgument,
    prediction_length: PredictionLengthOption,
    model: ModelOption = "tsfm-mini",
    mode: ModeOption = "fast",
    quantiles: QuantilesOption = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    calibrate: CalibrateOption = False,
    plot: PlotOption = None,
    out: OutOption = None,
    id_col: IdColOption = None,
    timestamp_col: TimestampColOption = None,
    target_col: TargetColOption = None,
    freq: FreqOption = None,
    on_gaps: OnGapsOption = "insert",
    on_duplicates: OnDuplicatesOption = "raise",
    timezone: TimezoneOption = None,
    date_format: DateFormatOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Forecast every series of a table, with quantiles.

    The answer has one row per series and step: your own id and time columns,
    [bold]target_name[/bold], [bold]predictions[/bold] (the median) and one column per quantile
    level: a tenth of the truth should fall below the column 0.1.

    Nothing is trained and nothing leaves the machine.
    """
    from tsfm.cli import tables
    from tsfm.cli.errors import note

    levels = parse_levels(quantiles)
    if prediction_length < 1:
        raise ValueError(f"--prediction-length must be at least 1, not {prediction_length}")
    tables.check_out(out)
    if plot is not None:
        need_picture(plot)
    columns = {"id_col": id_col, "timestamp_col": timestamp_col}
    frame, warned = read_input(
        context, file, target_col, **columns, date_format=date_format, timezone=timezone
    )

    from tsfm import Forecaster
    from tsfm.loading import load_model

    started = time.perf_counter()
    load_model(model, device)  # once per process; what is wrong with it comes before the data
    forecaster = Forecaster(
        model,
        prediction_length=prediction_length,
        quantile_levels=levels,
        mode=mode,
        calibrate=calibrate,
        id_col=column(id_col),
        timestamp_col=column(timestamp_col),
        target_col=one_or_many(target_col),
        freq=step(freq),
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        batch_size="auto" if batch_size is None else batch_size,
        device=device,
    )
    forecaster.fit(frame)
    for what in warned:  # only now, so that an error stands alone
        warnings.warn(what.message, stacklevel=1)
    answer = forecaster.predict()
    seconds = time.perf_counter() - started
    tables.write_table(answer, out)
    n_series = len(answer) // prediction_length
    plural = "" if prediction_length == 1 else "s"
    note(f"{n_series} series, {prediction_length} step{plural} each, {model}: {seconds:.1f} s")
    if out is not None:
        note(f"forecast written to {out}")
    if plot is not None:
        save_picture(forecaster, frame, answer, plot)
        note(f"picture saved to {plot}")


def parse_levels(text: str) -> tuple[float, ...]:
    """Quantile levels from "0.1,0.5,0.9".

    Examples
    --------
    >>> parse_levels("0.1, 0.5,.9")
    (0.1, 0.5, 0.9)
    """
    levels = []
    for part in text.split(","):
        try:
            level = float(part)
        except ValueError:
            level = float("nan")
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"--quantiles: {part.strip()!r} is no level between 0 and 1; "
                "write them like 0.1,0.5,0.9"
            )
        levels.append(level)
    return tuple(levels)


def read_input(
    context: typer.Context,
    file: Path,
    targets: list[str] | None,
    *,
    id_col: str | None,
    timestamp_col: str | None,
    date_format: str | None,
    timezone: str | None,
) -> tuple[pd.DataFrame, list[warnings.WarningMessage]]:
    """The table, and the warnings of reading it, for when it is known that it can be forecast.

    Tells the context whether errors may speak of lines of the file.
    """
    from tsfm.cli.errors import LINES
    from tsfm.cli.tables import in_lines, need_columns, read_table

    columns = {"id_col": id_col, "timestamp_col": timestamp_col}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        frame = read_table(file, **columns, date_format=date_format, timezone=timezone)
    need_columns(frame, file, targets or [])
    if in_lines(file):
        context.meta[LINES] = True
    return frame, warned


def column(name: str | None) -> str | None:
    """A flag's column as the library wants it: not given is "auto", the word none is None."""
    return None if name == "none" else name or "auto"


def one_or_many(names: list[str] | None) -> str | list[str]:
    """The flag --target-col as the library wants it."""
    if not names:
        return "auto"
    return names[0] if len(names) == 1 else names


def step(freq: str | None) -> str | int | None:
    """The flag --freq as the library wants it: digits are a step of integer time."""
    return int(freq) if freq is not None and freq.isdigit() else freq


def need_picture(plot: Path) -> None:
    """Raise early if the picture of --plot cannot be made; draw without a screen."""
    from importlib.util import find_spec

    from tsfm.cli.tables import need_writable

    if plot.suffix.lower() not in PICTURES:
        raise ValueError(f"--plot {plot}: use one of {', '.join(PICTURES)}")

    if find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib; `pip install matplotlib`, or leave --plot out")
    need_writable(plot, "--plot")
    import matplotlib as mpl

    mpl.use("Agg")


def save_picture(
    forecaster: Forecaster, frame: pd.DataFrame, answer: pd.DataFrame, path: Path
) -> None:
    """Draw the end of each series with its forecast and save it to `path`."""
    forecaster.plot(frame, answer)
    save_current(path)


def save_current(path: Path) -> None:
    """Save the current figure of matplotlib to `path` and close it."""
    from matplotlib import pyplot as plt

    plt.savefig(path, dpi=150, bbox_inches="tight")
    plt.close()
