"""Files with a whole series per record: Monash .tsf; JSON lines, Arrow, Parquet as in GluonTS.

gluonts reads these too, but a .tsf file as a whole, and JSON lines after a pass over the file for
the places of the lines; here one record is in memory at a time.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsfm.datasets.stored.layout import Float64, Series, arrow
from tsfm.frames import DataError, parse_frequency

_TSF_STEPS = {
    "seconds": "s", "secondly": "s", "minutely": "min", "minutes": "min", "hourly": "h",
    "hours": "h", "daily": "D", "days": "D", "weekly": "W", "weeks": "W", "monthly": "ME",
    "months": "ME", "quarterly": "QE", "quarters": "QE", "yearly": "YE", "years": "YE",
}  # fmt: skip
_BATCH_ROWS = 16
TARGETS = ("target", "values")
"""Fields that can hold a series, the first that is there: of GluonTS, and of TSB-AD."""
_NAMES = ("item_id", "unique_id", "series_id")


def tsf_series(path: Path, freq: str = "") -> Iterator[Series]:
    """The series of a Monash file, in its order.

    Parameters
    ----------
    path
        The file; text in Latin-1, with a header of lines that begin with "@".
    freq
        Step, where the file names none.

    Raises
    ------
    DataError
        If a line is not as the header says; the message names it.
    """
    attributes: list[tuple[str, str]] = []
    alias = freq
    in_data = False
    with path.open(encoding="latin1") as file:
        for number, raw in enumerate(file, 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if not in_data:
                tag, *rest = line.split()
                if tag.lower() == "@attribute" and len(rest) == 2:
                    attributes.append((rest[0], rest[1]))
                elif tag.lower() == "@frequency" and rest:
                    alias = _tsf_frequency(rest[0], path)
                in_data = tag.lower() == "@data"
                if not tag.startswith("@"):
                    raise DataError(f"{path}, line {number}: no @data line came before the series")
                continue
            parts = line.split(":")
            if len(parts) != len(attributes) + 1:
                raise DataError(
                    f"{path}, line {number}: {len(parts) - 1} attributes, the header names "
                    f"{len(attributes)}"
                )
            yield _tsf_line(path, number, attributes, parts, alias)
    if not in_data:
        raise DataError(f"{path} has no @data line: it is no Monash .tsf file")


def _tsf_line(
    path: Path, number: int, attributes: list[tuple[str, str]], parts: list[str], alias: str
) -> Series:
    found = dict(zip((name for name, _ in attributes), parts, strict=False))
    name = next((found[n] for n, kind in attributes if kind == "string"), str(number))
    start = None
    for attribute, kind in attributes:
        if kind == "date":
            date, _, clock = found[attribute].partition(" ")
            start = _seconds(f"{date} {clock.replace('-', ':')}".strip())
    try:
        values = np.array(parts[-1].replace("?", "nan").split(","), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {error}") from None
    return Series(name, values, *step_of(alias), start)


def _tsf_frequency(text: str, path: Path) -> str:
    count, _, unit = text.rpartition("_")
    step = _TSF_STEPS.get(unit)
    if step is None or not (count in ("", "half") or count.isdigit()):
        raise DataError(f"{path}: @frequency {text} is unknown; give it with --freq")
    if count == "half":
        return "30min" if step == "h" else f"0.5{step}"
    return count + step


@lru_cache(maxsize=256)
def step_of(alias: str) -> tuple[str, int]:
    """A pandas alias as pandas spells it today, and the steps in its usual season, 0 for none.

    Examples
    --------
    >>> step_of("15T"), step_of("W-SUN"), step_of("")
    (('15min', 96), ('W', 52), ('', 0))
    """
    if not alias:
        return "", 0
    try:
        frequency = parse_frequency(alias, "ns")
    except ValueError:
        return alias, 0
    return frequency.alias, frequency.season_length or 0


def _seconds(value: Any) -> int | None:
    """Seconds since 1970 of anything that reads as a time; None otherwise."""
    try:
        stamp = value.to_timestamp() if isinstance(value, pd.Period) else pd.Timestamp(value)
        return None if pd.isna(stamp) else int(stamp.timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def record_series(path: Path, freq: str = "") -> Iterator[Series]:
    """The series of records with `target` (as in GluonTS) or `values`, `start`, id and `freq`.

    A record of several variates gives one series each, named "id/0", ...: `target` holds a list
    per variate, as GluonTS writes it, `values` a list of channels per step, as in TSB-AD.

    Parameters
    ----------
    path
        `.json`, `.jsonl` (also `.gz`), `.arrow`, `.feather` or `.parquet`.
    freq
        Step of series that name none; else that of a `metadata.json` beside or above the file.

    Raises
    ------
    DataError
        If a record has no series of numbers; the message names it.
    """
    default = freq or _folder_frequency(path)
    rows = _json_rows(path) if ".json" in "".join(path.suffixes[-2:]) else _arrow_rows(path)
    for number, row in enumerate(rows):
        field = next((name for name in TARGETS if name in row), None)
        if field is None:
            raise DataError(
                f"{path}, record {number}: no field {' or '.join(map(repr, TARGETS))} among "
                f"{list(row)}"
            )
        try:
            target = np.asarray(row[field], dtype=np.float64)
        except (ValueError, TypeError):
            raise DataError(
                f"{path}, record {number}: its {field} holds something that is no number"
            ) from None
        if target.ndim not in (1, 2):
            raise DataError(f"{path}, record {number}: its {field} has shape {target.shape}")
        if field == "values":
            target = target.T  # channels of a step side by side
        alias = str(row.get("freq") or default)
        name = next((str(row[n]) for n in _NAMES if row.get(n) is not None), str(number))
        start = _seconds(row.get("start"))
        for k, values in enumerate(np.atleast_2d(target)):
            label = f"{name}/{k}" if target.ndim == 2 else name
            yield Series(label, values, *step_of(alias), start)


def _folder_frequency(path: Path) -> str:
    for folder in (path.parent, path.parent.parent):
        if (folder / "metadata.json").is_file():
            return str(json.loads((folder / "metadata.json").read_text()).get("freq") or "")
    return ""


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}, record {number}: not a JSON object per line, as GluonTS writes them"
                )
            yield row


def _arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in _batches(path):
        names = batch.schema.names
        field = next((name for name in TARGETS if name in names), None)
        target = None if field is None else batch.column(field)
        others = [n for n in (*_NAMES, "start", "freq", "target._np_shape") if n in names]
        for i in range(batch.num_rows):
            row = {name: batch.column(name)[i].as_py() for name in others}
            if field is not None and target is not None:
                row[field] = _list_values(target[i], row.pop("target._np_shape", None))
            yield row


def _list_values(scalar: Any, shape: list[int] | None) -> Float64 | list[Any]:
    values = scalar.values
    if values is None:
        return []
    if hasattr(values, "flatten") and hasattr(values.type, "value_type"):  # a list of lists
        return [part.values.to_numpy(zero_copy_only=False) for part in values]
    flat: Float64 = values.to_numpy(zero_copy_only=False)
    return flat if shape is None else flat.reshape(shape)


def _batches(path: Path) -> Iterator[Any]:
    pa = arrow()
    if path.suffix in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS)
        return
    with path.open("rb") as peek:
        random_access = peek.read(6) == b"ARROW1"
    with pa.memory_map(str(path)) as source:
        if random_access:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)
        else:
            yield from pa.ipc.open_stream(source)
