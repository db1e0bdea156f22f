"""Panels that a model reads as one system: do the series end together, in the order it knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tsfm.frames.errors import DataWarning, some, warn
from tsfm.frames.panel import Panel

Rows = npt.NDArray[np.intp]


class UnalignedWarning(DataWarning):
    """Series that are read as one system do not end at the same time."""


class VariateWarning(DataWarning):
    """The series of one system are not those that the model was trained on."""


def warn_unaligned(panel: Panel, rows: Rows) -> None:
    """Warn where some series of a panel end at different times or differ in frequency."""
    ends = {(panel.frequencies[i].alias, int(panel.last[i])) for i in rows.tolist()}
    if len(ends) > 1:
        warn(
            f"The {len(rows)} series end at {len(ends)} different times or have different "
            "frequencies; smamba reads them as one system and aligns them at their last rows. "
            "Cut them at a common time, or take spacetime, which reads each on its own.",
            UnalignedWarning,
        )


def training_order(panel: Panel, rows: Rows, names: Sequence[str]) -> Rows:
    """The rows in the order of training, with a warning where they are other series.

    Parameters
    ----------
    panel
        The series.
    rows
        Numbers of those that are read.
    names
        Labels of the series of training, in their order; empty if they had none.

    Returns
    -------
    ndarray
        Series known by their label first, as in training, then the others as they come. As given
        where there are no names, or a label stands for several series.
    """
    labels = [panel.label(i) for i in rows.tolist()]
    position = {name: i for i, name in enumerate(names)}
    if not names or len(position) < len(names) or len(set(labels)) < len(labels):
        return rows
    new = [label for label in labels if label not in position]
    gone = sorted(set(names) - set(labels), key=position.__getitem__)
    if new or gone:
        parts = [f"new {some(new)}"] if new else []
        parts += [f"missing {some(gone)}"] if gone else []
        warn(
            f"The model was trained on {len(names)} series as one system, and these are others: "
            f"{', '.join(parts)}. Each forecast depends on all series: give those of training, "
            "by the same names, or train on these.",
            VariateWarning,
        )
    return rows[np.argsort([position.get(label, len(names)) for label in labels], kind="stable")]
