"""What a frequency says about seasons: the lag of MASE, and the period a model is told about.

The two differ on purpose. GIFT-Eval scales MASE with gluonts' table, where days and weeks have no
season (lag 1). A forecaster may use what any calendar says: days repeat after a week, weeks after
a year.
"""

from __future__ import annotations

import re

_FREQUENCY = re.compile(r"^(?P<multiple>\d*)(?P<unit>[A-Za-z]+)(?:-[A-Za-z0-9]+)?$")

# Spelling of older and newer pandas -> one unit.
_UNITS = {
    "s": "s", "S": "s", "sec": "s",
    "min": "min", "T": "min",
    "h": "h", "H": "h",
    "D": "D", "d": "D",
    "B": "B",
    "W": "W",
    "M": "M", "ME": "M", "MS": "M",
    "Q": "Q", "QE": "Q", "QS": "Q",
    "A": "Y", "Y": "Y", "YE": "Y", "YS": "Y", "AS": "Y",
}  # fmt: skip

# gluonts.time_feature.seasonality.DEFAULT_SEASONALITIES, which the published rows used.
_METRIC_SEASON = {"s": 3600, "min": 1440, "h": 24, "D": 1, "W": 1, "M": 12, "B": 5, "Q": 4, "Y": 1}
# The cycle one level up in the calendar. Years have none.
_CALENDAR_SEASON = {"s": 3600, "min": 1440, "h": 24, "D": 7, "W": 52, "M": 12, "B": 5, "Q": 4}


def parse_frequency(freq: str) -> tuple[int, str]:
    """Split a pandas frequency string into its multiple and unit.

    Parameters
    ----------
    freq
        For example "15T", "15min", "H", "W-SUN", "ME". Both older and newer pandas spellings are
        understood.

    Returns
    -------
    tuple of (int, str)
        The multiple, and one of s, min, h, D, B, W, M, Q, Y.

    Raises
    ------
    ValueError
        If the string is not such a frequency.

    Examples
    --------
    >>> parse_frequency("15T"), parse_frequency("W-SUN")
    ((15, 'min'), (1, 'W'))
    """
    match = _FREQUENCY.match(freq)
    unit = _UNITS.get(match["unit"]) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"frequency {freq!r} is not understood; use a pandas frequency of seconds, minutes, "
            "hours, days, business days, weeks, months, quarters or years, such as '15min', 'h', "
            "'W-SUN' or 'M'"
        )
    multiple = int(match["multiple"] or 1)
    if multiple < 1:
        raise ValueError(f"frequency {freq!r} has a multiple of zero; use at least 1")
    return multiple, unit


def metric_season(freq: str) -> int:
    """Lag of the seasonal error in MASE: gluonts' table, 1 where the season does not divide.

    Examples
    --------
    >>> metric_season("15T"), metric_season("D"), metric_season("7H")
    (96, 1, 1)
    """
    multiple, unit = parse_frequency(freq)
    season, remainder = divmod(_METRIC_SEASON[unit], multiple)
    return season if remainder == 0 else 1


def calendar_season(freq: str) -> int | None:
    """Steps of the next calendar cycle, a hint for a model; None if there is none.

    Examples
    --------
    >>> calendar_season("15T"), calendar_season("D"), calendar_season("W"), calendar_season("Y")
    (96, 7, 52, None)
    """
    multiple, unit = parse_frequency(freq)
    season, remainder = divmod(_CALENDAR_SEASON.get(unit, 1), multiple)
    return season if remainder == 0 and season > 1 else None
