"""Embedding of tokens of any length by looking at their steps, and the way back to steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsfm.models.facts import n_facts, token_facts
from tsfm.nn.mlp import ResidualMLP, SwiGLU
from tsfm.nn.patch_encoder import PatchPooling, StepEmbedding
from tsfm.nn.segments import segment_sum, spread
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch


@dataclass(frozen=True)
class PatchSteps:
    """The steps of a context, one by one.

    Parameters
    ----------
    embedded
        [B, L, d_step].
    token
        [B, L] int64, index of the token that covers each step.
    observed
        [B, L] bool.
    """

    embedded: Tensor
    token: Tensor
    observed: Tensor


class AdaptivePatchEmbedding(nn.Module):
    """Token vectors from the steps themselves, whatever the lengths of the tokens.

    Every step is embedded with its place in its token; each token then pools its observed steps
    and looks at them (`PatchPooling`). Its vector is the sum of that and of a map of the token's
    features and references. Tokens without an observed value (forecast, padding, missing
    stretches, prompts) get the latter only. Memory is linear in the context's length.

    Parameters
    ----------
    tokenizer
        What makes the tokens.
    d_hidden, d_model
        Widths of the hidden layer of the map of features and references, and of the answer.
    d_step
        Width of a step's vector.
    n_heads
        Heads of the attention to steps.
    window
        Tokens, up to the own one, whose steps a token looks at; see `PatchPooling`.

    Examples
    --------
    >>> import torch
    >>> from tsfm.tokenizers import FixedPatchTokenizer
    >>> tokenizer = FixedPatchTokenizer(8)
    >>> batch = tokenizer.tokenize(torch.randn(2, 30), torch.ones(2, 30) > 0, 16)
    >>> AdaptivePatchEmbedding(tokenizer, 32, 16)(batch).shape
    torch.Size([2, 6, 16])
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        d_hidden: int,
        d_model: int,
        d_step: int = 64,
        n_heads: int = 4,
        window: int = 1,
    ) -> None:
        super().__init__()
        self.steps = StepEmbedding(d_step, tokenizer.max_length)
        self.pooling = PatchPooling(d_step, n_heads, n_facts=2, window=window)
        self.out = nn.Linear(d_step, d_model, bias=False)
        told = n_facts(tokenizer)
        self.facts = ResidualMLP(told, d_hidden, d_model) if told else None

    def embed_steps(self, batch: TokenBatch) -> PatchSteps:
        """Vectors of the context's steps.

        Parameters
        ----------
        batch
            B rows with a context of L steps.

        Returns
        -------
        PatchSteps
            What `StepDecoder` also needs.
        """
        token = batch.token_of_step()
        length = torch.where(batch.is_kind(Kind.CONTEXT), batch.length, 0)
        begin = length.cumsum(-1) - length  # counted from the first step of the first token
        offset = torch.arange(token.shape[1], device=token.device) - begin.gather(1, token)
        remaining = length.gather(1, token) - 1 - offset
        slot = token * batch.values.shape[-1] + offset
        values = batch.values.flatten(1).gather(1, slot)
        observed = batch.observed.flatten(1).gather(1, slot)
        return PatchSteps(self.steps(values[..., None], offset, remaining), token, observed)

    def forward(self, batch: TokenBatch) -> Tensor:
        """[B, T, d_model]."""
        steps = self.embed_steps(batch)
        n_tokens = batch.kind.shape[1]
        count = segment_sum(steps.observed.to(batch.values.dtype), steps.token, n_tokens)
        about = torch.stack([batch.length.to(count.dtype), count], dim=-1).log1p() / 4
        pooled = self.pooling(steps.embedded, steps.token, steps.observed, about)
        embedded: Tensor = self.out(pooled)
        if self.facts is not None:
            embedded = embedded + self.facts(torch.cat(token_facts(batch), dim=-1))
        return embedded


class StepDecoder(nn.Module):
    """From the states of tokens back to a state per step, for heads that answer step by step.

    A step combines the state of the token that covers it with its own embedding, so that steps of
    one token differ. Attention to the own token alone would be just that state.

    Parameters
    ----------
    d_model
        Width of the tokens' states.
    d_step
        Width of the steps' embeddings.
    d_out
        Width of the answer.

    Examples
    --------
    >>> import torch
    >>> from tsfm.tokenizers import FixedPatchTokenizer
    >>> tokenizer = FixedPatchTokenizer(8)
    >>> batch = tokenizer.tokenize(torch.randn(2, 30), torch.ones(2, 30) > 0, 16)
    >>> embedding = AdaptivePatchEmbedding(tokenizer, 32, 16)
    >>> StepDecoder(16, 64, 12)(embedding(batch), embedding.embed_steps(batch)).shape
    torch.Size([2, 30, 12])
    """

    def __init__(self, d_model: int, d_step: int, d_out: int) -> None:
        super().__init__()
        self.state_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.step_norm = nn.RMSNorm(d_step, eps=1e-6)
        self.from_state = nn.Linear(d_model, d_out, bias=False)
        self.from_step = nn.Linear(d_step, d_out, bias=False)
        self.mlp_norm = nn.RMSNorm(d_out, eps=1e-6)
        self.mlp = SwiGLU(d_out, 2 * d_out)

    def forward(self, states: Tensor, steps: PatchSteps) -> Tensor:
        """States of steps.

        Parameters
        ----------
        states
            [B, T, d_model] states of all tokens.
        steps
            What `AdaptivePatchEmbedding.embed_steps` gave for the same batch.

        Returns
        -------
        Tensor
            [B, L, d_out].
        """
        told = spread(self.from_state(self.state_norm(states)), steps.token)
        x = told + self.from_step(self.step_norm(steps.embedded))
        decoded: Tensor = x + self.mlp(self.mlp_norm(x))
        return decoded
