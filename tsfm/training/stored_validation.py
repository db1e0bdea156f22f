"""The last part of the series of a corpus on disk, which training never sees, as validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tsfm.datasets.corpus import seeded
from tsfm.datasets.stored.config import CorpusConfig
from tsfm.datasets.stored.layout import STRATA_FILE, training_lengths
from tsfm.datasets.stored.windows import StoredWindows
from tsfm.models.network import ForecastingNetwork
from tsfm.models.quantiles import pinball
from tsfm.models.scaler import Scale
from tsfm.training.validation import FamilyScore

_SEED = 20_231_117


def held_out_windows(
    source: StoredWindows, n: int, context: int, horizon: int
) -> tuple[Tensor, np.ndarray]:
    """Windows that forecast from the end of the training part into what follows.

    Parameters
    ----------
    source
        The corpus.
    n
        Windows at most; the same series at every call, drawn as in training, each once.
    context, horizon
        Lengths in steps; missing where a series does not reach.

    Returns
    -------
    tuple
        [n, L + H] float64 in the units of the corpus' files, NaN = missing, and [n] numbers of the
        series.
    """
    rng = seeded("cpu", "validation", _SEED)
    cumulative = source.cumulative
    uniform = torch.rand(4 * n, dtype=torch.float64, generator=rng).numpy()
    drawn = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    _, first = np.unique(drawn, return_index=True)
    numbers = drawn[np.sort(first)[:n]].astype(np.int64)
    (lengths,) = source.corpus.rows(numbers, "length")
    start = training_lengths(lengths, source.config.validation_share)
    values = source.corpus.windows(numbers, start - context, context + horizon)
    known = np.isfinite(values)
    kept = (known[:, :context].sum(1) >= 2) & known[:, context:].any(1)
    return torch.from_numpy(values[kept]).double(), numbers[kept]


@torch.inference_mode()
def validate_stored(
    network: ForecastingNetwork,
    config: CorpusConfig,
    *,
    n: int = 256,
    context: int = 512,
    horizon: int = 96,
) -> list[FamilyScore]:
    """Score a network on the last part of the series, by stratum where there are strata.

    Parameters
    ----------
    network
        The network; its weights and mode are left as they are.
    config
        The corpus.
    n
        Series.
    context, horizon
        Lengths in steps; the context must be a multiple of the patch length.
    """
    source = StoredWindows.of(config)
    values, numbers = held_out_windows(source, n, context, horizon)
    names = np.full(len(numbers), "corpus")
    if source.config.stratified:
        stratum = source.corpus.column("stratum", STRATA_FILE)[numbers]
        names = np.array([f"stratum {k}" for k in stratum.tolist()])
    if not len(values):
        return []
    loss, inside = _scores(network, values, context)
    scores = []
    for name in np.unique(names).tolist():
        rows = torch.from_numpy(names == name)
        coverage = float(inside[rows].nanmean())
        scores.append(FamilyScore(name, "corpus", float(loss[rows].mean()), coverage))
    return scores


def _scores(network: ForecastingNetwork, values: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Scaled CRPS [n] of windows, and whether values lie inside [n, H], NaN where missing."""
    device = next(network.parameters()).device
    levels = torch.tensor(network.config.head.quantile_levels, device=device)
    past, future = values[:, :context].to(device), values[:, context:].to(device)
    observed = torch.isfinite(past)
    scale = Scale.of(past, observed)
    z = torch.where(observed, scale.forward(past), 0)
    quantiles = scale.inverse(network(z, observed, future.shape[1]))  # [n, H, Q]
    error = future[..., None] - quantiles
    losses = pinball(error, levels.double()).mean(-1)
    naive = past.diff(dim=-1).abs().nanmean(-1)  # NaN without two values in a row
    spread = torch.where(naive > 0, naive, scale.scale[:, 0]).clamp_min(1e-12)
    scaled = (2 * losses.nanmean(1) / spread).clamp(max=50)
    within = (error[..., 0] >= 0) & (error[..., -1] <= 0)
    inside = torch.where(torch.isfinite(future), within.double(), torch.nan)
    return scaled.cpu(), inside.cpu()
