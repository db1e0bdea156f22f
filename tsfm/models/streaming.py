"""`Stream`: forecasts of series that keep growing, at a cost that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tsfm.models.history import History
from tsfm.models.inputs import check_context_length, check_horizon, check_seasons, check_values
from tsfm.models.output import DECILES, ForecastOutput
from tsfm.models.quantiles import at_levels, check_levels
from tsfm.models.reading import Reader

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM

MAX_AGE = 0.125
MAX_DRIFT = 0.15
MAX_MEMORY = 1_000_000_000
FORMAT_VERSION = 1


class Stream:
    """Forecasts of growing series by a model that remembers what it has read.

    `update` only takes note of new values. `forecast` reads those that are new to it: with a
    recurrent backbone (companion, Mamba) usually a single patch per series, whatever the length of
    the history. Patches end where the forecast begins, so a series is read in as many phases as a
    patch has steps, each remembered apart; incomplete patches wait until they are full.

    The statistics of a series (location, scale, lags, cycles) are those of the last context that
    was read as a whole, its anchor. A phase is read anew, and so anchored anew, when its context
    has grown by the share `max_age`, or when location or scale of the last context have moved by
    more than `max_drift` times the scale. At most that whole pass is what a forecast costs; it is
    what every forecast costs with a transformer, which keeps no state, and with a model from
    `calibrate_long_context`, whose step sizes depend on the length of the whole context.

    Parameters
    ----------
    model
        A trained model.
    contexts
        N one-dimensional arrays, oldest value first; NaN and infinities count as missing. They are
        copied. None at all and empty ones are fine.
    season_lengths
        As in `TSFM.forecast`, for good.
    non_negative
        True: no forecast below zero. "auto": for series that never were below zero, rows that
        have left the memory included.
    context_length
        Use at most that many last steps.
    max_age
        Growth of a context, relative to its length, after which it is read anew.
    max_drift
        Move of location or scale after which a context is read anew.
    max_memory
        Bytes that phases may take up; those for which there is no room are read as a whole each
        time. A model of 1.6M weights takes up to 12 MB per series.

    Examples
    --------
    >>> import numpy as np
    >>> from tsfm.models import TSFM, ModelConfig
    >>> model = TSFM.from_config(ModelConfig.preset("tiny"))
    >>> stream = Stream(model, [np.arange(100.0)])
    >>> for value in (100.0, 101.0):
    ...     stream.update([[value]])
    ...     answer = stream.forecast(prediction_length=3)
    >>> answer.quantiles.shape, stream.lengths.tolist()
    ((1, 3, 9), [102])
    """

    def __init__(
        self,
        model: TSFM,
        contexts: Sequence[ArrayLike] = (),
        season_lengths: Sequence[int | None] | None = None,
        *,
        non_negative: bool | Literal["auto"] = "auto",
        context_length: int | None = None,
        max_age: float = MAX_AGE,
        max_drift: float = MAX_DRIFT,
        max_memory: float = MAX_MEMORY,
    ) -> None:
        check_context_length(context_length)
        if not isinstance(non_negative, bool | np.bool_) and non_negative != "auto":
            raise ValueError(f"non_negative must be True, False or 'auto', got {non_negative!r}.")
        if not 0 <= max_age < np.inf:
            raise ValueError(f"max_age must be a finite number of at least 0, got {max_age!r}.")
        if not max_drift >= 0:
            raise ValueError(f"max_drift must be at least 0, got {max_drift!r}.")
        self.non_negative = non_negative
        self.context_length = context_length
        self._reader = Reader(model, context_length, max_age, max_drift, max_memory)
        self.add(contexts, season_lengths)

    def __copy__(self) -> Stream:
        """A stream that knows the same and goes its own way; the model is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._reader = self._reader.copied()
        return other

    def __len__(self) -> int:
        """Number of series."""
        return len(self._reader.histories)

    @property
    def model(self) -> TSFM:
        """The model that forecasts."""
        return self._reader.model

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] steps of each series so far, those no longer in memory included."""
        return np.array([history.time for history in self._reader.histories], dtype=np.int64)

    def add(
        self,
        contexts: Sequence[ArrayLike],
        season_lengths: Sequence[int | None] | None = None,
    ) -> None:
        """Follow more series.

        Parameters
        ----------
        contexts, season_lengths
            As in the constructor; the series get the next numbers.

        Raises
        ------
        ValueError
            If a series is not a list of numbers or a season no whole number; nothing is added.
        """
        seasons = check_seasons(season_lengths, len(contexts))
        checked = [check_values(one, len(self) + i) for i, one in enumerate(contexts)]
        for values, season in zip(checked, seasons, strict=True):
            self._reader.follow(values, season)

    def update(self, values: Sequence[ArrayLike]) -> None:
        """Take note of new values; nothing is computed yet.

        Parameters
        ----------
        values
            For each series an array of its new steps, oldest first, NaN for a missing one; empty
            where there is none. A number is one step.

        Raises
        ------
        ValueError
            If there is not one entry per series, or one is not made of numbers; no series has
            grown then.
        """
        if len(values) != len(self):
            raise ValueError(
                f"Got new values of {len(values)} series, but this stream follows {len(self)}; "
                "give one array per series, an empty one where there is nothing new."
            )
        checked = [check_values(np.atleast_1d(one), i) for i, one in enumerate(values)]
        for history, new in zip(self._reader.histories, checked, strict=True):
            history.append(new)

    def forecast(
        self,
        prediction_length: int,
        quantile_levels: Sequence[float] = DECILES,
        *,
        rows: Sequence[int] | None = None,
    ) -> ForecastOutput:
        """Quantile forecasts of the steps after each series.

        Parameters
        ----------
        prediction_length
            Steps to forecast. Horizons beyond `config.max_horizon` are computed from the last
            context as a whole, as `TSFM.forecast` does.
        quantile_levels
            As in `TSFM.forecast`.
        rows
            Numbers of the series wanted; None for all.

        Returns
        -------
        ForecastOutput
            Forecasts in the order of `rows`; NaN for series without a value among the steps that
            a pass reads.

        Raises
        ------
        ValueError
            If an argument is out of range.
        """
        horizon, levels = check_horizon(prediction_length), check_levels(quantile_levels)
        wanted = list(range(len(self))) if rows is None else [int(i) for i in rows]
        wrong = [i for i in wanted if not 0 <= i < len(self)]
        if wrong:
            raise ValueError(
                f"There is no series {wrong[0]}: this stream follows {len(self)}, from 0 on."
            )
        contexts = {i: self._reader.context(i) for i in wanted}
        found = {i: k for k, (i, x) in enumerate(contexts.items()) if np.isfinite(x).any()}
        quantiles = np.full((len(contexts), horizon, self.model.n_levels), np.nan)
        if found:
            quantiles[list(found.values())] = self._reader.quantiles(list(found), horizon)
        place = {i: k for k, i in enumerate(contexts)}
        trained = self.model.config.head.quantile_levels
        at_trained = torch.from_numpy(quantiles[[place[i] for i in wanted]])
        floor = np.array([self._floor(i) for i in wanted])
        answer = at_levels(at_trained, trained, levels).numpy().copy()
        median = at_levels(at_trained, trained, (0.5,))[..., 0].numpy().copy()
        np.maximum(answer, floor[:, None, None], out=answer)
        np.maximum(median, floor[:, None], out=median)
        used = np.array([len(contexts[i]) for i in wanted], dtype=np.int64)
        return ForecastOutput(answer, levels, median, used)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the stream knows and remembers, as tensors on the CPU.

        `safetensors.torch.save_file` writes them to a file.

        Returns
        -------
        dict
            Tensors by name.
        """
        histories = self._reader.histories
        firsts = [-1 if history.first is None else history.first for history in histories]
        kept = [np.empty(0), *(history.tail(history.kept) for history in histories)]
        return {
            "format_version": torch.tensor(FORMAT_VERSION),
            "model": _fingerprint(self.model),
            "options": torch.tensor(self._options, dtype=torch.float64),
            "time": torch.from_numpy(self.lengths),
            "kept": torch.tensor([history.kept for history in histories], dtype=torch.int64),
            "first": torch.tensor(firsts, dtype=torch.int64),
            "season": torch.tensor(self._reader.seasons, dtype=torch.int64),
            "lowest": torch.tensor([history.lowest for history in histories]).double(),
            "values": torch.from_numpy(np.concatenate(kept)),
            **self._reader.phases.to_tensors(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Become the stream that `state_dict` was called of, and go on like it.

        Parameters
        ----------
        state
            Tensors by name, of a stream with the same model, `context_length`, `max_age` and
            `max_drift`.

        Raises
        ------
        ValueError
            If it is of a stream of another model or with other options, or of a newer version.
        """
        version = int(state["format_version"])
        if version != FORMAT_VERSION:
            raise ValueError(
                f"The state has format_version {version}, this package reads {FORMAT_VERSION}. "
                "Install the version of the package that wrote it."
            )
        if not torch.allclose(state["model"], _fingerprint(self.model), rtol=1e-6):
            raise ValueError("The state is that of another model; load it with the same weights.")
        options = tuple(state["options"].tolist())
        if options != self._options:
            raise ValueError(
                "The state is that of a stream with context_length={:g}, max_age={:g} and "
                "max_drift={:g}; make this one with the same.".format(*options)
            )
        if self.model.keeps_state:
            self._reader.phases.from_tensors(state, self._reader.template(), self.model.device)
        kept = state["kept"].cumsum(0).numpy()
        self._reader.histories = [
            History.restored(self._reader.capacity, values, int(time), int(first), float(lowest))
            for values, time, first, lowest in zip(
                np.split(state["values"].numpy(), kept[:-1]) if len(kept) else [],
                state["time"],
                state["first"],
                state["lowest"],
                strict=True,
            )
        ]
        self._reader.seasons = state["season"].tolist()

    @property
    def _options(self) -> tuple[float, float, float]:
        """What a stream must share with one whose state it takes over."""
        reader = self._reader
        return float(reader.longest), float(reader.max_age), float(reader.max_drift)

    def _floor(self, i: int) -> float:
        if self.non_negative == "auto":
            return 0.0 if self._reader.histories[i].lowest >= 0 else -np.inf
        return 0.0 if self.non_negative else -np.inf


def _fingerprint(model: TSFM) -> Tensor:
    """[2] number of weights, and a sum that differs between models."""
    parts = [p.detach().double().sum() for p in model.network.parameters()]
    total = sum(float(part) * (k + 1) for k, part in enumerate(parts))
    return torch.tensor([model.n_parameters, total], dtype=torch.float64)
