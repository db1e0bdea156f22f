"""The `TokenBatch` contract, for any length, horizon and pattern of missing values."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tokenizers import FixedPatchTokenizer, Kind


def example(seed: int, rows: int, length: int, missing: float):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, length, generator=rng)
    observed = torch.rand(rows, length, generator=rng) >= missing
    return torch.where(observed, z, torch.nan), observed


cases = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 400),
    horizon=st.integers(1, 200),
    patch=st.sampled_from([1, 4, 7, 32]),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
)


@cases
@settings(max_examples=60, deadline=None)
def test_spans_tile_context_and_horizon(seed, rows, length, horizon, patch, missing):
    z, observed = example(seed, rows, length, missing)
    batch = FixedPatchTokenizer(patch).tokenize(z, observed, horizon)
    assert batch.values.shape == batch.observed.shape == (*batch.length.shape, patch)
    assert batch.row.tolist() == list(range(rows))
    for row in range(rows):
        for kind, begin, end in (
            (Kind.CONTEXT, 0, length),
            (Kind.FORECAST, length, length + horizon),
        ):
            mine = batch.kind[row] == kind
            start, size = batch.start[row][mine], batch.length[row][mine]
            assert (size > 0).all()
            assert start[0] == begin
            assert torch.equal(start[1:], (start + size)[:-1])
            assert start[-1] + size[-1] == end
            torch.testing.assert_close(
                batch.position[row][mine], start + (size.float() - 1) / 2, check_dtype=False
            )
    assert (batch.kind.diff(dim=1) >= 0).all()


@cases
@settings(max_examples=60, deadline=None)
def test_the_mirror_image_is_that_of_the_negated_series(
    seed, rows, length, horizon, patch, missing
):
    z, observed = example(seed, rows, length, missing)
    z = z.double()  # transforms of other batches round differently
    for n_cycles, references in ((3, True), (2, False), (0, True), (0, False)):
        tokenizer = FixedPatchTokenizer(patch, n_cycles, references)
        both = tokenizer.with_mirror_image(tokenizer.tokenize(z, observed, horizon))
        wanted = tokenizer.tokenize(torch.cat([z, -z]), observed.repeat(2, 1), horizon)
        for field in fields(wanted):
            found, expected = getattr(both, field.name), getattr(wanted, field.name)
            if field.name == "row":  # a mirror image belongs to the series it mirrors
                assert torch.equal(found, torch.arange(rows).repeat(2))
            elif isinstance(expected, torch.Tensor):
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            else:
                assert found == expected


@cases
@settings(max_examples=60, deadline=None)
def test_contents_are_left_justified_and_complete(seed, rows, length, horizon, patch, missing):
    z, observed = example(seed, rows, length, missing)
    batch = FixedPatchTokenizer(patch).tokenize(z, observed, horizon)
    for row in range(rows):
        values, seen = [], []
        for token in range(batch.length.shape[1]):
            size = int(batch.length[row, token])
            assert not batch.observed[row, token, size:].any()
            if batch.kind[row, token] == Kind.CONTEXT:
                values.append(batch.values[row, token, :size])
                seen.append(batch.observed[row, token, :size])
            else:
                assert not batch.observed[row, token].any()
        assert torch.equal(torch.cat(seen), observed[row])
        assert torch.equal(torch.cat(values), torch.where(observed[row], z[row], 0))
    assert (batch.values[~batch.observed] == 0).all()
    for part in (batch.features, batch.references, batch.error_scale):
        assert torch.isfinite(part).all()
    assert (batch.error_scale > 0).all()


@pytest.mark.parametrize(
    ("n_cycles", "references"), [(0, False), (0, True), (2, False), (4, True)]
)
def test_optional_parts(n_cycles, references):
    tokenizer = FixedPatchTokenizer(32, n_cycles, references)
    batch = tokenizer.tokenize(torch.randn(2, 70), torch.ones(2, 70, dtype=torch.bool), 32)
    width = 0 if batch.features is None else batch.features.shape[-1]
    assert width == tokenizer.n_features
    assert (batch.references is not None) == references == (batch.error_scale is not None)


def test_nothing_is_learnt_from_masked_values():
    z, observed = example(0, 3, 150, 0.4)
    other = torch.where(observed, z, 1e6)
    one, two = (FixedPatchTokenizer().tokenize(v, observed, 64) for v in (z, other))
    for name in ("values", "features", "references", "error_scale"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_hidden_tokens_leave_no_trace():
    z, observed = example(1, 2, 160, 0.0)
    hidden = torch.zeros(2, 7, dtype=torch.bool)
    hidden[:, 2:4] = True
    other = z.clone()
    other[:, 64:128] += 7
    one, two = (FixedPatchTokenizer().tokenize(v, observed, 64, hidden) for v in (z, other))
    assert not one.observed[:, 2:4].any()
    for name in ("values", "features", "references", "error_scale"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_references_of_a_token_know_nothing_after_it():
    rng = torch.Generator().manual_seed(3)
    z = torch.sin(torch.arange(320.0) * 2 * torch.pi / 24)[None] + 0.1 * torch.randn(
        1, 320, generator=rng
    )
    observed = torch.ones_like(z, dtype=torch.bool)
    other = z.clone()
    other[:, 192:] = other[:, 192:].flip(-1)
    one, two = (FixedPatchTokenizer().tokenize(v, observed, 32).references for v in (z, other))
    last = torch.tensor([0, 4])  # last value and recent mean use no lag found on the whole
    assert torch.equal(one[:, :6][..., last], two[:, :6][..., last])
    assert not torch.equal(one[:, 6:], two[:, 6:])


def test_states_spread_over_the_steps_they_came_from():
    tokenizer = FixedPatchTokenizer(4)
    batch = tokenizer.tokenize(torch.randn(1, 6), torch.ones(1, 6, dtype=torch.bool), 4)
    states = torch.arange(3.0)[None, :, None]
    assert tokenizer.to_steps(states, batch).flatten().tolist() == [0, 0, 1, 1, 1, 1]
