"""Read growing contexts, as little as possible of them, and forecast what follows."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tsfm.models.batching import padded_length, tokens_per_pass
from tsfm.models.history import History
from tsfm.models.inputs import Array
from tsfm.models.memory import Anchor, Phase, PhaseStore, joined, parted
from tsfm.models.network import Memory
from tsfm.models.scaler import Scale

if TYPE_CHECKING:
    from tsfm.models.pipeline import TSFM


class Reader:
    """A model, the series it follows, and what it remembers of them.

    Parameters
    ----------
    model
        A trained model.
    context_length
        Steps of history a pass reads at most; None for all that the model can.
    max_age, max_drift, max_memory
        As in `Stream`.
    """

    def __init__(
        self,
        model: TSFM,
        context_length: int | None,
        max_age: float,
        max_drift: float,
        max_memory: float,
    ) -> None:
        self.model = model
        self.longest = min(context_length or model.max_context, model.max_context)
        self.max_age = max_age
        self.max_drift = max_drift
        self.histories: list[History] = []
        self.seasons: list[int] = []
        self._patch = model.config.tokenizer.patch_length
        self.phases = PhaseStore(self._patch, max_age, max_memory)

    def copied(self) -> Reader:
        """A reader that knows the same and goes its own way; the model is shared."""
        other = copy.copy(self)
        other.histories, other.seasons = copy.deepcopy(self.histories), list(self.seasons)
        other.phases = self.phases.copied()
        return other

    @property
    def capacity(self) -> int:
        """Steps to keep of each series: all that a phase can have read."""
        return self.longest + int(self.max_age * self.longest) + self._patch

    def follow(self, values: Array, season: int) -> None:
        """Follow one more series."""
        history = History(self.capacity)
        history.append(values)
        self.histories.append(history)
        self.seasons.append(season)

    def context(self, i: int) -> Array:
        """The steps that a pass over the whole context of series `i` reads."""
        history = self.histories[i]
        return history.tail(min(history.length, self.longest))

    def template(self) -> tuple[Anchor, Memory]:
        """What a phase holds, of a series that is zero."""
        z = torch.zeros(1, self._patch, device=self.model.device)
        observed = torch.ones_like(z, dtype=torch.bool)
        row = self.model.network.tokenizer.describe(z, observed)
        return Anchor(Scale.of(z, observed), row), self.model.network.blank_memory(2)

    def quantiles(self, rows: list[int], horizon: int) -> Array:
        """Quantiles at the trained levels, [len(rows), H, Q].

        Parameters
        ----------
        rows
            Numbers of different series, each with a value in its last context.
        horizon
            Steps to forecast.
        """
        model = self.model
        if not model.keeps_state or horizon > model.config.max_horizon:
            contexts = [self.context(i) for i in rows]
            return model.quantiles(contexts, horizon, seasons=[self.seasons[i] for i in rows])
        drifted = self._drifted(rows)
        groups: dict[tuple[bool, int], list[int]] = {}
        for i in rows:
            phase = self._phase(i)
            if phase is None or i in drifted:
                size = padded_length(len(self.context(i)), self.longest, self._patch)
                groups.setdefault((True, size), []).append(i)
            else:
                newest = (self.histories[i].time - phase.end) // self._patch
                groups.setdefault((False, newest), []).append(i)
        answer = np.empty((len(rows), horizon, model.n_levels))
        place = {i: k for k, i in enumerate(rows)}
        most = tokens_per_pass(model.device)
        for (whole, size), members in groups.items():
            n_tokens = horizon // self._patch + 1 + (size // self._patch if whole else size)
            for part in _chunks(members, max(1, most // (2 * n_tokens))):
                read = self._read_whole if whole else self._read_newest
                answer[[place[i] for i in part]] = read(part, size, horizon)
        return answer

    def _phase(self, i: int) -> Phase | None:
        """What is remembered of a series in its present phase, if that is not too old."""
        return self.phases.find(i, self.histories[i].time)

    def _drifted(self, rows: list[int]) -> set[int]:
        """Series whose location or scale has moved too far from that of their phase."""
        found = [(i, phase) for i in rows if (phase := self._phase(i)) is not None]
        if not found:
            return set()
        values = self._windows([(i, len(self.context(i))) for i, _ in found])
        now = Scale.of(values, torch.isfinite(values))
        then = joined([phase.anchor.scale for _, phase in found])
        bound = self.max_drift * then.scale
        moved = ((now.loc - then.loc).abs() > bound) | ((now.scale - then.scale).abs() > bound)
        return {i for (i, _), far in zip(found, moved[:, 0].tolist(), strict=True) if far}

    def _windows(self, tails: Sequence[tuple[int, int]], size: int | None = None) -> Tensor:
        """[B, L] last steps of some series, padded with NaN on the left to whole patches."""
        longest = max(n for _, n in tails) if size is None else size
        values = np.full((len(tails), -(-longest // self._patch) * self._patch), np.nan)
        for row, (i, n) in enumerate(tails):
            values[row, values.shape[1] - n :] = self.histories[i].tail(n)
        return torch.from_numpy(values).to(self.model.device)

    def _read_whole(self, rows: list[int], size: int, horizon: int) -> Array:
        """Read contexts from their first step on, find their statistics and remember both."""
        network, lengths = self.model.network, [len(self.context(i)) for i in rows]
        values = self._windows(list(zip(rows, lengths, strict=True)), size)
        observed = torch.isfinite(values)
        season = torch.tensor([self.seasons[i] for i in rows], device=values.device)
        with torch.inference_mode():
            scale = Scale.of(values, observed)
            z = torch.where(observed, scale.forward(values), 0)
            anchor = Anchor(scale, network.tokenizer.describe(z, observed, season))
        times = [self.histories[i].time for i in rows]
        before = [
            Phase(time - length, time, time, one, network.blank_memory(2))
            for time, length, one in zip(times, lengths, parted(anchor, len(rows)), strict=True)
        ]
        return self._read(rows, before, values, values.shape[1] // self._patch, horizon)

    def _read_newest(self, rows: list[int], newest: int, horizon: int) -> Array:
        """Read the patches that are new to the present phase of some series."""
        before = [phase for i in rows if (phase := self._phase(i)) is not None]
        tails = [
            (i, self.histories[i].time - phase.begin)
            for i, phase in zip(rows, before, strict=True)
        ]
        return self._read(rows, before, self._windows(tails), newest, horizon)

    @torch.inference_mode()
    def _read(
        self, rows: list[int], before: list[Phase], values: Tensor, newest: int, horizon: int
    ) -> Array:
        """Go on from what is remembered, remember the new state, and forecast."""
        anchor = joined([phase.anchor for phase in before])
        memory = joined([phase.memory for phase in before])
        times = [self.histories[i].time for i in rows]
        grown = [time - phase.anchored for time, phase in zip(times, before, strict=True)]
        observed = torch.isfinite(values)
        z = torch.where(observed, anchor.scale.forward(values), 0)
        advanced = torch.tensor(grown, device=values.device)
        with torch.autocast(values.device.type, torch.bfloat16, enabled=self.model._autocast):
            answer, after = self.model.network.resume(
                z, observed, horizon, anchor.row, advanced, newest, memory
            )
        for i, time, phase, one in zip(rows, times, before, parted(after, len(rows)), strict=True):
            self.phases.keep(i, Phase(phase.begin, time, phase.anchored, phase.anchor, one))
        quantiles: Array = anchor.scale.inverse(answer).cpu().numpy()
        return quantiles


def _chunks(rows: list[int], size: int) -> Iterable[list[int]]:
    return (rows[k : k + size] for k in range(0, len(rows), size))
