"""Training windows of the detector: which step sees what, and what is hidden from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tsfm.datasets.anomalies import AnomalyRecipe, LabelledBatch, anomaly_batch
from tsfm.datasets.augment import AugmentConfig, drop_values
from tsfm.datasets.corpus import seeded
from tsfm.datasets.recipes import MaskConfig, WindowShape
from tsfm.datasets.stored.bases import StoredBases, bridged_bases
from tsfm.datasets.synthetic.base import bernoulli
from tsfm.datasets.windows import hidden_patches, shorten_contexts


@dataclass(frozen=True)
class LabelledShape:
    """One shape of window."""

    length: int
    """Steps."""
    channels: int = 1
    """Related channels."""
    weight: float = 1.0
    """Share of training steps with this shape."""

    def __post_init__(self) -> None:
        """Check sizes."""
        if self.length < 64 or self.channels < 1 or self.weight <= 0:
            raise ValueError(f"{self} needs length >= 64, channels >= 1 and weight > 0.")


def _mask() -> MaskConfig:
    return MaskConfig(short_context=0.1, hidden_rows=0.5, hidden_share=0.45, hidden_span=8)


@dataclass(frozen=True)
class LabelledWindows:
    """How the labelled corpus is cut into batches, and what is hidden from the network."""

    shapes: tuple[LabelledShape, ...] = (
        LabelledShape(512, 1, 0.25),
        LabelledShape(1024, 1, 0.3),
        LabelledShape(2048, 1, 0.2),
        LabelledShape(4096, 1, 0.1),
        LabelledShape(512, 4, 0.08),
        LabelledShape(1024, 12, 0.07),
    )
    """Shapes of windows; mostly one channel."""
    values_per_batch: int = 49_152
    """Steps of all channels and rows in one batch; sets its number of rows."""
    steps_per_chunk: int = 16
    """Training steps served by one round of generation."""
    missing: float = 0.1
    """Share of channels that lose values."""
    max_missing: float = 0.3
    """Largest share of values lost."""
    mask: MaskConfig = field(default_factory=_mask)
    """Share of windows that are cut short, and patches hidden from the network, which then says
    what they would be without anomaly."""

    def __post_init__(self) -> None:
        """Check sizes."""
        if not self.shapes or self.values_per_batch < 1 or self.steps_per_chunk < 1:
            raise ValueError(
                "windows need at least one shape, values_per_batch >= 1 and steps_per_chunk >= 1."
            )

    def n_rows(self, shape: LabelledShape) -> int:
        """Rows of a batch of windows of a shape."""
        return max(1, self.values_per_batch // (shape.channels * shape.length))


@dataclass(frozen=True)
class LabelledWindowBatch:
    """One training batch.

    Parameters
    ----------
    values
        [B, C, L] float32, NaN = missing or not part of the window.
    expected
        [B, C, L] float32 without anomalies, also where values were removed; NaN = not part of the
        window, or missing in a stored series.
    labels
        [B, C, L] bool, anomalous steps.
    kind
        [B, C, L] int16 type of anomaly, counted from 1; 0 = none.
    hidden
        [B, C, T] bool, patches hidden from the network.
    """

    values: Tensor
    expected: Tensor
    labels: Tensor
    kind: Tensor
    hidden: Tensor

    def to(self, device: torch.device) -> LabelledWindowBatch:
        """The same batch on another device."""
        return LabelledWindowBatch(*(x.to(device) for x in vars(self).values()))

    def rows(self, part: slice) -> LabelledWindowBatch:
        """Some of the windows."""
        return LabelledWindowBatch(*(x[part] for x in vars(self).values()))


def labelled_batches(
    recipe: AnomalyRecipe,
    windows: LabelledWindows,
    patch_length: int,
    seed: int,
    chunk: int,
    device: str = "cpu",
    stored: StoredBases | None = None,
) -> list[LabelledWindowBatch]:
    """The `windows.steps_per_chunk` batches of one chunk, a pure function of the arguments.

    Parameters
    ----------
    recipe
        The corpus.
    windows
        How it is cut.
    patch_length
        Steps per patch of the model; shapes are multiples of it.
    seed
        Seed of the run.
    chunk
        Number of the chunk, from 0.
    device
        Where to generate.
    stored
        Series on disk, to put anomalies into instead of, or beside, synthetic ones.

    Examples
    --------
    >>> windows = LabelledWindows((LabelledShape(64, 2),), values_per_batch=512, steps_per_chunk=2)
    >>> batches = labelled_batches(AnomalyRecipe(), windows, 8, 0, 0)
    >>> len(batches), tuple(batches[0].values.shape), tuple(batches[0].hidden.shape)
    (2, (4, 2, 64), (4, 2, 8))
    """
    rng = seeded(device, "windows", seed, chunk)
    source = Source(recipe, rng, stored, seeded("cpu", "windows", seed, chunk, 1))
    weights = torch.tensor([shape.weight for shape in windows.shapes], device=device)
    draws = torch.multinomial(weights, windows.steps_per_chunk, replacement=True, generator=rng)
    by_shape: dict[int, Iterator[LabelledWindowBatch]] = {}
    for index in draws.unique().tolist():
        n_steps = int((draws == index).sum())
        by_shape[index] = _shape_batches(
            source, windows, windows.shapes[index], patch_length, n_steps
        )
    return [next(by_shape[index]) for index in draws.tolist()]


@dataclass(frozen=True)
class Source:
    """Where the windows of a chunk come from.

    Parameters
    ----------
    recipe, rng
        The synthetic part, and what is put into either; source of all draws but one.
    stored, pieces
        Series on disk, None for no such; and source of the draws that say which pieces of them.
    """

    recipe: AnomalyRecipe
    rng: torch.Generator
    stored: StoredBases | None
    pieces: torch.Generator

    def draw(self, n_rows: int, n_steps: int, channels: int, length: int) -> LabelledBatch:
        """Rows of `n_steps` batches one after the other, each of `n_rows`."""
        if self.stored is None:
            return anomaly_batch(self.recipe, n_rows * n_steps, channels, length, self.rng)
        synthetic, real = (n * n_steps for n in self.stored.rows(n_rows))
        pieces = self.stored.draw(real * channels, length, self.pieces)
        bases = bridged_bases(pieces.to(self.rng.device))
        drawn = [anomaly_batch(self.recipe, real, channels, length, self.rng, bases)]
        if synthetic:
            drawn.insert(0, anomaly_batch(self.recipe, synthetic, channels, length, self.rng))
        return side_by_side(drawn, n_steps)


def side_by_side(parts: list[LabelledBatch], n_steps: int) -> LabelledBatch:
    """One batch in which each of `n_steps` stretches has its share of each part, in order."""
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    split = [[x.unflatten(0, (n_steps, -1)) for x in field] for field in fields]
    return LabelledBatch(*(torch.cat(xs, dim=1).flatten(0, 1) for xs in split))


def _shape_batches(
    source: Source,
    windows: LabelledWindows,
    shape: LabelledShape,
    patch_length: int,
    n_steps: int,
) -> Iterator[LabelledWindowBatch]:
    """`n_steps` batches of one shape."""
    if shape.length % patch_length:
        raise ValueError(f"{shape}: the length must be a multiple of patch_length={patch_length}.")
    channels, length, mask = shape.channels, shape.length, windows.mask
    rng = source.rng
    drawn = source.draw(windows.n_rows(shape), n_steps, channels, length)
    n = len(drawn.values)
    gaps = AugmentConfig(missing=windows.missing, max_missing=windows.max_missing)
    values = drop_values(drawn.values.flatten(0, 1), rng, gaps).view(drawn.values.shape)
    whole = torch.zeros(n, length, device=rng.device)
    outside = shorten_contexts(whole, length, mask, rng).isnan()[:, None]
    patches = WindowShape(length // patch_length, 0, 1.0)
    hidden = hidden_patches(n * channels, patches, mask, rng).view(n, channels, -1)
    alike = bernoulli(rng, 0.5, n, 1, 1)  # hidden at the same time, or channel by channel
    parts = (
        values.masked_fill(outside, torch.nan),
        drawn.expected.masked_fill(outside, torch.nan),
        drawn.labels & ~outside,
        drawn.kind,
        torch.where(alike, hidden[:, :1], hidden),
    )
    batches = zip(*(part.split(n // n_steps) for part in parts), strict=True)
    return (LabelledWindowBatch(*batch) for batch in batches)
