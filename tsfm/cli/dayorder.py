"""Order of day, month and year in dates that are written in numbers."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pandas as pd

_NUMERIC = re.compile(
    r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d{2})(?:(?:,\s*|\s+|T)(\S.*?))?$", re.DOTALL
)
_ORDERS = {"dmy": (2, 1, 0), "mdy": (2, 0, 1), "ymd": (0, 1, 2)}
"""Where year, month and day stand."""

_COUNT = {2: "two", 3: "three"}


def year_first(texts: pd.Series[Any], written: pd.Series[Any]) -> pd.Series[Any]:
    """31/01/2026 as 2026-01-31, if the whole column can be read in one way only.

    Parameters
    ----------
    texts
        Dates without blanks around them and without offset.
    written
        The same with their offsets, for messages.

    Returns
    -------
    pandas.Series
        The dates, year first and missing where a cell has not three numbers like the others;
        `texts` itself if most have not.

    Raises
    ------
    ValueError
        If the column can be read in several ways; the message lists the formats.
    """
    parts = texts.str.extract(_NUMERIC)
    numeric = parts[0].notna()
    if not numeric.mean() > 0.5:
        return texts
    parts = parts[numeric]
    orders = _possible(parts)
    dates = [_iso(parts, order) for order in orders]
    for other in dates[1:]:
        different = (other != dates[0]).to_numpy()
        if different.any():
            text = written[numeric].iloc[int(different.argmax())]
            raise _several(text, orders, texts.name)
    return dates[0].reindex(texts.index)


def _possible(parts: pd.DataFrame) -> list[str]:
    """Orders that no cell speaks against; the more likely one if there is none."""
    first, second, third = (parts[i].astype(int) for i in range(3))
    orders = []
    if first.max() <= 31 and second.max() <= 12:
        orders.append("dmy")
    if first.max() <= 12 and second.max() <= 31:
        orders.append("mdy")
    two_digits = bool((parts[0].str.len() == 2).all() and (parts[2].str.len() == 2).all())
    if two_digits and second.max() <= 12 and third.max() <= 31:
        orders.append("ymd")
    return orders or ["dmy" if first.max() > 12 else "mdy"]


def _iso(parts: pd.DataFrame, order: str) -> pd.Series[Any]:
    year, month, day = (parts[i] for i in _ORDERS[order])
    century = np.where(year.astype(int) < 69, "20", "19")
    full = year.where(year.str.len() == 4, pd.Series(century, index=year.index) + year)
    clock = (" " + parts[3]).fillna("")
    dates: pd.Series[Any] = full + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + clock
    return dates.astype(object)


def _several(text: str, orders: list[str], name: object) -> ValueError:
    unknown = "the order of day, month and year" if "ymd" in orders else "day from month"
    remedy = " or ".join(f"--date-format {shlex.quote(_format(text, o))}" for o in orders)
    return ValueError(
        f"column {name!r}: {text!r} can be {_COUNT[len(orders)]} dates, and no other cell tells "
        f"{unknown}; say which with {remedy}"
    )


def _format(text: str, order: str) -> str:
    """Format of one text in an order of day, month and year.

    Examples
    --------
    >>> _format("03/04/2026 10:00", "dmy")
    '%d/%m/%Y %H:%M'
    """

    def clock(found: re.Match[str]) -> str:
        seconds = ":%S" if found[1] else ""
        fraction = f"{found[2][0]}%f" if found[2] else ""
        half = f"{found[3]}%p" if found[3] is not None else ""
        return f"{'%I' if half else '%H'}:%M{seconds}{fraction}{half}"

    parts = re.split(r"(\d+)", text, maxsplit=3)  # "", number, sign, number, sign, number, rest
    codes = [f"%{'Y' if c == 'y' and len(parts[5]) == 4 else c}" for c in order]
    rest = re.sub(
        r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(?:(\s*)[AaPp][Mm])?", clock, parts[6], count=1
    )
    rest = re.sub(r"[+-]\d{2}(?::?\d{2})?$", "%z", rest)
    return codes[0] + parts[2] + codes[1] + parts[4] + codes[2] + rest
