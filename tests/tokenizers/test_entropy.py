"""Entropy-guided patches: they tile, lie where a series changes, and models work with them."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models import TSFM, ModelConfig, hub
from tsfm.models.config import TokenizerConfig
from tsfm.models.hub import load_scorer
from tsfm.models.tokenizing import build_tokenizer
from tsfm.tokenizers import EntropyTokenizer, Kind
from tsfm.tokenizers.boundaries import RULES

VALUES = {
    "threshold": 2.0,
    "increase": 0.1,
    "quantile": 0.9,
    "top_k": 0.1,
    "equal_surprise": 20.0,
    "equal_share": 12.0,
}


@pytest.fixture(scope="module")
def scorer():
    return load_scorer("tsfm-entropy")


def make(rule="quantile", scorer=None, **options):
    return EntropyTokenizer(rule=rule, rule_value=VALUES[rule], scorer=scorer, **options)


def example(seed: int, rows: int, length: int, missing: float):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, length, generator=rng).cumsum(-1) / 4
    observed = torch.rand(rows, length, generator=rng) >= missing
    observed[0, : length // 3] = False
    return torch.where(observed, z, torch.nan), observed


cases = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 400),
    horizon=st.integers(1, 100),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    rule=st.sampled_from(RULES),
    learnt=st.booleans(),
)


@cases
@settings(max_examples=60, deadline=None)
def test_tokens_tile_context_and_horizon(seed, rows, length, horizon, missing, rule, learnt):
    z, observed = example(seed, rows, length, missing)
    tokenizer = make(rule, load_scorer("tsfm-entropy") if learnt else None, max_length=24)
    batch = tokenizer.tokenize(z, observed, horizon)
    for row in range(rows):
        real = batch.length[row] > 0
        start, size, kind = (x[row][real] for x in (batch.start, batch.length, batch.kind))
        assert not batch.observed[row][~real].any()
        assert (real.int().diff() >= 0).all()  # padding comes first
        assert start[0] == 0
        assert torch.equal(start[1:], (start + size)[:-1])
        assert start[-1] + size[-1] == length + horizon
        assert size[kind == Kind.CONTEXT].max() <= 24
        assert (start[kind == Kind.FORECAST] >= length).all()
        assert size[kind == Kind.CONTEXT].sum() == length
    spread = [batch.values[r][batch.observed[r]] for r in range(rows)]
    assert torch.equal(torch.cat(spread), torch.cat([z[r][observed[r]] for r in range(rows)]))
    assert batch.features.shape[-1] == tokenizer.n_features
    assert torch.isfinite(batch.features).all()
    assert torch.equal(
        batch.token_of_step(), dataclasses.replace(batch, step_token=None).token_of_step()
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("learnt", [False, True])
def test_tokens_depend_on_the_row_alone(rule, learnt, scorer):
    tokenizer = make(rule, scorer if learnt else None)
    z, observed = example(0, 6, 500, 0.1)
    batch, again = (tokenizer.tokenize(z, observed, 40) for _ in range(2))
    for field in fields(batch):
        if isinstance(getattr(batch, field.name), torch.Tensor):
            assert torch.equal(getattr(batch, field.name), getattr(again, field.name)), field.name
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = tokenizer.tokenize(z[order], observed[order], 40)
    alone = tokenizer.tokenize(z[4:5], observed[4:5], 40)
    padded = torch.cat([torch.full((6, 70), torch.nan), z], dim=1)
    late = tokenizer.tokenize(padded, torch.isfinite(padded), 40)
    assert torch.equal(moved.length, batch.length[order])
    assert torch.equal(moved.values, batch.values[order])
    for row, other, shift in ((4, late, 70), (1, late, 70)):
        mine, theirs = batch.observed[row].any(-1), other.observed[row].any(-1)
        assert torch.equal(other.start[row][theirs] - shift, batch.start[row][mine])
        assert torch.equal(other.values[row][theirs], batch.values[row][mine])
        torch.testing.assert_close(
            other.features[row][theirs][:, -3:], batch.features[row][mine][:, -3:]
        )
    real = batch.length[4] > 0
    assert torch.equal(alone.length[0], batch.length[4][real])
    assert torch.equal(alone.values[0], batch.values[4][real])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("learnt", [False, True])
def test_the_mirror_image_is_that_of_the_negated_series(rule, learnt, scorer):
    tokenizer = make(rule, scorer if learnt else None)
    z, observed = example(1, 3, 300, 0.2)
    both = tokenizer.with_mirror_image(tokenizer.tokenize(z, observed, 64))
    wanted = tokenizer.tokenize(-z, observed, 64)
    for name in ("start", "length", "kind", "position", "values", "observed"):
        assert torch.equal(getattr(both, name)[3:], getattr(wanted, name)), name
    assert torch.equal(both.features[3:, :, -3:], wanted.features[..., -3:])
    for name in ("features", "references"):
        torch.testing.assert_close(
            getattr(both, name)[3:], getattr(wanted, name), atol=1e-5, rtol=1e-5
        )


def test_tokens_are_told_the_scores_around_them(scorer):
    tokenizer = make("quantile", scorer)
    z, observed = example(2, 2, 200, 0.0)
    batch = tokenizer.tokenize(z, observed, 80)
    scores = tokenizer.scores(z, observed)
    row, real = 1, batch.length[1] > 0
    start, end = batch.start[row][real], (batch.start + batch.length)[row][real]
    told = batch.features[row][real][:, -3:-1]
    assert told[0, 0] == 0
    for i in range(1, len(start)):
        at_start = scores[row, start[i] - 1] if start[i] <= 200 else 0
        at_end = scores[row, end[i] - 1] if end[i] <= 200 else 0
        assert told[i].tolist() == [float(at_start), float(at_end)]


def test_hidden_patches_leave_no_trace(scorer):
    z, observed = example(3, 3, 320, 0.0)
    hidden = torch.zeros(3, 12, dtype=torch.bool)
    hidden[:, 4:6] = True
    other = z.clone()
    other[:, 128:192] += 5
    tokenizer = make("quantile", scorer)
    one, two = (tokenizer.tokenize(x, observed, 64, hidden) for x in (z, other))
    for name in ("values", "features", "references", "start", "length"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    inside = (one.start >= 128) & (one.start < 192) & (one.kind == Kind.CONTEXT)
    assert not one.observed[inside].any()
    assert {128, 160, 192} <= set(one.start[0].tolist())


# ------------------------------------------------------------------ where boundaries lie


def bursty(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A calm sine of 1,200 steps with three bursts of 16, and where they begin.

    Bursts and their wake fill about a tenth, which is what a quantile of 0.9 lets through.
    """
    rng = torch.Generator().manual_seed(seed)
    t = torch.arange(1200.0)
    x = torch.sin(t * 2 * torch.pi / 48) + 0.02 * torch.randn(1200, generator=rng)
    begins = torch.tensor([262, 586, 894])
    for begin in begins.tolist():
        x[begin : begin + 16] += 1.5 * torch.randn(16, generator=rng)
        x[begin] += 1.5
    return torch.asinh((x - x.mean()) / x.std())[None], begins


