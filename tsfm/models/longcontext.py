"""Let a Mamba model read contexts longer than it was trained on, without training it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tsfm.models.inputs import Array, check_contexts, is_whole
from tsfm.models.network import ForecastingNetwork
from tsfm.models.pipeline import TSFM
from tsfm.nn.longcontext import LongContext, StepLimiter
from tsfm.nn.mamba import Mamba1, Mamba2

_Records = dict[StepLimiter, list[Tensor]]


def calibrate_long_context(
    model: TSFM,
    series: Sequence[ArrayLike],
    max_context: int,
    *,
    rule: LongContext = "rescale",
    theta: float = 0.05,
) -> TSFM:
    """A copy of a Mamba model that reads contexts of up to `max_context` steps.

    Measures, on pieces as long as the contexts the model was trained on, how much each head takes
    in, and keeps the heads with a long memory from taking in more on longer contexts; see
    `tsfm.nn.longcontext.StepLimiter`. Forecasts from contexts of the trained length stay the same.
    The result is saved and loaded like any model.

    Source: "LongMamba" (arXiv 2504.16053), section 4.

    Parameters
    ----------
    model
        A model with backbone "mamba1" or "mamba2". It is not changed.
    series
        Typical series, NaN where missing, cut into pieces of the trained length; a hundred pieces
        are plenty. Shorter rests, and pieces with a whole patch missing, are left out.
    max_context
        Longest context, in steps, of the new model.
    rule
        "filter": tokens with small steps are left out, as in the paper; "rescale": all steps
        shrink alike.
    theta
        A head is limited if its state keeps more than this share of itself over a trained context.

    Returns
    -------
    TSFM
        The new model, with `config.backbone.long_context` set to the rule.

    Raises
    ------
    ValueError
        If the model is no Mamba model or its tokens are no equal patches of the context,
        `max_context` is shorter than the trained one, or no series holds a whole piece.

    Examples
    --------
    >>> from tsfm.models.config import BackboneConfig, ModelConfig
    >>> backbone = BackboneConfig("mamba2", d_model=16, n_layers=1, n_heads=2, d_state=8)
    >>> model = TSFM.from_config(ModelConfig(backbone=backbone, max_context=64))
    >>> calibrate_long_context(model, [np.sin(np.arange(200.0))], 256).max_context
    256
    """
    if model.config.backbone.name not in ("mamba1", "mamba2"):
        raise ValueError(
            f"Long contexts are an option of Mamba backbones, not of "
            f"{model.config.backbone.name!r}."
        )
    tokenizer = model.config.tokenizer
    if tokenizer.n_prompts or not model.network.tokenizer.even_spans:
        raise ValueError(
            "How long a trained context is, in tokens, is only known of equal patches and nothing "
            f"else; the model has the tokenizer {tokenizer.name!r} and {tokenizer.n_prompts} "
            "prompts. Use the tokenizer 'fixed' or 'decomposed' and n_prompts=0."
        )
    trained = trained_context(model)
    if not is_whole(max_context) or max_context < trained:
        raise ValueError(
            f"max_context must be a whole number of at least {trained}, the context the model was "
            f"trained on; got {max_context!r}."
        )
    pieces = _pieces(series, trained, model.config.tokenizer.patch_length)
    extended = _uncalibrated(model, trained, rule)
    records: _Records = {}
    hooks = [
        part.register_forward_hook(partial(_record, records))
        for part in extended.network.modules()
        if isinstance(part, StepLimiter)
    ]
    extended.quantiles(pieces, model.config.tokenizer.patch_length)
    for hook in hooks:
        hook.remove()
    for part in extended.network.modules():
        if isinstance(part, Mamba1 | Mamba2) and part.step_limiter is not None:
            part.step_limiter.calibrate(
                torch.cat(records[part.step_limiter]), -part.A_log.float().exp(), theta
            )
    network = extended.network
    network.config = dataclasses.replace(network.config, max_context=int(max_context))
    return extended


def trained_context(model: TSFM) -> int:
    """Steps of the longest context seen in training, also if `max_context` has been raised."""
    for part in model.network.modules():
        if isinstance(part, StepLimiter) and part.trained_tokens > 1:
            tokens = int(part.trained_tokens)
            return min(tokens * model.config.tokenizer.patch_length, model.max_context)
    return model.max_context


def _pieces(series: Sequence[ArrayLike], length: int, patch: int) -> list[Array]:
    """Stretches of `length` steps, from the end of each series, with data in every patch."""
    longest = max((np.size(one) for one in series), default=0)
    pieces = []
    for x in check_contexts(series, None, max(longest, 1)):
        for end in range(len(x), length - 1, -length):
            piece = x[end - length : end]
            padded = np.concatenate([np.full(-length % patch, np.nan), piece])
            if np.isfinite(padded).reshape(-1, patch).any(1).all():
                pieces.append(piece)
    if not pieces:
        raise ValueError(
            f"No series holds {length} successive steps, the trained context, with data in every "
            f"patch of {patch}; the longest has {longest}. Give longer series to calibrate with."
        )
    return pieces


def _uncalibrated(model: TSFM, trained: int, rule: LongContext) -> TSFM:
    """Copy of a model whose limiters do nothing yet."""
    config = dataclasses.replace(
        model.config,
        backbone=dataclasses.replace(model.config.backbone, long_context=rule),
        max_context=trained,
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not used up
        network = ForecastingNetwork(config, weights_follow=True).to(model.device)
    weights = {k: v for k, v in model.network.state_dict().items() if ".step_limiter." not in k}
    fresh = {k: v for k, v in network.state_dict().items() if ".step_limiter." in k}
    network.load_state_dict({**weights, **fresh})
    copy = TSFM(network)
    copy._autocast = model._autocast
    return copy


def _record(
    records: _Records, part: nn.Module, inputs: tuple[Tensor, Tensor | None], _: Tensor
) -> None:
    """Keep the step sizes of the valid tokens; all rows have equally many."""
    dt, valid = inputs
    assert isinstance(part, StepLimiter)
    if valid is not None:
        dt = dt[valid].unflatten(0, (len(dt), -1))
    records.setdefault(part, []).append(dt)
