"""Small models of random weights, for tests in several rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tsfm.models import TSFM


@pytest.fixture(scope="session")
def random_model() -> Callable[..., TSFM]:
    """Call it with the name of a backbone; every call makes a new model."""
    return _random_model


def _random_model(backbone: str, amount: float = 0.05, seed: int = 0, **fields: Any) -> TSFM:
    """The tiny preset, untrained, with any backbone and other fields of its `ModelConfig`.

    Output layers start at zero. Normal numbers of deviation `amount` are added to every weight, so
    that what the backbone says is heard; `seed` is theirs.
    """
    import torch

    from tsfm.models import TSFM, ModelConfig

    tiny = ModelConfig.preset("tiny")
    stack = dataclasses.replace(tiny.backbone, name=backbone, d_state=8)
    model = TSFM.from_config(dataclasses.replace(tiny, backbone=stack, **fields), seed=0)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=rng)
    return model
