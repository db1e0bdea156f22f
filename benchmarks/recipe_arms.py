"""The arms of `recipe.py`: optimisers, curriculum, averaging, loss, and other corpora."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common import use_checkout
from comparison_arms import arm_config

use_checkout()

from tsfm.datasets.recipes import Recipe, ShortConfig, Stage, WindowShape  # noqa: E402
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
_SHARES = (0.3, 0.5, 1.0)
_SHORTER = ":shorter"
HORIZON = {f"horizon-{share}{windows}": share for windows in ("", _SHORTER) for share in _SHARES}
"""Shares of the loss that the horizon has, alone and with shorter windows."""
_WINDOWS = (
    WindowShape(64, 8, 0.15),
    WindowShape(64, 24, 0.1),
    WindowShape(32, 8, 0.15),
    WindowShape(32, 24, 0.05),
    WindowShape(16, 4, 0.2),
    WindowShape(8, 2, 0.2),
    WindowShape(4, 1, 0.15),
)
_FURTHER = {
    "high_rate": 0.025,
    "ets_forms": 0.02,
    "fractional_sarima": 0.035,
    "spectral_mixture": 0.03,
    "epidemic": 0.015,
    "queues": 0.015,
    "exogenous_graph": 0.015,
    "feedback_graph": 0.01,
}
_DIRECTED = ("hydrology", "epidemic", "flow_and_rain", "pulses")
_AUGMENTED = {"season": 0.05, "smooth": 0.03, "integers": 0.05}
RECIPES = ("families", "short", "augmented", "broad")
"""Changes to the recipe: the families that it leaves out, short series, three augmentations that
it leaves out, and all of these."""
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
    return (*OPTIMIZERS, CURRICULUM, *HORIZON, *RECIPES, *left_out)


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
    if arm in HORIZON:
        if arm.endswith(_SHORTER):
            recipe = replace(recipe, windows=_WINDOWS)
        return replace(config, recipe=recipe, horizon_share=HORIZON[arm])
    if arm in RECIPES:
        return replace(config, recipe=_changed(recipe, arm))
    group = arm.removeprefix(WITHOUT)
    families = all_families()
    left = {name: w for name, w in recipe.families.items() if families[name].group != group}
    return replace(config, recipe=replace(recipe, families=left))


def _changed(recipe: Recipe, arm: str) -> Recipe:
    """The recipe with one of `RECIPES`."""
    if arm in ("families", "broad"):
        total, rest = sum(recipe.families.values()), 1 - sum(_FURTHER.values())
        kept = {name: rest * weight / total for name, weight in recipe.families.items()}
        recipe = replace(recipe, families={**kept, **_FURTHER}, directed=_DIRECTED)
    if arm in ("short", "broad"):
        recipe = replace(recipe, short=ShortConfig(0.15))
    if arm in ("augmented", "broad"):
        recipe = replace(recipe, augment=replace(recipe.augment, **_AUGMENTED))
    return recipe
