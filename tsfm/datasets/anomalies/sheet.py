"""A sheet of pictures of the labelled corpus: every type of anomaly, its twin, its labels."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tsfm.datasets.anomalies.catalogue import GRAPH, KIND_NAMES, all_types
from tsfm.datasets.anomalies.examples import type_examples
from tsfm.datasets.anomalies.generate import LabelledBatch, anomaly_batch
from tsfm.datasets.anomalies.recipe import AnomalyRecipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIXED = "as drawn"
"""Rows of the sheet that show samples as the corpus mixes them."""
_LINES = ("#2f6690", "#3a7d44", "#8a7b2f")


def anomaly_sheet(
    *,
    recipe: str | Path | None = None,
    kinds: tuple[str, ...] = (),
    columns: int = 5,
    length: int = 512,
    seed: int = 0,
) -> Figure:
    """Draw examples of every type of anomaly.

    Series in colour, their clean twins in grey behind them, labelled steps shaded. A picture
    without shading shows a change that is too small to be labelled.

    Parameters
    ----------
    recipe
        A recipe of labelled series, such as `datasets/anomalies.yaml`; plain waves by default.
    kinds
        Types to draw, by default all of them, followed by samples as the corpus mixes them.
    columns
        Examples per type.
    length
        Steps per example, at least 64.
    seed
        The same seed draws the same picture; types do not disturb one another's draws.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; save it with `figure.savefig(path)`.

    Raises
    ------
    ValueError
        If a type is unknown, or `columns` is no size.

    Examples
    --------
    >>> figure = anomaly_sheet(kinds=("outlier",), columns=2, length=128)
    >>> len(figure.axes)
    2
    """
    if columns < 1:
        raise ValueError(f"columns >= 1 is needed, not {columns}")
    loaded = AnomalyRecipe() if recipe is None else AnomalyRecipe.load(recipe)
    names = kinds or (*KIND_NAMES[1:], *[MIXED] * 3)
    unknown = sorted(set(names) - {*KIND_NAMES[1:], MIXED})
    if unknown:
        raise ValueError(
            f"unknown anomaly type {unknown[0]!r}; known: {', '.join(KIND_NAMES[1:])}"
        )
    return _draw(loaded, names, columns, length, seed)


def _draw(
    recipe: AnomalyRecipe, names: tuple[str, ...], columns: int, length: int, seed: int
) -> Figure:
    from matplotlib.figure import Figure

    height = 0.72 * len(names) + 0.9
    width = 2.3 * columns + 2.4
    figure = Figure(figsize=(width, height), facecolor="white")
    grid = figure.add_gridspec(
        len(names), columns, left=2.3 / width, right=0.995, top=1 - 0.65 / height,
        bottom=0.15 / height, hspace=0.22, wspace=0.05,
    )  # fmt: skip
    figure.suptitle(
        f"Anomalies: {length} steps, labelled steps shaded, clean twin grey, seed {seed}",
        x=0.01, ha="left", y=1 - 0.22 / height, va="center", fontsize=12, fontweight="bold",
    )  # fmt: skip
    for i, name in enumerate(names):
        rng = torch.Generator().manual_seed(zlib.crc32(name.encode()) + 1_000_003 * seed + i)
        batch = _examples(recipe, name, i, columns, length, rng)
        for j in range(columns):
            axes = figure.add_subplot(grid[i, j])
            _panel(axes, batch, j)
            if j == 0:
                _label(axes, name)
    return figure


def _examples(
    recipe: AnomalyRecipe, name: str, row: int, n: int, length: int, rng: torch.Generator
) -> LabelledBatch:
    if name == MIXED:
        return anomaly_batch(recipe, n, 1 if row % 2 else 3, length, rng)
    return type_examples(recipe, name, n, length, rng)


def _panel(axes: Axes, batch: LabelledBatch, row: int) -> None:
    """The channels of one sample above one another, without ticks."""
    offset = 0.0
    for c in range(batch.values.shape[1]):
        values, clean = batch.values[row, c], batch.clean[row, c]
        steps = range(len(values))
        colour = _LINES[c % len(_LINES)]
        axes.plot(steps, (clean + offset).tolist(), color="#b9b9b9", linewidth=0.6)
        axes.plot(steps, (values + offset).tolist(), color=colour, linewidth=0.7)
        low, high = float(values.nan_to_num().amin()), float(values.nan_to_num().amax())
        room = 0.5 + len(values) / 250  # a single step must be seen
        for begin, end in _runs(batch.labels[row, c].tolist()):
            axes.fill_between(
                [begin - room, end - 1 + room], offset + low, offset + high, color="#d1495b",
                alpha=0.28, linewidth=0,
            )  # fmt: skip
        offset -= max(1.0, high - low) * 1.1
    axes.set_xlim(0, batch.values.shape[2] - 1)
    axes.margins(y=0.1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f7f7f5")
    for side in axes.spines.values():
        side.set_visible(False)


def _runs(marks: list[bool]) -> list[tuple[int, int]]:
    """Runs of True as half-open ranges."""
    edges = [i for i in range(len(marks) + 1) if (i < len(marks) and marks[i]) != (
        i > 0 and marks[i - 1]
    )]  # fmt: skip
    return list(zip(edges[::2], edges[1::2], strict=True))


def _label(axes: Axes, name: str) -> None:
    """Name and group of a row, left of its first picture."""
    style: dict[str, Any] = {
        "xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False
    }  # fmt: skip
    group = all_types()[name].group if name in all_types() else ""
    text = "channels" if name == GRAPH else group
    axes.annotate(name, (0, 1), (-160, -10), fontsize=8.5, fontweight="bold", **style)
    axes.annotate(text, (0, 1), (-160, -22), fontsize=7, color="#555555", **style)
