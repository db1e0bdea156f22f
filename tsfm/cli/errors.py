"""Errors and warnings as a person wants to read them: one line, in colour, with a way out."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

ARGUMENT = re.compile(
    r"\b(id_col|timestamp_col|target_col|freq|on_gaps|on_duplicates|prediction_length)="
    r"(['\"]?)([\w.-]*\w|)\2"
)
"""A library argument with its value, as error messages advise it."""

EXPECTED = (ValueError, TypeError, LookupError, OSError, ImportError, NotImplementedError)
"""What the library raises about its input; anything else is a fault of ours and says so."""


def note(message: str) -> None:
    """Write a line to stderr, so that stdout stays clean for data."""
    typer.secho(message, err=True, dim=True)


def _one_line(error: BaseException) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return _with_flags(" ".join(str(text).split())) or type(error).__name__


def _with_flags(message: str) -> str:
    """Name the remedy as it is typed here: `on_gaps="raise"` becomes `--on-gaps raise`."""

    def as_flag(match: re.Match[str]) -> str:
        name, value = match[1].replace("_", "-"), match[3]
        if not value:
            return f"--{name}"
        return f"--{name} {'none' if value == 'None' else value}"

    return ARGUMENT.sub(as_flag, message)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = _with_flags(" ".join(str(message).split()))
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
            with _warnings_in_one_line():
                return super().invoke(ctx)
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None
        except EXPECTED as error:
            typer.secho(f"error: {_one_line(error)}", err=True, fg="red")
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
