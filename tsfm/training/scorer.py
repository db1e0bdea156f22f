"""`train_scorer`: teach the entropy scorer on the synthetic corpus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from tsfm.datasets.corpus import held_out
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.windows import chunk_batches
from tsfm.models.hub import save_scorer
from tsfm.models.scaler import Scale
from tsfm.tokenizers.scorer import EntropyScorer

_WARMUP = 50
_CLIP = 1.0
_AVERAGE = 0.99


@dataclass(frozen=True)
class ScorerResult:
    """How well a scorer learnt.

    Parameters
    ----------
    steps
        Optimiser steps taken.
    seconds
        Wall-clock seconds.
    cross_entropy
        Of the next step's bin on held-out series, in nats.
    marginal
        Entropy of all those bins without their past, in nats.
    uniform
        `ln V`, the entropy of a guess.
    """

    steps: int
    seconds: float
    cross_entropy: float
    marginal: float
    uniform: float


def train_scorer(
    recipe: str | Path | Recipe,
    steps: int,
    seed: int,
    out: str | Path,
    *,
    rows: int = 16,
    length: int = 512,
    learning_rate: float = 6e-3,
    max_minutes: float | None = None,
    progress: bool = True,
) -> ScorerResult:
    """Train an entropy scorer and write it to a folder.

    Every step sees fresh series, scaled as whole windows and cut to a random piece. AdamW with
    warm-up and a cosine to a fiftieth; the moving average of the weights is what is saved.

    Parameters
    ----------
    recipe
        The synthetic corpus or its YAML file.
    steps
        Optimiser steps.
    seed
        Decides weights and data.
    out
        Folder for `config.json` and `model.safetensors`.
    rows, length
        Pieces per step and their length.
    learning_rate
        At its highest.
    max_minutes
        Lower the learning rate with the clock and end after so many minutes, if `steps` are not
        done by then.
    progress
        Whether to show a progress bar.

    Returns
    -------
    ScorerResult
        With the held-out cross-entropy.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    started = time.monotonic()
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer, averaged = EntropyScorer(), EntropyScorer()
    averaged.load_state_dict(scorer.state_dict())
    optimizer = torch.optim.AdamW(scorer.parameters(), learning_rate, (0.9, 0.95))
    pieces = _pieces(recipe, seed, rows, length, rng)
    bar = tqdm(range(steps), disable=not progress, unit="step")
    done = 0  # steps taken
    for _ in bar:
        share = done / steps
        if max_minutes is not None:
            share = max(share, (time.monotonic() - started) / (60 * max_minutes))
        if share >= 1:
            break
        factor = min(1.0, (done + 1) / _WARMUP) * (0.51 + 0.49 * math.cos(math.pi * share))
        optimizer.param_groups[0]["lr"] = learning_rate * factor
        z, observed = next(pieces)
        loss = scorer.loss(z, observed)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), _CLIP)
        optimizer.step()
        with torch.no_grad():
            keep = min(_AVERAGE, done / (done + 10))
            for mean, new in zip(averaged.parameters(), scorer.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)
        done += 1
        if done % 20 == 0:
            bar.set_postfix(nats=f"{loss.item():.3f}")
    save_scorer(averaged.eval(), out)
    seconds = time.monotonic() - started
    return ScorerResult(done, seconds, *held_out_entropy(averaged, recipe))


@torch.no_grad()
def held_out_entropy(
    scorer: EntropyScorer, recipe: Recipe, n: int = 16, length: int = 512
) -> tuple[float, float, float]:
    """Cross-entropy of a scorer on held-out series of every family, beside two that know less.

    Parameters
    ----------
    scorer
        The scorer.
    recipe
        Its families are weighted as in the corpus.
    n, length
        Series per family and their length.

    Returns
    -------
    tuple of float
        Cross-entropy of the scorer, entropy of the marginal distribution of bins, and ln V.
    """
    weights = torch.tensor([recipe.families[name] for name in recipe.families])
    weights = (weights / weights.sum()).double()
    losses, shares = [], []
    for _, series in held_out(recipe, n, length):
        observed = torch.ones_like(series, dtype=torch.bool)
        z = Scale.of(series, observed).forward(series)
        losses.append(float(scorer.loss(z, observed)))
        codes = scorer.encode(z, observed).flatten() + scorer.n_bins // 2
        shares.append(torch.bincount(codes, minlength=scorer.n_bins).double() / len(codes))
    marginal = (weights[:, None] * torch.stack(shares)).sum(0)
    entropy = float(-torch.special.xlogy(marginal, marginal).sum())
    cross_entropy = float((weights * torch.tensor(losses).double()).sum())
    return cross_entropy, entropy, math.log(scorer.n_bins)


def _pieces(
    recipe: Recipe, seed: int, rows: int, length: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless pieces of scaled training windows and their masks, [rows, length] each."""
    recipe = replace(recipe, tokens_per_step=rows * length // recipe.patch_length)
    waiting: list[Tensor] = []
    for chunk in count():
        for batch in chunk_batches(recipe, seed, chunk):
            values = batch.values
            observed = torch.isfinite(values)
            z = Scale.of(values, observed).forward(values)
            z = torch.where(observed, z, torch.nan)
            begin = int(torch.randint(max(1, z.shape[1] % length + 1), (), generator=rng))
            cuts = [x for x in z[:, begin:].split(length, 1) if x.shape[1] == length]
            waiting.extend(row for cut in cuts for row in cut if torch.isfinite(row).any())
        order = torch.randperm(len(waiting), generator=rng).tolist()
        waiting = [waiting[i] for i in order]
        while len(waiting) >= rows:
            z, waiting = torch.stack(waiting[:rows]), waiting[rows:]
            yield z, torch.isfinite(z)
