"""What a corpus holds: counts, lengths, frequencies, missing values, and a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsfm.datasets.stored.corpus import Corpus
from tsfm.datasets.stored.layout import STRATA_FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _PALE, _GREY = "#2f6690", "#f7f7f5", "#555555"
_LONGEST_DRAWN = 2_000


@dataclass(frozen=True)
class Group:
    """The series of one frequency, or of one stratum.

    Parameters
    ----------
    name
        pandas alias ("unknown" without one), or number of the stratum.
    n_series, n_values
        Series and steps.
    shortest, median, longest
        Lengths in steps.
    missing
        Share of the steps without a value.
    n_with_missing
        Series that have such steps.
    """

    name: str
    n_series: int
    n_values: int
    shortest: int
    median: int
    longest: int
    missing: float
    n_with_missing: int


@dataclass(frozen=True)
class Summary:
    """What `tsfm corpus inspect` shows.

    Parameters
    ----------
    frequencies
        One group per frequency, the largest first.
    strata
        One per stratum; empty if the corpus has not been stratified.
    n_duplicates
        Series whose values are those of an earlier one.
    """

    frequencies: tuple[Group, ...]
    strata: tuple[Group, ...]
    n_duplicates: int


def summarise(corpus: Corpus) -> Summary:
    """Count a corpus by frequency and stratum; the values themselves are not read."""
    parts = [
        (lengths, missing, np.asarray(names, dtype=str), np.asarray(hashes, dtype="S16"))
        for lengths, missing, names, hashes in corpus.batches(
            "length", "missing", "frequency", "hash"
        )
    ]
    lengths, missing, names, hashes = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    groups = _groups(np.where(names == "", "unknown", names), lengths, missing)
    strata: tuple[Group, ...] = ()
    if corpus.stratified:
        stratum = corpus.column("stratum", STRATA_FILE)
        strata = tuple(_groups(stratum, lengths, missing))
    by_size = sorted(groups, key=lambda group: -group.n_values)
    return Summary(tuple(by_size), strata, len(hashes) - len(np.unique(hashes)))


def _groups(
    key: NDArray[Any], lengths: NDArray[np.int64], missing: NDArray[np.float32]
) -> list[Group]:
    names, member = np.unique(key, return_inverse=True)
    groups = []
    for k, name in enumerate(names.tolist()):
        rows = member == k
        steps, lost = lengths[rows], missing[rows]
        groups.append(
            Group(
                str(name),
                len(steps),
                int(steps.sum()),
                int(steps.min()),
                int(np.median(steps)),
                int(steps.max()),
                float((lost * steps).sum() / steps.sum()),
                int((lost > 0).sum()),
            )
        )
    return groups


def sheet(corpus: Corpus, *, rows: int = 6, columns: int = 5, seed: int = 0) -> Figure:
    """Draw how long and how complete the series are, and some of them.

    Parameters
    ----------
    corpus
        The corpus.
    rows, columns
        Number of series drawn, in order of their predictability if they have been stratified.
    seed
        The same seed draws the same series.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; save it with `figure.savefig(path)`.

    Raises
    ------
    ValueError
        If `rows` or `columns` is below 1.
    """
    from matplotlib.figure import Figure

    if rows < 1 or columns < 1:
        raise ValueError(f"rows and columns must be at least 1, not {rows} and {columns}.")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(corpus))[: rows * columns])
    score = None
    if corpus.stratified:
        score = corpus.column("predictability", STRATA_FILE)
        chosen = chosen[np.argsort(np.nan_to_num(score[chosen], nan=-1.0), kind="stable")]
    height = 1.15 * rows + 3.2
    figure = Figure(figsize=(2.4 * columns, height), facecolor="white")
    grid = figure.add_gridspec(
        rows + 2, max(2, columns), top=1 - 0.6 / height, bottom=0.15 / height, left=0.05,
        right=0.98, height_ratios=[1.5, 0.2, *[1] * rows], hspace=0.45, wspace=0.08,
    )  # fmt: skip
    meta = corpus.meta
    figure.suptitle(
        f"{corpus.path.name}: {meta.n_series:,} series, {meta.n_values:,} steps, "
        f"{meta.n_missing / meta.n_values:.1%} missing",
        x=0.01, ha="left", y=1 - 0.2 / height, va="center", fontsize=12, fontweight="bold",
    )  # fmt: skip
    half = max(2, columns) // 2
    _histogram(figure.add_subplot(grid[0, :half]), corpus.column("length"), "length (steps)")
    _shares(figure.add_subplot(grid[0, half:]), summarise(corpus).frequencies)
    for k, number in enumerate(chosen.tolist()):
        axes = figure.add_subplot(grid[2 + k // columns, k % columns])
        item, frequency, length = (c[0] for c in corpus.rows(np.array([number]), *_LABELS))
        title = f"{str(item)[:18]}  {frequency}  {length:,}"
        if score is not None:
            title += f"  {score[number]:.2f}"
        _curve(axes, corpus, number, title)
    return figure


_LABELS = ("item_id", "frequency", "length")


def _histogram(axes: Axes, lengths: NDArray[np.int64], label: str) -> None:
    edges = np.geomspace(max(1, lengths.min()), lengths.max() + 1, 30)
    axes.hist(lengths, bins=edges.tolist(), color=_BLUE)
    axes.set_xscale("log")
    _plain(axes, f"{label}, number of series")


def _shares(axes: Axes, groups: tuple[Group, ...]) -> None:
    """Steps of each frequency, and how many of them lack a value."""
    shown = groups[:8]
    places = np.arange(len(shown))
    axes.barh(places, [g.n_values for g in shown], color="#c9d6e0")
    axes.barh(places, [g.n_values * (1 - g.missing) for g in shown], color=_BLUE)
    axes.set_yticks(places.tolist(), [g.name for g in shown])
    axes.invert_yaxis()
    _plain(axes, "steps by frequency (pale: missing)")


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8, color=_GREY, loc="left")
    axes.tick_params(labelsize=7, colors=_GREY, length=2)
    for side in axes.spines.values():
        side.set_visible(False)


def _curve(axes: Axes, corpus: Corpus, number: int, title: str) -> None:
    values = corpus.series(number)[-_LONGEST_DRAWN:]
    axes.plot(values, color=_BLUE, linewidth=0.7)
    axes.set_title(title, fontsize=6.5, color=_GREY, loc="left", pad=2)
    axes.set_xlim(0, max(1, len(values) - 1))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(_PALE)
    for side in axes.spines.values():
        side.set_visible(False)
