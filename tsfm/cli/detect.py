"""`tsfm detect`: a table in, what is wrong in it out, a picture if wanted."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsfm.cli.forecast import (
    OUTPUT,
    PICTURES,
    DateFormatOption,
    DeviceOption,
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
    from tsfm import AnomalyDetector

EPILOG = """\
[bold]Where the line is drawn[/bold]

By default at most 1 % of clean series of the same length would have any step
marked. Other rules, of which one may be given:

--contamination 0.01  marks the hundredth of the steps with the highest scores
--alpha 0.001         marks steps that one clean step in a thousand matches;
                      with --reference FILE, one step of that file
--threshold 2         marks steps of log odds above 2 (88 % sure)

[bold]Examples[/bold]

Which stretches are out of line, and how badly? As a table and a picture:

  tsfm detect metrics.csv --model runs/detector --segments --plot found.png

Every step with its score, expected value and p-value, into a file:

  tsfm detect metrics.parquet --model runs/detector --out scores.parquet

Sensors of one machine read together, one answer per time, blips left out:

  tsfm detect machine.csv --model runs/detector --aggregation max --min-segment 3

Compared with a week known to be good:

  tsfm detect today.csv --model runs/detector --reference week.csv --alpha 0.0005
"""

RULE = "Threshold"

ModelOption = Annotated[
    str, typer.Option(help="Name of a shipped detector (see `tsfm models`) or a folder.")
]
ContaminationOption = Annotated[
    float | None, typer.Option(help="Share of the steps to mark.", rich_help_panel=RULE)
]
AlphaOption = Annotated[
    float | None,
    typer.Option(help="Largest p-value of a marked step.", rich_help_panel=RULE),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="Score above which a step is marked, in log odds.", rich_help_panel=RULE),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        help="Clean series of the same form, whose scores --alpha compares with.",
        rich_help_panel=RULE,
    ),
]
AggregationOption = Annotated[
    str,
    typer.Option(
        help="auto: each target column by itself. max, mean or k (mean of the k highest): all "
        "columns of an item as one."
    ),
]
MinSegmentOption = Annotated[int, typer.Option(help="Drop segments of fewer steps.")]
MergeGapOption = Annotated[int, typer.Option(help="Join segments at most so many steps apart.")]
ContextOption = Annotated[
    int | None, typer.Option(help="Steps read at once. Default: what the model can take.")
]
CausalOption = Annotated[
    bool, typer.Option("--causal", help="Judge each step without what follows; slower.")
]
DelayOption = Annotated[
    int, typer.Option(help="With --causal: judge a step so many steps after it.")
]
SegmentsOption = Annotated[
    bool,
    typer.Option(
        "--segments",
        help="One row per anomalous segment instead of one per step.",
        rich_help_panel=OUTPUT,
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(help=f"Save a picture here ({', '.join(PICTURES)}).", rich_help_panel=OUTPUT),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write the answer here instead of the terminal (.csv, .tsv, .txt, .csv.gz, "
        ".parquet, .pq).",
        rich_help_panel=OUTPUT,
    ),
]


def detect(
    context: typer.Context,
    file: FileArgument,
    model: ModelOption = "tsfm-detector-mini",
    segments: SegmentsOption = False,
    out: OutOption = None,
    plot: PlotOption = None,
    contamination: ContaminationOption = None,
    alpha: AlphaOption = None,
    threshold: ThresholdOption = None,
    reference: ReferenceOption = None,
    aggregation: AggregationOption = "auto",
    min_segment: MinSegmentOption = 1,
    merge_gap: MergeGapOption = 0,
    context_length: ContextOption = None,
    causal: CausalOption = False,
    delay: DelayOption = 0,
    id_col: IdColOption = None,
    timestamp_col: TimestampColOption = None,
    target_col: TargetColOption = None,
    freq: FreqOption = None,
    on_gaps: OnGapsOption = "insert",
    on_duplicates: OnDuplicatesOption = "raise",
    timezone: TimezoneOption = None,
    date_format: DateFormatOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Find what is out of line with its own context in every series of a table.

    The answer has one row per series and step: your own id and time columns,
    [bold]value[/bold], what it was [bold]expected[/bold] to be, between
    [bold]lower[/bold] and [bold]upper[/bold] as a rule, its [bold]score[/bold] (log odds),
    [bold]p_value[/bold], [bold]is_anomaly[/bold] and [bold]segment_id[/bold]. With --segments
    it has one row per anomalous stretch.

    Nothing is trained and nothing leaves the machine.
    """
    from tsfm.cli import tables
    from tsfm.cli.errors import note

    if reference is not None and alpha is None:
        raise typer.BadParameter("--reference is what --alpha compares with: give --alpha, too")
    if delay and not causal:
        raise typer.BadParameter("--delay belongs to --causal")
    tables.check_out(out)
    if plot is not None:
        need_picture(plot)
    reading: dict[str, Any] = {
        "id_col": id_col,
        "timestamp_col": timestamp_col,
        "date_format": date_format,
        "timezone": timezone,
    }
    clean = None
    if reference is not None:
        clean, _ = read_input(context, reference, target_col, **reading)
    frame, warned = read_input(context, file, target_col, **reading)

    from tsfm import AnomalyDetector
    from tsfm.anomalies.loading import load_detector

    started = time.perf_counter()
    load_detector(model, device)  # what is wrong with it comes before the data
    detector = AnomalyDetector(
        model,
        contamination="auto" if contamination is None else contamination,
        threshold=threshold,
        alpha=alpha,
        context_length=context_length,
        aggregation=_aggregation(aggregation),
        min_segment=min_segment,
        merge_gap=merge_gap,
        causal=causal,
        delay=delay,
        id_col=column(id_col),
        timestamp_col=column(timestamp_col),
        target_col=one_or_many(target_col),
        freq=step(freq),
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        device=device,
    )
    if clean is not None:
        detector.fit(clean)
    for what in warned:
        warnings.warn(what.message, stacklevel=1)
    _answer(detector, frame, segments=segments, out=out, plot=plot)
    note(f"{model}: {time.perf_counter() - started:.1f} s")


def _answer(
    detector: AnomalyDetector, frame: Any, *, segments: bool, out: Path | None, plot: Path | None
) -> None:
    """Judge the table once; write rows or segments, and the picture."""
    from tsfm.anomalies.answer import detection_frame, segment_frame
    from tsfm.cli import tables
    from tsfm.cli.errors import note

    panel, findings = detector._find(frame)
    steps, found = detection_frame(panel, findings), segment_frame(panel, findings)
    tables.write_table(found if segments else steps, out)
    marked = int(steps["is_anomaly"].sum())
    note(f"{marked:,} of {len(steps):,} steps in {_count(len(found), 'segment')}")
    if out is not None:
        note(f"{'segments' if segments else 'scores'} written to {out}")
    if plot is not None:
        from tsfm.anomalies.plot import plot_findings

        plot_findings(panel, findings)
        save_current(plot)
        note(f"picture saved to {plot}")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _aggregation(text: str) -> Any:
    """The flag --aggregation as the library wants it."""
    return int(text) if text.isdigit() else text
