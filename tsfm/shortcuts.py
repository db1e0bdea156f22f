"""One-liners: a DataFrame in, the answer out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from tsfm.forecaster import DECILES, Forecaster
from tsfm.frames.infer import Freq
from tsfm.frames.panel import OnDuplicates, OnGaps
from tsfm.frames.read import Data
from tsfm.loading import ForecastModel


def forecast(
    data: Data,
    prediction_length: int,
    *,
    model: str | Path | ForecastModel = "tsfm-mini",
    quantile_levels: Sequence[float] = DECILES,
    mode: Literal["fast", "best"] = "fast",
    id_col: Hashable | None = "auto",
    timestamp_col: Hashable | None = "auto",
    target_col: Hashable | Sequence[Hashable] = "auto",
    freq: Freq = None,
    on_gaps: OnGaps = "insert",
    on_duplicates: OnDuplicates = "raise",
    device: str = "auto",
) -> pd.DataFrame:
    """Forecasts every series of a frame in one call; the arguments are those of `Forecaster`.

    Parameters
    ----------
    data
        Long or wide DataFrame, Series, 1-d array, list of numbers or list of 1-d arrays.
    prediction_length
        Steps to forecast.
    model, quantile_levels, mode, id_col, timestamp_col, target_col, freq, on_gaps, on_duplicates,
    device
        See `Forecaster`.

    Returns
    -------
    DataFrame
        Columns: id, timestamp, "target_name", "predictions" (the median) and one per quantile
        level.

    Raises
    ------
    ValueError
        An argument is out of range or the data cannot be read.
    FileNotFoundError
        There is no such model.

    Examples
    --------
    Any object with a `forecast` method is a model, such as the naive baselines:

    >>> import pandas as pd
    >>> from tsfm.evaluation.baselines import Baseline
    >>> df = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=28), "sales": [1.0] * 28})
    >>> answer = forecast(df, 2, model=Baseline("seasonal-naive"), quantile_levels=(0.1, 0.9))
    >>> answer.columns.tolist()
    ['item_id', 'day', 'target_name', 'predictions', '0.1', '0.9']
    >>> answer["day"].dt.date.astype(str).tolist()
    ['2024-01-29', '2024-01-30']
    """
    forecaster = Forecaster(
        model,
        prediction_length=prediction_length,
        quantile_levels=quantile_levels,
        mode=mode,
        id_col=id_col,
        timestamp_col=timestamp_col,
        target_col=target_col,
        freq=freq,
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        device=device,
    )
    return forecaster.fit(data).predict(prediction_length=prediction_length)
