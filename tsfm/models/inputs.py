"""What a caller hands to `TSFM`: checked series and horizons, and what the series imply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_LARGEST = 1e305
"""Largest magnitude of a value; `Scale.inverse` stops at ten times that."""


def is_whole(number: Any) -> bool:
    """Whether something is an integer, Python's or numpy's, and no bool."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def check_horizon(prediction_length: Any) -> int:
    """The horizon as an int.

    Raises
    ------
    ValueError
        If it is a fraction, a bool or a number below one.
    """
    if not is_whole(prediction_length) or prediction_length < 1:
        raise ValueError(
            f"prediction_length must be a whole number of at least 1, got {prediction_length!r}."
        )
    return int(prediction_length)


def pick_device(name: str) -> torch.device:
    """The device a name stands for; "auto" is CUDA when there is one.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {name!r}; take 'auto', 'cpu' or 'cuda'.") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r} is not supported; take 'auto', 'cpu' or 'cuda'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={name!r} needs a GPU and a CUDA build of PyTorch; 'auto' and 'cpu' do not."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: there are {torch.cuda.device_count()} CUDA devices.")
    return device


def check_seasons(season_lengths: Sequence[int | None] | None, n_series: int) -> list[int]:
    """Season length of each series, 0 where none is known.

    Raises
    ------
    ValueError
        If there is not one per series, or one is no whole number of steps.
    """
    if season_lengths is None:
        return [0] * n_series
    if len(season_lengths) != n_series:
        raise ValueError(
            f"season_lengths has {len(season_lengths)} entries for {n_series} series; "
            "give one per series, None where there is no season."
        )
    for i, season in enumerate(season_lengths):
        if season is not None and not (is_whole(season) and season >= 0):
            raise ValueError(
                f"season_lengths[{i}] must be a whole number of steps or None, got {season!r}."
            )
    return [int(season or 0) for season in season_lengths]


def check_context_length(context_length: int | None) -> None:
    """Refuse a context length that is neither None nor a whole number of at least one.

    Raises
    ------
    ValueError
        If it is refused.
    """
    if context_length is not None and not (is_whole(context_length) and context_length >= 1):
        raise ValueError(
            f"context_length must be a whole number of at least 1, got {context_length!r}."
        )


def check_contexts(
    series: Sequence[ArrayLike], context_length: int | None, longest: int
) -> list[Array]:
    """Float64 copies without leading gaps; NaN is what is missing.

    Parameters
    ----------
    series
        One-dimensional arrays.
    context_length
        Use at most that many last steps; None for all.
    longest
        Steps the network can see.

    Raises
    ------
    ValueError
        If a series is not a list of numbers, has no finite value or too large ones; the message
        names it.
    """
    check_context_length(context_length)
    contexts = []
    for i, one in enumerate(series):
        x = check_values(one, i, context_length)
        finite = np.isfinite(x)
        if not finite[-longest:].any():
            raise ValueError(
                f"Series {i} has no finite value in its last {min(len(x), longest)} steps; "
                "drop it or fill it before forecasting."
            )
        contexts.append(x[finite.argmax() :])
    return contexts


def check_values(one: ArrayLike, i: int, context_length: int | None = None) -> Array:
    """A float64 copy of the last steps of series `i`, with NaN for what is missing.

    Raises
    ------
    ValueError
        If it is not a list of numbers, or holds too large ones.
    """
    x = _as_float(one, i)
    x[~np.isfinite(x)] = np.nan
    if context_length is not None:
        x = x[-context_length:]
    if np.abs(x, where=np.isfinite(x), out=np.zeros_like(x)).max(initial=0) > _LARGEST:
        raise ValueError(
            f"Series {i} holds values beyond {_LARGEST:g}, too close to the largest number "
            "there is; give it in a larger unit."
        )
    return x


def _as_float(one: ArrayLike, i: int) -> Array:
    """A float64 copy of series `i`."""
    try:
        x = np.array(one, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Series {i} is not a list of numbers: {error}.") from None
    if x.ndim != 1:
        raise ValueError(
            f"Series {i} must be one-dimensional, got shape {x.shape}; give a list of series."
        )
    if isinstance(one, np.ma.MaskedArray):
        x[np.ma.getmaskarray(one)] = np.nan
    return x


def floors(series: Sequence[ArrayLike], non_negative: bool | Literal["auto"]) -> Array:
    """[N] smallest value a forecast may take.

    Parameters
    ----------
    series
        The histories, each with at least one finite value.
    non_negative
        True: zero; False: nothing; "auto": zero where no value of the history lies below it.

    Raises
    ------
    ValueError
        If `non_negative` is something else.
    """
    if isinstance(non_negative, bool | np.bool_):
        return np.full(len(series), 0.0 if non_negative else -np.inf)
    if non_negative != "auto":
        raise ValueError(f"non_negative must be True, False or 'auto', got {non_negative!r}.")
    histories = (_as_float(one, i) for i, one in enumerate(series))
    return np.array([0.0 if x[np.isfinite(x)].min() >= 0 else -np.inf for x in histories])


def persistence(x: Array) -> float:
    """Lag-one autocorrelation of the detrended finite values, in [0, 0.99]."""
    x = x[np.isfinite(x)]
    peak = np.abs(x).max(initial=0.0)
    if len(x) < 4 or peak == 0:
        return 0.0
    x = x / peak  # squares must neither overflow nor vanish
    t = np.arange(len(x))
    x = x - np.polyval(np.polyfit(t, x, 1), t)
    power = float(x @ x)
    return float(np.clip(x[1:] @ x[:-1] / power, 0, 0.99)) if power > 0 else 0.0
