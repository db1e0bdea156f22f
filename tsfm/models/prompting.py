"""Prompts of a network: the pool its configuration asks for, and what is looked up in it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from tsfm.models.config import ModelConfig
from tsfm.nn.prompts import PromptPool, read_anchors
from tsfm.tokenizers.batch import Kind, TokenBatch


def build_prompts(config: ModelConfig) -> tuple[ModelConfig, PromptPool | None]:
    """Pool of the configured prompts.

    Parameters
    ----------
    config
        The model's configuration.

    Returns
    -------
    tuple
        The configuration of a network that holds its anchors itself, so that it can be loaded
        where their file is not; and the pool, None for no prompts.

    Raises
    ------
    FileNotFoundError, ValueError
        If the anchors cannot be read, or the numbers do not fit.
    """
    wanted = config.tokenizer
    if wanted.n_prompts < 0 or (wanted.anchors is not None and not wanted.n_prompts):
        raise ValueError(
            f"n_prompts={wanted.n_prompts} must be 0, for no prompts and no anchors, or say how "
            "many of the anchors each context retrieves."
        )
    if not wanted.n_prompts:
        return config, None
    anchors = None
    if wanted.anchors is not None:
        anchors = read_anchors(wanted.anchors)
        n_anchors, d_anchors = anchors.shape
        wanted = replace(wanted, anchors=None, n_anchors=n_anchors, d_anchors=d_anchors)
        config = replace(config, tokenizer=wanted)
    pool = PromptPool(
        config.backbone.d_model, wanted.n_prompts, wanted.n_anchors, wanted.d_anchors, anchors
    )
    return config, pool


def context_query(x: Tensor, batch: TokenBatch) -> Tensor:
    """What a context looks up: the mean of its embedded tokens that hold data.

    It covers the whole context. The prompts of all its tokens thus know of the tokens after them,
    if only by which anchors they are, as the cycles and lags told to tokens do.

    Parameters
    ----------
    x
        [B, T, d_model] embedded tokens.
    batch
        The tokens, without prompts.

    Returns
    -------
    Tensor
        [B, d_model], 0 for rows without data.
    """
    counts = (batch.holds_data & batch.is_kind(Kind.CONTEXT)).to(x.dtype)[..., None]
    return (x * counts).sum(1) / counts.sum(1).clamp_min(1)
