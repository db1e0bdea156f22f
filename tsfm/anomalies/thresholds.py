"""From scores to labels and p-values: where the line is drawn, and by what right.

A step is anomalous where its score exceeds the threshold. Four rules, at most one of which may be
chosen:

- default: the model's own calibration. Of clean synthetic series of the same length at most 1 %
  have a step above the threshold.
- `contamination=share`: the threshold that so large a share of the steps exceeds, of those given
  to `fit`, or of those in question. Nothing is claimed of clean series.
- `alpha=level`: exactly the steps whose p-value is at most `alpha`. After `fit(reference)`
  p-values are conformal: (1 + number of reference steps that score as high) / (1 + number of
  them), so that a step exchangeable with those of a clean reference is anomalous with probability
  `alpha` at most.
  Steps that follow one another are only roughly exchangeable; take a reference of the same kind.
  Without `fit` the calibration is the reference.
- `threshold=score`: a number of your own, in log odds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.frames.errors import DataWarning, warn
from tsfm.models.calibration import Table

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
RuleName = Literal["calibrated", "contamination", "alpha", "threshold"]


class UncalibratedWarning(DataWarning):
    """The detector has no calibration for the way it is used: no p-values, a plain threshold."""


class ReferenceWarning(DataWarning):
    """The reference, or the calibration, is too small for the level that was asked for."""


@dataclass(frozen=True)
class Reference:
    """Scores of steps that later ones are compared with.

    Parameters
    ----------
    parts
        Scores of each series, in the order of its steps; NaN where there is none.

    Examples
    --------
    >>> reference = Reference((np.arange(99.0),))
    >>> reference.p_values(np.array([98.5, 49.0, -1.0])).tolist()
    [0.01, 0.51, 1.0]
    >>> reference.alpha_threshold(0.05)  # the 5th highest: 4 of 99 steps lie above
    94.0
    """

    parts: tuple[Array, ...]
    ranked: Array = field(init=False, repr=False)
    _peaks: dict[int, Array] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the finite scores."""
        pooled = np.concatenate([np.empty(0), *self.parts])
        object.__setattr__(self, "ranked", np.sort(pooled[np.isfinite(pooled)]))

    def __len__(self) -> int:
        """Number of finite scores."""
        return len(self.ranked)

    def p_values(self, scores: Array) -> Array:
        """Conformal p-values; NaN stays NaN."""
        as_high = len(self) - np.searchsorted(self.ranked, scores, side="left")
        p = (1 + as_high) / (1 + len(self))
        return np.where(np.isnan(scores), np.nan, p)

    def alpha_threshold(self, alpha: float) -> float:
        """Score above which p-values are at most `alpha`.

        Infinite where none can be, -infinite where all are.
        """
        n = len(self) + 1
        count = math.floor(alpha * n * (1 + 1e-12))
        if count / n > alpha:
            count -= 1
        if count > len(self):
            return -math.inf
        return float(self.ranked[-count]) if count else math.inf

    def share_threshold(self, share: float) -> float:
        """Score that a share of the steps exceeds."""
        return -float(np.percentile(-self.ranked, 100 * share)) if len(self) else math.inf

    def peak_p_value(self, peak: float, n_points: int) -> float:
        """Conformal p-value of a segment's peak, among those of stretches of its length."""
        if n_points not in self._peaks:
            peaks = [
                part[: len(part) // n_points * n_points].reshape(-1, n_points).max(axis=1)
                for part in (np.nan_to_num(part, nan=-np.inf) for part in self.parts)
                if len(part) >= n_points
            ]
            self._peaks[n_points] = np.sort(np.concatenate([np.empty(0), *peaks]))
        ranked = self._peaks[n_points]
        as_high = len(ranked) - int(np.searchsorted(ranked, peak, side="left"))
        return (1 + as_high) / (1 + len(ranked))


@dataclass(frozen=True)
class Rule:
    """A threshold and the p-values that go with it.

    Parameters
    ----------
    name
        Which of the four.
    amount
        The share, level or score; unused by the default.
    table
        The calibration for steps judged like these, if there is one.
    reference
        Scores to compare with: of `fit`, or of the steps in question.
    longest
        Steps up to which a series is read in windows like those of `table`; longer ones have no
        calibration.
    """

    name: RuleName
    amount: float = 0.0
    table: Table | None = None
    reference: Reference | None = None
    longest: float = math.inf

    def threshold(self, length: int, n_channels: int = 1) -> float:
        """Score above which a step is anomalous.

        Parameters
        ----------
        length
            Steps of its series.
        n_channels
            Channels whose scores were combined.

        Raises
        ------
        ValueError
            There is no calibration of such series and no reference for p-values to rest on.
        """
        if self.name == "threshold":
            return self.amount
        if self.name == "contamination":
            assert self.reference is not None
            return self.reference.share_threshold(self.amount)
        if self.name == "alpha" and self.reference is not None:
            return self.reference.alpha_threshold(self.amount)
        table = self._known(length)
        if table is None:
            if self.name == "alpha":
                raise ValueError(
                    f"alpha={self.amount} needs scores of clean steps: call fit with a clean "
                    f"reference, or take a detector with a calibration.{self._hint()}"
                )
            return 0.0
        if self.name == "alpha":
            return table.step_threshold(self.amount, length, n_channels)
        return table.threshold(length, n_channels)

    def marks(self, scores: Array, p_values: Array, threshold: float) -> Bool:
        """Whether steps are anomalous; those without a score are not.

        Parameters
        ----------
        scores, p_values
            Of each step.
        threshold
            That of their series.
        """
        with np.errstate(invalid="ignore"):
            return p_values <= self.amount if self.name == "alpha" else scores > threshold

    def p_values(self, scores: Array, length: int, n_channels: int = 1) -> Array:
        """P-value of each step; NaN where there is nothing to compare with."""
        if self.name == "alpha" and self.reference is not None:
            return self.reference.p_values(scores)
        table = self._known(length)
        if table is None:
            return np.full(len(scores), np.nan)
        return table.p_values(scores, length, n_channels)

    def peak_p_value(self, peak: float, n_points: int, length: int, n_channels: int = 1) -> float:
        """P-value of a segment by its highest score.

        By the calibration: how often a clean series of this length has a peak as high anywhere. By
        a reference: how often a stretch of it of the segment's length has.
        """
        if self.name == "alpha" and self.reference is not None:
            return self.reference.peak_p_value(peak, n_points)
        table = self._known(length)
        return math.nan if table is None else table.peak_p_value(peak, length, n_channels)

    def warn_where_weak(self, lengths: Iterable[int], n_channels: int = 1) -> None:
        """Warn of what the threshold does not rest on, in series of some lengths."""
        distinct = set(lengths)
        if self.name == "calibrated" and any(self._known(one) is None for one in distinct):
            warn(
                "This detector has no calibration for the way it is used: steps count as "
                "anomalous where it holds that for more likely than not, and p-values are "
                "missing. Make one with `tsfm evaluate calibrate`, or choose contamination=, "
                f"threshold= or, after fit with a clean reference, alpha=.{self._hint()}",
                UncalibratedWarning,
            )
        if self.name != "alpha":
            return
        certain = np.array([math.inf])
        smallest = [self.p_values(certain, one, n_channels)[0] for one in distinct]
        if any(p > self.amount for p in smallest):
            enough = math.ceil(1 / self.amount) - 1
            scope = f"reference of {len(self.reference or ())} steps"
            remedy = f"Give at least {enough} steps."
            if self.reference is None:
                scope = f"calibration whose smallest p-value is {max(smallest):.2g}"
                remedy = f"Call fit with a clean reference of at least {enough} steps."
            warn(
                f"A {scope} cannot show a p-value of alpha={self.amount}: nothing will be "
                f"anomalous. {remedy}",
                ReferenceWarning,
            )

    def _known(self, length: int) -> Table | None:
        """The calibration that holds for a series."""
        return self.table if length <= self.longest else None

    def _hint(self) -> str:
        """What to do where the calibration is of other windows."""
        if self.table is None or math.isinf(self.longest):
            return ""
        size = f"of {self.table.window} steps" if self.table.window else "as long as it can read"
        return (
            f" There is a calibration for windows {size}: leave context_length at None to have "
            "these, and delay below that."
        )


def choose_rule(
    contamination: float | Literal["auto"], alpha: float | None, threshold: float | None
) -> tuple[RuleName, float]:
    """The rule that arguments ask for, and its number.

    Raises
    ------
    ValueError
        A number is out of range, or more than one rule was asked for.
    """
    asked: list[tuple[RuleName, float]] = []
    if not (isinstance(contamination, str) and contamination == "auto"):
        asked.append(("contamination", _number(contamination, "contamination", 0.0, 0.5)))
    if alpha is not None:
        asked.append(("alpha", _number(alpha, "alpha", 0.0, 1.0)))
    if threshold is not None:
        asked.append(("threshold", _number(threshold, "threshold", -math.inf, math.inf)))
    if len(asked) > 1:
        names = " and ".join(f"{name}={amount:g}" for name, amount in asked)
        raise ValueError(f"{names} are two rules for one threshold; give one of them.")
    return asked[0] if asked else ("calibrated", 0.0)


def _number(value: object, name: str, low: float, high: float) -> float:
    """A finite number above `low` and not above `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    number = float(value)
    if not (low < number <= high and math.isfinite(number)):
        within = f" above {low:g} and at most {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{name} must be a finite number{within}, got {value!r}.")
    return number
