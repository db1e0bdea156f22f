"""A small corpus of series that differ in everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tsfm.datasets.stored import Corpus, CorpusWriter, Series

pytest.importorskip("pyarrow")


@pytest.fixture
def write(tmp_path) -> Callable[..., Corpus]:
    """Write series into a corpus and open it."""

    def write(series: Sequence[Series], name: str = "corpus", shard_values: int = 5_000) -> Corpus:
        with CorpusWriter(tmp_path / name, shard_values=shard_values) as writer:
            writer.begin("by hand", "arrays")
            for one in series:
                writer.add(one)
        return Corpus(tmp_path / name)

    return write


@pytest.fixture
def mixed() -> list[Series]:
    """Waves, walks and noise of 3 to 3,000 steps, some with gaps."""
    rng = np.random.default_rng(0)
    series = []
    for i in range(60):
        n = int(rng.integers(40, 3000)) if i else 3
        noise = rng.normal(size=n)
        wave = np.sin(np.arange(n) * 2 * np.pi / 24) + 0.1 * noise
        values = (noise, noise.cumsum(), 5 * wave)[i % 3] * 10.0 ** (i % 5) + 100 * (i % 4)
        if i % 5 == 1:
            values[rng.random(n) < 0.2] = np.nan
        series.append(Series(f"s{i}", values, "h", 24, 1_700_000_000))
    return series


@pytest.fixture
def corpus(write, mixed) -> Corpus:
    return write(mixed)


ROOT = Path(__file__).resolve().parents[3]
