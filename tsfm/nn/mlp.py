"""Feed-forward blocks: SwiGLU for the backbone, a residual MLP for embeddings and heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """Gated feed-forward `W_out(silu(W_gate x) * W_up x)` without biases.

    Source: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    Parameters
    ----------
    d_model
        Width of input and output.
    d_hidden
        Width of the gated hidden layer.
    """

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_hidden, bias=False)
        self.out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d_model] to [..., d_model]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        projected: Tensor = self.out(F.silu(gate) * up)
        return projected


class ResidualMLP(nn.Module):
    """`W_skip x + W_2 silu(W_1 x)`: a linear map with a non-linear correction.

    Parameters
    ----------
    d_in, d_hidden, d_out
        Widths of input, hidden layer and output.
    """

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(d_in, d_hidden)
        self.out = nn.Linear(d_hidden, d_out)
        self.skip = nn.Linear(d_in, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d_in] to [..., d_out]."""
        mapped: Tensor = self.out(F.silu(self.hidden(x))) + self.skip(x)
        return mapped
