"""One-liners: a DataFrame in, the answer out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from tsfm.detector import AnomalyDetector
from tsfm.forecaster import DECILES, Forecaster
from tsfm.frames.infer import Freq
from tsfm.frames.panel import OnDuplicates, OnGaps
from tsfm.frames.read import Data
from tsfm.loading import ForecastModel
from tsfm.models.hub import DEFAULT_DETECTOR
from tsfm.models.judgement import Aggregation, DetectionModel


def forecast(
    data: Data,
    prediction_length: int,
    *,
    model: str | Path | ForecastModel = "tsfm-mini",
    quantile_levels: Sequence[float] = DECILES,
    mode: Literal["fast", "best"] = "fast",
    calibrate: bool = False,
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
    model, quantile_levels, mode, calibrate, id_col, timestamp_col, target_col, freq, on_gaps,
    on_duplicates, device
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
        calibrate=calibrate,
        id_col=id_col,
        timestamp_col=timestamp_col,
        target_col=target_col,
        freq=freq,
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        device=device,
    )
    return forecaster.fit(data).predict(prediction_length=prediction_length)


def detect_anomalies(
    data: Data,
    *,
    model: str | Path | DetectionModel = DEFAULT_DETECTOR,
    contamination: float | Literal["auto"] = "auto",
    threshold: float | None = None,
    alpha: float | None = None,
    aggregation: Aggregation | Literal["auto"] = "auto",
    min_segment: int = 1,
    merge_gap: int = 0,
    id_col: Hashable | None = "auto",
    timestamp_col: Hashable | None = "auto",
    target_col: Hashable | Sequence[Hashable] = "auto",
    freq: Freq = None,
    on_gaps: OnGaps = "insert",
    on_duplicates: OnDuplicates = "raise",
    device: str = "auto",
) -> pd.DataFrame:
    """Judges every step of every series of a frame in one call.

    Parameters
    ----------
    data
        Long or wide DataFrame, Series, 1-d array, list of numbers or list of 1-d arrays.
    model, contamination, threshold, alpha, aggregation, min_segment, merge_gap, id_col,
    timestamp_col, target_col, freq, on_gaps, on_duplicates, device
        See `AnomalyDetector`.

    Returns
    -------
    DataFrame
        Columns: id, timestamp, "target_name", "value", "expected", "lower", "upper", "score",
        "p_value", "is_anomaly", "segment_id"; see `AnomalyDetector.detect`.

    Raises
    ------
    ValueError
        An argument is out of range or the data cannot be read.
    FileNotFoundError
        There is no such model.

    Examples
    --------
    >>> from tsfm.models import Detector, DetectorConfig
    >>> untrained = Detector.from_config(DetectorConfig.preset("tiny"))
    >>> df = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=28), "sales": range(28)})
    >>> detect_anomalies(df, model=untrained, threshold=0.0)["is_anomaly"].any()
    np.False_
    """
    detector = AnomalyDetector(
        model,
        contamination=contamination,
        threshold=threshold,
        alpha=alpha,
        aggregation=aggregation,
        min_segment=min_segment,
        merge_gap=merge_gap,
        id_col=id_col,
        timestamp_col=timestamp_col,
        target_col=target_col,
        freq=freq,
        on_gaps=on_gaps,
        on_duplicates=on_duplicates,
        device=device,
    )
    return detector.detect(data)
