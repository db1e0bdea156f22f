"""What a forecast of arrays is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class ForecastOutput:
    """Forecasts of N series.

    Parameters
    ----------
    quantiles
        [N, H, Q] in each series' own unit, non-decreasing along increasing levels.
    levels
        The Q levels, as asked for.
    median
        [N, H].
    context_used
        [N] steps of history each forecast could draw on; the pooled views of "best" reach
        further back than one pass does.
    """

    quantiles: NDArray[np.float64]
    levels: tuple[float, ...]
    median: NDArray[np.float64]
    context_used: NDArray[np.int64]
