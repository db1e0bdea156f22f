"""Benchmark folders: the real one where it is present, and a tiny one made on the spot."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def benchmarks() -> Path:
    given = os.environ.get("TSFM_BENCHMARKS")
    return Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "benchmarks"


def _real(name: str) -> Path:
    path = benchmarks() / name
    if not path.exists():
        pytest.skip(f"real data not here: {path} (set TSFM_BENCHMARKS)")
    return path


@pytest.fixture(scope="session")
def gift_data() -> Path:
    return _real("gift")


@pytest.fixture(scope="session")
def classics_data() -> Path:
    return _real("lsf/classics.parquet")


@pytest.fixture(scope="session")
def longterm_data() -> Path:
    return _real("lsf")


@pytest.fixture(scope="session")
def tiny_gift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, three configurations, gaps in contexts and labels, a constant series."""
    folder = tmp_path_factory.mktemp("tiny_gift")
    rng = np.random.default_rng(0)
    hours = np.arange(400)
    hourly = [
        10 + 3 * np.sin(2 * np.pi * hours / 24 + phase) + rng.normal(0, 0.5, 400)
        for phase in (0.0, 1.0, 2.0)
    ]
    hourly[1][[5, 100, 101, 390]] = np.nan
    hourly[2][:] = 7.0
    monthly = [20 + rng.normal(0, 2, 60).cumsum(), 5 + rng.normal(0, 1, 48)]
    entries = [
        _entry(folder, "power", "H", hourly, {"short": (24, 3), "medium": (60, 1)}),
        _entry(folder, "sales", "M", monthly, {"short": (12, 1)}),
    ]
    (folder / "manifest.json").write_text(json.dumps(entries))
    names = [name for entry in entries for name in entry["configs"]]
    pd.DataFrame(
        [
            (name, model, score, score)
            for model, score in (("good", 0.5), ("bad", 2.0), ("seasonal_naive", 1.0))
            for name in names
        ],
        columns=["config", "model", "MASE_rel", "CRPS_rel"],
    ).to_csv(folder / "published.csv", index=False)
    return folder


def _entry(folder: Path, name: str, freq: str, series: list, terms: dict) -> dict:
    path = folder / f"{name}.parquet"
    pd.DataFrame(
        {
            "item_id": [f"{name}_{k}" for k in range(len(series))],
            "start": pd.Timestamp("2020-01-31"),
            "freq": freq,
            "target": [values.astype(np.float32) for values in series],
        }
    ).to_parquet(path)
    return {
        "file": path.name,
        "freq": freq,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "configs": [f"{name}/{freq}/{term}" for term in terms],
        "terms": list(terms),
        "prediction_length": {term: length for term, (length, _) in terms.items()},
        "windows": {term: windows for term, (_, windows) in terms.items()},
    }


@dataclass
class _Answer:
    quantiles: np.ndarray


class FakeModel:
    """Answers with the last value and a fixed spread; remembers how it was called."""

    def __init__(self, fill: float | None = None) -> None:
        self.name = "fake"
        self.device = "cpu"
        self.fill = fill
        self.calls: list[dict] = []

    def forecast(
        self,
        series,
        prediction_length,
        quantile_levels=(0.1, 0.5, 0.9),
        *,
        mode="fast",
        season_lengths=None,
        batch_size="auto",
    ):
        self.calls.append(
            {
                "n": len(series),
                "mode": mode,
                "seasons": list(season_lengths),
                "batch_size": batch_size,
            }
        )
        last = np.array(
            [s[np.isfinite(s)][-1] if self.fill is None else self.fill for s in series]
        )
        spread = np.asarray(quantile_levels) - 0.5
        shape = (len(series), prediction_length, len(quantile_levels))
        return _Answer(np.broadcast_to(last[:, None, None] + spread, shape).copy())


@pytest.fixture
def fake_model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def broken_model() -> FakeModel:
    return FakeModel(fill=float("nan"))
