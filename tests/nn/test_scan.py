"""Scans: every path gives the numbers of the recurrence, and tokens with dt = 0 do nothing."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tsfm.nn import scan
from tsfm.nn.scan import selective_scan, ssd


def mamba1_inputs(length=37, dtype=torch.float32, rows=2, width=3, n=4):
    generator = torch.Generator().manual_seed(length)
    draw = partial(torch.randn, generator=generator, dtype=dtype)
    dt = torch.rand(rows, length, width, generator=generator, dtype=dtype)
    return (
        draw(rows, length, width),
        dt,
        -torch.rand(width, n, generator=generator, dtype=dtype) * 8,
        draw(rows, length, n),
        draw(rows, length, n),
        draw(rows, width, n),
    )


def ssd_inputs(length=37, dtype=torch.float32, rows=2, heads=4, width=3, groups=2, n=5):
    generator = torch.Generator().manual_seed(length)
    draw = partial(torch.randn, generator=generator, dtype=dtype)
    return (
        draw(rows, length, heads, width),
        torch.rand(rows, length, heads, generator=generator, dtype=dtype),
        -torch.rand(heads, generator=generator, dtype=dtype) * 8,
        draw(rows, length, groups, n),
        draw(rows, length, groups, n),
        draw(rows, heads, width, n),
    )


def streamed(step, x, dt, A, B, C, state):
    outputs = []
    for t in range(x.shape[1]):
        y, state = step(x[:, t], dt[:, t], A, B[:, t], C[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def public(function, x, dt, A, B, C, state):
    return function(x, dt, A, B, C, None, state)


def by_doubling(x, dt, A, B, C, state):
    decay = torch.exp(dt[..., None] * A)
    states = scan._doubling(decay, (dt * x)[..., None] * B[:, :, None], state)
    return (states @ C[..., None])[..., 0], states[:, -1]


CHUNKS = (1, 16, 32, 64, 256)
PATHS = {
    **{f"1-{q}": partial(scan.selective_scan_chunked, chunk=q) for q in CHUNKS},
    "1-recompute": partial(scan.selective_scan_chunked, chunk=8, recompute=True),
    "1-doubling": by_doubling,
    "1-step": partial(streamed, scan.selective_scan_step),
    "1-public": partial(public, selective_scan),
    **{f"2-{q}": partial(scan.ssd_chunked, chunk=q) for q in CHUNKS},
    "2-step": partial(streamed, scan.ssd_step),
    "2-public": partial(public, ssd),
}


def case(name, **options):
    if name.startswith("1"):
        return scan.selective_scan_sequential, mamba1_inputs(**options)
    return scan.ssd_sequential, ssd_inputs(**options)


def error(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def values_and_gradients(function, inputs):
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    y, state = function(*inputs)
    (y.sin().sum() + state.cos().sum()).backward()
    return [y.detach(), state.detach()], [tensor.grad for tensor in inputs]


@pytest.mark.parametrize("length", [1, 37, 200])
@pytest.mark.parametrize(
    ("dtype", "value", "slope"), [(torch.float32, 1e-4, 1e-3), (torch.float64, 1e-9, 1e-9)]
)
@pytest.mark.parametrize("name", PATHS)
def test_every_path_is_the_recurrence(name, dtype, value, slope, length):
    reference, inputs = case(name, length=length, dtype=dtype)
    wanted, wanted_slopes = values_and_gradients(reference, inputs)
    got, slopes = values_and_gradients(PATHS[name], inputs)
    assert max(map(error, got, wanted)) < value
    assert max(map(error, slopes, wanted_slopes)) < slope


@pytest.mark.parametrize("chunk", [32, 300])
def test_pieces_of_a_long_sequence_join(chunk):
    _, inputs = case("2-16", length=scan._PIECE + 100, dtype=torch.float64)
    got, wanted = (f(*inputs, chunk) for f in (scan.ssd_chunked, scan._ssd_chunks))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("name", ["1-16", "1-recompute", "1-doubling", "2-16", "2-1"])
def test_gradients_are_those_of_finite_differences(name):
    sizes = {"length": 3, "dtype": torch.float64, "rows": 1, "width": 2, "n": 2}
    _, inputs = case(name, **sizes)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(PATHS[name], inputs)


def test_selective_scan_is_its_formula():
    x, dt, A, B, C, state = mamba1_inputs(6, torch.float64, rows=1)
    D = torch.randn(3, dtype=torch.float64)
    h = state[0].clone()
    y = torch.zeros(6, 3, dtype=torch.float64)
    for t in range(6):
        for e in range(3):
            for n in range(4):
                h[e, n] = (dt[0, t, e] * A[e, n]).exp() * h[e, n]
                h[e, n] += dt[0, t, e] * B[0, t, n] * x[0, t, e]
            y[t, e] = (C[0, t] * h[e]).sum() + D[e] * x[0, t, e]
    got, final = selective_scan(x, dt, A, B, C, D, state)
    torch.testing.assert_close(got[0], y)
    torch.testing.assert_close(final[0], h)


def test_ssd_is_its_formula():
    x, dt, A, B, C, state = ssd_inputs(6, torch.float64, rows=1)
    D = torch.randn(4, dtype=torch.float64)
    S = state[0].clone()
    y = torch.zeros(6, 4, 3, dtype=torch.float64)
    for t in range(6):
        for h in range(4):
            group = h // 2
            S[h] = (dt[0, t, h] * A[h]).exp() * S[h]
            S[h] += dt[0, t, h] * torch.outer(x[0, t, h], B[0, t, group])
            y[t, h] = S[h] @ C[0, t, group] + D[h] * x[0, t, h]
    got, final = ssd(x, dt, A, B, C, D, state)
    torch.testing.assert_close(got[0], y)
    torch.testing.assert_close(final[0], S)


@pytest.mark.parametrize("name", PATHS)
def test_tokens_without_duration_leave_the_state_bit_for_bit(name):
    _, (x, dt, A, B, C, state) = case(name)
    _, after = PATHS[name](x, torch.zeros_like(dt), A, B, C, state)
    assert torch.equal(after, state)


@pytest.mark.parametrize("function", [selective_scan, ssd])
def test_right_padding_is_exact(function):
    make = mamba1_inputs if function is selective_scan else ssd_inputs
    x, dt, A, B, C, state = make(64)
    dt[:, 41:] = 0
    padded, padded_state = public(function, x, dt, A, B, C, state)
    parts = (tensor[:, :41] for tensor in (x, dt, B, C))
    short_x, short_dt, short_B, short_C = parts
    short, short_state = public(function, short_x, short_dt, A, short_B, short_C, state)
    assert torch.equal(padded_state, short_state)
    torch.testing.assert_close(padded[:, :41], short, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("function", [selective_scan, ssd])
def test_a_scan_goes_on_where_it_stopped(function):
    make = mamba1_inputs if function is selective_scan else ssd_inputs
    x, dt, A, B, C, state = make(50)
    whole, final = public(function, x, dt, A, B, C, state)
    pieces = []
    for now in (slice(0, 1), slice(1, 34), slice(34, 50)):
        y, state = public(function, x[:, now], dt[:, now], A, B[:, now], C[:, now], state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, final, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [selective_scan, ssd])
def test_strong_decay_stays_finite(function):
    make = mamba1_inputs if function is selective_scan else ssd_inputs
    x, dt, A, B, C, state = make(100)
    (y, final), slopes = values_and_gradients(
        partial(public, function), (x, dt * 1000, A, B, C, state)
    )
    assert all(tensor.isfinite().all() for tensor in (y, final, *slopes))


@pytest.mark.parametrize("function", [selective_scan, ssd])
def test_autocast_leaves_the_arithmetic_alone(function):
    make = mamba1_inputs if function is selective_scan else ssd_inputs
    inputs = make(40)
    full, state = public(function, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        half, half_state = public(function, inputs[0].bfloat16(), *inputs[1:])
    assert half.dtype == torch.bfloat16
    assert half_state.dtype == torch.float32
    assert error(half.float(), full) < 0.02
    assert error(half_state, state) < 0.02


def test_many_states_are_recomputed_with_the_same_gradients(monkeypatch):
    inputs = mamba1_inputs()
    kept = values_and_gradients(partial(public, selective_scan), inputs)
    monkeypatch.setattr(scan, "_KEEP_UP_TO", 0)
    recomputed = values_and_gradients(partial(public, selective_scan), inputs)
    torch.testing.assert_close(recomputed, kept)


def test_heads_that_no_groups_divide_are_refused():
    x, dt, A, B, C, _ = ssd_inputs(groups=3)
    with pytest.raises(ValueError, match="4 heads cannot share 3 groups"):
        ssd(x, dt, A, B, C)
