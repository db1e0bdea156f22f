"""Series of a panel -> what is anomalous in them, one finding per channel or per item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsfm.anomalies.segments import Alarm, members, segments_of
from tsfm.anomalies.thresholds import Reference, Rule
from tsfm.frames.errors import DataWarning, some, warn, word
from tsfm.frames.panel import Panel
from tsfm.models.judgement import (
    SHORTEST,
    Aggregation,
    DetectionModel,
    Judged,
    combine_channels,
    judge,
    judge_trailing,
    of_measured_channels,
)

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]


class ShortSeriesWarning(DataWarning):
    """A series is too short to be judged; its scores are missing."""


@dataclass(frozen=True)
class Settings:
    """How series are read and labelled; see `AnomalyDetector`."""

    window: int
    aggregation: Aggregation | Literal["auto"] = "auto"
    min_segment: int = 1
    merge_gap: int = 0
    causal: bool = False
    delay: int = 0
    progress: bool = False

    def length(self, n_steps: int) -> int:
        """Steps among which false alarms are counted: all, or those of a window of a stream."""
        return self.window if self.causal else n_steps

    def joined(self, n_channels: int) -> int:
        """Channels that a score of a frame is of: one, or all of an item."""
        return 1 if self.aggregation == "auto" else n_channels

    def numbering(self) -> Callable[[Bool], Int64]:
        """What turns labels of a series into numbers of segments."""
        if self.causal:
            alarm = Alarm()
            return lambda flags: alarm.advance(flags, self.min_segment, self.merge_gap)
        return lambda flags: segments_of(flags, self.min_segment, self.merge_gap)


@dataclass(frozen=True)
class Item:
    """An item of a panel: its channels, and how each step was judged.

    Parameters
    ----------
    number
        Of its first series in the panel; the other channels follow.
    first
        Step of the series that the arrays begin with.
    values
        [L, C].
    judged
        What the detector says of them.
    """

    number: int
    first: int
    values: Array
    judged: Judged


@dataclass(frozen=True)
class Finding:
    """What is anomalous in a channel, or in an item whose channels are judged as one.

    Parameters
    ----------
    item
        Where it is.
    channel
        [L] the channel that each step is described by: the one, or that of the highest score.
    score, p_value
        [L].
    segment
        [L] number of the segment, -1 outside of all.
    peak_p_value
        p-value of each segment, in the order of their numbers.
    joint
        Whether all channels of the item were judged as one.
    """

    item: Item
    channel: Int64
    score: Array
    p_value: Array
    segment: Int64
    peak_p_value: tuple[float, ...]
    joint: bool = False

    def pick(self, values: Array) -> Array:
        """[L] what the channels [L, C] say of the steps they describe."""
        return np.take_along_axis(values, self.channel[:, None], axis=1)[:, 0]

    @property
    def members(self) -> list[Int64]:
        """Steps of each segment."""
        return members(self.segment)

    @property
    def severity(self) -> Array:
        """[L] distance from the expected value in usual distances; 0 where both are 0."""
        judged = self.item.judged
        distance = np.abs(self.pick(self.item.values) - self.pick(judged.expected))
        spread = self.pick(judged.spread)
        tiny = np.finfo(np.float64).tiny
        return np.where(distance == 0, 0.0, distance / np.maximum(spread, tiny))


def channels_per_item(panel: Panel) -> int:
    """Target columns: channels of one system where an item has several."""
    return len(panel.layout.target_cols)


def judge_panel(panel: Panel, model: DetectionModel, settings: Settings) -> list[Item]:
    """Judge all items of a panel; one that is too short is named in a warning."""
    channels = channels_per_item(panel)
    numbers = range(0, len(panel), channels)
    short = [panel.label(i) for i in numbers if len(panel.values[i]) < SHORTEST]
    if short:
        warn(
            f"Series {some(short)} {word(short, 'has', 'have')} fewer than {SHORTEST} rows, too "
            f"few to tell what is usual: {word(short, 'its', 'their')} scores are missing. Drop "
            f"{word(short, 'it', 'them')} to silence this warning.",
            ShortSeriesWarning,
        )
    return [judge_item(panel, i, model, settings) for i in numbers]


def judge_item(
    panel: Panel, number: int, model: DetectionModel, settings: Settings, first: int = 0
) -> Item:
    """Judge the channels of one item together, from a step on."""
    channels = channels_per_item(panel)
    values = np.stack(panel.values[number : number + channels], axis=1)
    if settings.causal:
        judged = judge_trailing(
            model,
            values,
            settings.window,
            settings.delay,
            first=first,
            progress=settings.progress,
        )
    else:
        judged = judge(model, values, settings.window, progress=settings.progress)
    return Item(number, first, values[first:], judged)


def channel_scores(item: Item, settings: Settings) -> list[Array]:
    """Scores [L] that are held to a threshold: of each channel, or one of all."""
    if settings.aggregation == "auto":
        return list(item.judged.score.T)
    return [combine_channels(told_scores(item, settings), settings.aggregation)]


def told_scores(item: Item, settings: Settings) -> Array:
    """Scores [L, C] of the channels that are judged as one.

    On/off channels count only where there are no others; as alerts come in it is not known which
    channels are such, so all of them count.
    """
    if settings.causal:
        return item.judged.score
    return of_measured_channels(item.judged.score, item.values)


def reference_of(items: Sequence[Item], settings: Settings) -> Reference:
    """The scores of items, to compare others with."""
    return Reference(tuple(part for item in items for part in channel_scores(item, settings)))


def findings_of(
    item: Item,
    rule: Rule,
    settings: Settings,
    numbering: Sequence[Callable[[Bool], Int64]] | None = None,
) -> list[Finding]:
    """Label the steps of an item.

    Parameters
    ----------
    item
        What was judged.
    rule
        Where the line is drawn.
    settings
        How channels are combined, and what makes a segment.
    numbering
        For each channel that is judged on its own, or for all as one, what makes numbers of
        segments out of labels; that of `settings` by default.
    """
    length = settings.length(len(item.values))
    parts = channel_scores(item, settings)
    alone = settings.aggregation == "auto"
    n_channels = settings.joined(item.values.shape[1])
    cut = rule.threshold(length, n_channels)
    numbers = numbering or [settings.numbering() for _ in parts]
    found = []
    for i, (score, number) in enumerate(zip(parts, numbers, strict=True)):
        channel = np.full(len(score), i)
        if not alone:
            channel = np.nan_to_num(told_scores(item, settings), nan=-np.inf).argmax(axis=1)
        p = rule.p_values(score, length, n_channels)
        segment = number(rule.marks(score, p, cut))
        peaks = [
            rule.peak_p_value(float(np.nanmax(score[steps])), len(steps), length, n_channels)
            for steps in members(segment)
        ]
        found.append(Finding(item, channel, score, p, segment, tuple(peaks), not alone))
    return found
