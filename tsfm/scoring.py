"""The loss behind `Forecaster.score`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm.frames.read import Float64


def quantile_score(actual: Float64, quantiles: Float64, levels: Sequence[float]) -> float:
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
    from tsfm.models.quantiles import pinball  # brings torch, which importing tsfm must not

    known = np.isfinite(actual) & np.isfinite(quantiles).all(axis=-1)
    if not known.any():
        raise ValueError(
            "There is nothing to score: all values of the last prediction_length rows are missing."
        )
    error = actual[known][:, None] - quantiles[known]
    loss = 2.0 * pinball(error, np.asarray(levels)).sum(axis=0).mean()
    scale = np.abs(actual[known]).sum()
    return float(loss / scale) if scale > 0 else float(loss)
