"""The arms of `comparison.py`: tokenizers, backbones, and the run that trains one with another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common import ROOT, use_checkout

use_checkout()

from tsfm.datasets.recipes import WindowShape  # noqa: E402
from tsfm.training.config import PretrainConfig  # noqa: E402

_ENTROPY = {"name": "entropy", "min_length": 4}
TOKENIZERS: dict[str, dict[str, Any]] = {
    "fixed-32": {},
    "fixed-16": {"patch_length": 16},
    "entropy-a": {**_ENTROPY, "rule": "quantile", "rule_value": 0.95},
    "entropy-b": {**_ENTROPY, "rule": "quantile", "rule_value": 0.985, "max_length": 128},
    "entropy-adaptive": {
        **_ENTROPY, "rule": "quantile", "rule_value": 0.95, "embedding": "adaptive",
    },
    "equal-surprise": {**_ENTROPY, "rule": "equal_surprise", "rule_value": 64.0},
    "mixture": {"name": "mixture", "embedding": "mixture"},
    "equal-share-64": {**_ENTROPY, "rule": "equal_share", "rule_value": 64.0, "max_length": 256},
    "equal-surprise-end": {
        **_ENTROPY,
        "rule": "equal_surprise",
        "rule_value": 64.0,
        "align": "end",
    },
    "equal-share-64-end": {
        **_ENTROPY,
        "rule": "equal_share",
        "rule_value": 64.0,
        "max_length": 256,
        "align": "end",
    },
    "fixed-64": {"patch_length": 64},
    "equal-share-64-64": {
        **_ENTROPY,
        "rule": "equal_share",
        "rule_value": 64.0,
        "max_length": 256,
        "patch_length": 64,
    },
    "equal-surprise-160-64": {
        **_ENTROPY,
        "rule": "equal_surprise",
        "rule_value": 160.0,
        "max_length": 256,
        "patch_length": 64,
    },
}  # fmt: skip
BACKBONES: dict[str, dict[str, Any]] = {
    "transformer": {},
    "mamba2": {"name": "mamba2", "d_state": 64},
}
PUBLISHED = ("fixed-32", "fixed-16", "entropy-a", "entropy-b", "equal-surprise", "mixture")
_VALUES_PER_STEP = 2048 * 32
"""Steps of series in a training batch, whatever the tokenizer makes of them."""
_LONG_WINDOWS = ((8192, 256, 0.5), (4096, 256, 0.2), (2048, 256, 0.2), (512, 128, 0.1))
"""Context, horizon and weight of the windows where contexts of 8,192 steps are compared."""


def arm_config(tokenizer: str, backbone: str, context: int) -> PretrainConfig:
    """The run of an arm, but for its length and seed.

    Parameters
    ----------
    tokenizer, backbone
        Names in `TOKENIZERS` and `BACKBONES`.
    context
        2048, with the windows of the released models, or 8192.
    """
    config = PretrainConfig.load(ROOT / "configs" / "pretrain" / "nano.yaml")
    settings = TOKENIZERS[tokenizer]
    patch = settings.get("patch_length", 32)
    recipe = config.recipe
    windows = tuple((w.context * 32, w.horizon * 32, w.weight) for w in recipe.windows)
    if context > 2048:
        windows = _LONG_WINDOWS
    recipe = replace(
        recipe,
        windows=tuple(WindowShape(c // patch, h // patch, w) for c, h, w in windows),
        patch_length=patch,
        tokens_per_step=_VALUES_PER_STEP // patch,
        mask=replace(recipe.mask, hidden_span=recipe.mask.hidden_span * 32 // patch),
    )
    model = replace(
        config.model,
        name=f"{tokenizer}-{backbone}",
        tokenizer=replace(config.model.tokenizer, **settings),
        backbone=replace(config.model.backbone, **BACKBONES[backbone]),
        max_context=context,
    )
    optimizer = replace(config.optimizer, warmup_steps=50, average=0.98)
    return replace(
        config,
        model=model,
        recipe=recipe,
        optimizer=optimizer,
        compile=False,
        validate_every=0,
        checkpoint_minutes=60.0,
    )
