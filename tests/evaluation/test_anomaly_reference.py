"""The reference implementation's figures on real series, where the data are present."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.evaluation import nab, tsb
from tsfm.evaluation.anomaly_baselines import Detector, period, scorer_named
from tsfm.evaluation.anomaly_metrics import MEASURES, measure

LOCAL = {
    "random": ("random", 1e-9),
    "sub-pca": ("Sub-PCA", 1e-6),
    "abs-deviation": ("abs_dev_median", 1e-3),
}
"""Baselines whose figures were recorded elsewhere: their name there, and a tolerance for ties that
the rounding of the stored series to float32 makes or breaks.
"""

QUICK = r"_NAB_|_TODS_|_Daphnet_"


@pytest.fixture(scope="module")
def data() -> Path:
    given = os.environ.get("TSFM_BENCHMARKS")
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared/benchmarks"
    if not (root / "tsb" / "metric_reference.parquet").is_file():
        pytest.skip(f"real data not here: {root / 'tsb'} (set TSFM_BENCHMARKS)")
    return root / "tsb"


def test_all_nine_measures_equal_the_reference(data: Path) -> None:
    reference = pd.read_parquet(data / "metric_reference.parquet")
    series = {one.series_id: one for one in tsb.read_series(data)}
    assert len(reference) == 42
    for row in reference.to_dict("records"):
        one = series[row["series_id"]]
        assert period(one.values[:, 0]) == row["window"]
        begin = one.train_end if row["protocol"] == "test" else 0
        found = measure(one.labels[begin:], row["scores"][begin:], row["window"])
        for name in MEASURES:
            where = (row["series_id"], row["score"], row["protocol"], name)
            assert found[name] == pytest.approx(row[name], abs=1e-9), where


@pytest.mark.parametrize("baseline", LOCAL)
def test_baselines_equal_their_recorded_figures(data: Path, baseline: str) -> None:
    name_there, tolerance = LOCAL[baseline]
    recorded = pd.read_csv(data / "local_baselines.csv")
    recorded = recorded[recorded["method"] == name_there]
    recorded["file"] = recorded["file"].str.removesuffix(".csv")
    for protocol in ("full", "test"):
        rows = recorded[recorded["protocol"] == protocol].set_index("file")
        report = tsb.evaluate(
            scorer_named(baseline), data, protocol=protocol, series=QUICK,
            measures=("VUS-PR", "Standard-F1"), progress=False,
        )  # fmt: skip
        for row in report.files:
            if row.series_id in rows.index:
                for name, value in row.measures.items():
                    known = rows.loc[row.series_id, name]
                    assert value == pytest.approx(known, abs=tolerance), (row.series_id, name)


@pytest.mark.parametrize(("variates", "board"), [("univariate", "U"), ("multivariate", "M")])
def test_leaderboard_follows_from_the_published_rows(
    data: Path, variates: tsb.Variates, board: str
) -> None:
    names = [one.series_id for one in tsb.read_series(data, variates)]
    found = {
        row.method: (row.protocol, row.means["VUS-PR"])
        for row in tsb.published_means(data, variates, names)
    }
    known = pd.read_csv(data / f"leaderboard_{board}.csv").set_index("method")
    assert set(found) == set(known.index)
    for method, (protocol, mean) in found.items():
        assert protocol == known.loc[method, "protocol"]
        assert mean == pytest.approx(known.loc[method, "mean"], abs=1e-4)


def test_nab_score_of_its_windowed_gaussian(data: Path) -> None:
    """The scoreboard's figures come from scores rounded to twelve digits."""
    detector = scorer_named("windowed-gaussian")

    def rounded(values: np.ndarray, train_end: int) -> np.ndarray:
        return np.round(detector(values, train_end), 12)

    exact, board = (_nab(which, data) for which in (detector, rounded))
    assert exact == pytest.approx((40.13, 23.94, 47.73), abs=0.01)
    assert board == pytest.approx((39.6, 20.9, 47.4), abs=0.06)


def _nab(detector: Detector, data: Path) -> tuple[float, ...]:
    report = nab.evaluate(detector, data, progress=False)
    return tuple(row.score for row in report.profiles.values())
