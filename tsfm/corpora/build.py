"""`build_corpus`: files and DataFrames in, a corpus on disk out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from tsfm.corpora.options import TableOptions
from tsfm.corpora.records import record_series, tsf_series
from tsfm.corpora.rows import table_series
from tsfm.corpora.tables import CSV, holds_records, is_parquet, table_chunks, without_series
from tsfm.datasets.stored.corpus import Corpus
from tsfm.datasets.stored.guard import LeakageGuard
from tsfm.datasets.stored.layout import META, Float64, Series
from tsfm.datasets.stored.writer import CorpusWriter
from tsfm.frames import DataError
from tsfm.frames.errors import NoSeriesWarning, warn

Source = str | Path | pd.DataFrame
Progress = Callable[[str, int], None]

_RECORDS = (".jsonl", ".jsonl.gz", ".json.gz", ".json", ".arrow", ".feather")
_NO_DATA = {"metadata.json", "manifest.json", "dataset_info.json", "state.json", META}
_ROWS = "rows"
_NO_OPTIONS = TableOptions()


class LeakError(ValueError):
    """A series holds windows of an evaluation set."""


def build_corpus(
    sources: Sequence[Source],
    out: str | Path,
    *,
    options: TableOptions = _NO_OPTIONS,
    exclude: Sequence[Source] = (),
    window: int = 32,
    on_leak: Literal["drop", "raise"] = "drop",
    shard_values: int = 16_000_000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Write the series of files, folders and DataFrames into a corpus.

    Parameters
    ----------
    sources
        Each a CSV or Parquet table (long or wide), a Monash `.tsf` file, a GluonTS file or folder
        (of which `train/` is read), another corpus, a folder of such files, or a DataFrame.
    out
        Folder of the corpus. It appears when the build is complete, not before.
    options
        Columns, frequency and repair of tables, sizes of the pieces.
    exclude
        Evaluation sets, as `sources` (of GluonTS folders all of it): series that hold windows of
        them, in whatever unit, stay out. See `tsfm.datasets.stored.guard`. Tables without times or
        without numbers in a folder of them, such as published scores, are passed over with a
        `NoSeriesWarning` that names them.
    window
        Steps per compared window.
    on_leak
        "drop" leaves such series out and lists them in `excluded.jsonl`; "raise" refuses.
    shard_values
        Steps per shard.
    overwrite
        Whether to replace a corpus that is there.
    progress
        Called with the name of the source and the number of series so far.

    Returns
    -------
    Corpus

    Raises
    ------
    DataError
        A source cannot be read; the message names file and series.
    FileExistsError
        `out` exists.
    LeakError
        With `on_leak="raise"`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> days = pd.date_range("2026-01-01", periods=60)
    >>> frame = pd.DataFrame({"item_id": "a", "timestamp": days, "target": range(60)})
    >>> with TemporaryDirectory() as folder:
    ...     corpus = build_corpus([frame], Path(folder, "corpus"))
    ...     len(corpus), corpus.series(0)[-1].item(), corpus.column("frequency")[0]
    (1, 59.0, 'D')
    """
    if on_leak not in ("drop", "raise"):
        raise ValueError(f"on_leak={on_leak!r} must be 'drop' or 'raise'.")
    if not sources:
        raise ValueError("Nothing to build a corpus from; give at least one file or DataFrame.")
    found = [part for source in sources for part in _parts(source, training=True)]
    with CorpusWriter(out, shard_values=shard_values, overwrite=overwrite) as writer:
        folder = writer.part / _ROWS
        guard = None
        if exclude:
            skipped: list[str] = []
            guard = LeakageGuard(_evaluation(exclude, folder, options, skipped), window)
            writer.guarded({**guard.settings, "skipped": skipped})
        for name, kind, source in found:
            writer.begin(name, kind)
            for k, series in enumerate(_series(name, kind, source, folder, options), 1):
                if series is None:
                    writer.count(n_skipped=1)
                    continue
                leak = guard.check(series.values) if guard is not None else None
                if leak is None:
                    writer.add(series)
                elif on_leak == "raise":
                    raise LeakError(
                        f"Series {series.item_id!r} of {name} holds {leak.hits} window(s) of the "
                        f"evaluation set {leak.evaluation}. Leave it out, or drop such series "
                        "with on_leak='drop'."
                    )
                else:
                    writer.exclude(series, leak.evaluation, leak.hits)
                if progress is not None:
                    progress(name, k)
        shutil.rmtree(folder, ignore_errors=True)
    return Corpus(out)


