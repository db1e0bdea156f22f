"""Where training begins: the closed-form fit of SpaceTime's autoregression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from tsfm.models.presets.autoregression import DifferenceAutoregression, filled
from tsfm.models.presets.config import Scaling
from tsfm.models.presets.windows import Array, scaled
from tsfm.training.finetune_data import WindowSet, evenly

_MOST_WINDOWS = 20_000
"""Training windows looked at."""

_RIDGES = (1e-4, 1e-2, 1.0, 100.0)
"""Penalties tried, as multiples of the differences' mean square."""

_ROUNDS = 10
"""Rounds of reweighting; weights hardly change after that."""

_HUBER = 1.345
"""Residual, in robust standard deviations, from which a window's weight falls."""


def fit_autoregression(
    autoregression: DifferenceAutoregression,
    windows: WindowSet,
    scaling: Scaling,
    validate: Callable[[], float],
) -> float:
    """Fit the coefficients one step ahead, and keep the penalty that validates best.

    The value after each training window is regressed on the differences in it, in the window's own
    scaled unit: ridge regression with Huber weights, so that neither windows of a large unit nor
    single extreme values decide. Windows whose last or next value is missing do not count.

    Parameters
    ----------
    autoregression
        What is fitted, in place.
    windows
        Training windows; at most 20,000 of them, evenly spread, are read.
    scaling
        How windows are scaled.
    validate
        Error of the model with the coefficients it has at the moment.

    Returns
    -------
    float
        The lowest validation error: that of the coefficients kept.
    """
    regressors, response = _samples(windows, autoregression.order, scaling)
    if not len(response):
        return validate()
    tried = []
    for coefficients in huber_ridge(regressors, response, _RIDGES):
        autoregression.set_coefficients(torch.from_numpy(coefficients))
        tried.append((validate(), coefficients))
    error, coefficients = min(tried, key=lambda entry: entry[0])
    autoregression.set_coefficients(torch.from_numpy(coefficients))
    return error


def huber_ridge(regressors: Array, response: Array, ridges: tuple[float, ...]) -> list[Array]:
    """Coefficients [p] of a linear regression without intercept, for each of some penalties.

    Huber's weights are found by iteratively reweighted least squares with the first penalty.

    Parameters
    ----------
    regressors, response
        [n, p] and [n].
    ridges
        Penalties, as multiples of the regressors' mean square.

    Examples
    --------
    >>> x = np.arange(1.0, 11.0)[:, None]
    >>> y = np.where(x > 9.0, 1000.0, 2.0 * x)[:, 0]  # the last value is wrong
    >>> round(float(huber_ridge(x, y, (1e-9,))[0][0]), 1)
    2.0
    """
    weights = np.ones(len(response))
    for _ in range(_ROUNDS):
        gram, cross = _moments(regressors, response, weights)
        residual = np.abs(response - regressors @ _solve(gram, cross, ridges[0]))
        spread = np.median(residual) / 0.6745  # of normal residuals, their standard deviation
        weights = 1 / np.maximum(1.0, residual / max(_HUBER * spread, 1e-12))
    gram, cross = _moments(regressors, response, weights)
    return [_solve(gram, cross, ridge) for ridge in ridges]


def _moments(regressors: Array, response: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean products of regressors with themselves and with the response."""
    weighted = regressors * (weights / weights.sum())[:, None]
    return weighted.T @ regressors, weighted.T @ response


def _solve(gram: Array, cross: Array, ridge: float) -> Array:
    """Ridge regression; the penalty is a multiple of the mean square of the regressors."""
    unit = float(np.trace(gram)) / len(gram) or 1.0
    return np.asarray(np.linalg.solve(gram + ridge * unit * np.eye(len(gram)), cross))


def _samples(windows: WindowSet, order: int, scaling: Scaling) -> tuple[Array, Array]:
    """The last differences [n, p] of training windows, latest first, and the next one [n]."""
    index = evenly(windows.train, _MOST_WINDOWS)
    regressors: list[NDArray[np.float32]] = []
    response: list[NDArray[np.float32]] = []
    for start in range(0, len(index), 500):
        context, target = (
            part.flatten(0, 1) for part in windows.batch(index[start : start + 500])
        )
        z, loc, scale = scaled(context, scaling)
        usable = context[:, -1].isfinite() & target[:, 0].isfinite() & (scale[:, 0] > 0)
        z, following = z[usable], ((target[:, :1] - loc) / scale)[usable]
        if not len(z):
            continue
        differences = filled(z).diff(dim=1)[:, -order:].flip(1)
        regressors.append(differences.numpy())
        response.append((following - z[:, -1:])[:, 0].numpy())
    if not response:
        return np.empty((0, order)), np.empty(0)
    return np.concatenate(regressors).astype(np.float64), np.concatenate(response).astype(float)
