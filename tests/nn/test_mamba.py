"""Mamba blocks: what tokens without data may do, streaming, spans, directions, exchange."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tsfm.nn.mamba import Bidirectional, Mamba1, Mamba2, mirrored, take

D_MODEL = 16


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "mamba1":
        return Mamba1(D_MODEL, d_state=4)
    return Mamba2(D_MODEL, d_state=8, d_head=8, n_groups=2)


@pytest.fixture(params=["mamba1", "mamba2"])
def block(request) -> torch.nn.Module:
    return build(request.param)


def assert_near(got, wanted, tolerance=1e-5):
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_parameters_are_those_of_mamba_ssm():
    expected = {
        "mamba1": {
            "in_proj.weight": (64, 16),
            "conv1d.weight": (32, 1, 4),
            "conv1d.bias": (32,),
            "x_proj.weight": (9, 32),
            "dt_proj.weight": (32, 1),
            "dt_proj.bias": (32,),
            "A_log": (32, 4),
            "D": (32,),
            "out_proj.weight": (16, 32),
        },
        "mamba2": {
            "in_proj.weight": (100, 16),
            "conv1d.weight": (64, 1, 4),
            "conv1d.bias": (64,),
            "dt_bias": (4,),
            "A_log": (4,),
            "D": (4,),
            "norm.weight": (32,),
            "out_proj.weight": (16, 32),
        },
    }
    for name, shapes in expected.items():
        weights = build(name).state_dict()
        assert {key: tuple(value.shape) for key, value in weights.items()} == shapes


def test_initial_parameters():
    first, second = build("mamba1"), Mamba2(256, d_head=8)
    assert_near(first.A_log.exp(), torch.arange(1.0, 5).expand(32, -1))
    assert torch.equal(first.D, torch.ones(32))
    assert torch.equal(second.D, torch.ones(64))
    assert second.A_log.exp().min() >= 1
    assert second.A_log.exp().max() <= 16
    assert first.dt_proj.weight.abs().max() <= first.dt_rank**-0.5
    for bias in (first.dt_proj.bias, second.dt_bias):
        dt = F.softplus(bias)
        assert dt.min() > 0.99e-3
        assert dt.max() < 0.101


def test_what_goes_without_weight_decay_is_marked():
    def marked(block):
        return {
            name for name, p in block.named_parameters() if getattr(p, "_no_weight_decay", False)
        }

    assert marked(build("mamba1")) == {"A_log", "D"}
    assert marked(build("mamba2")) == {"A_log", "D", "dt_bias"}


def causal_convolution(block, x):
    padded = F.pad(x.mT, (block.conv1d.kernel_size[0] - 1, 0))
    weight, bias = block.conv1d.weight, block.conv1d.bias
    return F.silu(F.conv1d(padded, weight, bias, groups=x.shape[-1]).mT)


def test_mamba1_is_its_formula():
    block = build("mamba1").double()
    x = torch.randn(1, 9, D_MODEL, dtype=torch.float64)
    inner, gate = block.in_proj(x)[0].chunk(2, -1)
    inner = causal_convolution(block, inner[None])[0]
    low_rank, B, C = block.x_proj(inner).split([1, 4, 4], -1)
    dt = F.softplus(block.dt_proj(low_rank))
    state, outputs = 0, []
    for t in range(9):
        decay = torch.exp(-dt[t][:, None] * block.A_log.exp())
        state = decay * state + torch.outer(dt[t] * inner[t], B[t])
        outputs.append(state @ C[t] + block.D * inner[t])
    wanted = block.out_proj(torch.stack(outputs) * F.silu(gate))
    y, final = block(x)
    assert_near(y[0], wanted, 1e-9)
    assert_near(final.ssm[0], state, 1e-9)


def test_mamba2_normalises_after_the_gate_and_per_group():
    norm = build("mamba2").norm
    y, gate = torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    gated = (y * F.silu(gate)).unflatten(-1, (2, 16))
    wanted = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert_near(norm(y, gate), wanted.flatten(-2) * norm.weight)


@pytest.mark.parametrize("groups", [1, 2])
def test_mamba2_is_the_mixer_of_transformers(groups):
    pytest.importorskip("transformers")
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=D_MODEL,
        num_heads=4,
        head_dim=8,
        state_size=8,
        n_groups=groups,
        num_hidden_layers=1,
        chunk_size=16,
    )
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    ours = Mamba2(D_MODEL, d_state=8, d_head=8, n_groups=groups)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 50, D_MODEL)
    with torch.no_grad():
        wanted = theirs(x)
        assert_near(ours(x)[0], wanted)
        assert wanted.abs().mean() > 1e-2


def test_later_tokens_change_nothing(block):
    x = torch.randn(2, 50, D_MODEL)
    changed = x.clone()
    changed[:, 30:] += 5
    assert_near(block(x)[0][:, :30], block(changed)[0][:, :30])


def test_right_padding_changes_nothing(block):
    x = torch.randn(3, 40, D_MODEL)
    lengths = torch.tensor([40, 17, 1])
    valid = torch.arange(40) < lengths[:, None]
    padded, state = block(x, valid)
    for row, length in enumerate(lengths.tolist()):
        alone, alone_state = block(x[row : row + 1, :length])
        assert_near(padded[row, :length], alone[0])
        assert_near(state.conv[row], alone_state.conv[0])
        assert_near(state.ssm[row], alone_state.ssm[0])


def test_what_padding_holds_is_never_seen(block):
    x, valid = torch.randn(2, 40, D_MODEL), torch.rand(2, 40) < 0.6
    y, state = block(x, valid)
    noisy = torch.where(valid[..., None], x, 100 * torch.randn_like(x))
    again, same = block(noisy, valid)
    assert torch.equal(y[valid], again[valid])
    assert torch.equal(state.conv, same.conv)
    assert torch.equal(state.ssm, same.ssm)


def test_missing_tokens_might_as_well_not_be_there(block):
    x = torch.randn(1, 40, D_MODEL)
    valid = torch.rand(1, 40) < 0.6
    valid[:, :2] = False
    with_gaps, state = block(x, valid)
    without, same = block(x[:, valid[0]])
    assert_near(with_gaps[:, valid[0]], without)
    assert_near(state.conv, same.conv)
    assert_near(state.ssm, same.ssm)


def test_a_missing_token_reads_but_does_not_write(block):
    x, valid = torch.randn(1, 20, D_MODEL), torch.ones(1, 20, dtype=torch.bool)
    valid[:, 10:] = False
    y, _ = block(x, valid)
    for token in (10, 15, 19):  # each answers as if it came right after the data
        keep = [*range(10), token]
        assert_near(y[:, token], block(x[:, keep], valid[:, :11])[0][:, -1])
    earlier = x.clone()
    earlier[:, 5] += 1
    assert (block(earlier, valid)[0] - y)[:, 15].abs().max() > 1e-6


def test_rows_without_any_valid_token_leave_no_trace(block):
    y, state = block(torch.randn(2, 5, D_MODEL), torch.zeros(2, 5, dtype=torch.bool))
    assert y.isfinite().all()
    assert not state.conv.any()
    assert not state.ssm.any()


@pytest.mark.parametrize("masked", [False, True])
def test_streaming_is_the_whole(block, masked):
    x = torch.randn(3, 45, D_MODEL)
    valid = torch.rand(3, 45) < (0.7 if masked else 1.1)
    span = torch.rand(3, 45) + 0.5
    whole, final = block(x, valid if masked else None, span)
    head, state = block(x[:, :20], valid[:, :20], span[:, :20])
    outputs = [head]
    for t in range(20, 45):
        y, state = block.step(x[:, t], state, valid[:, t], span[:, t])
        outputs.append(y[:, None])
    assert_near(torch.cat(outputs, 1), whole)
    assert_near(state.conv, final.conv)
    assert_near(state.ssm, final.ssm)


def test_step_needs_nothing_but_a_state(block):
    x = torch.randn(2, 6, D_MODEL)
    state = block.initial_state(2)
    for t in range(6):
        y, state = block.step(x[:, t], state)
    assert_near(y, block(x)[0][:, -1])


@pytest.mark.parametrize("merged", [2, 4, 8])
def test_scaling_by_span_lets_one_token_stand_for_many(block, merged):
    with torch.no_grad():  # no convolution across levels; memory much longer than a span
        block.conv1d.weight[..., :-1] = 0
        block.A_log.fill_(0.0)
        dt_bias = block.dt_bias if isinstance(block, Mamba2) else block.dt_proj.bias
        dt_bias.fill_(-4.6)  # steps of about 0.01
    levels = torch.randn(4, 12, D_MODEL)
    steps = block(levels.repeat_interleave(merged, 1))[1].ssm
    span = torch.full((4, 12), float(merged))
    scaled = block(levels, span=span)[1].ssm
    unscaled = block(levels)[1].ssm
    assert (scaled - steps).norm() < 0.2 * (unscaled - steps).norm()


def test_spans_of_one_change_nothing(block):
    x = torch.randn(2, 10, D_MODEL)
    assert torch.equal(block(x)[0], block(x, span=torch.ones(2, 10, dtype=torch.float64))[0])


def test_mirrored_is_its_own_inverse():
    valid = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    index = mirrored(valid.shape, valid, valid.device)
    assert index.tolist() == [[4, 3, 2, 1, 0], [2, 1, 0, 3, 4], [0, 1, 2, 3, 4]]
    x = torch.randn(3, 5, 2)
    assert torch.equal(take(take(x, index), index), x)
    assert torch.equal(mirrored(torch.Size([1, 5]), None, x.device), index[:1])


def test_bidirectional_rows_do_not_depend_on_padding(block):
    both = Bidirectional(block, build("mamba2" if isinstance(block, Mamba2) else "mamba1"))
    x, span = torch.randn(3, 30, D_MODEL), torch.rand(3, 30) + 0.5
    lengths = [30, 11, 1]
    valid = torch.arange(30) < torch.tensor(lengths)[:, None]
    y, state = both(x, valid, span)
    assert state is None
    for row, length in enumerate(lengths):
        part, duration = x[row : row + 1, :length], span[row : row + 1, :length]
        from_left = both.forwards(part, None, duration)[0]
        from_right = both.backwards(part.flip(1), None, duration.flip(1))[0].flip(1)
        assert_near(y[row : row + 1, :length], from_left + from_right)
        assert_near(both(part, None, duration)[0], from_left + from_right)


def test_gradients_reach_every_parameter_and_no_missing_token(block):
    x = torch.randn(2, 40, D_MODEL, requires_grad=True)
    valid = torch.rand(2, 40) < 0.7
    y, _ = block(x, valid)
    y[valid].square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert not x.grad[~valid].any()


def test_bf16_is_close_to_fp32(block):
    x, valid = torch.randn(4, 32, D_MODEL), torch.rand(4, 32) < 0.8
    full, _ = block(x, valid)
    with torch.autocast("cpu", torch.bfloat16):
        half, state = block(x, valid)
    assert half.dtype == torch.bfloat16
    assert state.ssm.dtype == torch.float32
    assert (half.float() - full).norm() / full.norm() < 0.03


def test_widths_that_do_not_split_are_refused():
    with pytest.raises(ValueError, match="d_head=12"):
        Mamba2(D_MODEL, d_head=12)
    with pytest.raises(ValueError, match="n_groups=3"):
        Mamba2(D_MODEL, d_head=8, n_groups=3)
    with pytest.raises(ValueError, match="d_conv=1"):
        Mamba1(D_MODEL, d_conv=1)


def test_default_rank_is_a_sixteenth():
    assert Mamba1(40).dt_rank == math.ceil(40 / 16)
