"""Counts by frequency and stratum, and the sheet of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.datasets.stored import Series
from tsfm.datasets.stored.strata import stratify
from tsfm.datasets.stored.summary import sheet, summarise


def test_counts(write):
    rng = np.random.default_rng(0)
    hours = [Series(f"h{i}", rng.normal(size=100 + i), "h") for i in range(5)]
    days = [Series("d", np.array([1.0, np.nan, 3.0, np.nan]), "D")]
    corpus = write([*hours, *days, hours[0], Series("x", np.ones(7))])
    summary = summarise(corpus)
    assert [g.name for g in summary.frequencies] == ["h", "unknown", "D"]
    hour, _, day = summary.frequencies
    assert (hour.n_series, hour.n_values) == (6, 510 + 100)
    assert (hour.shortest, hour.median, hour.longest) == (100, 101, 104)
    assert (day.missing, day.n_with_missing, hour.n_with_missing) == (0.5, 1, 0)
    assert summary.n_duplicates == 1
    assert summary.strata == ()
    stratify(corpus, strata=2)
    assert [g.name for g in summarise(corpus).strata] == ["0", "1", "2"]


def test_sheet(corpus, tmp_path):
    pytest.importorskip("matplotlib")
    assert len(sheet(corpus, rows=2, columns=3).axes) == 2 + 6
    stratify(corpus)
    figure = sheet(corpus, rows=1, columns=1)
    figure.savefig(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="at least 1"):
        sheet(corpus, rows=0)
