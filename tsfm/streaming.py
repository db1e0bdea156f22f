"""Forecasters whose series go on: new rows in, forecasts at a cost that stays the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from tsfm.arguments import check_forecaster
from tsfm.backtests import BackTests
from tsfm.frames.extend import extend
from tsfm.frames.layout import column_arguments
from tsfm.frames.panel import Panel
from tsfm.frames.read import Data, Float64, read
from tsfm.inference import ModelCall
from tsfm.loading import ForecastModel, load_model

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm.forecaster import Forecaster
    from tsfm.models import Stream

KEPT_ROWS = 16_384
"""Rows that stay of a series that has grown, or eight times what the model reads if that is more:
as many as the views of "best" look back for the released models."""
STREAM = "stream.safetensors"


@dataclass
class Growth:
    """What is known of remembered series beyond their remembered rows.

    Parameters
    ----------
    panel
        The series.
    lowest
        `[N]` lowest value of each series ever; infinite where there was none.
    stream
        What the model has read of them; made when the first forecast is asked for.
    saved
        Such a stream's state as it was read from a file.
    """

    panel: Panel
    lowest: Float64
    stream: Stream | None = None
    saved: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, panel: Panel) -> Growth:
        """Of series that have not grown yet."""
        return cls(panel, _lowest(panel.values))

    def grown(self, panel: Panel, added: tuple[Float64, ...]) -> Growth:
        """After new steps of these series, and of new series behind them."""
        lowest = _lowest(added)
        n_old = len(self.panel)
        lowest[:n_old] = np.minimum(lowest[:n_old], self.lowest)
        stream, self.stream = self.stream, None  # handed on: it is that of the grown series now
        if stream is not None:
            try:
                stream.update(added[:n_old])
                stream.add(added[n_old:], panel.season_lengths[n_old:])
            except ValueError:  # too large a value, which the next forecast will name
                stream = None
        return Growth(panel, lowest, stream)

    def copied(self) -> Growth:
        """The same, with a stream that goes its own way."""
        return replace(self, stream=copy.copy(self.stream))

    @property
    def has_forgotten(self) -> bool:
        """Whether a series was below zero only in rows that are no longer remembered."""
        negative = np.flatnonzero(self.lowest < 0).tolist()
        return any(_lowest([self.panel.values[i]])[0] >= 0 for i in negative)

    def stream_of(self, model: ForecastModel, context_length: int | None) -> Stream | None:
        """The stream to forecast from, made anew if it is of another model; None without state."""
        from tsfm.models import TSFM, Stream

        if not isinstance(model, TSFM) or not model.keeps_state:
            return None
        stream = self.stream
        if stream is None or stream.model is not model or stream.context_length != context_length:
            stream = Stream(model, context_length=context_length, non_negative=False)
            try:
                stream.load_state_dict(self.saved or {})
            except (KeyError, ValueError):  # none, or that of another model
                stream.add(self.panel.values, self.panel.season_lengths)
        self.stream, self.saved = stream, None
        return stream


class UpdatableEstimator(BaseEstimator):  # type: ignore[misc]
    """What lets a `Forecaster` take new rows; `Forecaster` is the class to use."""

    _growth: Growth | None = None
    _tested: tuple[Panel, BackTests] | None = None

    def __copy__(self) -> UpdatableEstimator:
        """A forecaster that knows the same and goes its own way."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._growth = self._growth.copied() if self._growth else None
        other._tested = (self._tested[0], copy.copy(self._tested[1])) if self._tested else None
        return other

    def update(self, X_new: Data) -> Forecaster:
        """Adds rows to the remembered series; `predict` then forecasts what follows them.

        Rows must come after the last ones of their series, in any order. Missing ones between
        become missing values as in `fit`; rows with a new id begin a new series. Nothing is
        computed until `predict` is called. A model with a recurrent backbone then reads only what
        is new to it (see `tsfm.models.Stream`), others the last rows that they can take, as
        `mode="best"` and horizons beyond one pass do. Neither cost nor memory depends on how long
        a series has become: of one that grows the last 16,384 rows stay in `panel_` (eight times
        the model's longest context if that is more), and whether it ever was below zero.

        Parameters
        ----------
        X_new
            New rows in the form that `fit` was given. They are copied, not changed. None at all
            change nothing.

        Returns
        -------
        Forecaster
            This one.

        Raises
        ------
        NotFittedError
            There is nothing to add to: `fit` comes first.
        DataError
            A row does not follow, or the rows are of another form; the message names the series,
            the row and the remedy, and nothing has been added.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from tsfm import Forecaster
        >>> hours = pd.date_range("2024-01-01", periods=49, freq="h")
        >>> load = pd.Series(np.arange(49.0) % 24, index=hours, name="load")
        >>> forecaster = Forecaster("tsfm-mini", prediction_length=1).fit(load[:48])
        >>> forecaster.update(load[48:]).predict()["timestamp"].item()
        Timestamp('2024-01-03 01:00:00')
        """
        forecaster = cast("Forecaster", self)
        check_forecaster(forecaster)
        panel = getattr(forecaster, "panel_", None)
        if panel is None:
            raise NotFittedError(
                "This Forecaster remembers no series to add to: call fit(X) first."
            )
        if _has_no_rows(X_new):
            return forecaster
        model = load_model(forecaster.model, forecaster.device)
        keep = max(KEPT_ROWS, 8 * getattr(model, "max_context", 0))
        new = read(X_new, **forecaster._names(X_new, fitted=True))
        found = extend(
            panel, new, forecaster.freq, forecaster.on_gaps, forecaster.on_duplicates, keep
        )
        growth = self._known_growth(panel) or Growth.of(panel)
        if growth.saved is not None:
            growth.stream_of(model, forecaster.context_length)
        self._growth = growth.grown(found.panel, found.added)
        if self._tested is not None and self._tested[0] is panel:
            self._tested = found.panel, self._tested[1].grown(found.added)
        forecaster._remember(found.panel)
        return forecaster

    def _names(self, X: Data, *, fitted: bool) -> dict[str, Any]:
        """Column arguments of `to_panel`, as told or as found by `fit`."""
        forecaster = cast("Forecaster", self)
        return column_arguments(forecaster, X, forecaster.panel_.layout if fitted else None)

    def _resume(self, folder: Path) -> None:
        """Takes over what a saved forecaster knew beyond its remembered rows."""
        panel = cast("Forecaster", self).panel_
        self._growth = load_growth(folder, panel)
        self._tested = panel, BackTests.load(folder)

    def _known_growth(self, panel: Panel) -> Growth | None:
        """What is known beyond the rows of a panel, if `fit` has not replaced it."""
        return self._growth if self._growth and self._growth.panel is panel else None

    def _call(self, *, remembered: bool = False) -> ModelCall:
        """A call of the model, for the remembered series or for others."""
        forecaster = cast("Forecaster", self)
        call = ModelCall(
            load_model(forecaster.model, forecaster.device),
            forecaster.mode,
            forecaster.non_negative,
            forecaster.context_length,
            forecaster.batch_size,
            progress=bool(forecaster.verbose),
        )
        if not isinstance(forecaster.calibrate, bool | np.bool_):
            raise ValueError(f"calibrate={forecaster.calibrate!r} must be True or False.")
        if forecaster.calibrate:
            call = replace(call, back_tests=self._back_tests(remembered))
        growth = self._known_growth(forecaster.panel_) if remembered else None
        if growth is None:
            return call
        stream = None
        if call.mode == "fast":
            stream = growth.stream_of(call.model, call.context_length)
        if stream is None and not growth.has_forgotten:
            return call
        return replace(call, stream=stream, lowest=growth.lowest)

    def _back_tests(self, remembered: bool) -> BackTests:
        """Those of the remembered series, kept for the next forecast, or new ones."""
        if not remembered:
            return BackTests()
        panel = cast("Forecaster", self).panel_
        if self._tested is None or self._tested[0] is not panel:
            self._tested = panel, BackTests()
        return self._tested[1]


