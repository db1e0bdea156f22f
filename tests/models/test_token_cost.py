"""Fewer tokens cost the backbone less, in proportion."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tsfm.models.config import ModelConfig
from tsfm.models.network import ForecastingNetwork

TINY = ModelConfig.preset("tiny")


def cost(backbone: str, mean_length: float) -> tuple[float, float]:
    """Context tokens and backbone FLOPs of one series of 2,048 steps."""
    dynamic = replace(
        TINY.tokenizer,
        name="entropy",
        scorer="surprise",
        rule="equal_share",
        rule_value=mean_length,
        max_length=256,
    )
    config = replace(
        TINY, tokenizer=dynamic, backbone=replace(TINY.backbone, name=backbone, d_state=8)
    )
    torch.manual_seed(0)
    network = ForecastingNetwork(config).eval()
    z = torch.randn(4, 2048, generator=torch.Generator().manual_seed(1)).cumsum(-1) / 30
    batch = network.tokenizer.tokenize(z, torch.ones_like(z) > 0, 0)
    with torch.no_grad():
        x = network.embed(batch)
        with FlopCounterMode(display=False) as counter:
            network.backbone(x, batch)
    return float((batch.length > 0).sum(-1).float().mean()), counter.get_total_flops() / len(z)


@pytest.mark.parametrize("backbone", ["transformer", "mamba2"])
def test_the_backbone_costs_what_its_tokens_cost(backbone):
    many, some, few = (cost(backbone, length) for length in (16.0, 32.0, 64.0))
    for more, less in ((many, some), (some, few)):
        assert less[0] < 0.7 * more[0]
        # linear layers dominate at this size: in proportion, and a little less than that
        assert less[1] / more[1] == pytest.approx(less[0] / more[0], rel=0.25)
