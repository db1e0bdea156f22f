"""The files of a run that people read: `run.json` and the table of validation scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsfm.config import by_dotted_key
from tsfm.training.config import RunConfig
from tsfm.training.task import Scores

_RUN = "run.json"
_FREE_TO_CHANGE = {
    "max_steps",
    "checkpoint_minutes",
    "validate_every",
    "log_every",
    "compile",  # same function, other rounding
    "devices",  # so do these three, but for dropout and `steps_per_token`
    "num_nodes",
    "strategy",
}
"""Settings that a resumed run may have otherwise than it began with."""
_OF_DECAY_ALONE = {"optimizer.last_k", "optimizer.last_k_share"}
"""Settings that each decay branch may have otherwise than the trunk it leaves."""


def write_record(
    out: Path,
    config: RunConfig,
    step: int,
    branch: str,
    decay_start: int | None,
    decay_steps: int,
) -> None:
    """Write `run.json`: how far a run has come, and the whole configuration it was begun with.

    Parameters
    ----------
    out
        Folder of the run.
    config
        The run.
    step
        Optimiser steps taken.
    branch
        "trunk" or "decay".
    decay_start, decay_steps
        Where the decay branch leaves the trunk, and its length; None and 0 on the trunk.
    """
    record = {
        "step": step,
        "branch": branch,
        "decay_start": decay_start,
        "decay_steps": decay_steps,
        "config": config.to_dict(),
    }
    _replace_text(out / _RUN, json.dumps(record, indent=2) + "\n")


def read_record(out: Path) -> dict[str, Any]:
    """What `write_record` wrote."""
    record: dict[str, Any] = json.loads((out / _RUN).read_text(encoding="utf-8"))
    return record


def check_same_run(config: RunConfig, out: Path, *, decaying: bool = False) -> None:
    """Refuse to go on with other data, another model or another schedule than a run began with.

    Parameters
    ----------
    config
        The run as it is to go on.
    out
        Its folder.
    decaying
        Whether it is a decay branch that goes on, and not the trunk or a new branch of it.

    Raises
    ------
    ValueError
        If a setting differs that the result depends on; the message names it.
    """
    recorded = read_record(out)["config"]
    task = recorded.get("task", "forecast")
    if task != config.task:
        raise ValueError(f"{out} holds a run of the task {task!r}, not {config.task!r}.")
    begun = by_dotted_key(config.from_dict(recorded).to_dict())
    now = by_dotted_key(config.to_dict())
    free = _FREE_TO_CHANGE if decaying else _FREE_TO_CHANGE | _OF_DECAY_ALONE
    for key in sorted({*begun, *now} - free):
        if begun.get(key) != now.get(key):
            raise ValueError(
                f"{out} was begun with {key}={begun.get(key)!r}, now it is {now.get(key)!r}: "
                "going on would not end like an uninterrupted run. Give the configuration, --seed "
                "and --set that it began with, or start another from its model with --initial."
            )
    moved = [pair for pair in zip(_order(begun), _order(now), strict=True) if pair[0] != pair[1]]
    if moved:
        raise ValueError(
            f"{out} was begun with {moved[0][0]} where {moved[0][1]} is now: families are drawn "
            "by their place in the recipe. List them in the order that the run began with."
        )


def same_everywhere(config: RunConfig) -> dict[str, Any]:
    """Settings by dotted key that all processes of a run must have alike; folders may differ."""
    leaves = by_dotted_key(config.to_dict())
    facts = {key: value for key, value in leaves.items() if key != "corpus.path"}
    return facts | {"the order of families": _order(leaves)}


def _order(leaves: dict[str, Any]) -> list[str]:
    """Families in the order of the recipe, which decides what is drawn."""
    return [key for key in leaves if key.startswith("recipe.families.")]


def write_scores(scores: Scores, path: Path, step: int) -> None:
    """Append the table to a CSV; rows a resumed run makes again are replaced."""
    rows = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    rows = [row for row in rows if int(row.split(",")[0]) < step]
    rows += [",".join((str(step), *row)) for row in scores.rows]
    _replace_text(path, "\n".join([",".join(("step", *scores.columns)), *rows]) + "\n")


def _replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
