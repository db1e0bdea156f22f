"""Configurations: round trips, presets, and mistakes that are named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.models.config import BackboneConfig, HeadConfig, ModelConfig, TokenizerConfig
from tsfm.models.network import ForecastingNetwork

small = st.integers(1, 999)
configs = st.builds(
    ModelConfig,
    name=st.text(max_size=8),
    tokenizer=st.builds(
        TokenizerConfig, patch_length=small, n_cycles=small, references=st.booleans()
    ),
    backbone=st.builds(
        BackboneConfig,
        d_model=small,
        n_heads=small,
        dropout=st.floats(0, 1),
        rope_base=st.floats(1, 1e6),
    ),
    head=st.builds(
        HeadConfig,
        quantile_levels=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9).map(tuple),
    ),
    max_context=small,
)


@given(configs)
def test_round_trip_through_json(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"depth": 3}, "'depth'"),
        ({"backbone": {"depth": 3}}, "'backbone.depth'"),
        ({"tokenizer": {"patch": 3}}, "'tokenizer.patch'"),
    ],
)
def test_unknown_keys_are_named_with_their_path(values, path):
    with pytest.raises(ValueError, match=f"Unknown configuration key {path}"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"head": {"loss_weights": "steep"}}, "'head.loss_weights' must be one of 'even', 'log_d"),
        ({"backbone": {"token_dynamics": "x"}}, "'mixed', None; got 'x'"),
    ],
)
def test_words_that_are_no_choice_are_refused(values, wrong):
    with pytest.raises(ValueError, match=wrong):
        ModelConfig.from_dict(values)


def test_a_section_that_is_no_mapping():
    with pytest.raises(ValueError, match="'backbone' must be a mapping"):
        ModelConfig.from_dict({"backbone": 3})


@pytest.mark.parametrize(("size", "millions"), [("nano", 0.3), ("mini", 1.5), ("small", 5.0)])
def test_preset_sizes(size, millions):
    n = sum(p.numel() for p in ForecastingNetwork(ModelConfig.preset(size)).parameters())
    assert abs(n / 1e6 - millions) < 0.25 * millions


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="choose one of tiny, nano, mini, small"):
        ModelConfig.preset("huge")
    for part in ("tokenizer", "backbone", "head"):
        config = ModelConfig.from_dict(
            {**ModelConfig.preset("tiny").to_dict(), part: {"name": "x"}}
        )
        with pytest.raises(ValueError, match=f"Unknown {part} 'x'"):
            ForecastingNetwork(config)
