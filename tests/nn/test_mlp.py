"""Feed-forward blocks against their formulas."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tsfm.nn.mlp import ResidualMLP, SwiGLU


def test_swiglu_is_its_formula():
    block, x = SwiGLU(6, 10), torch.randn(2, 3, 6)
    gate, up = block.gate_up.weight[:10], block.gate_up.weight[10:]
    wanted = (F.silu(x @ gate.T) * (x @ up.T)) @ block.out.weight.T
    torch.testing.assert_close(block(x), wanted)
    assert all("bias" not in name for name, _ in block.named_parameters())


def test_residual_mlp_is_linear_where_its_hidden_layer_is_silent():
    block, x = ResidualMLP(4, 8, 3), torch.randn(5, 4)
    assert block(x).shape == (5, 3)
    torch.nn.init.zeros_(block.out.weight)
    torch.nn.init.zeros_(block.out.bias)
    torch.testing.assert_close(block(2 * x), 2 * block(x))
