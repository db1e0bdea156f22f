"""Errors and warnings as a person wants to read them: one line, in colour, with a way out."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

LINES = "tsfm.lines"
"""Key in a context's `meta`: the rows of the data are lines of a file, the header is line 1."""

SHIFTED: ContextVar[bool] = ContextVar("tsfm.shifted", default=False)
"""Whether the file read last has lines that are no rows: rows are counted then."""

_QUOTED = r"'[^']*'|\"[^\"]*\""

ARGUMENT = re.compile(
    r"\b(id_col|timestamp_col|target_col|freq|on_gaps|on_duplicates|prediction_length"
    r"|device|batch_size|mode|contamination|alpha|threshold|aggregation|min_segment|merge_gap"
    r"|context_length|delay)="
    rf"({_QUOTED}|[\w.-]*\w|)((?:(?:, | or )(?:{_QUOTED}))*)"
)
"""A library argument with its value and the other values, as error messages advise them."""

_INNER = r"[\[(](?:[^][()]|[\[(](?:[^][()]|[\[(][^][()]*[\])])*[\])])*[\])]"
_FILE = r"\S*\.(?:csv|tsv|txt|gz|parquet|pq|png|svg|pdf|jpg|webp|ya?ml|json)(?!\w)"
_CALL = rf"(?<![\w/\\.-])(?:df|pd|series)(?!{_FILE})(?:\.\w+|{_INNER})+"
_CODE = rf"{_CALL}(?: = (?:{_CALL}|{_INNER}))?(?: - \d+)?"

PYTHON = (
    (re.compile(r"set it to missing \(None\), then convert the column"), "leave the cell empty"),
    (re.compile(r"\bwith pd\.to_numeric\b(?:\([^()]*\))?"), "to numbers"),
    (re.compile(r"\bwith pd\.to_datetime\b(?:\([^()]*\))?"), "to dates"),
    (re.compile(rf" \((?:e\.g\. |with )?{_CODE}\)"), ""),
    (re.compile(rf"(?:[,:;]? (?:e\.g\.|with|by)|:)? {_CODE}(?: or {_CODE})*"), ""),
    (re.compile(r" \(a list forecasts each of them\)"), " (repeat it for several)"),
)
"""Python code in a remedy, and what stands in its place at the command line."""

ROW = re.compile(r"(?<!['\"])\brow (\d+)\b")

EXPECTED = (ValueError, TypeError, LookupError, OSError, ImportError, NotImplementedError)
"""What the library raises about its input; anything else is a fault of ours and says so."""


def note(message: str) -> None:
    """Write a line to stderr, so that stdout stays clean for data."""
    typer.secho(message, err=True, dim=True)


def _one_line(error: BaseException, *, lines: bool = False) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return translate(str(text), lines=lines, shifted=SHIFTED.get()) or type(error).__name__


def place(row: int, *, lines: bool, shifted: bool = False) -> str:
    """A row, counted from 0, as the person finds it.

    Parameters
    ----------
    row
        Number of the row in the table.
    lines
        Whether the rows are lines of a text file, whose header is line 1.
    shifted
        Whether that file has blank lines, or cells of several lines.

    Examples
    --------
    >>> place(3, lines=True), place(3, lines=True, shifted=True), place(3, lines=False)
    ('line 5 of the file', 'row 4 of the data', 'row 3')
    """
    if not lines:
        return f"row {row}"
    return f"row {row + 1} of the data" if shifted else f"line {row + 2} of the file"


def translate(message: str, *, lines: bool = False, shifted: bool = False) -> str:
    """Say on one line, for the command line, what the library says for Python.

    Parameters
    ----------
    message
        Text of an error or a warning.
    lines
        Whether the rows it counts are lines of a file.
    shifted
        Whether that file has lines that are no rows.

    Examples
    --------
    >>> translate("row 3. Pass on_gaps='raise', or drop it: df.drop(3).", lines=True)
    'line 5 of the file. Pass --on-gaps raise, or drop it.'
    """

    def as_flag(match: re.Match[str]) -> str:
        name, value = match[1].replace("_", "-"), _as_typed(match[2])
        if not value:
            return f"--{name}"
        others = re.sub(_QUOTED, lambda other: _as_typed(other[0]), match[3])
        return f"--{name} {'none' if value == 'None' else value}{others}"

    text = " ".join(message.split())
    for code, words in PYTHON:
        text = code.sub(words, text)
    text = ARGUMENT.sub(as_flag, text)
    if lines:
        text = ROW.sub(lambda row: place(int(row[1]), lines=True, shifted=shifted), text)
    return text


def _as_typed(value: str) -> str:
    """A Python literal as a shell wants it: quoted only where it must be."""
    return shlex.quote(value[1:-1]) if value[:1] in ("'", '"') and value[1:-1] else value


@contextmanager
def _warnings_in_one_line(context: Any) -> Iterator[None]:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = translate(str(message), lines=LINES in context.meta, shifted=SHIFTED.get())
        typer.secho(f"warning: {text}", err=True, fg="yellow")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show
        yield


class PoliteGroup(TyperGroup):
    """The root group: `--debug` is understood anywhere, library errors become one red line.

    Exit codes: 0 done, 1 a fault of the program, 2 something about the input or the command line.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` out of the arguments, wherever it stands."""
        ctx.meta["tsfm.debug"] = "--debug" in args
        return super().parse_args(ctx, [a for a in args if a != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; translate what it raises."""
        if ctx.meta["tsfm.debug"]:
            return super().invoke(ctx)
        try:
            with _warnings_in_one_line(ctx):
                return super().invoke(ctx)
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None
        except EXPECTED as error:
            text = _one_line(error, lines=LINES in ctx.meta)
            typer.secho(f"error: {text}", err=True, fg="red")
            raise typer.Exit(2) from None
        except MemoryError as error:
            hint = "try a smaller --batch-size or fewer series at a time"
            typer.secho(f"error: out of memory; {hint} ({_one_line(error)})", err=True, fg="red")
            raise typer.Exit(1) from None
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise  # usage errors, Exit and Abort: typer knows how to show them
            what = f"{type(error).__name__}: {_one_line(error)}"
            message = f"error: unexpected {what} (repeat with --debug for the traceback)"
            typer.secho(message, err=True, fg="red")
            raise typer.Exit(1) from None
