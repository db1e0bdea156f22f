"""Streams: the numbers of one shot, at a cost that does not grow."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tsfm.models import TSFM, Stream
from tsfm.models.config import TokenizerConfig
from tsfm.models.longcontext import calibrate_long_context

PATCH, LONGEST = 8, 128
RECURRENT = ("companion", "mamba1", "mamba2")
FROZEN = {"max_age": 100.0, "max_drift": np.inf, "non_negative": False}


@pytest.fixture(scope="module")
def make(random_model) -> Callable[..., TSFM]:
    """Models by the name of their backbone."""
    patches = TokenizerConfig(patch_length=PATCH)
    sizes = {"tokenizer": patches, "max_context": LONGEST, "max_horizon": 4 * PATCH}
    return functools.partial(random_model, amount=0.1, seed=1, **sizes)


@pytest.fixture(scope="module")
def models(make) -> dict[str, TSFM]:
    return {name: make(name) for name in ("transformer", *RECURRENT)}


@pytest.fixture(params=RECURRENT)
def model(request, models) -> TSFM:
    return models[request.param]


def wave(length: int, seed: int = 0, missing: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = 10 + 3 * np.sin(np.arange(length) * 2 * np.pi / 12) + rng.normal(size=length)
    x[rng.random(length) < missing] = np.nan
    return x


@torch.inference_mode()
def one_shot(stream: Stream, i: int, x: np.ndarray, horizon: int) -> np.ndarray:
    """Forecast by one pass without state, with the statistics that the stream has used."""
    network, phase = stream.model.network, stream._reader.phases.find(i, len(x))
    seen = x[phase.begin :]
    values = torch.full((1, -(-len(seen) // PATCH) * PATCH), torch.nan, dtype=torch.float64)
    values[0, values.shape[1] - len(seen) :] = torch.from_numpy(seen)
    observed = values.isfinite()
    z = torch.where(observed, phase.anchor.scale.forward(values), 0)
    n_spans = -(-horizon // PATCH)
    batch = network.tokenizer.tokenize(
        z,
        observed,
        (n_spans - 1) * PATCH,
        row=phase.anchor.row,
        advanced=torch.tensor([len(x) - phase.anchored]),
    )
    first = values.shape[1] // PATCH - 1
    batch = network.tokenizer.with_mirror_image(batch)
    up, down = network.predict_tokens(batch, slice(first, None)).chunk(2)
    quantiles = ((up - down.flip(-1)) / 2).flatten(1, 2)[:, :horizon]
    return phase.anchor.scale.inverse(quantiles)[0].numpy()


class Tokens:
    """Counts the tokens a network embeds."""

    def __init__(self, model: TSFM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        embed = model.network.embed

        def counted(batch):
            self.seen += batch.kind.numel()
            return embed(batch)

        monkeypatch.setattr(model.network, "embed", counted)

    def take(self) -> int:
        seen, self.seen = self.seen, 0
        return seen


@given(
    name=st.sampled_from(RECURRENT),
    seed=st.integers(0, 2**16),
    start=st.integers(0, 150),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    horizon=st.integers(1, 4 * PATCH),
    missing=st.sampled_from([0.0, 0.2, 0.8]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_with_the_same_statistics_streaming_is_one_shot(
    models, name, seed, start, sizes, horizon, missing
):
    x = wave(start + sum(sizes) + 1, seed, missing)
    x[0] = 1.0
    stream = Stream(models[name], [x[: start + 1]], [12], **FROZEN)
    time = start + 1
    for size in (0, *sizes):
        stream.update([x[time : time + size]])
        time += size
        if not np.isfinite(x[:time][-LONGEST:]).any():
            continue
        found = stream.forecast(horizon).quantiles[0]
        np.testing.assert_allclose(
            found, one_shot(stream, 0, x[:time], horizon), atol=1e-4, rtol=1e-4
        )


def test_every_phase_goes_on_for_long(model):
    x = wave(400)
    stream = Stream(model, [x[:200]], **FROZEN)
    for time in range(201, 401):
        stream.update([x[time - 1 : time]])
        found = stream.forecast(20).quantiles[0]
        if time % 11 == 0:
            np.testing.assert_allclose(found, one_shot(stream, 0, x[:time], 20), atol=1e-4)
    assert stream._reader.phases.find(0, 400).anchored < 210


def test_a_fresh_anchor_is_a_forecast_from_scratch(model):
    contexts = [wave(300), wave(40, 1), np.array([3.0]), np.full(30, 7.0), wave(90, 2, 0.9)]
    seasons = [12, None, None, None, 12]
    stream = Stream(model, contexts, seasons)
    for horizon in (1, 20, 100):  # the last is beyond one pass
        found = stream.forecast(horizon, (0.05, 0.5, 0.9))
        wanted = model.forecast(contexts, horizon, (0.05, 0.5, 0.9), season_lengths=seasons)
        np.testing.assert_allclose(found.quantiles, wanted.quantiles, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found.median, wanted.median, atol=1e-4, rtol=1e-4)
        assert found.context_used.tolist() == wanted.context_used.tolist()
        assert found.levels == (0.05, 0.5, 0.9)


def test_a_transformer_reads_the_last_context_each_time(models):
    model, x = models["transformer"], wave(300)
    Stream(model).load_state_dict(Stream(model, [x]).state_dict())  # has a state, of values only
    stream = model.stream([x[:250]], [12])
    for time in (250, 251, 300):
        stream.update([x[stream.lengths[0] : time]])
        wanted = model.forecast([x[:time]], 20, season_lengths=[12]).quantiles
        np.testing.assert_array_equal(stream.forecast(20).quantiles, wanted)


def test_series_do_not_depend_on_their_neighbours(model):
    xs = [wave(300, seed) for seed in range(4)]
    together = Stream(model, [x[:150] for x in xs])
    alone = [Stream(model, [x[:150]]) for x in xs]
    rng, times = np.random.default_rng(5), [150] * 4
    for _ in range(12):
        sizes = rng.integers(0, 12, 4)
        news = [x[t : t + n] for x, t, n in zip(xs, times, sizes, strict=True)]
        times = [t + int(n) for t, n in zip(times, sizes, strict=True)]
        together.update(news)
        found = together.forecast(10).quantiles
        for i, stream in enumerate(alone):
            stream.update([news[i]])
            np.testing.assert_allclose(found[i], stream.forecast(10).quantiles[0], atol=1e-4)
    some = together.forecast(10, rows=[2, 0, 2]).quantiles
    np.testing.assert_allclose(some, found[[2, 0, 2]], atol=1e-4)


def test_a_point_costs_a_patch_whatever_the_history(model, monkeypatch):
    x = wave(3_000, missing=0)
    stream = Stream(model, [x[:1_000]], max_age=10.0, max_drift=np.inf)
    tokens = Tokens(model, monkeypatch)
    costs, kept = [], []
    for value in x[1_000:1_080]:
        stream.update([value])
        assert tokens.take() == 0
        stream.forecast(PATCH)
        costs.append(tokens.take())
        kept.append(len(stream.state_dict()["values"]))
    assert costs[:PATCH] == [2 * LONGEST // PATCH] * PATCH  # each phase reads its context once
    assert set(costs[PATCH:]) == {2}  # one patch, and its mirror image
    assert max(kept) <= stream._reader.capacity
    stream.forecast(PATCH)
    assert tokens.take() == 2  # nothing to read; the last token tells what follows
    stream.forecast(3 * PATCH)
    assert tokens.take() == 6


def test_contexts_are_read_anew_when_they_have_outgrown_their_statistics(model, monkeypatch):
    x = wave(310, missing=0)
    stream = Stream(model, [x[:200]], max_age=0.25, max_drift=np.inf)
    tokens, whole = Tokens(model, monkeypatch), []
    for time in range(200, 300):
        stream.forecast(PATCH)
        if tokens.take() > 2:
            whole.append(time)
        phase = stream._reader.phases.find(0, time)
        assert time - phase.anchored <= 0.25 * LONGEST
        stream.update([x[time]])
    every = 0.25 * LONGEST + PATCH
    assert whole == [t for t in range(200, 300) if (t - 200) % every < PATCH]


@pytest.mark.parametrize("change", ["level", "spread", "constant"])
def test_contexts_are_read_anew_when_they_drift(model, change):
    x = wave(400, missing=0)
    if change == "constant":
        x[:250] = 4.0
    else:
        x[250:] = x[250:] + 6 if change == "level" else 10 + 4 * (x[250:] - 10)
    stream = Stream(model, [x[:230]], max_age=10.0, max_drift=0.25)
    for time in range(230, 330):
        found = stream.forecast(PATCH).quantiles
        phase = stream._reader.phases.find(0, time)
        context = x[:time][-LONGEST:]
        bound = 0.2501 * phase.anchor.scale.scale.item()
        assert abs(phase.anchor.scale.loc.item() - context.mean()) <= bound + 1e-9
        assert abs(phase.anchor.scale.scale.item() - context.std()) <= bound + 1e-9
        if phase.anchored == time:
            np.testing.assert_allclose(found, model.forecast([x[:time]], PATCH).quantiles, 1e-4)
        stream.update([x[time]])
    assert phase.anchored > 250


def test_no_forecast_below_zero_where_there_never_was_a_value(model):
    x = np.abs(wave(1_000, missing=0))
    x[3] = -1.0  # long forgotten, but not by the rule
    new = [0.01 * x[500:] ** 4, 0.01 * np.abs(x[500:]) ** 4]
    answers = {}
    for rule in ("auto", True, False):
        stream = Stream(model, [x[:500], np.abs(x[:500])], non_negative=rule)
        stream.update(new)
        answer = stream.forecast(20, (1e-9, 0.5))
        np.testing.assert_array_equal(answer.median, answer.quantiles[..., 1])
        answers[rule] = answer.quantiles
    assert (answers[False][..., 0] < 0).any(axis=1).all()
    np.testing.assert_array_equal(answers[True], np.maximum(answers[False], 0))
    np.testing.assert_array_equal(answers["auto"][0], answers[False][0])
    np.testing.assert_array_equal(answers["auto"][1], answers[True][1])


def test_a_saved_stream_goes_on_identically(model, tmp_path):
    xs = [wave(400), wave(400, 1), np.full(400, np.nan)]
    stream = Stream(model, [x[:150] for x in xs])
    for time in range(150, 180):
        stream.update([x[time] for x in xs])
        stream.forecast(20)
    save_file(stream.state_dict(), tmp_path / "stream.safetensors")
    other = Stream(model)
    other.load_state_dict(load_file(tmp_path / "stream.safetensors"))
    assert other.lengths.tolist() == stream.lengths.tolist() == [180] * 3
    for time in range(180, 230):
        for one in (stream, other):
            one.update([x[time] for x in xs])
        wanted, found = stream.forecast(20), other.forecast(20)
        np.testing.assert_allclose(found.quantiles, wanted.quantiles, atol=1e-6)
    phases = [one._reader.phases.find(0, 229) for one in (stream, other)]
    assert phases[0].anchored == phases[1].anchored


def test_states_of_others_are_refused(model, make):
    state = Stream(model, [wave(50)]).state_dict()
    with pytest.raises(ValueError, match="another model"):
        Stream(make(model.config.backbone.name, seed=2)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"context_length=128, max_age=0\.125"):
        Stream(model, context_length=64).load_state_dict(state)
    with pytest.raises(ValueError, match="format_version 9"):
        Stream(model).load_state_dict({**state, "format_version": torch.tensor(9)})
    empty = Stream(model)
    empty.load_state_dict(Stream(model).state_dict())
    assert len(empty) == 0
    assert empty.forecast(3).quantiles.shape == (0, 3, 9)


def test_a_copy_goes_its_own_way(model):
    x = wave(250, missing=0)
    one = Stream(model, [x[:200]], [12])
    one.forecast(PATCH)
    two = copy.copy(one)
    before, after = one.forecast(PATCH).quantiles, []
    for stream in (two, one):
        stream.add([x])
        for k in range(200, 250):
            stream.update([[x[k]], []])
            after.append(stream.forecast(PATCH).quantiles)
        if stream is two:
            assert one.lengths.tolist() == [200]
            np.testing.assert_array_equal(one.forecast(PATCH).quantiles, before)
    np.testing.assert_array_equal(after[:50], after[50:])


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
@pytest.mark.parametrize("rule", ["filter", "rescale"])
def test_a_model_for_longer_contexts_is_read_as_a_whole(make, name, rule):
    slow = make(name)
    with torch.no_grad():
        for key, parameter in slow.network.named_parameters():
            if key.endswith("A_log"):
                parameter -= 3  # so that there are global heads, whose steps are limited
    x = wave(5 * LONGEST, missing=0)
    extended = calibrate_long_context(slow, [x], 4 * LONGEST, rule=rule)
    assert slow.keeps_state
    assert not extended.keeps_state
    known = 2 * LONGEST
    stream = Stream(extended, [x[:known]], [12], **FROZEN)
    for k in range(known, known + 3 * PATCH, 5):
        stream.update([x[k : k + 5]])
        wanted = extended.forecast([x[: k + 5]], PATCH, season_lengths=[12], non_negative=False)
        np.testing.assert_allclose(stream.forecast(PATCH).quantiles, wanted.quantiles, atol=1e-9)
    other = Stream(extended, **FROZEN)
    other.load_state_dict(stream.state_dict())
    np.testing.assert_array_equal(
        other.forecast(PATCH).quantiles, stream.forecast(PATCH).quantiles
    )


def test_memory_is_bounded_and_what_does_not_fit_is_read_as_a_whole(model, monkeypatch):
    x = wave(400, missing=0)
    one = Stream(model, [x[:200]], **FROZEN)
    one.forecast(PATCH)
    size = sum(t.numel() * t.element_size() for k, t in one.state_dict().items() if "phase." in k)
    stream = Stream(model, [x[:200]], max_memory=3 * size, **FROZEN)
    tokens, costs = Tokens(model, monkeypatch), []
    for time in range(200, 232):
        stream.forecast(PATCH)
        tokens.take()
        stream.update([x[time]])
        stream.forecast(PATCH)
        costs.append(tokens.take())
    assert len(stream._reader.phases) <= 3
    assert min(costs) == 2
    assert max(costs) == 2 * LONGEST // PATCH


def test_series_come_and_fall_silent(model):
    stream = Stream(model, [[], [np.nan, 1.0, np.inf]])
    assert np.isnan(stream.forecast(4).quantiles[0]).all()
    stream.add([[1.0, 2.0]])
    stream.update([[5.0], [], [np.nan] * LONGEST])
    answer = stream.forecast(4)
    assert np.isfinite(answer.quantiles[:2]).all()
    assert np.isnan(answer.quantiles[2]).all()
    assert answer.context_used.tolist() == [1, 2, LONGEST]
    assert stream.lengths.tolist() == [1, 3, 2 + LONGEST]


def test_inputs_are_copied_and_errors_leave_no_trace(model, models):
    x, new = wave(50), np.array([np.inf, 2.0])
    before = x.copy(), new.copy()
    stream = Stream(model, [x, x])
    stream.update([new, new])
    first = stream.forecast(3).quantiles
    x[:], kept = 0, new.copy()
    new[:] = 9
    np.testing.assert_array_equal(stream.forecast(3).quantiles, first)
    np.testing.assert_array_equal(kept, before[1])
    for wrong, message in (
        ([[1.0]], "new values of 1 series, but this stream follows 2"),
        ([[1.0], ["a"]], "Series 1 is not a list of numbers"),
        ([[1.0], [1e306]], "Series 1 holds values beyond"),
        ([[1.0], [[1.0]]], "Series 1 must be one-dimensional"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.update(wrong)
    assert stream.lengths.tolist() == [52, 52]
    with pytest.raises(ValueError, match="no series 2"):
        stream.forecast(3, rows=[2])
    for options in ({"max_age": -1}, {"max_age": np.inf}, {"max_drift": np.nan}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Stream(model, **options)
    with pytest.raises(ValueError, match="non_negative"):
        Stream(model, non_negative="never")
    with pytest.raises(ValueError, match="context_length"):
        Stream(model, context_length=0)
    with pytest.raises(ValueError, match="keeps no state"):
        models["transformer"].network.blank_memory(2)
