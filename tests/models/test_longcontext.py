"""Contexts beyond the trained one: what calibration changes, keeps, saves and refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tsfm.models import TSFM
from tsfm.models.longcontext import calibrate_long_context, trained_context
from tsfm.nn.longcontext import StepLimiter

TRAINED = 256


def waves(n: int, length: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    return [
        np.sin(2 * np.pi * t / rng.uniform(8, 80)) + rng.normal(0, 0.3, length) for _ in range(n)
    ]


@pytest.fixture(params=["mamba1", "mamba2"])
def model(request, random_model) -> TSFM:
    made = random_model(request.param, max_context=TRAINED)
    with torch.no_grad():
        for key, parameter in made.network.named_parameters():
            if key.endswith("A_log"):
                parameter.mul_(0.2)  # slow decays, so that there are global heads
    return made


@pytest.mark.parametrize("rule", ["filter", "rescale"])
def test_only_contexts_beyond_the_trained_one_change(model, rule):
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    extended = calibrate_long_context(model, waves(6, 600), 4 * TRAINED, rule=rule)
    assert extended.max_context == 4 * TRAINED
    assert extended.config.backbone.long_context == rule
    parts = [p for p in extended.network.modules() if isinstance(p, StepLimiter)]
    assert len(parts) == model.config.backbone.n_layers
    assert all(part.trained_tokens == TRAINED // 32 for part in parts)
    assert any(part.is_global.any() for part in parts)
    short, long = waves(3, TRAINED, 1), waves(3, 4 * TRAINED, 1)
    wanted = model.forecast(short, 40).quantiles
    np.testing.assert_array_equal(extended.forecast(short, 40).quantiles, wanted)
    assert extended.forecast(long, 40).context_used.tolist() == [4 * TRAINED] * 3

    assert model.max_context == TRAINED  # the model itself stays as it was
    assert model.config.backbone.long_context is None
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, before[key])
    unlimited = TSFM.from_config(dataclasses.replace(model.config, max_context=4 * TRAINED))
    unlimited.network.load_state_dict(model.network.state_dict())
    difference = extended.forecast(long, 40).quantiles - unlimited.forecast(long, 40).quantiles
    assert np.abs(difference).max() > 1e-6


def test_an_answer_does_not_depend_on_batch_mates(model):
    extended = calibrate_long_context(model, waves(6, 600), 4 * TRAINED, rule="filter")
    series = [waves(1, length, length)[0] for length in (100, 300, 700, 1024)]
    series[2][200:400] = np.nan
    together = extended.forecast(series, 40).quantiles
    for one, answer in zip(series, together, strict=True):
        alone = extended.forecast([one], 40).quantiles[0]
        np.testing.assert_allclose(answer, alone, rtol=1e-5, atol=1e-5)


def test_the_calibration_is_saved_and_loaded(model, tmp_path):
    extended = calibrate_long_context(model, waves(6, 600), 4 * TRAINED)
    extended.save_pretrained(tmp_path)
    loaded = TSFM.from_pretrained(tmp_path, device="cpu")
    assert loaded.config == extended.config
    assert trained_context(loaded) == TRAINED
    long = waves(2, 4 * TRAINED, 1)
    np.testing.assert_array_equal(
        loaded.forecast(long, 40).quantiles, extended.forecast(long, 40).quantiles
    )


def test_a_calibrated_model_can_be_calibrated_again(model):
    once = calibrate_long_context(model, waves(6, 600), 2 * TRAINED)
    twice = calibrate_long_context(once, waves(6, 600), 8 * TRAINED)
    assert twice.max_context == 8 * TRAINED
    for key, value in once.network.state_dict().items():
        assert torch.equal(value, twice.network.state_dict()[key])


def test_the_callers_random_numbers_are_left_alone(model):
    state = torch.get_rng_state()
    calibrate_long_context(model, waves(2, 600), 2 * TRAINED)
    assert torch.equal(torch.get_rng_state(), state)


def test_mistakes_are_named(model, random_model):
    with pytest.raises(ValueError, match="not of 'transformer'"):
        calibrate_long_context(random_model("transformer"), waves(1, 600), 512)
    with pytest.raises(ValueError, match="at least 256"):
        calibrate_long_context(model, waves(1, 600), 128)
    with pytest.raises(ValueError, match=r"256 successive steps.*longest has 255"):
        calibrate_long_context(model, waves(1, 255), 512)
    for name, prompts in (("entropy", 0), ("fixed", 2)):
        tokenizer = dataclasses.replace(model.config.tokenizer, name=name, n_prompts=prompts)
        other = TSFM.from_config(dataclasses.replace(model.config, tokenizer=tokenizer))
        with pytest.raises(ValueError, match=f"tokenizer '{name}' and {prompts} prompts"):
            calibrate_long_context(other, waves(2, 600), 512)
    gappy = waves(1, 300)[0]
    gappy[100:200] = np.nan
    with pytest.raises(ValueError, match="data in every patch"):
        calibrate_long_context(model, [gappy], 512)
