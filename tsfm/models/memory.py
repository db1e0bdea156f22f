"""What a stream remembers of one phase of one series, and how phases share a pass.

A forecast reads patches that end where it begins. A series that grows step by step therefore has
as many ways to be cut as a patch has steps; each of these phases is remembered apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from tsfm.models.network import Memory
from tsfm.models.scaler import Scale
from tsfm.tokenizers.ahead import RowDescription

Tree = TypeVar("Tree")
"""A tensor, or a tuple or dataclass of trees."""


@dataclass(frozen=True)
class Anchor:
    """Statistics of a context, kept while it grows.

    Parameters
    ----------
    scale
        Location and scale of the series.
    row
        Its lags, cycles and features.
    """

    scale: Scale
    row: RowDescription


@dataclass(frozen=True)
class Phase:
    """One series, read up to a step.

    Parameters
    ----------
    begin, end
        First step that was read, and the one after the last.
    anchored
        End of the context whose statistics are in use.
    anchor
        These statistics, one row.
    memory
        Of the network: two rows, the series and its mirror image.
    """

    begin: int
    end: int
    anchored: int
    anchor: Anchor
    memory: Memory

    def is_too_old(self, time: int, max_age: float) -> bool:
        """Whether the context has outgrown its statistics by the given time.

        Parameters
        ----------
        time
            Steps of the series so far.
        max_age
            Growth allowed, relative to the length of the context when they were found.
        """
        return time - self.anchored > max_age * (self.anchored - self.begin)


class PhaseStore:
    """The phases of many series, within bounded memory.

    Parameters
    ----------
    patch_length
        Steps per patch, and phases per series.
    max_age
        As in `Phase.is_too_old`.
    max_bytes
        Memory for phases; when it is used up, phases too old make room, and new ones are not kept
        if there are none.
    """

    def __init__(self, patch_length: int, max_age: float, max_bytes: float) -> None:
        self.patch_length = patch_length
        self.max_age = max_age
        self.max_bytes = max_bytes
        self._phases: dict[tuple[int, int], Phase] = {}

    def copied(self) -> PhaseStore:
        """A store with the same phases, which goes its own way."""
        other = PhaseStore(self.patch_length, self.max_age, self.max_bytes)
        other._phases = dict(self._phases)  # phases are replaced, never changed
        return other

    def __len__(self) -> int:
        """Number of phases kept."""
        return len(self._phases)

    def find(self, series: int, time: int) -> Phase | None:
        """The phase of a series whose patches end at `time`, unless that is too old."""
        phase = self._phases.get((series, time % self.patch_length))
        return None if phase is None or phase.is_too_old(time, self.max_age) else phase

    def keep(self, series: int, phase: Phase) -> None:
        """Put a phase in the place of the one that it continues, if there is room for it."""
        key = series, phase.end % self.patch_length
        if key not in self._phases:
            room = self.max_bytes // size_of(phase.memory)
            if len(self) >= room:
                self._forget()
            if len(self) >= room:
                return
        self._phases[key] = phase

    def _forget(self) -> None:
        """Drop phases that will not be gone on from."""
        latest: dict[int, int] = {}
        for (series, _), phase in self._phases.items():
            latest[series] = max(phase.end, latest.get(series, 0))
        for (series, number), phase in list(self._phases.items()):
            if phase.is_too_old(latest[series], self.max_age):
                del self._phases[series, number]

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything that is kept, by name, on the CPU; nothing where nothing is kept."""
        if not self._phases:
            return {}
        keys, phases = zip(*self._phases.items(), strict=True)
        steps = [
            (series, phase.begin, phase.anchored, phase.end)
            for (series, _), phase in zip(keys, phases, strict=True)
        ]
        columns = zip(*(leaves((phase.anchor, phase.memory)) for phase in phases), strict=True)
        tensors = {f"phase.{k}": torch.stack(column).cpu() for k, column in enumerate(columns)}
        return {"phases": torch.tensor(steps), **tensors}

    def from_tensors(
        self, tensors: Mapping[str, Tensor], template: tuple[Anchor, Memory], device: torch.device
    ) -> None:
        """Take over what `to_tensors` gave.

        Parameters
        ----------
        tensors
            By name; others than those of the phases are left alone.
        template
            Of the shape of one series' tensors.
        device
            Where to keep them.

        Raises
        ------
        ValueError
            If the tensors do not have the template's shapes.
        """
        if "phases" not in tensors:
            self._phases = {}
            return
        shapes = [leaf.shape for leaf in leaves(template)]
        found = [tensors.get(f"phase.{k}") for k in range(len(shapes))]
        columns = [one.to(device) for one in found if one is not None]
        if [one.shape[1:] for one in columns] != shapes:
            raise ValueError(
                "The state of this stream was made by a model of another shape; load it with the "
                "model that made it."
            )
        self._phases = {}
        for k, (series, begin, anchored, end) in enumerate(tensors["phases"].tolist()):
            anchor, memory = like(template, (column[k].clone() for column in columns))
            phase = Phase(begin, end, anchored, anchor, memory)
            self._phases[series, end % self.patch_length] = phase


def leaves(tree: object) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from leaves(getattr(tree, field.name))


def like(template: Tree, tensors: Iterator[Tensor]) -> Tree:
    """A tree of the template's shape with other tensors."""
    made: object
    if isinstance(template, Tensor):
        made = next(tensors)
    elif isinstance(template, tuple):
        parts = [like(part, tensors) for part in template]
        named = hasattr(template, "_fields")
        made = type(template)(*parts) if named else tuple(parts)
    else:
        old: Any = template
        parts = [like(getattr(old, field.name), tensors) for field in fields(old)]
        made = type(old)(*parts)
    return made  # type: ignore[return-value]


def joined(trees: Sequence[Tree]) -> Tree:
    """Trees as one: first the first row of all of them, then the second of all, and so on.

    Parameters
    ----------
    trees
        K trees with tensors [rows, ...].

    Returns
    -------
    Tree
        With tensors [rows * K, ...].
    """
    if len(trees) == 1:
        return trees[0]
    columns = zip(*(leaves(tree) for tree in trees), strict=True)
    return like(trees[0], (torch.stack(column, 1).flatten(0, 1) for column in columns))


def parted(tree: Tree, count: int) -> list[Tree]:
    """Inverse of `joined`; the parts do not share memory."""
    if count == 1:
        return [tree]
    wide = [leaf.unflatten(0, (-1, count)) for leaf in leaves(tree)]
    return [like(tree, (leaf[:, k].clone() for leaf in wide)) for k in range(count)]


def size_of(tree: object) -> int:
    """Bytes that the tensors of a tree hold."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(tree))
