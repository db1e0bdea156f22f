from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tsfm.datasets.anomalies import AnomalyRecipe

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recipe() -> AnomalyRecipe:
    """Few quick families, so that blocks of them are small."""
    families = {"daily_profile": 1.0, "waves": 1.0, "random_walk": 1.0, "server_metrics": 1.0}
    return AnomalyRecipe(families=families, block=8)


@pytest.fixture(scope="session")
def shipped() -> AnomalyRecipe:
    return AnomalyRecipe.load(ROOT / "datasets/anomalies.yaml")
