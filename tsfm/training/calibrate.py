"""Scores of clean synthetic series: what makes a detector's default threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from tsfm.datasets.anomalies import AnomalyRecipe, anomaly_batch
from tsfm.datasets.anomalies.generate import SHORTEST
from tsfm.datasets.corpus import seeded
from tsfm.models.calibration import Calibration, Table
from tsfm.models.judgement import DetectionModel, judge, judge_trailing, longest_window

Array = NDArray[np.float64]

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
CAUSAL_CONTEXT = 512
CAUSAL_STEPS = 128
SEED = 20_251_103

_AT_ONCE = 1 << 18


def calibrate(
    detector: DetectionModel,
    recipe: AnomalyRecipe,
    *,
    n_series: int = 1536,
    lengths: Sequence[int] = LENGTHS,
    delays: Sequence[int] = (0,),
    n_causal: int = 256,
    causal_context: int = CAUSAL_CONTEXT,
    causal_steps: int = CAUSAL_STEPS,
    seed: int = SEED,
    progress: bool = False,
) -> Calibration:
    """Score clean series of a labelled corpus, and tabulate the scores.

    Parameters
    ----------
    detector
        The detector, on any device.
    recipe
        The corpus; of it only series without anomaly are drawn, of one channel.
    n_series, lengths
        Series of each length, read with both sides. Below 500 the threshold rests on the
        fitted tail.
    delays, n_causal, causal_context, causal_steps
        Tables of causal scores: of each delay that many series, in which so many steps are judged
        after so many others, a pass each. No delay, no such table.
    seed
        Seed of the draws, which training and validation do not share.
    progress
        Whether to show progress bars.

    Raises
    ------
    ValueError
        A length is below 8, or there are fewer than 20 series.

    Examples
    --------
    >>> from tsfm.models import Detector, DetectorConfig
    >>> model = Detector.from_config(DetectorConfig.preset("tiny"))
    >>> known = calibrate(model, AnomalyRecipe(), n_series=20, lengths=(32,), delays=())
    >>> known.tables[0].lengths
    (32,)
    """
    if min(lengths) < 8 or min(n_series, n_causal if delays else n_series) < 20:
        raise ValueError(
            "Calibration needs lengths of at least 8 steps and at least 20 series of each kind; "
            f"got lengths={tuple(lengths)}, n_series={n_series}"
            + (f", n_causal={n_causal}." if delays else ".")
        )
    clean = replace(recipe, clean=1.0)
    causal_context = longest_window(detector, causal_context)
    scores: dict[int, Array] = {}
    for length in lengths:
        series = _series(clean, n_series, length, seed)
        bar = tqdm(series, desc=f"{length} steps", unit="series", disable=not progress)
        scores[length] = np.stack([judge(detector, one[:, None]).score[:, 0] for one in bar])
    tables = [Table.of(scores, window=longest_window(detector, None))]
    for delay in delays:
        series = _series(clean, n_causal, causal_context + causal_steps, seed)
        bar = tqdm(series, desc=f"causal, delay {delay}", unit="series", disable=not progress)
        first = causal_context - delay
        rows = [
            judge_trailing(detector, one[:, None], causal_context, delay, first=first)
            for one in bar
        ]
        judged = np.stack([row.score[:causal_steps, 0] for row in rows])
        tables.append(
            Table.of({causal_steps: judged}, causal=True, delay=delay, window=causal_context)
        )
    return Calibration(tuple(tables), recipe.name, seed)


def _series(recipe: AnomalyRecipe, n: int, length: int, seed: int) -> Array:
    """Clean series [n, length], a pure function of the arguments."""
    drawn = max(length, SHORTEST)  # shorter ones are cut from the shortest that can be drawn
    rng = seeded("cpu", "validation", seed, drawn)
    size = max(1, _AT_ONCE // drawn)
    parts = [
        anomaly_batch(recipe, min(size, n - at), 1, drawn, rng).clean[:, 0, :length].numpy()
        for at in range(0, n, size)
    ]
    return np.concatenate(parts).astype(np.float64)
