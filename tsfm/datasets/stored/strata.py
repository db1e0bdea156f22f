"""Strata of predictability, in the manner of PreSTS: the more predictable are drawn more often.

Kairos (arXiv 2509.25826) stratifies its corpus by predictability and samples the more predictable
strata more often; its tiers and probabilities were not published, so those here are our own. The
predictability of a series is the mean of two numbers in [0, 1], of the part that training sees:

- *skill*: by how much seasonal repetition or an autoregression beats the better of last value and
  mean in a backtest, `1 - min(MAE) / min(MAE)`. White noise and random walks have none.
- *order*: one minus the normalised spectral entropy of the differences (Welch's estimate).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsfm.datasets.stored.corpus import Corpus
from tsfm.datasets.stored.layout import BATCH, STRATA_FILE, Float64, Int64, arrow, training_lengths

LONGEST = 1024
"""Steps at the end of the training part that are looked at."""
_SHORTEST = 24
_AT_ONCE = 256
_ORIGINS = 5
_LAGS = 8

COLUMNS = ("spectral_entropy", "seasonal_skill", "ar_skill", "predictability")


@dataclass(frozen=True)
class Predictability:
    """How far a series can be foreseen; all NaN for one too short, too empty or constant.

    Parameters
    ----------
    spectral_entropy
        Of the differences: 1 for white noise, near 0 for a few sharp lines.
    seasonal_skill, ar_skill
        `1 - MAE / min(MAE of last value, MAE of mean)` of repeating the last season, and of an
        autoregression of order 8; negative where they do worse.
    predictability
        In [0, 1].
    """

    spectral_entropy: float = np.nan
    seasonal_skill: float = np.nan
    ar_skill: float = np.nan
    predictability: float = np.nan


def predictability(values: Float64, season_length: int = 0) -> Predictability:
    """Backtest simple forecasts of a series and look at its spectrum.

    Parameters
    ----------
    values
        [length] at equal steps, NaN = missing; the last 1,024 count.
    season_length
        Usual season in steps; 0 to look for one only. The strongest cycle before the backtest is
        tried in any case.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 600))
    >>> wave = np.sin(np.arange(600) / 24 * 2 * np.pi)
    >>> predictability(wave + 0.1 * noise[0]).predictability > 0.4
    True
    >>> predictability(noise[1].cumsum()).predictability < 0.2
    True
    """
    values = values[-LONGEST:]
    known = np.isfinite(values)
    if known.sum() < _SHORTEST or known.mean() < 0.25:
        return Predictability()
    steps = np.arange(len(values))
    x = np.interp(steps, steps[known], values[known])
    x = x - x.mean()
    spread = float(np.abs(x).max())
    if spread <= 1e-12 * float(np.abs(values[known]).max()) or spread == 0:
        return Predictability()
    x = x / spread
    entropy = spectral_entropy(np.diff(x))
    horizon = max(1, min(24, len(x) // 8))
    origins = np.unique(np.linspace(len(x) // 2, len(x) - horizon, _ORIGINS).astype(int))
    ahead = origins[:, None] + np.arange(horizon)
    weight, target = known[ahead], x[ahead]  # [origins, horizon]

    def error(forecast: Float64) -> float:
        return float((np.abs(forecast - target) * weight).sum() / max(1, weight.sum()))

    means = np.array([x[max(0, o - len(x) // 2) : o].mean() for o in origins])
    reference = min(error(x[origins - 1][:, None]), error(means[:, None]))
    if reference <= 1e-9:
        return Predictability(entropy, 0.0, 0.0, (1 - entropy) / 2)
    past = x[: origins[0]]
    seasons = {season_length, strongest_cycle(past)}
    repeats = [error(_repeat(x, origins, horizon, s)) for s in seasons if 1 < s <= len(past)]
    seasonal = 1 - min(repeats, default=reference) / reference
    regression = 1 - error(_autoregression(past, x, origins, horizon)) / reference
    skill = float(np.clip(max(seasonal, regression), 0, 1))
    return Predictability(entropy, seasonal, regression, (skill + 1 - entropy) / 2)


def spectral_entropy(x: Float64) -> float:
    """Entropy of the normalised power spectrum over its largest possible value, in [0, 1]."""
    size = min(256, len(x))
    segments = np.lib.stride_tricks.sliding_window_view(x, size)[:: max(1, size // 2)]
    segments = (segments - segments.mean(axis=1, keepdims=True)) * np.hanning(size)
    power = (np.abs(np.fft.rfft(segments)) ** 2).mean(axis=0)[1:]  # without the mean
    total = power.sum()
    if total <= 0 or len(power) < 2:
        return 0.0
    share = power / total
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum() / np.log(len(share))
    return float(np.clip(entropy, 0, 1))


def strongest_cycle(x: Float64) -> int:
    """Lag at which a detrended series [T] without gaps resembles itself most; 0 if at none.

    It may be a multiple of the shortest cycle, which repeats as well.

    Examples
    --------
    >>> strongest_cycle(np.sin(np.arange(240) * np.pi / 12))
    24
    """
    n = len(x)
    if n < 16:
        return 0
    time = np.arange(n) - (n - 1) / 2
    x = x - x.mean() - time * (time @ x) / (time @ time)
    spectrum = np.fft.rfft(x, 2 * n)
    similarity = np.fft.irfft(spectrum * spectrum.conj())[: n // 2 + 1]
    similarity = similarity / np.arange(n, n - len(similarity), -1)
    inner = similarity[2:-1]
    peaks = np.flatnonzero((inner > similarity[1:-2]) & (inner >= similarity[3:]) & (inner > 0))
    return int(peaks[inner[peaks].argmax()]) + 2 if len(peaks) else 0


def _repeat(x: Float64, origins: Int64, horizon: int, season: int) -> Float64:
    """The last season before each origin, repeated; [origins, horizon]."""
    back = season - np.arange(horizon) % season
    repeated: Float64 = x[origins[:, None] - back]
    return repeated


def _autoregression(past: Float64, x: Float64, origins: Int64, horizon: int) -> Float64:
    """Forecasts of a ridge regression on the last values, fitted on `past`; [origins, horizon]."""
    lags = max(1, min(_LAGS, len(past) // 4))
    windows = np.lib.stride_tricks.sliding_window_view(past, lags + 1)
    inputs = np.column_stack([windows[:, :-1], np.ones(len(windows))])
    gram = inputs.T @ inputs
    gram[np.diag_indices(lags)] += 1e-4 * np.trace(gram) / lags
    weights = np.linalg.solve(gram, inputs.T @ windows[:, -1])
    low, high = past.min(), past.max()
    low, high = low - (high - low), high + (high - low)
    state = x[origins[:, None] + np.arange(-lags, 0)]
    forecasts = np.empty((len(origins), horizon))
    for h in range(horizon):
        forecasts[:, h] = np.clip(state @ weights[:-1] + weights[-1], low, high)
        state = np.column_stack([state[:, 1:], forecasts[:, h]])
    return forecasts


def stratify(
    corpus: Corpus,
    *,
    strata: int = 5,
    weights: Sequence[float] | None = None,
    validation_share: float = 0.1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Score every series, cut the corpus into strata of equal size, and write `strata.arrow`.

    Stratum 1 is the least predictable, stratum `strata` the most; 0 holds series that cannot be
    scored (constant, or fewer than 24 values).

    Parameters
    ----------
    corpus
        The corpus; its folder gets the file, whole or not at all.
    strata
        Number of strata.
    weights
        Chance of a series of each stratum, the least predictable first, in any unit;
        1, 4, 9, ... by default. Series that cannot be scored have the chance of the first.
    validation_share
        Last part of every series that is not looked at.
    progress
        Called with the number of series done so far.

    Returns
    -------
    dict
        Edges, weights and number of series per stratum, as in the metadata of the file.

    Raises
    ------
    ValueError
        If a weight is negative, all are zero, or their number is not that of the strata.
    """
    chances = [k**2 for k in range(1, strata + 1)] if weights is None else list(weights)
    if strata < 1 or len(chances) != strata or min(chances) < 0 or not sum(chances):
        raise ValueError(
            f"weights={chances} must be {strata} numbers >= 0, one per stratum, not all zero."
        )
    table = np.full((len(corpus), len(COLUMNS)), np.nan, dtype=np.float32)
    done = 0
    for lengths, seasons in corpus.batches("length", "season_length"):
        ends = training_lengths(lengths, validation_share)
        for begin in range(0, len(ends), _AT_ONCE):
            block = slice(begin, begin + _AT_ONCE)
            numbers = done + np.arange(begin, begin + len(ends[block]))
            tails = corpus.windows(numbers, ends[block] - LONGEST, LONGEST)
            sizes = np.minimum(ends[block], LONGEST)
            for number, tail, size, season in zip(
                numbers, tails, sizes, seasons[block], strict=True
            ):
                values = tail[LONGEST - size :].astype(np.float64)
                table[number] = tuple(asdict(predictability(values, int(season))).values())
            if progress is not None:
                progress(int(numbers[-1]) + 1)
        done += len(lengths)
    score = table[:, -1]
    scored = score[np.isfinite(score)]
    cuts = np.linspace(0, 1, strata + 1)[1:-1]
    edges: list[float] = np.quantile(scored, cuts).tolist() if len(scored) else []
    places = np.searchsorted(np.array(edges), score, side="right") + 1
    stratum = np.where(np.isfinite(score), places, 0).astype(np.int8)
    meta = {
        "corpus": corpus.meta.fingerprint,
        "edges": edges,
        "weights": [float(chances[0]), *map(float, chances)],
        "n_series": np.bincount(stratum, minlength=strata + 1).tolist(),
        "validation_share": validation_share,
    }
    digest = hashlib.blake2b(stratum.tobytes() + json.dumps(meta).encode(), digest_size=8)
    meta["fingerprint"] = digest.hexdigest()
    _write(corpus, table, stratum, meta)
    return meta


def _write(
    corpus: Corpus, table: NDArray[np.float32], stratum: NDArray[np.int8], meta: dict[str, Any]
) -> None:
    pa = arrow()
    fields = [*((name, pa.float32()) for name in COLUMNS), ("stratum", pa.int8())]
    schema = pa.schema(fields, metadata={"tsfm": json.dumps(meta)})
    path = corpus.path / STRATA_FILE
    unfinished = path.with_name(path.name + ".part")
    with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for begin in range(0, len(stratum), BATCH):
            rows = slice(begin, begin + BATCH)
            columns = [*(pa.array(table[rows, k]) for k in range(len(COLUMNS)))]
            columns.append(pa.array(stratum[rows]))
            writer.write_batch(pa.record_batch(columns, schema=schema))
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
