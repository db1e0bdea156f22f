"""Samples with one anomaly of a chosen type: for pictures, tests and tables of recall by type."""

from __future__ import annotations

from dataclasses import replace

import torch

from tsfm.datasets.anomalies.bases import Bases, draw_bases
from tsfm.datasets.anomalies.catalogue import GRAPH, all_types
from tsfm.datasets.anomalies.generate import LabelledBatch, anomaly_batch
from tsfm.datasets.anomalies.inject import inject
from tsfm.datasets.anomalies.placement import place, suited
from tsfm.datasets.anomalies.recipe import AnomalyRecipe


def type_examples(
    recipe: AnomalyRecipe, name: str, n: int, length: int, rng: torch.Generator
) -> LabelledBatch:
    """Samples with exactly one event of one type.

    Parameters
    ----------
    recipe
        Base series and thresholds; its shares of types do not matter.
    name
        A type of one series, or "correlation_break" for samples of three channels.
    n, length
        Number of samples and steps.
    rng
        Source of draws.

    Returns
    -------
    LabelledBatch
        [n, 1, L]; [n, 3, L] for "correlation_break". Events too small to see are not labelled.

    Raises
    ------
    ValueError
        If the type is unknown, or no base series of the recipe can have it.

    Examples
    --------
    >>> recipe = AnomalyRecipe(families={"waves": 1.0}, weak=0.0)
    >>> rng = torch.Generator().manual_seed(0)
    >>> batch = type_examples(recipe, "flat_line", 2, 256, rng)
    >>> sorted(set(batch.kind.flatten().tolist())) <= [0, 21]
    True
    """
    if name == GRAPH:
        only = replace(recipe, clean=0.0, endogenous=0.0, correlation_break=1.0)
        return anomaly_batch(only, n, 3, length, rng)
    if name not in all_types():
        raise ValueError(f"unknown anomaly type {name!r}; known are: {', '.join(all_types())}")
    bases = _suited_bases(recipe, name, n, length, rng)
    index = list(all_types()).index(name)
    types = torch.full((n, 1), index, device=rng.device)
    plan = place(bases, types, torch.ones_like(types, dtype=torch.bool), recipe.max_share, rng)
    part = inject(recipe, bases, plan, rng)
    values, clean, expected, kind = (
        x[:, None] for x in (part.values, bases.x, part.expected, part.kind)
    )
    return LabelledBatch(values, clean, expected, kind > 0, kind)


def _suited_bases(
    recipe: AnomalyRecipe, name: str, n: int, length: int, rng: torch.Generator
) -> Bases:
    """N base series that can have the type, after at most a few tries."""
    index, needs = list(all_types()).index(name), all_types()[name].needs
    shapes = {"sine": ("sine",), "pulse": ("square", "triangle"), "wavelet": ("wavelet",)}
    shapes["notsine"] = ("square", "triangle", "wavelet")
    if needs in shapes:
        recipe = replace(recipe, wave_share=1.0, waves=dict.fromkeys(shapes[needs], 1.0))
    elif needs == "wave":
        recipe = replace(recipe, wave_share=1.0)
    for factor in (2, 4, 16):
        bases = draw_bases(recipe, factor * n, length, rng)
        rows = torch.nonzero(suited(bases)[:, index])[:, 0]
        if rows.numel() >= n:
            return bases.rows(rows[:n])
    raise ValueError(f"too few base series of recipe {recipe.name!r} can have {name!r}")
