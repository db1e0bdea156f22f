"""Small presets, trained for a moment."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.presets import PresetModel
from tsfm.models.presets.config import preset_config
from tsfm.training.finetune import finetune
from tsfm.training.finetune_config import FinetuneConfig


def waves(n: int = 3, length: int = 220) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(length)
    return [
        50 + 10 * np.sin(2 * np.pi * t / 12 + shift) + rng.normal(0, 1, length)
        for shift in range(n)
    ]


SIZES = {
    "smamba": {"d_model": 16, "d_hidden": 16, "d_state": 4},
    "spacetime": {"n_kernels": 2, "d_state": 12},
}


@pytest.fixture(scope="session", params=["smamba", "spacetime"])
def trained(request) -> PresetModel:
    lengths = {"context_length": 36, "prediction_length": 8}
    config = preset_config(request.param, {**SIZES[request.param], **lengths})
    settings = FinetuneConfig.of(request.param, {"epochs": 4, "learning_rate": 5e-3})
    return finetune(waves(), config, settings, device="cpu").model


@pytest.fixture
def series() -> list[np.ndarray]:
    return waves()
