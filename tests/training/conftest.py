"""A run so small that it trains in a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tsfm.datasets.recipes import Recipe, WindowShape
from tsfm.models import ModelConfig
from tsfm.training.config import OptimizerConfig, PretrainConfig

CONFIG = """
model: {preset: tiny, max_context: 256}
recipe: corpus.yaml
optimizer: {learning_rate: 2e-3, warmup_steps: 4, average: 0.9}
max_steps: 20
validate_every: 0
log_every: 5
checkpoint_minutes: 1000
precision: fp32
seed: 3
"""
CORPUS = """
name: quick
families: {waves: 1, local_level: 1}
windows:
  - {context: 4, horizon: 2, weight: 1}
  - {context: 2, horizon: 1, weight: 1}
tokens_per_step: 96
steps_per_chunk: 8
block: 8
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: runs are compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        "quick",
        {"waves": 1, "local_level": 1},
        (WindowShape(4, 2, 1.0), WindowShape(2, 1, 1.0)),
        tokens_per_step=96,
        steps_per_chunk=8,
        block=8,
    )


@pytest.fixture
def config(recipe: Recipe) -> PretrainConfig:
    optimizer = OptimizerConfig(warmup_steps=4, average=0.9)
    return PretrainConfig(
        ModelConfig.preset("tiny"),
        recipe,
        optimizer,
        max_steps=20,
        validate_every=0,
        log_every=5,
        checkpoint_minutes=1000,
        precision="fp32",
        seed=3,
    )


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "corpus.yaml").write_text(CORPUS)
    path = tmp_path / "quick.yaml"
    path.write_text(CONFIG)
    return path
