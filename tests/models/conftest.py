"""The committed tiny model, and a model that records what it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tsfm.models import TSFM, ModelConfig

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    return TINY


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> TSFM:
    return TSFM.from_pretrained(tiny_folder, device="cpu")


class RecordingModel:
    """Stands in for a `TSFM` below `resampled_quantiles`; answers with the last value."""

    def __init__(self, longest: int = 512) -> None:
        self.config = ModelConfig(max_context=longest)
        self.max_context = longest
        self.n_levels = 9
        self.shown: list[tuple[np.ndarray, int]] = []
        self.calls: list[tuple[int, bool]] = []
        """Series of each call, and whether their mirror images were wanted."""

    def quantiles(
        self, contexts, horizon, batch_size="auto", progress=False, seasons=None, mirrored=True
    ):
        self.calls.append((len(contexts), mirrored))
        self.shown += [(x.copy(), horizon) for x in contexts]
        last = np.array([x[np.isfinite(x)][-1] for x in contexts])
        spread = np.linspace(-1, 1, self.n_levels) * 0.1
        return np.broadcast_to(
            last[:, None, None] + spread, (len(contexts), horizon, self.n_levels)
        ).copy()


@pytest.fixture
def recording() -> RecordingModel:
    return RecordingModel()
