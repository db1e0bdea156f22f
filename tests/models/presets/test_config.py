from __future__ import annotations

from dataclasses import asdict

import pytest

from tsfm.models.presets.config import SMambaConfig, SpaceTimeConfig, preset_config


@pytest.mark.parametrize("kind", ["smamba", "spacetime"])
def test_round_trip(kind):
    config = preset_config(kind, {"prediction_length": 12, "dropout": 0})
    assert config.kind == config.name == kind
    assert preset_config(kind, asdict(config)) == config


def test_saved_settings_without_later_fields_mean_what_is_published():
    saved = asdict(SpaceTimeConfig())
    del saved["loss_unit"], saved["one_step_weight"], saved["autoregression"]
    config = preset_config("spacetime", saved)
    assert (config.loss_unit, config.one_step_weight) == ("series", 1.0)
    assert config.autoregression == 0


def test_channels_are_kernels_times_filters():
    assert SpaceTimeConfig(n_kernels=16).d_model == 128
    assert SpaceTimeConfig(n_kernels=3, differences=(0, 1), average_widths=()).d_model == 6


def test_errors_name_the_field():
    with pytest.raises(ValueError, match="'timemixer' does not exist; take one of smamba"):
        preset_config("timemixer")
    with pytest.raises(ValueError, match="Unknown configuration key 'width'"):
        preset_config("smamba", {"width": 3})
    with pytest.raises(ValueError, match="context_length=0 must be at least 1"):
        SMambaConfig(context_length=0)
    with pytest.raises(ValueError, match=r"d_state=2.5 must be a whole number"):
        SpaceTimeConfig(d_state=2.5)
    with pytest.raises(ValueError, match="mixer='attention'"):
        SMambaConfig(mixer="attention")
    with pytest.raises(ValueError, match="scaling='none'"):
        SpaceTimeConfig(scaling="none")
    with pytest.raises(ValueError, match="loss_unit='batch'"):
        SpaceTimeConfig(loss_unit="batch")
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be finite and not negative"):
            SpaceTimeConfig(one_step_weight=weight)
    with pytest.raises(ValueError, match="autoregression=-1 must be at least 0"):
        SpaceTimeConfig(autoregression=-1)
    with pytest.raises(ValueError, match=r"autoregression=0.5 must be a whole number"):
        SpaceTimeConfig(autoregression=0.5)
    with pytest.raises(ValueError, match="autoregression=24 must be less than context_length=24"):
        SpaceTimeConfig(context_length=24, autoregression=24)
    with pytest.raises(ValueError, match="dropout=1"):
        SMambaConfig(dropout=1)
    assert SpaceTimeConfig(n_extra_blocks=0).n_extra_blocks == 0
