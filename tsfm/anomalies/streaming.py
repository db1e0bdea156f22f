"""Detectors whose series go on: new rows in, labels of the new rows out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError

from tsfm.anomalies.answer import detection_frame
from tsfm.anomalies.arguments import check_detector
from tsfm.anomalies.estimator import COMPARING, DetectingEstimator
from tsfm.anomalies.findings import (
    Finding,
    Item,
    Settings,
    channels_per_item,
    findings_of,
    judge_item,
)
from tsfm.anomalies.segments import Alarm
from tsfm.anomalies.thresholds import choose_rule
from tsfm.frames.extend import extend
from tsfm.frames.panel import Panel
from tsfm.frames.read import Data, read
from tsfm.models.judgement import DetectionModel

_ALL = 2**62


@dataclass
class Watch:
    """Where a stream stands.

    Parameters
    ----------
    panel
        The series it follows.
    pending
        Per item its last rows that came by `update` and have not been judged yet.
    alarms
        Per item those of its channels, or the one of all.
    """

    panel: Panel
    pending: list[int] = field(default_factory=list)
    alarms: list[list[Alarm]] = field(default_factory=list)

    def grow(self, n_items: int, n_alarms: int) -> None:
        """Make room for items that are new."""
        new = n_items - len(self.pending)
        self.pending += [0] * new
        self.alarms += [[Alarm() for _ in range(n_alarms)] for _ in range(new)]


class StreamingDetector(DetectingEstimator):
    """What lets an `AnomalyDetector` take new rows; `AnomalyDetector` is the class to use."""

    _watch: Watch | None = None

    def update(self, X_new: Data) -> pd.DataFrame:
        """Takes rows that follow the remembered ones, and judges them without what is to come.

        A row is judged as soon as `delay` rows of its series have followed it: with `delay=0` at
        once, else the answer of this call holds rows of earlier ones, too, and leaves out the last
        `delay` rows. Each is read in a window that ends `delay` rows after it, so that a row costs
        one pass however long its series has become. What was answered never changes. A series
        needs 8 rows before its rows have scores; `fit` with its history gives it these.

        With `causal=True`, `detect` gives the same scores and p-values of the whole series at
        once, but for rounding. Segments are those of the rows that came by `update`: their
        numbers begin with 0 there, and of a run that began in the history only the new rows count
        towards `min_segment`. No row of the history is judged, not even its last `delay` ones:
        give those to the first `update` instead if they are to be.

        The default threshold is that of a series of one window, which is as long as those of the
        calibration unless `context_length` is given. Only so many rows as the next judgement
        needs stay in `panel_`.

        Parameters
        ----------
        X_new
            New rows in the form that `fit` was given, in any order; missing ones between become
            missing values, rows with a new id begin a new series. They are copied, not changed.

        Returns
        -------
        DataFrame
            As that of `detect`, for the rows judged now. A segment goes on with its number; of a
            run of anomalous rows those from the `min_segment`-th on belong to one.

        Raises
        ------
        NotFittedError
            There is nothing to add to: `fit` with series comes first.
        DataError
            A row does not follow, or the rows are of another form; nothing has been added then.
        ValueError
            The rule compares with scores of `fit` that were not causal.
        """
        check_detector(self)
        if not hasattr(self, "panel_"):
            raise NotFittedError(
                "This AnomalyDetector remembers no series to add to: call fit with some first."
            )
        name, _ = choose_rule(self.contamination, self.alpha, self.threshold)
        if name in COMPARING and not self.causal:
            raise ValueError(
                f"{name} compares with the scores of fit, which saw what follows each row. Set "
                "causal=True and call fit again, or take the default threshold."
            )
        loaded, settings = self._ready(causal=True)
        rule = self._rule(loaded, settings)
        n_channels = settings.joined(channels_per_item(self.panel_))
        rule.warn_where_weak([settings.window], n_channels)
        grown, added = self._grown(X_new)
        watch, items = self._judge_new(grown, added, loaded.model, settings)
        findings: list[Finding] = []
        for i, item in items:
            marks = [_numbering(alarm, settings) for alarm in watch.alarms[i]]
            findings += findings_of(item, rule, settings, marks)
        answer = detection_frame(grown, findings)
        self.panel_ = _last_rows(grown, settings.window + settings.delay)
        self._watch = replace(watch, panel=self.panel_)
        return answer

    def _grown(self, X_new: Data) -> tuple[Panel, list[int]]:
        """The remembered series with their new rows, and how many each item has got."""
        if _has_no_rows(X_new):
            return self.panel_, [0] * (len(self.panel_) // channels_per_item(self.panel_))
        new = read(X_new, **self._names(X_new, fitted=True))
        found = extend(self.panel_, new, self.freq, self.on_gaps, self.on_duplicates, _ALL)
        step = channels_per_item(found.panel)
        return found.panel, [len(rows) for rows in found.added[::step]]

    def _judge_new(
        self, panel: Panel, added: list[int], model: DetectionModel, settings: Settings
    ) -> tuple[Watch, list[tuple[int, Item]]]:
        """Where the stream stands then, and the steps that can be judged now."""
        channels = channels_per_item(panel)
        known = self._watch if self._watch and self._watch.panel is self.panel_ else None
        old = known or Watch(self.panel_)
        alarms = [[replace(one) for one in item] for item in old.alarms]
        watch = Watch(panel, list(old.pending), alarms)
        watch.grow(len(added), channels if settings.aggregation == "auto" else 1)
        items = []
        for i, n_new in enumerate(added):
            waiting = watch.pending[i] + n_new
            length = len(panel.values[i * channels])
            watch.pending[i] = min(waiting, settings.delay)
            count = waiting - watch.pending[i]
            if count:
                first = length - waiting
                item = judge_item(panel, i * channels, model, settings, first)
                items.append((i, _head(item, count)))
        return watch, items


def _numbering(alarm: Alarm, settings: Settings) -> Any:
    return lambda flags: alarm.advance(flags, settings.min_segment, settings.merge_gap)


def _head(item: Item, count: int) -> Item:
    """The first steps of what was judged: the others are not yet."""
    judged = item.judged
    parts = (part[:count] for part in (judged.score, judged.expected, judged.spread))
    return Item(item.number, item.first, item.values[:count], type(judged)(*parts))


def _last_rows(panel: Panel, keep: int) -> Panel:
    """At most so many rows of each series."""
    values, start = list(panel.values), panel.start.copy()
    for i, rows in enumerate(values):
        dropped = max(0, len(rows) - keep)
        if dropped:
            values[i] = rows[dropped:].copy()
            start[i : i + 1] = panel.frequencies[i].advance(start[i : i + 1], np.array([dropped]))
    return replace(panel, values=tuple(values), start=start)


def _has_no_rows(data: Data) -> bool:
    if isinstance(data, list | tuple):
        return not data
    return bool(getattr(data, "shape", ())[:1] == (0,))
