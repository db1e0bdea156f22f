"""TSB-AD: score a detector on labelled series and place it beside published ones.

The data folder holds `univariate.parquet` and `multivariate.parquet`: one row per series with
series_id, dataset, train_end, values (numbers, or one list of channels per step) and labels (0 or
1 per step). Optionally `published.csv` (benchmark, file, dataset, method, metric, value,
protocol).

Two protocols, which are never mixed: `full` scores every step, as the classic methods published;
`test` scores only the steps from `train_end` on. A detector always sees the whole series. The
largest buffer W of the volumes is the period of the whole first channel in both. The headline is
VUS-PR per file, averaged over files. Source: Liu and Paparrizos (2024), "The elephant in the room:
towards a reliable time-series anomaly detection benchmark", NeurIPS.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from tsfm.evaluation.anomaly_baselines import Detector, period
from tsfm.evaluation.anomaly_metrics import MEASURES, FloatArray, measure
from tsfm.evaluation.anomaly_report import FileScore, Published, TsbReport
from tsfm.evaluation.provenance import describe_run

Variates = Literal["univariate", "multivariate"]
ScoringProtocol = Literal["full", "test"]

BENCHMARKS = {"univariate": "TSB-AD-U", "multivariate": "TSB-AD-M"}


@dataclass(frozen=True)
class LabelledSeries:
    """One series of the benchmark.

    Parameters
    ----------
    series_id, dataset
        Its name and the collection it comes from.
    train_end
        Steps of the training part.
    values
        `[L, C]` float64.
    labels
        `[L]`, 1 where anomalous.
    """

    series_id: str
    dataset: str
    train_end: int
    values: FloatArray
    labels: NDArray[np.int8]

    @classmethod
    def of(
        cls,
        series_id: str,
        dataset: str,
        train_end: int,
        values: NDArray[np.generic],
        labels: NDArray[np.generic],
    ) -> LabelledSeries:
        """Bring one row of a table into shape.

        Raises
        ------
        ValueError
            If values and labels differ in length, or `train_end` leaves nothing to score.
        """
        table = np.array(values.tolist(), dtype=np.float64).reshape(len(values), -1)
        marks = np.asarray(labels, dtype=np.int8)
        if len(table) != len(marks):
            raise ValueError(
                f"{series_id}: {len(table)} values but {len(marks)} labels; one label per step"
            )
        if not 0 <= train_end < len(marks):
            raise ValueError(
                f"{series_id}: train_end {train_end} must lie within 0..{len(marks) - 1}"
            )
        return cls(series_id, dataset, int(train_end), table, marks)


def find_data(data: str | Path, variates: Variates = "univariate") -> Path:
    """The Parquet file: in `data` itself or in its sub-folder `tsb`.

    Raises
    ------
    FileNotFoundError
        If neither holds it.
    ValueError
        If `variates` is neither "univariate" nor "multivariate".
    """
    if variates not in BENCHMARKS:
        raise ValueError(f"variates {variates!r} does not exist; use {' or '.join(BENCHMARKS)}")
    for folder in (Path(data), Path(data) / "tsb"):
        path = folder / f"{variates}.parquet"
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no {variates}.parquet in {Path(data)} or its sub-folder tsb; pass the folder of TSB-AD"
    )


def read_series(
    data: str | Path,
    variates: Variates = "univariate",
    series: str | Sequence[str] | None = None,
) -> list[LabelledSeries]:
    """The labelled series of a folder, in the order of the file.

    Parameters
    ----------
    data
        Folder of the benchmark.
    variates
        Which of the two files.
    series
        Regular expression, list of names, or None for all.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If nothing matches, or a row is malformed.
    """
    return read_table(find_data(data, variates), series)


def read_table(path: Path, series: str | Sequence[str] | None = None) -> list[LabelledSeries]:
    """The labelled series of one Parquet file: see `read_series`."""
    columns = ["series_id", "dataset", "train_end", "values", "labels"]
    frame = pd.read_parquet(path, columns=columns)
    names = frame["series_id"].astype(str)
    if isinstance(series, str):
        keep = names.str.contains(series, regex=True)
        missing = [] if keep.any() else [series]
    else:
        keep = names.isin(names if series is None else list(series))
        missing = [name for name in series or () if name not in set(names)]
    if missing or not keep.any():
        raise ValueError(
            f"series {missing} do not exist in {path.name}; there are {len(names)}, such as "
            f"{', '.join(names[:3])}"
        )
    rows = frame[keep].itertuples(index=False, name=None)
    return [LabelledSeries.of(*row) for row in rows]


def published_means(
    data: str | Path, variates: Variates, series: Sequence[str]
) -> tuple[Published, ...]:
    """Published methods that were scored on all of some series: their means over them.

    Parameters
    ----------
    data
        Folder of the benchmark.
    variates
        Which benchmark.
    series
        Names of the series.

    Returns
    -------
    tuple of Published
        One entry per method and protocol; empty if the folder has no `published.csv`.
    """
    path = find_data(data, variates).with_name("published.csv")
    if not path.is_file():
        return ()
    frame = pd.read_csv(path)
    frame = frame[frame["benchmark"] == BENCHMARKS[variates]]
    frame = frame[frame["file"].str.removesuffix(".csv").isin(series)]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for key, rows in frame.groupby(["method", "protocol", "metric"], sort=False):
        method, protocol, metric = map(str, key)
        if rows["file"].nunique() == len(series):
            found.setdefault((method, protocol), {})[metric] = float(rows["value"].mean())
    return tuple(Published(*key, means) for key, means in found.items() if "VUS-PR" in means)


def evaluate(
    detector: Detector,
    data: str | Path,
    *,
    protocol: ScoringProtocol,
    variates: Variates = "univariate",
    series: str | Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    progress: bool = True,
) -> TsbReport:
    """Score a detector on TSB-AD's labelled series.

    Parameters
    ----------
    detector
        Any callable `(values [L, C], train_end) -> scores [L]`, higher where more anomalous; it
        sees the whole series. Its `name`, or its `__name__`, names it in the report.
    data
        Folder of the Parquet files, or the one above it.
    protocol
        "full" scores every step, "test" those from `train_end` on.
    variates
        "univariate" or "multivariate".
    series
        Which series: a regular expression, a list of names, or None for all.
    measures
        Which of `tsfm.evaluation.anomaly_metrics.MEASURES`; VUS-PR must be among them.
    progress
        Show a progress bar over series on stderr.

    Returns
    -------
    TsbReport
        `report.means`, `report.table()`, `report.to_json(path)`.

    Raises
    ------
    FileNotFoundError
        If the folder lacks the file.
    ValueError
        If an argument does not exist, the detector answers with the wrong shape or with scores
        that are not finite, or the scored part of a series has no anomaly; the series is named.

    Warns
    -----
    UserWarning
        If all scores of a series are equal: it then counts with the measures of ignorance.

    Examples
    --------
    >>> from tsfm.evaluation.anomaly_baselines import scorer_named
    >>> report = evaluate(
    ...     scorer_named("sub-pca"), "../shared/benchmarks/tsb", protocol="test"
    ... )  # doctest: +SKIP
    >>> report.means["VUS-PR"]  # doctest: +SKIP
    0.41
    """
    if protocol not in get_args(ScoringProtocol):
        raise ValueError(f"protocol {protocol!r} does not exist; use 'full' or 'test'")
    if "VUS-PR" not in measures:
        raise ValueError(f"measures {list(measures)} lack the headline VUS-PR; add it")
    started = time.perf_counter()
    panel = read_series(data, variates, series)
    rows = []
    with tqdm(panel, desc=f"tsb {protocol}", unit="series", disable=not progress) as bar:
        for one in bar:
            bar.set_postfix_str(one.series_id, refresh=True)
            rows.append(score_series(detector, one, protocol, tuple(measures)))
    name = detector_name(detector)
    published = published_means(data, variates, [one.series_id for one in panel])
    return TsbReport(
        detector=name,
        protocol=protocol,
        variates=variates,
        files=tuple(rows),
        published=tuple(row for row in published if not _same(row, name, protocol)),
        seconds=time.perf_counter() - started,
        run=describe_run(str(getattr(detector, "device", "cpu"))),
    )


def _same(row: Published, name: str, protocol: str) -> bool:
    """Whether a published row is the detector itself, which is not ranked against itself."""
    return (row.method.lower(), row.protocol) == (name.lower(), protocol)


def score_series(
    detector: Detector,
    series: LabelledSeries,
    protocol: ScoringProtocol,
    measures: tuple[str, ...] = MEASURES,
) -> FileScore:
    """Run a detector on one series and measure its scores: see `evaluate`."""
    started = time.perf_counter()
    answer = run_detector(detector, series)
    seconds = time.perf_counter() - started
    begin = series.train_end if protocol == "test" else 0
    window = period(series.values[:, 0])
    labels, scores = series.labels[begin:], answer[begin:]
    try:
        found = measure(labels, scores, window, measures)
    except ValueError as error:
        part = f", from step {begin} on" if begin else ""
        raise ValueError(f"{series.series_id}{part}: {error}") from error
    if scores.min() == scores.max():
        warnings.warn(
            f"{series.series_id}: all scores are equal, which ranks nothing", stacklevel=2
        )
    return FileScore(
        series_id=series.series_id,
        dataset=series.dataset,
        n_scored=len(labels),
        n_anomalous=int(labels.sum()),
        window=window,
        measures=found,
        seconds=seconds,
    )


def run_detector(detector: Detector, series: LabelledSeries) -> FloatArray:
    """Scores `[L]` of one series; an error of the detector, or a wrong shape, names it."""
    try:
        answer = np.asarray(detector(series.values.copy(), series.train_end), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{series.series_id}: {error}") from error
    if answer.shape != series.labels.shape:
        raise ValueError(
            f"{series.series_id}: the detector answered with shape {answer.shape}, expected "
            f"{series.labels.shape}, one score per step"
        )
    return answer


def detector_name(detector: Detector) -> str:
    """`detector.name`, else its `__name__`, else the name of its class."""
    for attribute in ("name", "__name__"):
        name = getattr(detector, attribute, None)
        if isinstance(name, str) and name:
            return name
    return type(detector).__name__
