"""Embeddings: from the contents of tokens to the vectors a backbone mixes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsfm.models.config import ModelConfig
from tsfm.models.facts import n_facts, token_facts
from tsfm.models.mixture_embedding import MixtureEmbedding
from tsfm.models.patch_encoder import AdaptivePatchEmbedding
from tsfm.nn.mlp import ResidualMLP
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.mixture import MixtureTokenizer


class FlatEmbedding(ResidualMLP):
    """One map from values, mask, features and references to the token's vector.

    Parameters
    ----------
    tokenizer
        What makes the tokens.
    d_hidden, d_model
        Widths of the hidden layer and of the answer.
    to_the_end
        Whether the contents of short tokens stand up to the last place, not from the first on.
    """

    def __init__(
        self, tokenizer: Tokenizer, d_hidden: int, d_model: int, to_the_end: bool = False
    ) -> None:
        told = n_facts(tokenizer)
        super().__init__(2 * tokenizer.max_length + told, d_hidden, d_model)
        self.to_the_end = to_the_end

    def forward(self, batch: TokenBatch) -> Tensor:  # type: ignore[override]
        """[B, T, d_model]."""
        values, observed = batch.values, batch.observed
        if self.to_the_end:
            values, observed = moved_to_the_end(values, observed, batch.length)
        parts = [values, observed.to(values.dtype), *token_facts(batch)]
        return super().forward(torch.cat(parts, dim=-1))


def moved_to_the_end(values: Tensor, observed: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Contents of tokens with their last step in the last place.

    Parameters
    ----------
    values, observed
        [B, T, P] contents from the first place on, and mask.
    length
        [B, T] steps of each token.

    Returns
    -------
    tuple of Tensor
        [B, T, P] each; 0 and False in the places before the first step.

    Examples
    --------
    >>> values = torch.tensor([[[1.0, 2.0, 0.0]]])
    >>> moved_to_the_end(values, values > 0, torch.tensor([[2]]))[0].tolist()
    [[[0.0, 1.0, 2.0]]]
    """
    width = values.shape[-1]
    place = torch.arange(width, device=values.device) - (width - length)[..., None]
    inside, place = place >= 0, place.clamp_min(0)
    moved = torch.where(inside, values.gather(-1, place), 0)
    return moved, inside & observed.gather(-1, place)


class DecomposedEmbedding(ResidualMLP):
    """One map from trend, seasonal part, residual, mask and facts to the token's vector.

    Parameters
    ----------
    tokenizer
        What makes the tokens; they need components.
    d_hidden, d_model
        Widths of the hidden layer and of the answer.
    """

    def __init__(self, tokenizer: Tokenizer, d_hidden: int, d_model: int) -> None:
        told = n_facts(tokenizer)
        super().__init__(4 * tokenizer.max_length + told, d_hidden, d_model)

    def forward(self, batch: TokenBatch) -> Tensor:  # type: ignore[override]
        """[B, T, d_model]."""
        assert batch.components is not None
        contents = batch.components.transpose(-1, -2).flatten(2)  # [B, T, 3 P], part after part
        parts = [contents, batch.observed.to(contents.dtype), *token_facts(batch)]
        return super().forward(torch.cat(parts, dim=-1))


class ComponentEmbedding(nn.Module):
    """A map of its own for each of trend, seasonal part and residual, and one for the facts.

    The token's vector is the sum of their answers. Each map sees its component and the mask, no
    other component, so that what it learns is about that component.

    Parameters
    ----------
    tokenizer
        What makes the tokens; they need components.
    d_hidden, d_model
        Widths of the hidden layer of every map and of the answer.
    """

    def __init__(self, tokenizer: Tokenizer, d_hidden: int, d_model: int) -> None:
        super().__init__()
        told = n_facts(tokenizer)
        width = 2 * tokenizer.max_length
        self.parts = nn.ModuleList(ResidualMLP(width, d_hidden, d_model) for _ in range(3))
        self.told = ResidualMLP(told, d_hidden, d_model) if told else None

    def part(self, index: int, batch: TokenBatch) -> Tensor:
        """[B, T, d_model] answer of the trend's (0), season's (1) or residual's (2) map."""
        assert batch.components is not None
        contents = batch.components[..., index]
        answer: Tensor = self.parts[index](
            torch.cat([contents, batch.observed.to(contents.dtype)], dim=-1)
        )
        return answer

    def forward(self, batch: TokenBatch) -> Tensor:
        """[B, T, d_model]."""
        answer = self.part(0, batch) + self.part(1, batch) + self.part(2, batch)
        if self.told is None:
            return answer
        facts: Tensor = self.told(torch.cat(token_facts(batch), dim=-1))
        return answer + facts


def build_embedding(config: ModelConfig, tokenizer: Tokenizer) -> nn.Module:
    """Embedding of the configured kind; called with a batch it gives [B, T, d_model].

    Raises
    ------
    ValueError
        If the kind is unknown, or not one for the tokenizer.
    """
    d_model = config.backbone.d_model
    of_components = config.tokenizer.embedding in ("decomposed", "componentwise")
    if of_components != (config.tokenizer.name == "decomposed"):
        raise ValueError(
            f"embedding={config.tokenizer.embedding!r} does not go with the tokenizer "
            f"{config.tokenizer.name!r}: 'decomposed' and 'componentwise' are the embeddings of "
            "trend, seasonal part and residual, which the tokenizer 'decomposed' makes."
        )
    if config.tokenizer.prefix_attention and config.tokenizer.embedding != "adaptive":
        raise ValueError("prefix_attention is an option of the embedding 'adaptive' only.")
    if config.tokenizer.embedding == "decomposed":
        return DecomposedEmbedding(tokenizer, config.d_embed, d_model)
    if config.tokenizer.embedding == "componentwise":
        return ComponentEmbedding(tokenizer, config.d_embed, d_model)
    if config.tokenizer.embedding == "flat":
        to_the_end = config.tokenizer.align == "end"
        return FlatEmbedding(tokenizer, config.d_embed, d_model, to_the_end)
    if config.tokenizer.embedding == "mixture":
        if not isinstance(tokenizer, MixtureTokenizer):
            raise ValueError(
                f"embedding='mixture' fuses views of several sizes, which the tokenizer "
                f"{config.tokenizer.name!r} does not make; use the tokenizer 'mixture'."
            )
        return MixtureEmbedding(tokenizer, config.d_embed, d_model)
    if config.tokenizer.embedding == "adaptive":
        step, heads = config.tokenizer.d_step, config.tokenizer.n_step_heads
        window = config.tokenizer.prefix_window if config.tokenizer.prefix_attention else 1
        return AdaptivePatchEmbedding(tokenizer, config.d_embed, d_model, step, heads, window)
    raise ValueError(
        f"Unknown embedding {config.tokenizer.embedding!r}; choose 'flat', 'adaptive' or "
        "'mixture'."
    )
