"""The command `tsfm`: one module per command, nothing heavy imported before a command runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line (the console script `tsfm`)."""
    from tsfm.cli.app import app

    app(prog_name="tsfm")
