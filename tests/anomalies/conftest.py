"""A small random detector, and a stand-in whose scores are easy to foresee."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest


class Scores(NamedTuple):
    score: np.ndarray
    expected: np.ndarray
    scale: np.ndarray


class Distance:
    """Score: distance to the median of the window, in median distances, times two, minus 10."""

    max_context = 64

    def __init__(self, calibration: Any = None) -> None:
        self.calibration = calibration
        self.seen: list[tuple[int, ...]] = []

    def score(self, values: np.ndarray, *, window: Any = None, progress: bool = False) -> Scores:
        self.seen.append(values.shape)
        middle = np.nanmedian(values, axis=0)
        scale = np.nanmedian(np.abs(values - middle), axis=0)
        distance = np.abs(values - middle) / np.where(scale > 0, scale, 1)
        shape = values.shape
        return Scores(
            2 * distance - 10, np.broadcast_to(middle, shape), np.broadcast_to(scale, shape)
        )


@pytest.fixture
def distance() -> Distance:
    return Distance()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights that reads 64 steps."""
    import torch

    from tsfm.models import Detector, DetectorConfig

    model = Detector.from_config(
        dataclasses.replace(DetectorConfig.preset("tiny"), max_context=64)
    )
    rng = torch.Generator().manual_seed(0)
    for parameter in model.network.parameters():
        if parameter.ndim == 2:
            size = parameter.shape[1] ** -0.5
            parameter.data = size * torch.randn(parameter.shape, generator=rng)
    path = tmp_path_factory.mktemp("detector")
    model.save_pretrained(path)
    return path


@pytest.fixture
def day() -> pd.Series:
    """Two hundred hours of a daily rhythm with a spike at 150."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(200) * 2 * np.pi / 24) + 0.1 * rng.normal(size=200)
    values[150] = 8.0
    index = pd.date_range("2024-03-25", periods=200, freq="h", tz="Europe/Berlin", name="when")
    return pd.Series(values, index, name="load")


@pytest.fixture
def panel(day: pd.Series) -> pd.DataFrame:
    """Two items with ids, in long format."""
    parts = [
        pd.DataFrame({"unique_id": name, "ds": day.index, "y": day.to_numpy() * unit})
        for name, unit in (("b", 1.0), ("a", -30.0))
    ]
    return pd.concat(parts, ignore_index=True)
