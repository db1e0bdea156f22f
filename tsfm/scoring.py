"""The loss behind `Forecaster.score`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm.frames.read import Float64


def weighted_quantile_loss(actual: Float64, quantiles: Float64, levels: Sequence[float]) -> float:
    """Weighted quantile loss: mean over levels of 2 * sum of pinball losses / sum of |actual|.

    Parameters
    ----------
    actual
        `[N, H]`; missing values are left out.
    quantiles
        `[N, H, Q]` at `levels`.

    Returns
    -------
    float
        Relative to the sum of |actual|; the mean over levels of the summed losses itself where
        every actual value is zero.

    Raises
    ------
    ValueError
        There is no actual value.
    """
    known = np.isfinite(actual) & np.isfinite(quantiles).all(axis=-1)
    if not known.any():
        raise ValueError(
            "There is nothing to score: all values of the last prediction_length rows are missing."
        )
    error = actual[known][:, None] - quantiles[known]
    q = np.asarray(levels)
    loss = 2.0 * np.maximum(q * error, (q - 1.0) * error).sum(axis=0).mean()
    scale = np.abs(actual[known]).sum()
    return float(loss / scale) if scale > 0 else float(loss)
