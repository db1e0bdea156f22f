"""The last steps of a series that keeps growing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class History:
    """The last steps of a series, in bounded memory, and its lowest value ever.

    Time is counted in steps from the first one ever appended. Appending costs the same however
    long the series has become: values move to the front of the memory once it is full, which is
    every `capacity` steps at most.

    Parameters
    ----------
    capacity
        Steps kept, at least 1.

    Examples
    --------
    >>> history = History(3)
    >>> history.append(np.arange(5.0))
    >>> history.tail(2), history.time, history.lowest
    (array([3., 4.]), 5, 0.0)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.time = 0
        self.first: int | None = None
        """Time of the first value that is not missing."""
        self.lowest = np.inf
        self._memory: Array = np.empty(0)
        self._stop = 0

    @property
    def length(self) -> int:
        """Steps since the first value that is not missing, that one included."""
        return 0 if self.first is None else self.time - self.first

    @property
    def kept(self) -> int:
        """Steps in memory."""
        return min(self.time, self.capacity)

    def append(self, values: Array) -> None:
        """Append steps; NaN is a missing value."""
        finite = np.isfinite(values)
        if finite.any():
            if self.first is None:
                self.first = self.time + int(finite.argmax())
            self.lowest = min(self.lowest, float(values[finite].min()))
        kept = self.tail(self.kept)
        self.time += len(values)
        if self._stop + len(values) > len(self._memory):
            kept = np.concatenate([kept, values])[-self.capacity :]
            size = min(2 * len(kept) + 16, 2 * self.capacity)
            self._memory = np.empty(size)
            self._memory[: len(kept)] = kept
            self._stop = len(kept)
        else:
            self._memory[self._stop : self._stop + len(values)] = values
            self._stop += len(values)

    def tail(self, n: int) -> Array:
        """The last `n` steps, at most `kept`; read-only by custom, not a copy."""
        return self._memory[self._stop - n : self._stop]

    @classmethod
    def restored(
        cls, capacity: int, values: Array, time: int, first: int, lowest: float
    ) -> History:
        """A history with the values it kept and what it knew of those it had not.

        Parameters
        ----------
        capacity
            Steps kept.
        values
            The last `min(time, capacity)` steps.
        time, lowest
            Steps ever appended, and their lowest value.
        first
            Time of the first value that is not missing; negative for none.
        """
        history = cls(capacity)
        history.append(values)
        history.time, history.lowest = time, lowest
        history.first = None if first < 0 else first
        return history
