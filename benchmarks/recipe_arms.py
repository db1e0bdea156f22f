"""The arms of `recipe.py`: optimisers, curriculum, averaging, and corpora without a group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common import use_checkout
from comparison_arms import arm_config

use_checkout()

from tsfm.datasets.recipes import Recipe, Stage  # noqa: E402
from tsfm.datasets.synthetic import all_families  # noqa: E402
from tsfm.training.config import PretrainConfig  # noqa: E402

CONTROL = "adamw"
_RATES = (0.007, 0.02)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    CONTROL: {},
    **{
        f"{name}-{rate}": {"name": name, "matrix_learning_rate": rate}
        for name in ("muon", "normuon")
        for rate in _RATES
    },
    "last-k": {"last_k": 8},
}
"""Changes to the optimiser's settings."""
CURRICULUM = "curriculum"
_STAGES = ((0.2, 16), (0.5, 32))
"""Share of the steps until which contexts have at most so many patches."""
WITHOUT = "without-"


def base_config() -> PretrainConfig:
    """The control: `nano` with the released recipe, a short warm-up and a short average."""
    return arm_config("fixed-32", "transformer", 2048)


def groups(recipe: Recipe) -> tuple[str, ...]:
    """Generator groups of a recipe."""
    return tuple(dict.fromkeys(all_families()[name].group for name in recipe.families))


def arms() -> tuple[str, ...]:
    """All arms, the control first."""
    left_out = (WITHOUT + group for group in groups(base_config().recipe))
    return (*OPTIMIZERS, CURRICULUM, *left_out)


def config_of(arm: str, steps: int) -> PretrainConfig:
    """The run of an arm, but for its seed.

    Parameters
    ----------
    arm
        One of `arms()`.
    steps
        Steps of trunk and decay together.
    """
    config = replace(base_config(), max_steps=steps)
    recipe = config.recipe
    if arm in OPTIMIZERS:
        return replace(config, optimizer=replace(config.optimizer, **OPTIMIZERS[arm]))
    if arm == CURRICULUM:
        stages = [
            Stage(round(share * steps), tuple(w for w in recipe.windows if w.context <= longest))
            for share, longest in _STAGES
        ]
        return replace(config, recipe=replace(recipe, curriculum=tuple(stages)))
    group = arm.removeprefix(WITHOUT)
    families = all_families()
    left = {name: w for name, w in recipe.families.items() if families[name].group != group}
    return replace(config, recipe=replace(recipe, families=left))
