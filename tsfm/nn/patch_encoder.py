"""From the steps of patches of any length to one vector per patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.nn.mlp import ResidualMLP, SwiGLU
from tsfm.nn.segments import segment_max, segment_softmax, segment_sum, spread


class StepEmbedding(nn.Module):
    """A vector for every step, from its values and its place in its patch.

    Values are multiplied by vectors that depend on the place, told as the distance to the start
    and to the end of the patch, and other such vectors are added; an MLP follows.

    Parameters
    ----------
    d_step
        Width of the vectors.
    max_length
        Steps of the longest patch.
    n_channels
        Values per step, C.
    """

    def __init__(self, d_step: int, max_length: int, n_channels: int = 1) -> None:
        super().__init__()
        self.d_step = d_step
        shape = (max_length, (n_channels + 1) * d_step)
        self.from_start = nn.Parameter(0.5 * torch.randn(shape))
        self.to_end = nn.Parameter(0.5 * torch.randn(shape))
        self.mlp = ResidualMLP(d_step, 2 * d_step, d_step)

    def forward(self, values: Tensor, offset: Tensor, remaining: Tensor) -> Tensor:
        """Embed steps.

        Parameters
        ----------
        values
            [B, L, C].
        offset, remaining
            [B, L] int64, steps of the same patch before and after each step.

        Returns
        -------
        Tensor
            [B, L, d_step].
        """
        place = F.embedding(offset, self.from_start) + F.embedding(remaining, self.to_end)
        *gains, shift = place.split(self.d_step, dim=-1)
        for channel, gain in enumerate(gains):
            shift = torch.addcmul(shift, values[..., channel : channel + 1], gain)
        embedded: Tensor = self.mlp(shift)
        return embedded


class PatchPooling(nn.Module):
    """One vector per patch: a maximum over its steps, which then looks at the steps again.

    The query of a patch is the maximum of its observed steps plus what is known of it as a whole.
    It looks at the observed steps of its own patch only, by a softmax among them, in memory
    linear in the number of steps.

    Source: the patch encoder of EntroPE (arXiv 2509.26157), after the Byte Latent Transformer
    (arXiv 2412.09871). Published code lets patch j look at the steps of `window` patches up to
    and including j, in effect at all before it; `window` does that, by a mask of T x L.

    Parameters
    ----------
    d_step
        Width of steps and patches.
    n_heads
        Heads of the attention.
    n_facts
        Numbers known of each patch as a whole.
    window
        Patches, up to the own one, whose steps a patch looks at. 1 is the own patch alone, at a
        cost of O(L); more than 1 takes time and memory of O(T L).
    """

    def __init__(self, d_step: int, n_heads: int, n_facts: int, window: int = 1) -> None:
        super().__init__()
        if d_step % n_heads:
            raise ValueError(f"d_step={d_step} must be a multiple of n_step_heads={n_heads}.")
        if window < 1:
            raise ValueError(f"prefix_window must be at least 1, got {window}.")
        self.n_heads = n_heads
        self.window = window
        self.facts = nn.Linear(n_facts, d_step)
        self.query_norm = nn.RMSNorm(d_step, eps=1e-6)
        self.step_norm = nn.RMSNorm(d_step, eps=1e-6)
        self.query = nn.Linear(d_step, d_step, bias=False)
        self.key_value = nn.Linear(d_step, 2 * d_step, bias=False)
        self.out = nn.Linear(d_step, d_step, bias=False)
        self.mlp_norm = nn.RMSNorm(d_step, eps=1e-6)
        self.mlp = SwiGLU(d_step, 2 * d_step)

    def forward(self, steps: Tensor, index: Tensor, observed: Tensor, facts: Tensor) -> Tensor:
        """Vectors of patches.

        Parameters
        ----------
        steps
            [B, L, d_step] embedded steps.
        index
            [B, L] int64, patch of each step.
        observed
            [B, L] bool, steps that count.
        facts
            [B, T, n_facts].

        Returns
        -------
        Tensor
            [B, T, d_step]; 0 for patches without an observed step.
        """
        n_patches = facts.shape[1]
        known = segment_max(observed.to(facts.dtype)[..., None], index, n_patches)  # [B, T, 1]
        pooled = segment_max(steps, index, n_patches, observed) + self.facts(facts)
        q = self.query(self.query_norm(pooled)).unflatten(-1, (self.n_heads, -1))
        kv = self.key_value(self.step_norm(steps)).unflatten(-1, (2, self.n_heads, -1))
        k, v = kv.unbind(2)  # each [B, L, heads, d_head]
        if self.window == 1:
            mixed = _look_inside(q, k, v, index, observed)
        else:
            mixed = self._look_back(q, k, v, index, observed)
        pooled = pooled + self.out(mixed.flatten(2))
        pooled = pooled + self.mlp(self.mlp_norm(pooled))
        return torch.where(known > 0, pooled, 0)

    def _look_back(
        self, q: Tensor, k: Tensor, v: Tensor, index: Tensor, observed: Tensor
    ) -> Tensor:
        """Attention of patches to the steps of `window` patches, masked: [B, T, heads, d_head]."""
        patch = torch.arange(q.shape[1], device=q.device)[:, None]
        ago = patch - index[:, None]  # [B, T, L]
        allowed = (ago >= 0) & (ago < self.window) & observed[:, None]
        allowed = allowed | ~allowed.any(-1, keepdim=True)  # a softmax of nothing is not a number
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None])
        return mixed.transpose(1, 2)


def _look_inside(q: Tensor, k: Tensor, v: Tensor, index: Tensor, observed: Tensor) -> Tensor:
    """Attention of patches to their own steps: [B, T, heads, d_head]."""
    scores = (spread(q, index) * k).sum(-1).float() * k.shape[-1] ** -0.5  # [B, L, heads]
    weights = segment_softmax(scores, index, q.shape[1], observed)
    return segment_sum(weights[..., None] * v, index, q.shape[1])
