"""Checks of arguments that several front doors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm.frames.answer import tidy_level
from tsfm.frames.read import Data
from tsfm.loading import check_trained

if TYPE_CHECKING:
    from tsfm.forecaster import Forecaster


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Quantile levels as floats without floating-point noise.

    Raises
    ------
    ValueError
        Empty, not numbers between 0 and 1, or twice the same.
    """
    if isinstance(levels, str | float | int) or not len(levels):
        raise ValueError(
            f"quantile_levels={levels!r} must be a non-empty sequence such as (0.1, 0.5, 0.9)."
        )
    try:
        checked = tuple(tidy_level(level) for level in levels)
    except (TypeError, ValueError):
        raise ValueError(f"quantile_levels={levels!r} must be numbers between 0 and 1.") from None
    for level in checked:
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"quantile_levels: {level!r} does not lie between 0 and 1 (both excluded)."
            )
    if len(set(checked)) < len(checked):
        raise ValueError(f"quantile_levels={tuple(checked)!r} holds a level twice.")
    return checked


def positive_int(value: object, name: str) -> int:
    """The value as an `int`, if it is a whole number of at least 1.

    Raises
    ------
    ValueError
        It is not; the message names the argument.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ValueError(
            f"{name} must be a positive integer, got {value!r} ({type(value).__name__})."
        )
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)


def horizon_or_data(
    X: Data | int | None, prediction_length: int | None, default: int | None
) -> tuple[int, Data | None]:
    """Horizon of a forecast, and `X` unless that was the horizon.

    Parameters
    ----------
    X
        Data, or a horizon: a `Pipeline` hands the argument of `predict` on as `X`.
    prediction_length, default
        What the caller and the constructor gave.

    Raises
    ------
    ValueError
        There is no horizon, or there are two.
    """
    data: Data | None = None
    wanted = default if prediction_length is None else prediction_length
    if isinstance(X, int | np.integer):
        if prediction_length is not None:
            raise ValueError(
                f"Two horizons were given: X={X!r} and prediction_length={prediction_length!r}."
            )
        wanted = X if isinstance(X, bool) else int(X)
    else:
        data = X
    if wanted is None:
        raise ValueError("prediction_length is not set: give it to Forecaster(...) or to predict.")
    return positive_int(wanted, "prediction_length"), data


def check_forecaster(forecaster: Forecaster) -> None:
    """Checks the parameters of a `Forecaster`, which by custom its constructor only stores.

    Raises
    ------
    ValueError
        A parameter is out of range, or the model is an untrained preset.
    """
    check_trained(forecaster.model)
    choices: dict[str, tuple[object, ...]] = {
        "mode": ("fast", "best"),
        "calibrate": (True, False),
        "point": ("median", "mean"),
        "non_negative": ("auto", True, False),
    }
    for name, allowed in choices.items():
        if getattr(forecaster, name) not in allowed:
            raise ValueError(f"{name}={getattr(forecaster, name)!r} must be one of {allowed}.")
    if forecaster.context_length is not None:
        positive_int(forecaster.context_length, "context_length")
    if forecaster.prediction_length is not None:
        positive_int(forecaster.prediction_length, "prediction_length")
    if forecaster.batch_size != "auto":
        positive_int(forecaster.batch_size, "batch_size")
    check_levels(forecaster.quantile_levels)
