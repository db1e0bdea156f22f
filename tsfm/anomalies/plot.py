"""Pictures of what is anomalous: values, the expected band, points and segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.anomalies.answer import BAND
from tsfm.anomalies.findings import Finding
from tsfm.frames.panel import Panel
from tsfm.plotting import FORECAST, HISTORY, MAX_PANELS, TEXT, import_pyplot, positions, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALARM = "#c2402f"


def plot_findings(
    panel: Panel, findings: Sequence[Finding], ax: Axes | None = None
) -> Axes | np.ndarray[Any, Any]:
    """Draws series with what was found in them.

    Parameters
    ----------
    panel
        The series that were judged.
    findings
        What was found. Of an item whose channels were judged as one, all channels are drawn.
    ax
        Axes to draw on, for a single series.

    Returns
    -------
    Axes or ndarray of Axes
        One per series; of more than nine those with the highest scores, in their order.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        `ax` was given for several series.
    """
    plt = import_pyplot()
    lines = [
        (one, c)
        for one in findings
        for c in (range(one.item.values.shape[1]) if one.joint else one.channel[:1].tolist())
    ]
    if ax is not None:
        if len(lines) != 1:
            raise ValueError(
                f"ax holds one series, but there are {len(lines)}. Leave ax out, or choose one "
                "series."
            )
        _draw(ax, panel, *lines[0], legend=True)
        return ax
    peaks = [_peak(one.item.judged.score[:, c]) for one, c in lines]
    highest = np.argsort(-np.asarray(peaks), kind="stable")[:MAX_PANELS]
    shown = [lines[i] for i in np.sort(highest).tolist()]
    count = len(shown)
    figure, axes = plt.subplots(
        count,
        1,
        figsize=(9.0, 3.4 if count == 1 else 2.4 * count),
        squeeze=False,
        layout="constrained",
    )
    for i, line in enumerate(shown):
        _draw(axes[i, 0], panel, *line, legend=i == 0)
    if len(lines) > count:
        text = f"The {count} of {len(lines)} series with the highest scores"
        figure.supxlabel(text, color=TEXT, fontsize=9)
    first: Axes = axes[0, 0]
    return first if count == 1 else axes[:, 0]


def _peak(scores: np.ndarray[Any, Any]) -> float:
    return float(np.nan_to_num(scores, nan=-np.inf).max(initial=-np.inf))


def _draw(ax: Axes, panel: Panel, one: Finding, channel: int, *, legend: bool) -> None:
    series = one.item.number + channel
    x = positions(panel.timestamps(series))[one.item.first :][: len(one.score)]
    values, judged = one.item.values[:, channel], one.item.judged
    expected, margin = judged.expected[:, channel], BAND * judged.spread[:, channel]
    ax.fill_between(
        x, expected - margin, expected + margin, color=FORECAST, alpha=0.16, linewidth=0,
        label="expected",
    )  # fmt: skip
    ax.plot(x, values, color=HISTORY, linewidth=1.0, label="value", solid_joinstyle="round")
    for inside in one.members:
        ax.axvspan(x[inside[0]], x[inside[-1]], color=ALARM, alpha=0.12, linewidth=0)
    marked = one.segment >= 0
    if one.joint:
        marked = marked & (one.channel == channel)
    ax.plot(
        x[marked], values[marked], "o", color=ALARM, markersize=3.2, markeredgewidth=0,
        label="anomaly",
    )  # fmt: skip
    n = len(one.peak_p_value)
    found = "nothing found" if not n else f"{n} segment{'' if n == 1 else 's'}"
    style(ax, panel, f"{panel.label(series)}: {found}")
    if legend:
        ax.legend(loc="upper left", ncols=3, frameon=False, fontsize=8, labelcolor=TEXT)
        ax.margins(y=0.18)
