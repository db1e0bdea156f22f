"""Mixture-of-size patches: tiling, purity, balance, views, and where the tokens go."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tokenizers import FixedPatchTokenizer, Kind
from tsfm.tokenizers.mixture import MixtureTokenizer
from tsfm.tokenizers.router import SizeRouter, block_features, lost_detail


def example(seed: int, rows: int, length: int, missing: float):
    rng = torch.Generator().manual_seed(seed)
    loudness = torch.exp(2 * torch.randn(rows, length // 40 + 1, generator=rng))
    z = torch.randn(rows, length, generator=rng)
    z = z * loudness.repeat_interleave(40, dim=1)[:, :length]
    observed = torch.rand(rows, length, generator=rng) >= missing
    for row in range(rows):  # ragged: every row begins where it likes
        observed[row, : int(torch.randint(length, (), generator=rng)) // 2 * (row % 2)] = False
    return torch.where(observed, z, torch.nan), observed


def tokenizer(seed: int = 0, **options) -> MixtureTokenizer:
    torch.manual_seed(seed)
    made = MixtureTokenizer(**options)
    with torch.no_grad():
        made.router.weight.normal_()
    return made.eval()


def forced(tokenizer: MixtureTokenizer, size: int) -> MixtureTokenizer:
    """The same with the one real expert of a size chosen for every block."""
    with torch.no_grad():
        tokenizer.router.weight.zero_()
        tokenizer.router.bias.fill_(-50)
        tokenizer.router.bias[len(tokenizer.sizes) :] = -10  # null experts fill up the choice
        tokenizer.router.bias[tokenizer.sizes.index(size)] = 0
    return tokenizer


cases = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 700),
    horizon=st.integers(0, 100),
    options=st.sampled_from(
        [
            {},
            {"aligned_views": True},
            {"n_null_experts": 4, "top_experts": 2},
            {"sizes": (24, 8), "top_experts": 1, "steps_per_token": 0, "patch_length": 7},
        ]
    ),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
)


@cases
@settings(max_examples=80, deadline=None)
def test_spans_tile_and_contents_give_the_input_back(
    seed, rows, length, horizon, options, missing
):
    z, observed = example(seed, rows, length, missing)
    made = tokenizer(seed % 97, **options)
    batch = made.tokenize(z, observed, horizon)
    assert batch.values.shape == (*batch.length.shape, made.max_length)
    for row in range(rows):
        live = (batch.kind[row] == Kind.CONTEXT) & (batch.length[row] > 0)
        start, size = batch.start[row][live], batch.length[row][live]
        assert start[0] == 0
        assert torch.equal(start[1:], (start + size)[:-1])
        assert start[-1] + size[-1] == length
        inside = torch.arange(made.max_length) < batch.length[row, :, None]
        inside &= live[:, None]
        values, seen = batch.values[row][inside], batch.observed[row][inside]
        assert torch.equal(seen, observed[row])
        assert torch.equal(values, torch.where(observed[row], z[row], 0))
        ahead = batch.kind[row] == Kind.FORECAST
        assert int(batch.length[row][ahead].sum()) == horizon
        assert not batch.observed[row][ahead].any()
        # tokens end on the grid of their size, counted from the end of the context
        first = int(observed[row].to(torch.int8).argmax())
        whole = start > first
        assert all(int(s) in made.sizes for s in size[whole])
        assert ((length - start - size)[whole] % size[whole] == 0).all()
    index = torch.arange(batch.kind.shape[1]).expand(rows, -1)[..., None]
    steps = made.to_steps(index, batch)
    assert torch.equal(steps[..., 0], batch.token_of_step())
    for part in (batch.features, batch.references, batch.views, batch.view_weights):
        assert torch.isfinite(part).all()


@cases
@settings(max_examples=40, deadline=None)
def test_the_mirror_image_is_that_of_the_negated_series(
    seed, rows, length, horizon, options, missing
):
    z, observed = example(seed, rows, length, missing)
    z, made = z.double(), tokenizer(seed % 97, **options)
    both = made.with_mirror_image(made.tokenize(z, observed, horizon))
    # each by itself: in one batch of twice the rows, other rounding would be compared as well
    wanted = [made.tokenize(signed, observed, horizon) for signed in (z, -z)]
    for field in fields(both):
        found, parts = getattr(both, field.name), [getattr(each, field.name) for each in wanted]
        if not isinstance(found, torch.Tensor) or field.name == "row":
            continue
        expected = torch.cat(parts)
        if field.name in ("start", "length", "values", "views", "view_weights"):
            assert torch.equal(found, expected), field.name
        else:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@cases
@settings(max_examples=40, deadline=None)
def test_missing_steps_in_front_and_other_rows_change_nothing(
    seed, rows, length, horizon, options, missing
):
    z, observed = example(seed, rows, length, missing)
    made = tokenizer(seed % 97, **options)
    plain = made.tokenize(z, observed, horizon)
    pad = (1 + seed % 5) * made.max_length if seed % 2 else seed % 301
    padded = made.tokenize(*(torch.nn.functional.pad(x, (pad, 0)) for x in (z, observed)), horizon)
    names = ("length", "values", "observed", "views", "views_observed", "view_weights")
    for row in range(rows):
        alone = made.tokenize(z[row : row + 1], observed[row : row + 1], horizon)
        mine = plain.observed[row].any(-1)
        for other, there, shift in ((padded, row, pad), (alone, 0, 0)):
            theirs = other.observed[there].any(-1)
            start = other.start[there][theirs]
            assert torch.equal(plain.start[row][mine] + shift, start)
            for name in names:
                found = getattr(other, name)[there][theirs]
                wanted = getattr(plain, name)[row][mine]
                torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_evaluation_changes_nothing_and_training_moves_the_bias():
    z, observed = example(0, 3, 1000, 0.2)
    made = tokenizer()
    before = copy.deepcopy(made.state_dict())
    one, two = (made.tokenize(z, observed, 64) for _ in range(2))
    assert all(torch.equal(made.state_dict()[k], v) for k, v in before.items())
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second)
    assert "loss" not in one.aux
    made.train()
    shown = made.tokenize(z, observed, 64)
    assert torch.equal(shown.view_weights, one.view_weights)  # the bias moves afterwards
    assert not torch.equal(made.router.bias, before["router.bias"])
    assert shown.aux["loss"].ndim == 0


def test_only_training_waits_for_other_processes(monkeypatch):
    reduced = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", reduced.append)
    made = tokenizer()
    made.tokenize(*example(0, 2, 300, 0.2), 32)
    assert not reduced
    made.train().tokenize(*example(0, 2, 300, 0.2), 32)
    assert len(reduced) == 1


@pytest.mark.parametrize("shares", [(), (0.5, 0.2, 0.1, 0.1, 0.1)])
def test_training_balances_the_experts(shares):
    z, observed = example(1, 8, 1024, 0.1)
    router = tokenizer(expert_shares=shares).router
    blocks = torch.where(observed, z, 0).unflatten(1, (-1, 128))
    seen = observed.unflatten(1, (-1, 128))
    features, counted = block_features(blocks, seen), seen.any(-1)
    for _ in range(2000):
        router.balance(router.load(router(features), counted), rate=0.05)
    load = router.load(router(features), counted)
    torch.testing.assert_close(load, router.shares, atol=0.02, rtol=0)


def test_the_bias_stays_without_data_to_count():
    made = tokenizer().train()
    made.tokenize(torch.zeros(2, 300), torch.zeros(2, 300) > 0, 32)
    assert not made.router.bias.any()


@pytest.mark.parametrize("size", [128, 64, 32])
@pytest.mark.parametrize("length", [1024, 1000])
def test_forcing_one_expert_gives_fixed_patches(size, length):
    z = torch.randn(2, length, generator=torch.Generator().manual_seed(0))
    observed = torch.ones_like(z, dtype=torch.bool)
    batch = forced(tokenizer(), size).tokenize(z, observed, 0)
    fixed = FixedPatchTokenizer(size).tokenize(z, observed, 0)
    for name in ("start", "length", "kind", "position"):
        assert torch.equal(getattr(batch, name).float(), getattr(fixed, name).float()), name
    for name in ("values", "observed"):
        assert torch.equal(getattr(batch, name)[..., :size], getattr(fixed, name))
        assert not getattr(batch, name)[..., size:].any()
    g = batch.view_weights.new_tensor([float(s == size) for s in (128, 64, 32)])
    assert torch.equal(batch.view_weights, g.expand_as(batch.view_weights))
    # the view of that size is the token itself, right-justified where the first one is short
    begin = (128, 64, 32).index(size)
    view = batch.views.split([128, 64, 32], -1)[begin]
    short = int(batch.length[0, 0])
    assert torch.equal(view[:, 1:], fixed.values[:, 1:])
    assert torch.equal(view[:, 0, size - short :], fixed.values[:, 0, :short])


def test_null_experts_change_neither_count_nor_weights():
    z, observed = example(2, 2, 1024, 0.1)
    batches = []
    for n_null in (0, 1, 3):  # the real experts are all chosen, and as many null ones
        made = tokenizer(n_null_experts=n_null, top_experts=3 + n_null)
        with torch.no_grad():
            made.router.weight[:3] = torch.randn(
                3, made.router.weight.shape[1], generator=torch.Generator().manual_seed(5)
            )
        batches.append(made.tokenize(z, observed, 32))
    for other in batches[1:]:
        assert torch.equal(other.length, batches[0].length)
        torch.testing.assert_close(other.view_weights, batches[0].view_weights)


def test_blocks_of_null_experts_alone_stay_whole_and_unseen():
    made = tokenizer(top_experts=2)
    with torch.no_grad():
        made.router.weight.zero_()
        made.router.bias.copy_(torch.tensor([0.0, 0, 0, 9, 9]))
    batch = made.tokenize(torch.randn(1, 512), torch.ones(1, 512) > 0, 0)
    assert batch.length.tolist() == [[128] * 4]
    assert not batch.view_weights.any()


def test_weights_come_from_the_stretch_before_the_end_of_a_token():
    z = torch.randn(1, 512, generator=torch.Generator().manual_seed(3))
    observed = torch.ones_like(z, dtype=torch.bool)
    made = tokenizer(top_experts=5)  # all experts, so that every block has the finest cuts
    other = z.clone()
    other[:, 300:] *= 20
    one, two = (made.tokenize(x, observed, 0) for x in (z, other))
    before = (one.start + one.length)[0] <= 300
    for name in ("views", "views_observed", "view_weights"):
        assert torch.equal(getattr(one, name)[0][before], getattr(two, name)[0][before]), name
    aligned = tokenizer(top_experts=5, aligned_views=True)
    assert aligned.looks_ahead
    assert not made.looks_ahead
    one, two = (aligned.tokenize(x, observed, 0) for x in (z, other))
    assert not torch.equal(one.view_weights[0][before], two.view_weights[0][before])
    # the published form: the whole block, its half, and the token itself
    block, half, own = one.views[0].split([128, 64, 32], -1)
    for token, start in enumerate(one.start[0].tolist()):
        assert torch.equal(block[token], z[0, start // 128 * 128 :][:128])
        assert torch.equal(half[token], z[0, start // 64 * 64 :][:64])
        assert torch.equal(own[token], z[0, start : start + 32])


def test_hidden_patches_leave_no_trace():
    z, observed = example(4, 2, 640, 0.0)
    observed[:] = True
    z = torch.nan_to_num(z)
    hidden = torch.zeros(2, 22, dtype=torch.bool)
    hidden[:, 6:9] = True
    other = z.clone()
    other[:, 192:288] += 7
    made = tokenizer()
    one, two = (made.tokenize(v, observed, 64, hidden) for v in (z, other))
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second), field.name
    for row in range(2):
        at = {int(s): t for t, s in enumerate(one.start[row]) if one.length[row, t] > 0}
        assert {192, 288} <= set(at)
        inside = (one.start[row] >= 192) & (one.start[row] < 288) & (one.length[row] > 0)
        assert not one.observed[row][inside].any()
        assert not one.views_observed[row][inside].any()


def test_features_are_even_and_blind_to_missing_steps():
    x = torch.randn(5, 128)
    observed = torch.rand(5, 128) < 0.7
    x = torch.where(observed, x, 0)
    features = block_features(x, observed)
    assert torch.equal(features, block_features(-x, observed))
    assert torch.isfinite(block_features(x * 0, observed & False)).all()
    assert features.dtype == torch.float32
    torch.testing.assert_close(
        features, block_features(x + 3 * observed, observed), atol=1e-4, rtol=0
    )


def test_detail_is_lost_where_a_size_is_too_coarse():
    t = torch.arange(128.0)
    x = torch.stack([torch.sin(2 * torch.pi * t / 8), torch.sin(2 * torch.pi * t / 128), t * 0])
    lost = lost_detail(x, torch.ones_like(x) > 0, (128, 64, 32))
    assert lost[0, 0] > lost[0, 2] + 0.2
    assert (lost[1] < 0.2).all()
    assert not lost[2].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (64, 64)}, "sizes must fall"),
        ({"sizes": (96, 64)}, "sizes must fall"),
        ({"sizes": ()}, "sizes must fall"),
        ({"top_experts": 6}, "top_experts=6"),
        ({"expert_shares": (0.5, 0.5)}, "expert_shares must be 5 numbers"),
        ({"steps_per_token": 16}, "out of reach"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureTokenizer(**options)


def half_calm(rows: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Series of 1,024 steps, calm in one half, a noisy chirp in the other; which is first."""
    t = torch.arange(512.0)
    phase = 2 * torch.pi * torch.rand(rows, 1, generator=rng)
    chirp = torch.sin(2 * torch.pi * (1 / 64 * t + 0.15 / 1024 * t * t) + phase)
    busy = chirp + 0.5 * torch.randn(rows, 512, generator=rng)
    calm = 0.1 * torch.sin(2 * torch.pi * t / 256 + phase)
    calm = calm + 0.02 * torch.randn(rows, 512, generator=rng)
    first = torch.rand(rows, 1, generator=rng) < 0.5
    x = torch.where(first, torch.cat([busy, calm], 1), torch.cat([calm, busy], 1))
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True), first


