"""Fine-tuning a pretrained model: what is trained, what is kept, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tsfm.models import TSFM
from tsfm.training.adapt import adapt, forecast_loss, trainable
from tsfm.training.adapt_config import AdaptConfig
from tsfm.training.adapt_data import AdaptWindows
from tsfm.training.adapt_validation import relative_gain

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"
FAST = {"epochs": 4, "windows_per_epoch": 64, "batch_size": 8, "validation_windows": 40}


@pytest.fixture
def tiny() -> TSFM:
    return TSFM.from_pretrained(TINY, device="cpu")


def learnable(n: int = 2, length: int = 900) -> list[np.ndarray]:
    """Pulses of one odd shape every 20 steps, which a general model does not know."""
    rng = np.random.default_rng(0)
    shape = np.array([0, 0, 9, 9, 1, 5, 0, 7, 7, 7, 0, 0, 3, 0, 8, 0, 0, 2, 2, 6.0])
    return [
        np.tile(np.roll(shape, i), length // 20) + rng.normal(0, 0.3, length) for i in range(n)
    ]


def walks(n: int = 2, length: int = 900, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(n, length)).cumsum(axis=1))


def tuned(model: TSFM, series, method: str = "lora", horizon: int = 10, **values):
    config = AdaptConfig.of(method, {**FAST, **values})
    return adapt(model, series, horizon, config, context_length=128, device="cpu")


@pytest.mark.parametrize("method", ["lora", "full", "head"])
def test_it_learns_what_the_model_did_not_know(tiny, method, tmp_path):
    before = {name: value.clone() for name, value in tiny.network.state_dict().items()}
    series = learnable()
    result = tuned(tiny, [x[:700] for x in series], method)
    assert result.improved
    assert result.best.gain.mean > 0.02
    for name, value in tiny.network.state_dict().items():
        assert torch.equal(before[name], value), name
    after = result.model.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if method == "lora":
        assert changed
        assert all(name.startswith("backbone.blocks") and ".weight" in name for name in changed)
        assert not any("norm" in name for name in changed)
    elif method == "head":
        assert changed == {name for name in before if name.startswith("head")}
    else:
        assert len(changed) > 0.9 * len(before)
    error = {}
    for name, model in (("before", tiny), ("after", result.model)):
        answers = [
            model.forecast([x[:cut] for x in series], 10, context_length=128).median
            for cut in range(700, 880, 20)
        ]
        truth = [[x[cut : cut + 10] for x in series] for cut in range(700, 880, 20)]
        error[name] = np.abs(np.array(answers) - np.array(truth)).mean()
    assert error["after"] < error["before"]
    result.model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["name"] == "tsfm-tiny-finetuned"
    loaded = TSFM.from_pretrained(tmp_path, device="cpu")
    expected = result.model.forecast(series, 10).quantiles
    np.testing.assert_array_equal(loaded.forecast(series, 10).quantiles, expected)
    assert set(loaded.network.state_dict()) == set(before)


def test_the_seed_decides_everything_and_nothing_leaks(tiny):
    state = torch.random.get_rng_state()
    one, two, other = (tuned(tiny, learnable(), seed=seed, epochs=1) for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert [e.gain for e in one.history] == [e.gain for e in two.history]
    assert other.history[1].gain != one.history[1].gain
    weights = two.model.network.state_dict()
    for name, value in one.model.network.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_random_walk_is_refused(tiny):
    result = tuned(tiny, walks(), margin=2.0)
    assert not result.improved
    assert result.model is tiny
    assert result.best is result.history[0]
    assert result.history[0].gain.mean == 0


def test_a_ruinous_training_is_refused(tiny):
    result = tuned(tiny, learnable(), "full", learning_rate=3.0, epochs=2)
    assert not result.improved
    assert result.model is tiny


def test_one_window_cannot_tell(tiny):
    result = tuned(tiny, [learnable(1)[0][:60]], validation_share=0.01, epochs=1)
    assert result.history[1].gain.error == np.inf
    assert not result.improved


def test_patience_and_time_end_a_run(tiny):
    settings = {"epochs": 50, "patience": 2, "windows_per_epoch": 8}
    result = tuned(tiny, walks(), "full", learning_rate=0.3, **settings)
    assert result.stopped == "patience"
    config = AdaptConfig.of("lora", {**FAST, "epochs": 1000, "patience": 1000})
    result = adapt(tiny, walks(), 10, config, context_length=64, max_minutes=0.02, device="cpu")
    assert result.stopped == "time"
    assert 1 < len(result.history) < 1000


@pytest.mark.parametrize("backbone", ["companion", "mamba1", "mamba2"])
def test_recurrent_backbones(random_model, backbone):
    model = random_model(backbone)
    result = tuned(model, learnable(), learning_rate=1e-2, epochs=2, margin=0.0)
    assert result.improved
    assert result.model.keeps_state == model.keeps_state
    series = learnable()
    stream = result.model.stream([x[:800] for x in series])
    stream.update([x[800:] for x in series])
    np.testing.assert_allclose(
        stream.forecast(10).quantiles, result.model.forecast(series, 10).quantiles, atol=1e-3
    )


def test_the_tokenizer_stays_as_it_is(random_model):
    import dataclasses

    from tsfm.models import ModelConfig

    tokenizer = dataclasses.replace(ModelConfig.preset("tiny").tokenizer, name="entropy")
    model = random_model("transformer", tokenizer=tokenizer)
    result = tuned(model, learnable(), "full", epochs=1, margin=0.0, learning_rate=1e-3)
    after = result.model.network.state_dict()
    frozen = [name for name in after if name.startswith("tokenizer")]
    assert frozen
    for name in frozen:
        assert torch.equal(after[name], model.network.state_dict()[name]), name


def test_long_horizons_and_gaps(tiny):
    holes = learnable(3)
    holes[0][100:180] = np.nan
    holes[1][::7] = np.nan
    holes[2] = holes[2][:330]
    result = tuned(tiny, holes, horizon=70, epochs=1)
    assert np.isfinite(result.history[1].gain.mean)
    assert np.isfinite(result.history[1].train_loss)


def windows(series, **changes) -> AdaptWindows:
    options = {"patch_length": 32, "max_horizon": 1024}
    options |= {"validation_share": 0.2, "validation_windows": 100}
    return AdaptWindows.of(series, 64, 10, **{**options, **changes})


def test_windows_are_split_by_time():
    cut = windows([np.arange(1000.0), np.arange(300.0)])
    assert cut.ends.tolist() == [800, 240]
    drawn = cut.draw(10_000, np.random.default_rng(0))
    assert len(drawn) == cut.n_train == len(np.unique(drawn, axis=0))
    for number, end in enumerate((800, 240)):
        origins = drawn[drawn[:, 0] == number, 1]
        assert (origins.min(), origins.max()) == (64, end - 10)
        held_out = cut.validation[cut.validation[:, 0] == number, 1]
        assert held_out.max() == len(cut.series[number]) - 10
        assert held_out.min() >= end
        assert set(np.diff(held_out)) == {-11}


def test_a_batch_shows_nothing_of_what_is_held_out():
    cut = windows([np.arange(1.0, 1001.0)], seasons=[7])
    rng = np.random.default_rng(0)
    batch = cut.batch(np.array([[0, 790], [0, 64]]), rng)
    context, target = batch.context.abs(), batch.target.abs()
    assert context[0].tolist() == list(range(727, 791))
    assert target[0].tolist() == list(range(791, 801))
    assert context[1].tolist() == list(range(1, 65))
    assert target[1].tolist() == list(range(65, 75))
    assert batch.season.tolist() == [7, 7]
    signs = [cut.batch(np.array([[0, 500]]), rng).context[0, 0].sign().item() for _ in range(20)]
    assert set(signs) == {-1.0, 1.0}


def test_contexts_of_training_have_many_lengths():
    cut = windows([np.arange(1.0, 1001.0)])
    rng = np.random.default_rng(0)
    drawn = [cut.draw_context_length(8, rng) for _ in range(2000)]
    assert (min(drawn), max(drawn)) == (8, 64)
    assert 0.45 < np.mean(np.array(drawn) == 64) < 0.55
    shorter = [steps for steps in drawn if steps < 64]
    assert 20 < np.median(shorter) < 26  # the square root of 8 x 64 is 22.6
    assert {cut.draw_context_length(100, rng) for _ in range(20)} == {64}
    batch = cut.batch(np.array([[0, 500]]), rng, 20)
    assert batch.context.shape == (1, 32)
    assert batch.context.isfinite().sum() == 20
    assert batch.target.abs().tolist() == [list(range(501, 511))]


def test_the_loss_is_that_of_the_forecast(tiny):
    x = learnable(1)[0]
    cut = windows([x], seasons=[24])
    batch = cut.batch(np.array([[0, 300]]), np.random.default_rng(0))
    loss = forecast_loss(tiny.network, batch).item()
    sign = np.sign(batch.context[0, 0].item() / x[236])
    z = np.arcsinh(
        (sign * x - batch.context.mean().item()) / batch.context.std(correction=0).item()
    )
    half = tiny.network(
        torch.from_numpy(z[236:300]).float()[None],
        torch.ones(1, 64, dtype=torch.bool),
        10,
        torch.tensor([24]),
    )[0]
    error = z[300:310, None] - half.detach().numpy()
    levels = np.arange(1, 10) / 10
    pinball = np.maximum(levels * error, (levels - 1) * error).mean()
    row = tiny.network.tokenizer.describe(
        torch.from_numpy(z[236:300]).float()[None],
        torch.ones(1, 64, dtype=torch.bool),
        torch.tensor([24]),
    )
    assert loss == pytest.approx(2 * pinball / max(0.1, row.error_scale.item()), rel=1e-4)


def test_short_series_are_padded_and_too_short_ones_refused():
    cut = windows([np.arange(40.0)])
    assert cut.firsts[0] == 10
    batch = cut.batch(np.array([[0, 10]]), np.random.default_rng(0))
    assert batch.context[0, :22].isnan().all()
    assert batch.target.shape == (1, 10)
    with pytest.raises(ValueError, match="No window to train on: the longest series has 15 steps"):
        windows([np.arange(15.0), np.arange(3.0)])


def test_gains_count_series_alike_and_windows_together():
    index = np.array([[0, 30], [0, 20], [0, 10], [1, 20], [1, 10]])
    base = np.array([10.0, 10, 10, 1, 1])
    gain = relative_gain(base, np.array([9.0, 9, 9, 0.8, 0.8]), index)
    assert gain.mean == pytest.approx(0.15)
    # windows that share their places in time are no independent evidence
    twice = np.array([(series, origin) for series in (0, 1) for origin in (30, 20, 10)])
    losses = np.array([0.9, 0.8, 1.0])
    one = relative_gain(np.ones(3), losses, index[:3])
    two = relative_gain(np.ones(6), np.tile(losses, 2), twice)
    assert (two.mean, two.error) == pytest.approx((one.mean, one.error))
    assert relative_gain(np.zeros(3), np.zeros(3), index[:3]).error == np.inf
    exact = relative_gain(np.array([0.0, 0, 0, 1, 1]), np.array([0, 0, 5, 0.5, 0.5]), index)
    assert exact.mean == pytest.approx(0.5)


def test_errors(tiny):
    with pytest.raises(ValueError, match="no series to train on"):
        adapt(tiny, [], 4)
    with pytest.raises(ValueError, match="method='partial'"):
        AdaptConfig(method="partial")
    with pytest.raises(ValueError, match="rank=0"):
        AdaptConfig(rank=0)
    with pytest.raises(ValueError, match="Nothing to learn"):
        tuned(tiny, [np.full(300, 3.0)])
    with pytest.raises(ValueError, match="above 0"):
        adapt(tiny, walks(), 4, max_minutes=0)


def test_what_is_trained(tiny):
    network = tiny.network
    n_head = sum(p.numel() for p in network.head.parameters())
    chosen = trainable(network, AdaptConfig.of("head"))
    assert sum(p.numel() for p in chosen.values()) == n_head
    assert {p.requires_grad for p in network.backbone.parameters()} == {False}
