"""Pictures of forecasts: the end of the history, the median, and the 80% and 50% bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.frames.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
MAX_PANELS = 9
HISTORY = "#3d4650"
FORECAST = "#1f6f8b"
_GRID = "#e4e7eb"
TEXT = "#5b6570"


def plot_forecast(
    panel: Panel, forecast: pd.DataFrame, ax: Axes | None = None
) -> Axes | np.ndarray[Any, Any]:
    """Draws each series of a panel with its forecast.

    Parameters
    ----------
    panel
        The series that were forecast.
    forecast
        Answer of `Forecaster.predict` for this panel. The bands are made of the levels it has:
        the pair nearest to 0.1 and 0.9, and the pair nearest to 0.25 and 0.75.
    ax
        Axes to draw on, for a single series.

    Returns
    -------
    Axes or ndarray of Axes
        One per series, the first nine.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The forecast is not of these series, or `ax` was given for several.
    """
    plt = import_pyplot()
    horizon, rest = divmod(len(forecast), len(panel))
    if rest or not horizon:
        raise ValueError(
            f"The forecast has {len(forecast)} rows, which does not fit {len(panel)} series."
        )
    count = min(len(panel), MAX_PANELS)
    if ax is not None:
        if len(panel) > 1:
            raise ValueError(
                f"ax holds one series, but there are {len(panel)}. Leave ax out, or choose one "
                "series."
            )
        _draw(ax, panel, 0, forecast, horizon, legend=True)
        return ax
    columns = 1 if count <= 3 else 2 if count == 4 else 3
    rows = -(-count // columns)
    size = (9.0, 3.4) if count == 1 else (5.4 * columns if columns > 1 else 9.0, 2.7 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for i, axis in enumerate(axes.flat):
        if i < count:
            _draw(
                axis,
                panel,
                i,
                forecast.iloc[i * horizon : (i + 1) * horizon],
                horizon,
                legend=i == 0,
            )
        else:
            axis.set_visible(False)
    if len(panel) > MAX_PANELS:
        figure.supxlabel(f"The first {MAX_PANELS} of {len(panel)} series", color=TEXT, fontsize=9)
    first: Axes = axes.flat[0]
    return first if count == 1 else axes.reshape(-1)[:count]


def import_pyplot() -> Any:
    """`matplotlib.pyplot`, or an ImportError that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install matplotlib") from error
    return plt


def _draw(
    ax: Axes, panel: Panel, index: int, forecast: pd.DataFrame, horizon: int, *, legend: bool
) -> None:
    tail = min(len(panel.values[index]), max(3 * horizon, 60))
    history = panel.values[index][-tail:]
    past = positions(panel.timestamps(index).iloc[-tail:])
    future = positions(forecast[panel.layout.timestamp_name])
    handles = [
        ax.plot(
            past, history, color=HISTORY, linewidth=1.1, label="history", solid_joinstyle="round"
        )[0]
    ]
    joined = np.concatenate([past[-1:], future])
    anchor = history[-1:]
    alpha = {0: 0.22, 1: 0.36}
    for i, (low, high) in enumerate(_bands(forecast)):
        lower = np.concatenate([anchor, forecast[low].to_numpy()])
        upper = np.concatenate([anchor, forecast[high].to_numpy()])
        share = round(100 * (float(high) - float(low)))
        band = ax.fill_between(
            joined, lower, upper, color=FORECAST, alpha=alpha[i], linewidth=0, label=f"{share}%"
        )
        handles.append(band)  # type: ignore[arg-type]
    middle = np.concatenate([anchor, forecast["predictions"].to_numpy()])
    handles.insert(1, ax.plot(joined, middle, color=FORECAST, linewidth=1.8, label="forecast")[0])
    if len(past):
        ax.axvline(past[-1], color=TEXT, linewidth=0.7, linestyle=(0, (2, 3)))
    style(ax, panel, panel.label(index))
    if legend:
        ax.legend(
            handles=handles, loc="upper left", ncols=4, frameon=False, fontsize=8, labelcolor=TEXT
        )
        ax.margins(y=0.18)


def _bands(forecast: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of columns nearest to 0.1-0.9 and 0.25-0.75, outer one first."""
    names = [c for c in forecast.columns if isinstance(c, str) and _is_level(c)]
    levels = {round(float(name), 9): name for name in names}
    pairs = [
        (levels[q], levels[round(1 - q, 9)])
        for q in levels
        if q < 0.5 and round(1 - q, 9) in levels
    ]
    if not pairs:
        return []
    outer = min(pairs, key=lambda pair: abs(float(pair[0]) - 0.1))
    inner = [pair for pair in pairs if float(pair[0]) > float(outer[0])]
    return (
        [outer] if not inner else [outer, min(inner, key=lambda pair: abs(float(pair[0]) - 0.25))]
    )


def _is_level(name: str) -> bool:
    try:
        return 0.0 < float(name) < 1.0
    except ValueError:
        return False


def positions(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Timestamps as matplotlib places them: dates (local time) or numbers."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_localize(None)
    return column.to_numpy()


def style(ax: Axes, panel: Panel, title: str = "") -> None:
    """Gives axes that hold values of a panel the look of the house."""
    ax.set_title(title, loc="left", fontsize=10, color=HISTORY, fontweight="bold")
    ax.grid(True, color=_GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_GRID)
    ax.tick_params(colors=TEXT, labelsize=8, length=0)
    if max(map(abs, ax.get_ylim())) >= 1e6:  # 150M, instead of a power of ten above the axis
        from matplotlib.ticker import EngFormatter

        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    if panel.axis.kind != "integer":
        import matplotlib.dates as mdates

        dates: Any = mdates  # matplotlib.dates is not typed
        locator = dates.AutoDateLocator(minticks=3, maxticks=7)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.xaxis.get_offset_text().set_color(TEXT)
    ax.xaxis.get_offset_text().set_fontsize(8)