def finds_changes(starts: torch.Tensor, begins: torch.Tensor) -> bool:
    """Whether boundaries lie at 2 of the 3 changes, and twice as densely in bursts as outside."""
    at = starts[0].nonzero().flatten()
    hit = ((at[:, None] - begins).abs() <= 2).any(0).sum() >= 2
    burst = torch.zeros(starts.shape[1], dtype=torch.bool)
    for begin in begins.tolist():
        burst[begin : begin + 16] = True
    dense = starts[0][burst].float().mean() >= 2 * starts[0][~burst].float().mean()
    return bool(hit and dense)


@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_boundaries_lie_where_the_series_changes(learnt, seed, scorer):
    z, begins = bursty(seed)
    tokenizer = make("quantile", scorer if learnt else None)
    starts = tokenizer.starts(z, torch.ones_like(z) > 0)
    assert finds_changes(starts, begins)
    # as many boundaries, evenly spaced or anywhere
    count, rng = int(starts.sum()), torch.Generator().manual_seed(seed)
    even = torch.zeros_like(starts)
    even[0, torch.linspace(0, 1199, count).long()] = True
    anywhere = torch.zeros_like(starts)
    anywhere[0, torch.randperm(1200, generator=rng)[:count]] = True
    assert not finds_changes(even, begins)
    assert not finds_changes(anywhere, begins)


@pytest.mark.parametrize("rule", ["top_k", "equal_surprise", "equal_share", "threshold"])
def test_other_rules_also_cut_bursts_finely(rule, scorer):
    z, begins = bursty(0)
    starts = make(rule, scorer).starts(z, torch.ones_like(z) > 0)[0]
    burst = torch.zeros(1200, dtype=torch.bool)
    for begin in begins.tolist():
        burst[begin : begin + 16] = True
    assert starts[burst].float().mean() >= 1.2 * starts[~burst].float().mean()


# ------------------------------------------------------------------ settings and models