def save_growth(forecaster: Forecaster, folder: Path) -> None:
    """Writes what a forecaster knows beyond its remembered rows, or removes what was written."""
    growth = forecaster._known_growth(forecaster.panel_)
    if growth is None:
        (folder / STREAM).unlink(missing_ok=True)
        return
    import torch
    from safetensors.torch import save_file

    state = growth.saved or {}
    if growth.stream is not None:
        state = growth.stream.state_dict()
    tensors = {f"stream.{name}": tensor for name, tensor in state.items()}
    save_file({"lowest": torch.from_numpy(growth.lowest), **tensors}, folder / STREAM)


def load_growth(folder: Path, panel: Panel) -> Growth | None:
    """Reads what `save_growth` wrote; None if nothing was."""
    if not (folder / STREAM).is_file():
        return None
    from safetensors.torch import load_file

    tensors = load_file(folder / STREAM)
    lowest = tensors.pop("lowest").numpy()
    state = {name.removeprefix("stream."): tensor for name, tensor in tensors.items()}
    return Growth(panel, lowest, saved=state or None)


def _has_no_rows(data: Data) -> bool:
    if isinstance(data, list | tuple):
        return not data
    return bool(getattr(data, "shape", ())[:1] == (0,))


def _lowest(series: tuple[Float64, ...] | list[Float64]) -> Float64:
    """`[N]` lowest value of each series; infinite for those without any."""
    return np.array([np.fmin.reduce(values, initial=np.inf) for values in series])
