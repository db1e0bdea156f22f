"""The average of the weights that is evaluated and released."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tsfm.training.config import OptimizerConfig

Tensors = tuple[Tensor, ...] | list[Tensor]
FoldIn = Callable[[Tensors, Tensors, Tensor | int], None]
"""Moves averages towards weights, given the number of steps folded in before."""


def snapshot_steps(
    config: OptimizerConfig, decay_start: int | None, decay_steps: int
) -> tuple[int, ...]:
    """Steps after which a decay branch takes its snapshots, equally spaced, the last at its end.

    Parameters
    ----------
    config
        Number of snapshots and the share of the decay they are spread over.
    decay_start, decay_steps
        Step at which the branch left the trunk and its length; none are taken on the trunk, where
        they are None and 0.

    Raises
    ------
    ValueError
        If the decay is too short for so many.

    Examples
    --------
    >>> snapshot_steps(OptimizerConfig(last_k=4, last_k_share=0.4), 1000, 100)
    (1070, 1080, 1090, 1100)
    """
    if decay_start is None or not config.last_k:
        return ()
    spacing = config.last_k_share * decay_steps / config.last_k
    if spacing < 1:
        least = math.ceil(config.last_k / config.last_k_share)
        raise ValueError(
            f"optimizer.last_k={config.last_k} snapshots do not fit into the last "
            f"{config.last_k_share:g} of {decay_steps} decay steps: run at least {least} "
            "(--decay-steps), or take fewer (--set optimizer.last_k=...)."
        )
    end = decay_start + decay_steps
    return tuple(end - round(spacing * left) for left in reversed(range(config.last_k)))


def averaging(config: OptimizerConfig, decay_start: int | None, decay_steps: int) -> FoldIn:
    """How `AveragedModel` is to average: a moving average, or the mean of the last snapshots.

    The moving average goes on until the first snapshot, which takes its place; a mean of k
    snapshots needs their number alone, which the step tells. So the average itself is all the
    state there is, and a checkpoint holds it.

    Parameters
    ----------
    config, decay_start, decay_steps
        As in `snapshot_steps`.
    """
    moving: FoldIn = get_ema_multi_avg_fn(config.average)
    snapshots = snapshot_steps(config, decay_start, decay_steps)
    if not snapshots:
        return moving

    def fold_in(averages: Tensors, weights: Tensors, n_before: Tensor | int) -> None:
        step = int(n_before) + 1  # every step is folded in once
        if step < snapshots[0]:
            moving(averages, weights, n_before)
        elif step in snapshots:
            share = 1 / (snapshots.index(step) + 1)
            for average, weight in zip(averages, weights, strict=True):
                average.lerp_(weight, share)

    return fold_in