def test_impossible_settings_are_refused():
    for lengths in ((0, 8), (9, 8)):
        with pytest.raises(ValueError, match="min_length"):
            EntropyTokenizer(min_length=lengths[0], max_length=lengths[1])
    with pytest.raises(ValueError, match="rule"):
        EntropyTokenizer(rule="median")
    with pytest.raises(FileNotFoundError, match="tsfm-entropy"):
        build_tokenizer(TokenizerConfig("entropy", scorer="elsewhere"))
    assert build_tokenizer(TokenizerConfig("entropy", scorer="surprise")).scorer is None


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("fixed", {"max_length": 16}),
        ("mixture", {"rule": "top_k"}),
        ("entropy", {"patch_sizes": (64, 32)}),
        ("fixed", {"trend_width": 7}),
    ],
)
def test_settings_of_other_tokenizers_are_refused(name, setting):
    (key,) = setting
    with pytest.raises(ValueError, match=f"{key}=.* counts with name="):
        build_tokenizer(TokenizerConfig(name, **setting))
    build_tokenizer(TokenizerConfig(name, **setting), weights_follow=True)  # saved models load


def test_numbers_of_tokens_are_foreseen(scorer):
    z, observed = example(5, 8, 2048, 0.0)
    for rule in ("quantile", "top_k", "equal_share"):
        tokenizer = make(rule, scorer)
        count = tokenizer.starts(z[1:], observed[1:]).sum(-1)
        assert (count <= 1.3 * tokenizer.n_tokens(2048)).all()
        assert (count >= 0.3 * tokenizer.n_tokens(2048)).all()


@pytest.fixture(params=["transformer", "mamba2"])
def model(request, random_model) -> TSFM:
    return random_model(
        request.param, tokenizer=TokenizerConfig("entropy", rule="equal_share", rule_value=12.0)
    )


@pytest.fixture
def series() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    walk = rng.standard_normal(300).cumsum()
    walk[40:60] = np.nan
    return [walk, np.sin(np.arange(500) / 7) + 3, np.full(90, 2.0), walk[-7:], walk[200:]]


def test_models_forecast(model, series):
    whole = model.forecast(series, 24)
    assert np.isfinite(whole.quantiles).all()
    assert (np.diff(whole.quantiles, axis=-1) >= 0).all()
    for i, one in enumerate(series):
        alone = model.forecast([one], 24).quantiles[0]
        np.testing.assert_allclose(alone, whole.quantiles[i], rtol=1e-4, atol=1e-4)
    padded = [np.concatenate([np.full(45, np.nan), x]) for x in series]
    late = model.forecast(padded, 24).quantiles
    np.testing.assert_allclose(late, whole.quantiles, rtol=1e-4, atol=1e-4)
    further = model.forecast(series, 100).quantiles
    np.testing.assert_allclose(further[:, :24], whole.quantiles, rtol=1e-4, atol=1e-4)


def test_a_saved_model_needs_no_shipped_scorer(model, series, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "nothing").mkdir()
    monkeypatch.setattr(hub, "assets", lambda kind: tmp_path / "nothing")
    loaded = TSFM.from_pretrained(tmp_path / "model", device="cpu")
    before, after = (m.network.state_dict() for m in (model, loaded))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    np.testing.assert_array_equal(
        loaded.forecast(series, 30).quantiles, model.forecast(series, 30).quantiles
    )
    with pytest.raises(FileNotFoundError):
        TSFM.from_config(model.config)


def test_training_leaves_the_scorer_alone():
    tiny = dataclasses.replace(ModelConfig.preset("tiny"), tokenizer=TokenizerConfig("entropy"))
    network = TSFM.from_config(tiny, seed=0).network.train()
    before = {k: v.clone() for k, v in network.tokenizer.state_dict().items()}
    assert before
    z, observed = example(6, 4, 256, 0.1)
    hidden = torch.zeros(4, 8, dtype=torch.bool)
    hidden[:, 2] = True
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0.1)
    network.loss(torch.where(observed, z, 0), observed, 64, hidden).mean().backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in network.tokenizer.state_dict().items())


def test_a_scorer_of_another_shape_is_refused(tmp_path):
    from tsfm.tokenizers.scorer import EntropyScorer

    hub.save_scorer(EntropyScorer(n_bins=33), tmp_path / "coarse")
    assert load_scorer(tmp_path / "coarse").n_bins == 33
    with pytest.raises(ValueError, match="shape"):
        build_tokenizer(TokenizerConfig("entropy", scorer=str(tmp_path / "coarse")))
    other = tmp_path / "other"
    shutil.copytree(hub.resolve("tsfm-nano"), other)
    with pytest.raises(ValueError, match="no entropy scorer"):
        load_scorer(other)
