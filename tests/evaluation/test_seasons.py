"""Seasons of frequencies: the metric's table is gluonts', both pandas spellings are understood."""

from __future__ import annotations

import pytest

from tsfm.evaluation.seasons import calendar_season, metric_season, parse_frequency


@pytest.mark.parametrize(
    "freq",
    ["s", "10s", "min", "5min", "10min", "15min", "30min", "7min", "h", "2h", "5h", "D", "W-SUN",
     "W-THU", "ME", "QE-DEC", "B", "YE-DEC"],
)  # fmt: skip
def test_metric_season_is_that_of_gluonts(freq: str) -> None:
    seasonality = pytest.importorskip("gluonts.time_feature.seasonality")
    assert metric_season(freq) == seasonality.get_seasonality(freq)


@pytest.mark.parametrize(
    ("old", "new"),
    [("15T", "15min"), ("H", "h"), ("M", "ME"), ("Q", "QE"), ("A", "YE"), ("S", "s")],
)
def test_old_and_new_spelling_agree(old: str, new: str) -> None:
    assert parse_frequency(old) == parse_frequency(new)
    assert metric_season(old) == metric_season(new)
    assert calendar_season(old) == calendar_season(new)


def test_calendar_season_of_slow_frequencies() -> None:
    assert [calendar_season(freq) for freq in ("D", "W", "M", "Q", "A", "7D", "24H")] == [
        7, 52, 12, 4, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("freq", ["", "fortnight", "15", "0T", "-1h"])
def test_unknown_frequency_says_what_is_allowed(freq: str) -> None:
    with pytest.raises(ValueError, match="frequency"):
        parse_frequency(freq)


@pytest.mark.parametrize(
    "freq", ["s", "10s", "min", "5T", "10min", "15T", "30T", "H", "2H", "D", "B", "W-SUN", "W-THU",
             "M", "MS", "Q", "QS", "A", "YE"],
)  # fmt: skip
def test_season_told_to_a_model_is_that_of_the_front_door(freq: str) -> None:
    frames = pytest.importorskip("tsfm.frames.frequency")
    assert calendar_season(freq) == frames.parse_frequency(freq, "ns").season_length
