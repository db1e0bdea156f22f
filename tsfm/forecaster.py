"""`Forecaster`: the scikit-learn-style front door for forecasts."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError

from tsfm.arguments import check_forecaster, check_levels, horizon_or_data, positive_int
from tsfm.finetuning import FinetunableEstimator
from tsfm.frames.answer import forecast_frame, samples_frame
from tsfm.frames.errors import DataWarning
from tsfm.frames.frequency import Frequency
from tsfm.frames.infer import Freq
from tsfm.frames.join import continue_records
from tsfm.frames.panel import OnDuplicates, OnGaps, Panel, build, to_panel
from tsfm.frames.read import Data, read
from tsfm.loading import ForecastModel
from tsfm.persistence import load_forecaster, save_forecaster
from tsfm.scoring import quantile_score
from tsfm.streaming import UpdatableEstimator
from tsfm.tokenization import TokenizableEstimator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Forecaster(UpdatableEstimator, FinetunableEstimator, TokenizableEstimator):
    """Zero-shot forecasts of the series in a DataFrame.

    `fit` never trains: it finds the columns and the frequency of each series and remembers the
    series. `predict` forecasts what comes after their last rows. Works with `clone`, `Pipeline`
    and `GridSearchCV(cv=TimeSeriesSplit(test_size=h))`.

    Parameters
    ----------
    model
        Name of a shipped model, a folder with a checkpoint, any object with a `forecast` method
        (see `tsfm.loading.ForecastModel`), or "smamba" or "spacetime" to train with `finetune`.
        Loaded on first use and shared by all forecasters of the process.
    prediction_length
        Steps to forecast. There is no default: give it here or to `predict`.
    quantile_levels
        Levels between 0 and 1, one column each in the answer, in this order.
    mode
        "fast", or "best" for higher accuracy at several times the cost.
    context_length
        At most this many last rows of each series are read; all that the model can take by
        default. What was read is in `context_used_`.
    id_col, timestamp_col, target_col
        Column names, or "auto": `item_id`/`unique_id`, `timestamp`/`ds` or the only datetime
        column or index, `target`/`y` or the numeric column. Without an id several numeric columns
        are several series (wide format). `id_col=None` says there is none, `timestamp_col=None`
        that rows are equally spaced; `target_col` may be a list.
    freq
        Step of all series ("h", "D", "ME", ...; an integer for integer time); inferred per series
        by default.
    on_gaps
        "insert" treats missing rows as missing values and warns once; "raise" refuses them.
    on_duplicates
        Two rows of a series at one time: "raise", "mean" or "last".
    non_negative
        Whether forecasts are kept at zero or above; "auto": where the history has no negative
        value.
    point
        What the column "predictions" holds: "median", or "mean" of the predicted distribution
        (the average of 50 equally spaced quantiles).
    calibrate
        Whether to correct the quantiles by how the model did on earlier stretches of the same
        series: up to 16 back-tests each, in the first `predict`; see docs/calibration.md for what
        this promises. Too short ones share errors or stay as they are, and a warning names them.
    batch_size
        Series at a time; "auto" fits the memory.
    device
        "auto", "cpu", "cuda", ...
    random_state
        Seed of `predict_samples`. `predict` is deterministic.
    verbose
        1 shows a progress bar.

    Attributes
    ----------
    panel_ : Panel
        The remembered series, repaired.
    id_col_, timestamp_col_, target_cols_
        The columns that were found (`None` where there is none).
    freq_ : tuple of str
        The distinct frequencies, most common first.
    n_series_ : int
        Number of series.
    context_used_ : Series
        After `predict`: rows of each series that the model read.
    calibration_ : DataFrame or None
        After `predict`: what the correction of each series rests on.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsfm import Forecaster
    >>> hours = pd.date_range("2024-01-01", periods=48, freq="h")
    >>> load = pd.Series(np.arange(48.0) % 24, index=hours, name="load")
    >>> forecaster = Forecaster("tsfm-mini", prediction_length=3).fit(load)
    >>> forecaster.freq_, forecaster.panel_.season_lengths
    (('h',), (24,))
    """

    def __init__(
        self,
        model: str | Path | ForecastModel = "tsfm-mini",
        *,
        prediction_length: int | None = None,
        quantile_levels: Sequence[float] = DECILES,
        mode: Literal["fast", "best"] = "fast",
        context_length: int | None = None,
        id_col: Hashable | None = "auto",
        timestamp_col: Hashable | None = "auto",
        target_col: Hashable | Sequence[Hashable] = "auto",
        freq: Freq = None,
        on_gaps: OnGaps = "insert",
        on_duplicates: OnDuplicates = "raise",
        non_negative: bool | Literal["auto"] = "auto",
        point: Literal["median", "mean"] = "median",
        calibrate: bool = False,
        batch_size: int | Literal["auto"] = "auto",
        device: str = "auto",
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.prediction_length = prediction_length
        self.quantile_levels = quantile_levels
        self.mode = mode
        self.context_length = context_length
        self.id_col = id_col
        self.timestamp_col = timestamp_col
        self.target_col = target_col
        self.freq = freq
        self.on_gaps = on_gaps
        self.on_duplicates = on_duplicates
        self.non_negative = non_negative
        self.point = point
        self.calibrate = calibrate
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Data, y: object = None) -> Forecaster:
        """Learns the columns and frequencies and remembers the series; nothing is trained.

        Parameters
        ----------
        X
            Long or wide DataFrame, Series, 1-d array, list of numbers or list of 1-d arrays. It
            is copied, not changed.
        y
            Ignored; there for scikit-learn.

        Raises
        ------
        DataError
            The data cannot be read; the message names the series, the row and the remedy.
        ValueError
            A parameter is out of range.
        """
        check_forecaster(self)
        self._remember(self._read(X, fitted=False))
        return self

    def predict(
        self,
        X: Data | int | None = None,
        *,
        prediction_length: int | None = None,
        quantile_levels: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Forecasts what follows the last row of each series.

        Parameters
        ----------
        X
            Series to forecast instead of the remembered ones, with the same columns (works
            without `fit`, too). An integer is taken as `prediction_length`, so that
            `pipeline.predict(24)` works.
        prediction_length, quantile_levels
            Override those of the constructor.

        Returns
        -------
        DataFrame
            Columns: id, timestamp, "target_name", "predictions" and one per level; rows by series
            in order of first appearance. Names, dtypes and time zone are the caller's; without an
            id column "item_id" is the label of the series' column. A series without any value
            gets missing forecasts, and a warning.

        Raises
        ------
        ValueError
            `prediction_length` or a level is out of range, or the data cannot be read
            (`DataError`).
        NotFittedError
            Neither `X` nor a fitted context.
        """
        horizon, data = horizon_or_data(X, prediction_length, self.prediction_length)
        levels = check_levels(self.quantile_levels if quantile_levels is None else quantile_levels)
        check_forecaster(self)
        panel = self._panel(data)
        answer = self._call(remembered=data is None).forecast(panel, horizon, levels, self.point)
        self.context_used_ = pd.Series(answer.context_used, index=panel.index, name="context_used")
        self.calibration_ = answer.calibration
        return forecast_frame(panel, answer.quantiles, levels, answer.point)

    def predict_samples(
        self,
        X: Data | int | None = None,
        num_samples: int = 100,
        *,
        prediction_length: int | None = None,
    ) -> pd.DataFrame:
        """Joint sample paths of what follows, for sums, maxima and other functions of whole paths.

        Parameters
        ----------
        X, prediction_length
            As for `predict`.
        num_samples
            Paths per series.

        Returns
        -------
        DataFrame
            Columns: id, timestamp, "target_name", "sample" (0, 1, ...) and "predictions".

        Raises
        ------
        TypeError
            The model cannot sample paths.
        """
        horizon, data = horizon_or_data(X, prediction_length, self.prediction_length)
        count = positive_int(num_samples, "num_samples")
        check_forecaster(self)
        panel = self._panel(data)
        call = self._call(remembered=data is None)
        samples = call.sample_paths(panel, horizon, count, self.random_state)
        return samples_frame(panel, samples)

    def score(self, X: Data, y: object = None) -> float:
        """Minus the weighted quantile loss on the last rows of each series (higher is better).

        The last `prediction_length` rows of each series of `X` are forecast. What lies before
        these rows is the context: the earlier rows of `X` and, when fitted, the remembered rows
        before `X` begins. So `X` may be the continuation of what `fit` saw (as in
        cross-validation) or a whole series. Arrays have no time: they continue the remembered
        ones when they are no longer than `prediction_length`.

        Parameters
        ----------
        X
            Series with their true values.
        y
            Ignored; there for scikit-learn.

        Returns
        -------
        float
            - sum over series, steps and levels of 2 * pinball loss / (number of levels * sum of
            |actual|).
        """
        horizon, _ = horizon_or_data(None, None, self.prediction_length)
        levels = check_levels(self.quantile_levels)
        check_forecaster(self)
        names = self._names(X, fitted=hasattr(self, "panel_"))
        new = read(X, **names)
        if hasattr(self, "panel_"):
            new = continue_records(self.panel_, new, horizon)
        panel = build(new, self.freq, self.on_gaps, self.on_duplicates, self._default_frequency())
        context, actual = panel.hold_out(horizon)
        answer = self._call().forecast(context, horizon, levels, self.point)
        return -quantile_score(actual, answer.quantiles, levels)

    def plot(
        self, X: Data | None = None, forecast: pd.DataFrame | None = None, ax: Axes | None = None
    ) -> Axes | np.ndarray[Any, Any]:
        """Draws the end of each series, its forecast and the 80% and 50% bands.

        Parameters
        ----------
        X
            The series; the remembered ones by default.
        forecast
            What `predict` returned for them; computed by default.
        ax
            Axes to draw on, for a single series.

        Returns
        -------
        Axes or ndarray of Axes
            One per series, up to nine.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from tsfm.plotting import PLOT_LEVELS, plot_forecast

        if forecast is None:
            forecast = self.predict(X, quantile_levels=PLOT_LEVELS)
        with warnings.catch_warnings():  # the forecast has given them already
            warnings.simplefilter("ignore", DataWarning)
            panel = self._panel(X)
        return plot_forecast(panel, forecast, ax)

    def save(self, path: str | Path) -> None:
        """Writes the forecaster to a folder, with the model unless that shipped; no pickle.

        Parameters
        ----------
        path
            Folder; made if it does not exist.

        Raises
        ------
        TypeError
            The model is an object without `save_pretrained`.
        """
        save_forecaster(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Forecaster:
        """Reads what `save` wrote.

        Raises
        ------
        FileNotFoundError
            The folder holds no forecaster.
        ValueError
            It was written by a newer version.
        """
        parameters, panel, training = load_forecaster(Path(path))
        forecaster = cls(**parameters)
        for name, value in training.items():
            setattr(forecaster, name, value)
        if panel is not None:
            forecaster._remember(panel)
            forecaster._resume(Path(path))
        return forecaster

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "panel_")

    def _panel(self, X: Data | None) -> Panel:
        if X is not None:
            return self._read(X, fitted=hasattr(self, "panel_"))
        if not hasattr(self, "panel_"):
            raise NotFittedError(
                "This Forecaster remembers no series: call fit(X) first, or pass X to predict."
            )
        return self.panel_

    def _read(self, X: Data, *, fitted: bool) -> Panel:
        names = self._names(X, fitted=fitted)
        default = self._default_frequency() if fitted else None
        return to_panel(
            X,
            **names,
            freq=self.freq,
            on_gaps=self.on_gaps,
            on_duplicates=self.on_duplicates,
            default_frequency=default,
        )

    def _default_frequency(self) -> Frequency | None:
        return self.panel_.frequencies[0] if hasattr(self, "panel_") else None

    def _remember(self, panel: Panel) -> None:
        self.panel_ = panel
        self.id_col_ = panel.layout.id_col
        self.timestamp_col_ = panel.layout.timestamp_col
        self.target_cols_ = panel.layout.target_cols
        aliases = [freq.alias for freq in panel.frequencies]
        self.freq_ = tuple(
            sorted(set(aliases), key=lambda alias: (-aliases.count(alias), aliases.index(alias)))
        )
        self.n_series_ = len(panel)
