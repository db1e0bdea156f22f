"""Every type of anomaly by name, in a fixed order."""

from __future__ import annotations

from functools import cache

from tsfm.datasets.anomalies import local, seasonal, sensor, waveform
from tsfm.datasets.anomalies.events import AnomalyType

NORMAL = "normal"
GRAPH = "correlation_break"
"""The one type that changes how channels hang together instead of one series."""


@cache
def all_types() -> dict[str, AnomalyType]:
    """Types of one series by name.

    Examples
    --------
    >>> all_types()["flat_line"].group
    'sensor'
    """
    types = (*local.TYPES, *sensor.TYPES, *seasonal.TYPES, *waveform.TYPES)
    if len({t.name for t in types}) != len(types):
        raise RuntimeError("two anomaly types share a name")
    return {t.name: t for t in types}


KIND_NAMES: tuple[str, ...] = (NORMAL, *all_types(), GRAPH)
"""Names in the order of `LabelledBatch.kind`; 0 is normal."""