def _evaluation(
    sources: Sequence[Source], folder: Path, options: TableOptions, skipped: list[str]
) -> Iterator[tuple[str, Float64]]:
    """Name of the set and values of every evaluation series; files passed over into `skipped`."""
    plain = replace(options, on_error="raise")
    for given in sources:
        for name, kind, source in _with_series(given, plain, skipped):
            for series in _series(name, kind, source, folder, plain):
                if series is not None:
                    yield name, series.values


def _with_series(
    given: Source, options: TableOptions, skipped: list[str]
) -> list[tuple[str, str, Source]]:
    """The parts of an evaluation set but for what in a folder is no series, which is named."""
    parts = _parts(given, training=False)
    if isinstance(given, pd.DataFrame) or not Path(given).is_dir():
        return parts  # a file that is named itself has to be read, or to fail
    empty = [
        name
        for name, kind, source in parts
        if kind in ("csv", "parquet")
        and not isinstance(source, pd.DataFrame)
        and without_series(Path(source), options)
    ]
    if len(empty) == len(parts):
        raise DataError(
            f"{given}: no file of it holds series, neither rows with times and numbers nor a "
            "series per record. Name a file or folder of series."
        )
    if empty:
        warn(
            f"Passed over in {given}, since they hold no series (no times, or no numbers): "
            f"{', '.join(str(Path(name).relative_to(given)) for name in empty)}. Nothing is "
            "compared with these files.",
            NoSeriesWarning,
        )
    skipped += empty
    return [part for part in parts if part[0] not in empty]


def _parts(source: Source, *, training: bool) -> list[tuple[str, str, Source]]:
    """Name, kind and place of everything that a source stands for."""
    if isinstance(source, pd.DataFrame):
        return [("DataFrame", "frame", source)]
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a file or a folder of series.")
    if path.is_file():
        return [(str(path), _kind(path), path)]
    if (path / META).is_file():
        return [(str(path), "corpus", path)]
    gluonts = (path / "metadata.json").is_file() or (path / "metadata").is_dir()
    inner = path / "train" if training and gluonts and (path / "train").is_dir() else path
    known = (*CSV, *_RECORDS, ".parquet", ".pq", ".tsf")
    files = [
        file
        for file in sorted(inner.rglob("*"))
        if file.name.lower().endswith(known) and file.name not in _NO_DATA and file.is_file()
    ]
    files = [f for f in files if gluonts or f.suffix != ".json"]
    if not files:
        raise FileNotFoundError(f"{path} holds no file of series: {', '.join(known)}.")
    return [(str(file), _kind(file), file) for file in files]


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".tsf"):
        return "tsf"
    if name.endswith(_RECORDS):
        return "records"
    if is_parquet(path):
        return "records" if holds_records(path) else "parquet"
    if name.endswith(CSV):
        return "csv"
    known = ", ".join((*CSV, ".parquet", ".pq", ".tsf", *_RECORDS))
    raise DataError(f"{path}: cannot tell the file's kind from its name; known are {known}")


def _series(
    name: str, kind: str, source: Source, folder: Path, options: TableOptions
) -> Iterator[Series | None]:
    """The series of one file or frame; None for one that is skipped."""
    freq = "" if options.freq is None else str(getattr(options.freq, "freqstr", options.freq))
    if isinstance(source, pd.DataFrame):
        yield from _rows(name, iter([source]), 0, folder, options)
    elif kind == "corpus":
        yield from _of_corpus(Corpus(source))
    elif kind == "tsf":
        yield from tsf_series(Path(source), freq)
    elif kind == "records":
        yield from record_series(Path(source), freq)
    else:
        chunks, n_bytes = table_chunks(Path(source), options)
        yield from _rows(name, chunks, n_bytes, folder, options)


def _rows(
    name: str,
    chunks: Iterator[pd.DataFrame],
    n_bytes: int,
    folder: Path,
    options: TableOptions,
) -> Iterator[Series | None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for series in table_series(chunks, n_bytes, folder, options):
            yield None if isinstance(series, DataError) else series
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _of_corpus(corpus: Corpus) -> Iterator[Series]:
    begin = 0
    columns = ("item_id", "frequency", "season_length", "start")
    for batch in corpus.batches(*columns):
        for k, (item, frequency, season, start) in enumerate(zip(*batch, strict=True)):
            seconds = start.astype("datetime64[s]").astype("int64")
            known = seconds > -(2**62)  # NaT
            yield Series(
                item,
                corpus.series(begin + k),
                frequency,
                int(season),
                int(seconds) if known else None,
            )
        begin += len(batch[0])