def density(made, rng: torch.Generator) -> tuple[float, float]:
    """Tokens of the busy halves per token of the calm ones, and mean steps per token."""
    x, first = half_calm(64, rng)
    batch = made.tokenize(x, torch.ones_like(x, dtype=torch.bool), 0)
    live = batch.length > 0
    early = (live & (batch.start < 512)).sum(1, keepdim=True)
    late = (live & (batch.start >= 512)).sum(1, keepdim=True)
    busy, calm = torch.where(first, early, late).sum(), torch.where(first, late, early).sum()
    return float(busy / calm), float(x.numel() / (busy + calm))


def trained(seed: int, budget: float, rng: torch.Generator) -> MixtureTokenizer:
    """A tokenizer whose router has learnt its training objective alone."""
    torch.manual_seed(seed)
    made = MixtureTokenizer(n_cycles=0, references=False, steps_per_token=budget).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(300):
        x, _ = half_calm(8, rng)
        loss = made.tokenize(x, torch.ones_like(x, dtype=torch.bool), 0).aux["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made.eval()


_MORE = [pytest.param(s, b, marks=pytest.mark.slow) for s in (2, 3) for b in (48.0, 64.0, 96.0)]


@pytest.mark.parametrize(("seed", "budget"), [(0, 64.0), (1, 48.0), *_MORE])
def test_a_trained_router_spends_its_tokens_where_the_detail_is(seed, budget):
    rng = torch.Generator().manual_seed(seed)
    made = trained(seed, budget, rng)
    ratio, mean = density(made, rng)
    assert ratio >= 1.5
    assert abs(mean / budget - 1) < 0.2
    # what does not look at the series does not
    assert density(FixedPatchTokenizer(32), rng)[0] == 1.0
    with torch.no_grad():
        made.router.weight[:, :-1] = 0
    assert density(made, rng)[0] == 1.0


def test_the_shares_of_levels_follow_the_choice_and_have_a_slope():
    torch.manual_seed(0)
    for n_null, top in ((2, 3), (2, 1), (0, 3), (1, 2), (2, 5)):
        router = SizeRouter(3, n_null, top)
        with torch.no_grad():
            router.weight.mul_(300)  # so sure that a little uncertainty changes nothing
        routing = router(torch.randn(200, router.weight.shape[1]))
        shares = router.level_shares(routing)
        torch.testing.assert_close(shares.sum(-1), torch.ones(200))
        sure = shares.amax(-1) > 0.99
        assert sure.sum() > 150
        assert torch.equal(shares.argmax(-1)[sure], routing.level[sure])
    router = SizeRouter(3)
    routing = router(torch.randn(50, router.weight.shape[1]))
    router.level_shares(routing)[..., 2].sum().backward()
    assert (router.weight.grad[2].abs() > 0).all()
