"""Any quantile level from the trained ones, and mixtures of quantile forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Levels as a tuple of floats.

    Raises
    ------
    ValueError
        If there is none, or one lies outside (0, 1).
    """
    checked = tuple(float(level) for level in levels)
    if not checked:
        raise ValueError(
            "quantile_levels is empty; give at least one level, e.g. (0.1, 0.5, 0.9)."
        )
    outside = [level for level in checked if not 0 < level < 1]
    if outside:
        raise ValueError(f"quantile_levels must lie between 0 and 1, got {outside[0]}.")
    return checked


def at_levels(quantiles: Tensor, trained: Sequence[float], wanted: Sequence[float]) -> Tensor:
    """Quantiles at any level.

    Between trained levels the quantile function is linear in the normal score of the level.
    Outside them it continues with the average slope of its outer three levels: a Gaussian tail
    fitted to the side it extends. The result is monotone in the level because every slope is
    non-negative.

    Parameters
    ----------
    quantiles
        [..., Q] non-decreasing quantiles at the trained levels.
    trained, wanted
        Increasing trained levels and the levels asked for, all in (0, 1).

    Returns
    -------
    Tensor
        [..., len(wanted)].
    """
    if set(wanted) <= set(trained):
        return quantiles[..., [list(trained).index(level) for level in wanted]]
    known = _normal_scores(trained, quantiles)
    asked = _normal_scores(wanted, quantiles)
    right = torch.searchsorted(known, asked).clamp(1, len(known) - 1)
    left = right - 1
    share = (asked - known[left]) / (known[right] - known[left])
    low, high = quantiles[..., left], quantiles[..., right]
    # a level that was trained is returned untouched, and rounding never steps past it
    inside = torch.where(
        share >= 1, high, torch.minimum(low + share.clamp(0, 1) * (high - low), high)
    )
    reach = min(2, len(known) - 1)
    lower_slope = (quantiles[..., reach] - quantiles[..., 0]) / (known[reach] - known[0])
    upper_slope = (quantiles[..., -1] - quantiles[..., -1 - reach]) / (
        known[-1] - known[-1 - reach]
    )
    below = (asked - known[0]).clamp(max=0)
    above = (asked - known[-1]).clamp(min=0)
    return inside + lower_slope[..., None] * below + upper_slope[..., None] * above


def _normal_scores(levels: Sequence[float], like: Tensor) -> Tensor:
    """Normal quantiles of the levels, with the dtype and device of `like`."""
    p = torch.tensor(levels, dtype=torch.float64)
    scores: Tensor = torch.special.ndtri(p)
    return scores.to(like)


def pinball(error: Any, levels: Any) -> Any:
    """Pinball loss `max(level * error, (level - 1) * error)`, of tensors or arrays.

    Source: Koenker and Bassett, "Regression Quantiles" (1978).

    Parameters
    ----------
    error
        Truth minus quantile, [..., Q].
    levels
        [Q], of the same kind as `error`.

    Returns
    -------
    Tensor or ndarray
        [..., Q].

    Examples
    --------
    >>> pinball(np.array([2.0, -2.0]), np.array([0.1, 0.1]))
    array([0.2, 1.8])
    """
    return levels * error - error.clip(max=0)


def mixture_quantiles(values: Tensor, weights: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles of a weighted set of equally distributed points.

    Parameters
    ----------
    values
        [..., M] points.
    weights
        [M] non-negative weights, summing to one.
    levels
        Levels asked for.

    Returns
    -------
    Tensor
        [..., len(levels)], non-decreasing.
    """
    ordered, index = values.sort(dim=-1)
    weight = weights.to(values)[index]
    centre = weight.cumsum(-1) - weight / 2  # level at which each point sits
    wanted = torch.tensor(levels, dtype=values.dtype, device=values.device)
    wanted = wanted.expand(*values.shape[:-1], len(levels)).contiguous()
    right = torch.searchsorted(centre.contiguous(), wanted).clamp(1, values.shape[-1] - 1)
    left = right - 1
    a, b = centre.gather(-1, left), centre.gather(-1, right)
    share = ((wanted - a) / (b - a).clamp_min(1e-12)).clamp(0, 1)
    low, high = ordered.gather(-1, left), ordered.gather(-1, right)
    return low + share * (high - low)


def at_least_as_wide(quantiles: Tensor, before: list[Tensor]) -> Tensor:
    """Stretch quantiles about their median so that intervals never shrink from pass to pass.

    Parameters
    ----------
    quantiles
        [B, H, Q] forecast of a later pass.
    before
        Forecasts of the passes before it; the last step of the last one sets the least width.

    Returns
    -------
    Tensor
        [B, H, Q].
    """
    middle = quantiles.shape[-1] // 2
    reach = before[-1][:, -1:]  # the last forecast step of the pass before
    floor = reach - reach[..., middle : middle + 1]
    median = quantiles[..., middle : middle + 1]
    offset = quantiles - median
    wider = torch.maximum(offset.abs(), floor.abs().to(offset))
    side = torch.sign(torch.arange(quantiles.shape[-1], device=quantiles.device) - middle)
    return median + side * wider


def sample_paths(
    quantiles: NDArray[np.float64],
    levels: Sequence[float],
    persistence: NDArray[np.float64],
    num_samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Joint sample paths with the given marginals and AR(1) Gaussian dependence between steps.

    Parameters
    ----------
    quantiles
        [N, H, Q] marginal quantiles at a fine, increasing grid of levels.
    levels
        The grid, in (0, 1).
    persistence
        [N] correlation of the normal scores of successive steps, in [0, 1).
    num_samples
        Paths per series, S.
    rng
        Source of draws.

    Returns
    -------
    ndarray
        [N, S, H].
    """
    n_series, horizon, _ = quantiles.shape
    noise = rng.standard_normal((n_series, num_samples, horizon))
    rho = persistence[:, None]
    score = noise.copy()
    for step in range(1, horizon):
        score[:, :, step] = rho * score[:, :, step - 1] + np.sqrt(1 - rho**2) * noise[:, :, step]
    level = torch.special.ndtr(torch.from_numpy(score)).numpy()  # [N, S, H]
    grid = np.asarray(levels)
    right = np.clip(np.searchsorted(grid, level), 1, len(grid) - 1)
    share = (level - grid[right - 1]) / (grid[right] - grid[right - 1])
    per_path = np.swapaxes(quantiles, 1, 2)  # [N, Q, H]
    low = np.take_along_axis(per_path, right - 1, axis=1)
    high = np.take_along_axis(per_path, right, axis=1)
    paths: NDArray[np.float64] = low + np.clip(share, 0, 1) * (high - low)
    return paths
