"""A setting that nobody reads is refused, one that its reader awaits is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tsfm.models.config import ModelConfig
from tsfm.models.network import ForecastingNetwork

TINY = ModelConfig.preset("tiny")


def built(tokenizer: dict[str, object], backbone: dict[str, object]) -> ForecastingNetwork:
    return ForecastingNetwork(
        replace(
            TINY,
            tokenizer=replace(TINY.tokenizer, **tokenizer),
            backbone=replace(TINY.backbone, **backbone),
        )
    )


@pytest.mark.parametrize(
    ("tokenizer", "backbone", "reader"),
    [
        ({"d_step": 32}, {}, {"embedding": "adaptive"}),
        ({"n_step_heads": 2}, {}, {"embedding": "adaptive"}),
        (
            {"prefix_window": 9, "embedding": "adaptive"},
            {},
            {"embedding": "adaptive", "prefix_attention": True},
        ),
        ({"n_anchors": 16}, {}, {"n_prompts": 2}),
        ({"prompt_weight": 0.5}, {}, {"n_prompts": 2}),
        ({"rule_value": 0.5}, {}, {"name": "entropy"}),
        ({"trend_width": 9}, {}, {"name": "decomposed", "embedding": "decomposed"}),
        ({"steps_per_token": 0.0}, {}, {"name": "mixture"}),
    ],
)
def test_a_setting_counts_or_is_refused(tokenizer, backbone, reader):
    name = next(iter(tokenizer))
    with pytest.raises(ValueError, match=rf"^{name}=.* counts with"):
        built(tokenizer, backbone)
    built(tokenizer | reader, backbone)


def test_a_decoder_has_layers_where_there_is_one():
    with pytest.raises(ValueError, match="n_decoder_layers=2 counts with"):
        built({}, {"n_decoder_layers": 2})
    built({}, {"n_decoder_layers": 2, "forecast_tokens": "decoded"})


@pytest.mark.parametrize("name", ["transformer", "companion", "mamba1", "mamba2"])
def test_one_backbone_takes_the_place_of_another_by_name_alone(name):
    sizes = {"d_state": 8, "expand": 2, "d_conv": 2, "rope_base": 500.0}
    assert built({}, {"name": name, **sizes}).config.backbone.name == name
