"""Segments of whole series and of streams."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.anomalies.segments import Alarm, segments_of


def flags(text: str) -> np.ndarray:
    return np.array([c == "x" for c in text])


def shown(numbers: np.ndarray) -> str:
    return "".join("." if n < 0 else str(n) for n in numbers)


@pytest.mark.parametrize(
    ("text", "least", "gap", "wanted"),
    [
        ("", 1, 0, ""),
        ("....", 1, 0, "...."),
        ("xx.x", 1, 0, "00.1"),
        ("xx.x", 1, 1, "0000"),
        ("x..x", 1, 1, "0..1"),
        ("x.xx.x", 2, 0, "..00.."),
        ("x.x...x", 3, 1, "000...."),
        ("xxx", 3, 5, "000"),
    ],
)
def test_runs_are_joined_then_dropped(text, least, gap, wanted):
    assert shown(segments_of(flags(text), least, gap)) == wanted


@pytest.mark.parametrize(
    ("text", "least", "gap", "wanted"),
    [
        ("xx.x", 1, 0, "00.1"),
        ("xx.x", 1, 1, "00.0"),
        ("x..x", 1, 1, "0..1"),
        ("x.xx.xxx", 2, 0, "...0..11"),
        ("xxx..xx", 2, 2, ".00...0"),
        ("xxx...xx", 2, 2, ".00....1"),
    ],
)
def test_streams_never_go_back_on_what_was_said(text, least, gap, wanted):
    assert shown(Alarm().advance(flags(text), least, gap)) == wanted
    for cut in range(len(text)):
        alarm = Alarm()
        parts = [alarm.advance(flags(x), least, gap) for x in (text[:cut], text[cut:])]
        assert shown(np.concatenate(parts)) == wanted


def test_without_rules_for_segments_both_agree():
    marks = np.random.default_rng(0).random(500) < 0.3
    assert np.array_equal(segments_of(marks), Alarm().advance(marks))
