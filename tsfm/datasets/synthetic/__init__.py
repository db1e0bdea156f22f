"""Generator families of the synthetic corpus, one module per family group."""

from __future__ import annotations

import importlib
from functools import cache

from tsfm.datasets.synthetic.base import Family

_MODULES = (
    "calendar",
    "trend_season",
    "ets",
    "sarima",
    "gp",
    "sde",
    "epidemics",
    "ops",
    "shapes",
    "causal",
)

__all__ = ["Family", "all_families"]


@cache
def all_families() -> dict[str, Family]:
    """Every generator family by name, in a fixed order.

    Examples
    --------
    >>> sorted({family.group for family in all_families().values()})[0]
    'calendar'
    """
    families: dict[str, Family] = {}
    for module in _MODULES:
        for family in importlib.import_module(f"{__name__}.{module}").FAMILIES:
            if family.name in families:
                raise RuntimeError(f"Two generator families are called {family.name!r}.")
            families[family.name] = family
    return families
