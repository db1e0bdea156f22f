"""Galleries of the synthetic corpora: a row of small pictures per family, or type of anomaly."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tsfm.datasets.anomalies.sheet import anomaly_sheet as anomaly_gallery
from tsfm.datasets.synthetic.base import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["anomaly_gallery", "gallery"]

COLOURS = (
    "#2f6690",
    "#b5651d",
    "#3a7d44",
    "#8e3b46",
    "#6a4c93",
    "#3d7c85",
    "#8a7b2f",
    "#4f5d75",
    "#a14a76",
)
"""One colour per group, in the order in which the groups appear."""


def gallery(
    *,
    recipe: str | Path | None = None,
    family: str | None = None,
    columns: int = 5,
    length: int = 512,
    seed: int = 0,
    families: Mapping[str, Family] | None = None,
) -> Figure:
    """Draw series of every generator family.

    Parameters
    ----------
    recipe
        A corpus recipe; only its families are drawn and their shares are written beside the names.
        By default all families.
    family
        Draw only this family, several rows of it.
    columns
        Series per row.
    length
        Steps per series.
    seed
        The same seed draws the same picture; families do not disturb one another's draws.
    families
        The registry to draw from, by default every family of the package.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; save it with `figure.savefig(path)`.

    Raises
    ------
    ValueError
        If `family` or a family of the recipe is unknown, or `columns` or `length` is no size.

    Examples
    --------
    >>> from tsfm.datasets.synthetic.base import Family, normal
    >>> noise = Family("noise", "shapes", lambda n, length, rng: normal(rng, n, length), "white")
    >>> figure = gallery(families={"noise": noise}, columns=3, length=64)
    >>> len(figure.axes)
    3
    """
    if columns < 1 or length < 2:
        raise ValueError(f"columns >= 1 and length >= 2 are needed, not {columns} and {length}")
    known = dict(families) if families is not None else _registry()
    shares = _shares(recipe)
    rows = _chosen(known, shares, family)
    return _draw(rows, shares, columns, length, seed)


def _registry() -> dict[str, Family]:
    from tsfm.datasets.synthetic import all_families

    return all_families()


def _chosen(
    known: dict[str, Family], shares: dict[str, float] | None, family: str | None
) -> list[Family]:
    """The families to draw, one per row; a single family gets four rows."""
    if family is not None:
        if family not in known:
            raise ValueError(f"unknown family {family!r}; known are: {', '.join(sorted(known))}")
        return [known[family]] * 4
    names = list(known) if shares is None else [name for name in known if shares.get(name, 0) > 0]
    return sorted((known[name] for name in names), key=lambda item: _group_order(known, item))


def _group_order(known: dict[str, Family], item: Family) -> int:
    return list(dict.fromkeys(f.group for f in known.values())).index(item.group)


def _shares(recipe: str | Path | None) -> dict[str, float] | None:
    """Share of each family in the recipe, adding up to 1; None without a recipe."""
    if recipe is None:
        return None
    from tsfm.datasets.recipes import Recipe

    weights = Recipe.load(recipe).families
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _draw(
    rows: list[Family], shares: dict[str, float] | None, columns: int, length: int, seed: int
) -> Figure:
    from matplotlib.figure import Figure

    count = len({item.name for item in rows})
    groups = list(dict.fromkeys(item.group for item in rows))
    colour = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}
    height = 0.75 * len(rows) + 0.9
    figure = Figure(figsize=(2.1 * columns + 3.6, height), facecolor="white")
    left = 3.4 / (2.1 * columns + 3.6)
    grid = figure.add_gridspec(
        len(rows), columns, left=left, right=0.99, top=1 - 0.7 / height, bottom=0.2 / height,
        hspace=0.25, wspace=0.06,
    )  # fmt: skip
    figure.suptitle(
        f"Corpus: {count} famil{'y' if count == 1 else 'ies'} of {length} steps, seed {seed}",
        x=0.01, ha="left", y=1 - 0.22 / height, va="center", fontsize=12, fontweight="bold",
    )  # fmt: skip
    repeat = len(rows) > 1 and count == 1
    for i, item in enumerate(rows):
        rng = torch.Generator().manual_seed(_seed_of(item.name, seed) + (i if repeat else 0))
        series = item.sample(columns, length, rng)  # [columns, length]
        for j in range(columns):
            axes = figure.add_subplot(grid[i, j])
            _panel(axes, series[j].tolist(), colour[item.group])
            if j == 0 and not (repeat and i > 0):
                share = None if shares is None else shares.get(item.name, 0.0)
                _label(axes, item, colour[item.group], share)
    return figure


def _seed_of(name: str, seed: int) -> int:
    """A seed per family, so that no two rows show the same random numbers."""
    return zlib.crc32(name.encode()) + 1_000_003 * seed


def _panel(axes: Axes, values: list[float], colour: str) -> None:
    """One series, without ticks: what matters here is the shape."""
    style: dict[str, Any] = {"color": colour, "linewidth": 0.7, "solid_joinstyle": "round"}
    axes.plot(values, **style)
    axes.set_xlim(0, len(values) - 1)
    axes.margins(y=0.12)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f7f7f5")
    for side in axes.spines.values():
        side.set_visible(False)


def _label(axes: Axes, item: Family, colour: str, share: float | None) -> None:
    """Name, group and process of a row, left of its first panel."""
    shift: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    percent = "" if share is None else f"  {share:.1%}"
    name = f"{item.name}{percent}"
    axes.annotate(name, (0, 1), (-240, -8), color=colour, fontsize=8.5, fontweight="bold", **shift)
    detail = textwrap.shorten(f"{item.group}: {item.summary}", 200, placeholder=" ...")
    text = "\n".join(textwrap.wrap(detail, 64)[:3])
    axes.annotate(text, (0, 1), (-240, -13), va="top", fontsize=6.5, color="#555555", **shift)
