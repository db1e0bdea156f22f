"""A ring of base series that are used several times before they are replaced.

Generating a series costs more than cutting, mixing and augmenting a window of it. The ring keeps
series on the device that generates them; every window is another stretch of one of them, at
another rate, mixed with others and augmented anew.

The ring is filled a segment at a time. Fill `f` is a pure function of recipe, seed and `f` and
lies in segment `f mod k`; at chunk `c` the ring holds the fills `c ... c + k - 1`. So a run that
resumes makes them again and goes on with the same series, and nothing has to be saved.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from tsfm.datasets.corpus import generate, seeded
from tsfm.datasets.recipes import Recipe
from tsfm.datasets.synthetic.base import bernoulli, log_uniform, standardise, uniform

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_LEAST_MOVEMENT = 4
"""Smallest sd of a window, in units of the rounding of a value of 1."""


def ring_device(recipe: Recipe) -> Literal["cpu", "cuda"]:
    """Where the series of a recipe are generated: beside the network for a ring, else the CPU.

    Raises
    ------
    ValueError
        If a ring is to lie on a GPU and there is none.
    """
    wanted = "cpu" if recipe.ring is None else recipe.ring.device
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"The ring of recipe {recipe.name!r} lies on a GPU (ring.device is 'cuda') and this "
            "machine has none. A GPU draws other numbers than a CPU: resume the run on one, or "
            "start another with recipe.ring.device=cpu."
        )
    return wanted


def longest_window(recipe: Recipe) -> int:
    """Steps of the longest window of a recipe, context and horizon, in any stage."""
    return max(shape.context + shape.horizon for shape in recipe.shapes) * recipe.patch_length


class Ring:
    """Base series that windows are drawn from.

    Parameters
    ----------
    recipe
        The corpus; its `ring` says how many series are kept and how often they are replaced.
    seed
        Seed of the run.
    device
        Where the series are generated and kept.

    Attributes
    ----------
    values
        [slots, length] the series, each of mean 0 and variance 1, in the ring's precision.
    labels
        [slots] index of each into `recipe.families`.

    Raises
    ------
    ValueError
        If the recipe has no ring, or its series are shorter than its longest window.

    Examples
    --------
    >>> from tsfm.datasets.recipes import RingConfig, WindowShape
    >>> shapes = (WindowShape(4, 1, 1.0),)
    >>> recipe = Recipe("waves", {"waves": 1.0}, shapes, ring=RingConfig(64, 0.25))
    >>> ring = Ring(recipe, seed=0).at(chunk=3)
    >>> ring.values.shape, ring.fills  # segment 3 is the oldest, to be replaced next
    (torch.Size([64, 160]), [4, 5, 6, 3])
    >>> windows, labels = ring.draw(10, 96, seeded("cpu", "windows", 0, 3))
    >>> windows.shape
    torch.Size([10, 96])
    """

    def __init__(self, recipe: Recipe, seed: int, device: str = "cpu") -> None:
        if recipe.ring is None:
            raise ValueError(f"Recipe {recipe.name!r} has no ring; give it one: ring: {{}}.")
        window = longest_window(recipe)
        length = recipe.ring.length or window
        if length < window:
            raise ValueError(
                f"The ring of recipe {recipe.name!r} keeps {length} steps of a series, but its "
                f"longest window has {window}: raise ring.length, or leave it out."
            )
        self.recipe, self.seed, self.config = recipe, seed, recipe.ring
        n_segments = recipe.ring.segments
        self.fresh = -(-recipe.ring.series // n_segments)
        self.fills = [-1] * n_segments
        self.slots, self.length, self.device = self.fresh * n_segments, length, device

    @cached_property
    def values(self) -> Tensor:
        """The series; made when first used, so that "cuda" is the GPU of the process by then."""
        dtype = _DTYPES[self.config.dtype]
        return torch.empty(self.slots, self.length, dtype=dtype, device=self.device)

    @cached_property
    def labels(self) -> Tensor:
        """Their families."""
        return torch.zeros(self.slots, dtype=torch.long, device=self.device)

    @property
    def nbytes(self) -> int:
        """Memory of the series."""
        return self.values.nbytes + self.labels.nbytes

    @property
    def reuse(self) -> float:
        """How often a step of a series is seen before it is replaced, after all stages.

        That is steps in the windows of a chunk over steps generated for it; the cost of generation
        falls by as much.
        """
        recipe = self.recipe
        total = sum(shape.weight for shape in recipe.windows)
        patches = 0.0
        for shape in recipe.windows:
            size = shape.context + shape.horizon
            patches += shape.weight / total * max(1, recipe.tokens_per_step // size) * size
        drawn = patches * recipe.patch_length * recipe.steps_per_chunk
        return drawn / (self.fresh * self.length)

    def at(self, chunk: int) -> Ring:
        """The ring as it is at a chunk: makes the fills that it lacks, one from chunk to chunk."""
        for fill in range(chunk, chunk + len(self.fills)):
            segment = fill % len(self.fills)
            if self.fills[segment] != fill:
                self._fill(segment, fill)
        return self

    def _fill(self, segment: int, fill: int) -> None:
        rng = seeded(self.values.device, "ring", self.seed, fill)
        rows = slice(segment * self.fresh, (segment + 1) * self.fresh)
        series, labels = generate(self.recipe, self.fresh, self.length, rng)
        self.values[rows], self.labels[rows] = series, labels
        self.fills[segment] = fill

    def draw(self, n: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Windows of random series, each series as often as any other (or once more).

        Parameters
        ----------
        n, length
            Number and length of windows.
        rng
            Source of draws, on the ring's device.

        Returns
        -------
        tuple of Tensor
            As `tsfm.datasets.corpus.generate`: [n, length] float32 with each row standardised, and
            [n] index into `recipe.families`. A row without movement is drawn once more.
        """
        slots, first, stride = self._places(n, length, rng)
        x = self._read(slots, first, stride, length)
        others = self._places(n, length, rng)  # for all rows: draws must not depend on values
        rows = torch.nonzero(self._still(x))[:, 0]
        slots[rows], first, stride = (place[rows] for place in others)
        x[rows] = self._read(slots[rows], first, stride, length)
        x = torch.where(self._still(x)[:, None], 0.0, x)
        return standardise(x), self.labels[slots]

    def _slots(self, n: int, rng: torch.Generator) -> Tensor:
        """Random slots [n], all of them before any comes again."""
        count, device = self.slots, rng.device
        rounds = range(max(1, -(-n // count)))
        drawn = [torch.randperm(count, generator=rng, device=device) for _ in rounds]
        return torch.cat(drawn)[:n]

    def _places(self, n: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Slot, first step and stride of random windows, [n] each; some take every k-th step."""
        whole = self.length
        stride = torch.floor(log_uniform(rng, 1.0, whole // length + 0.99, n))
        stride = torch.where(bernoulli(rng, self.config.strided, n), stride, 1.0)
        free = whole - (length - 1) * stride  # first steps that leave room for the window
        first = torch.floor(uniform(rng, 0.0, 1.0, n) * free).clamp_max(free - 1)
        return self._slots(n, rng), first.long(), stride.long()

    def _read(self, slots: Tensor, first: Tensor, stride: Tensor, length: int) -> Tensor:
        """The windows at some places, [n, length] float32."""
        t = torch.arange(length, device=slots.device)
        index = (slots * self.length + first)[:, None] + t * stride[:, None]
        return self.values.view(-1)[index].float()

    def _still(self, x: Tensor) -> Tensor:
        """Which rows move less than the ring's precision can tell, [n] bool."""
        least = _LEAST_MOVEMENT * torch.finfo(self.values.dtype).eps
        return x.std(-1, correction=0) < least
