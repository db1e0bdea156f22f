"""Pictures of tokens: the series in the shades of its tokens, and the curve that set the cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.frames.panel import Panel
from tsfm.plotting import FORECAST, HISTORY, MAX_PANELS, TEXT, import_pyplot, positions, style
from tsfm.tokenization import Tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADE = "#eef2f5"
_CURVE = "#c2703d"


def plot_tokens(
    panel: Panel, tokens: Sequence[Tokens], last: int | None = None
) -> Axes | np.ndarray[Any, Any]:
    """Draws each series of a panel with the borders of its tokens.

    Every other token is shaded. Where the tokenizer measured how hard the steps are to foresee,
    that curve stands below the series.

    Parameters
    ----------
    panel
        The series that were cut.
    tokens
        Of each series that is drawn.
    last
        Draw only so many of the last steps; all if None.

    Returns
    -------
    Axes or ndarray of Axes
        Those of the series, the first nine.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    plt = import_pyplot()
    count = min(len(panel), MAX_PANELS)
    curves = any(t.scores is not None for t in tokens[:count])
    ratios = [3, 1] * count if curves else [1] * count
    figure, axes = plt.subplots(
        len(ratios),
        1,
        figsize=(9.0, (3.4 if curves else 2.6) * count),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": ratios},
    )
    tops = axes[:: 2 if curves else 1, 0]
    for i in range(count):
        _draw(tops[i], axes[2 * i + 1, 0] if curves else None, panel, i, tokens[i], last)
    if len(panel) > MAX_PANELS:
        figure.supxlabel(f"The first {MAX_PANELS} of {len(panel)} series", color=TEXT, fontsize=9)
    first: Axes = tops[0]
    return first if count == 1 else tops


def _draw(
    ax: Axes, below: Axes | None, panel: Panel, index: int, tokens: Tokens, last: int | None
) -> None:
    values = panel.values[index]
    begin = 0 if last is None else max(0, len(values) - last)
    x = positions(panel.timestamps(index))
    starts = tokens.start[tokens.start >= begin]
    ax.plot(x[begin:], values[begin:], color=HISTORY, linewidth=1.1, solid_joinstyle="round")
    ax.plot(x[starts], values[starts], "|", color=FORECAST, markersize=7, markeredgewidth=1.2)
    style(
        ax, panel, f"{panel.label(index)}: {len(starts)} tokens for {len(values) - begin:,} steps"
    )
    _shade(ax, x, starts)
    if below is None or tokens.scores is None:
        return
    below.plot(x[begin:], tokens.scores[begin:], color=_CURVE, linewidth=0.9)
    style(below, panel)
    _shade(below, x, starts)
    below.set_title(
        "how hard the next value is to foresee (nats)", loc="left", fontsize=8, color=TEXT
    )
    ax.sharex(below)
    ax.tick_params(labelbottom=False)
    ax.xaxis.get_offset_text().set_visible(False)


def _shade(ax: Axes, x: np.ndarray[Any, Any], starts: np.ndarray[Any, Any]) -> None:
    """Shades every other token."""
    ax.grid(False)
    edges = np.append(starts, len(x) - 1)
    for left, right in zip(edges[:-1:2], edges[1::2], strict=False):
        ax.axvspan(x[left], x[right], color=_SHADE, linewidth=0)
