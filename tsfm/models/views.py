"""Views of a context: pooled, interpolated, shortened, and forecasts of them brought back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SHORTEST_POOLED = 32
_SHORTEST_CONTEXT = 24


@dataclass(frozen=True)
class View:
    """One way of showing a context to the network.

    Parameters
    ----------
    pool
        Steps averaged into one.
    upsample
        Interpolated points per step.
    context
        Keep only this share of what the network could see.
    """

    pool: int = 1
    upsample: int = 1
    context: float = 1.0

    def show(self, x: Array, longest: int) -> Array:
        """Contexts [..., L] in this view: `longest` points at most, half that where pooled."""
        if self.pool > 1:
            return pool_mean(x[..., -self.pool * max(1, longest // 2) :], self.pool)
        if self.upsample > 1:
            return interpolate(x, self.upsample)[..., -longest:]
        return x[..., -max(1, int(min(x.shape[-1], longest) * self.context)) :]

    def season(self, steps: int) -> int:
        """A season of so many steps in points of this view; 0 when it is no whole number."""
        return 0 if steps % self.pool else steps // self.pool * self.upsample

    def horizon(self, steps: int) -> int:
        """Points to forecast in this view to cover a number of steps."""
        return -(-steps // self.pool) * self.upsample

    def back(self, quantiles: Array, steps: int) -> Array:
        """Forecast points [..., h, Q] of this view as a forecast of the steps [..., steps, Q]."""
        if self.upsample > 1:
            return quantiles[..., self.upsample - 1 :: self.upsample, :][..., :steps, :]
        if self.pool == 1:
            return quantiles[..., :steps, :]
        centre = (np.arange(steps) - (self.pool - 1) / 2) / self.pool
        centre = centre.clip(0, self.horizon(steps) - 1)
        left = np.floor(centre).astype(np.int64)
        right = np.minimum(left + 1, self.horizon(steps) - 1)
        share = (centre - left)[:, None]
        blended: Array = (1 - share) * quantiles[..., left, :] + share * quantiles[..., right, :]
        return blended


PLAIN = View()


@dataclass(frozen=True)
class Menu:
    """Which views are tried beside the plain one.

    Parameters
    ----------
    poolings
        Steps averaged into one.
    interpolations
        Points per step.
    contexts
        Shares of the context that are kept.
    """

    poolings: tuple[int, ...] = ()
    interpolations: tuple[int, ...] = ()
    contexts: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Number of views, the plain one among them."""
        return 1 + len(self.poolings) + len(self.interpolations) + len(self.contexts)


@dataclass(frozen=True)
class Menus:
    """Menus for contexts of different length.

    Parameters
    ----------
    long, short
        One for long contexts, and one for short ones.
    longest_short
        Steps of a context up to which it is short.
    """

    long: Menu = Menu(poolings=(2, 4, 8), contexts=(0.75, 0.5, 0.25, 0.125))
    short: Menu = Menu(interpolations=(2,), contexts=(2 / 3, 1 / 3))
    longest_short: int = 128

    @property
    def size(self) -> int:
        """Number of views of the larger menu."""
        return max(self.long.size, self.short.size)

    def of(self, length: int) -> Menu:
        """The menu for a context of `length` steps."""
        return self.short if length <= self.longest_short else self.long


MENUS = Menus()


def views_of(length: int, horizon: int, longest: int, menus: Menus = MENUS) -> list[View]:
    """Views worth trying for a context of `length` steps, the plain one first.

    Parameters
    ----------
    length, horizon
        Steps of history and of forecast.
    longest
        Steps the network can see.
    menus
        What there is to choose from.
    """
    menu, seen = menus.of(length), min(length, longest)
    return [
        PLAIN,
        *(View(pool=k) for k in menu.poolings if length >= _SHORTEST_POOLED * k and horizon >= k),
        *(View(upsample=u) for u in menu.interpolations if length * u <= longest),
        *(View(context=c) for c in menu.contexts if seen * c >= _SHORTEST_CONTEXT),
    ]


@lru_cache(maxsize=4096)
def reach(length: int, horizon: int, longest: int, menus: Menus = MENUS) -> int:
    """Steps of a history of `length` that its views can draw on when one pass sees `longest`."""
    pools = [view.pool for view in views_of(length, horizon, longest, menus)]
    return min(length, max(longest, max(pools) * (longest // 2)))


def pool_mean(x: Array, k: int) -> Array:
    """Means of blocks of `k` steps ending at the last one; NaN where a block has no value.

    Parameters
    ----------
    x
        [..., L].
    k
        Steps of a block.
    """
    usable = x[..., x.shape[-1] % k :].reshape(*x.shape[:-1], -1, k)
    present = np.isfinite(usable)
    if present.all():
        means: Array = usable.mean(-1)
        return means
    count = present.sum(-1)
    total = np.where(present, usable, 0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interpolate(x: Array, u: int) -> Array:
    """`u` points per step, linear between neighbours; a gap stays a gap.

    Parameters
    ----------
    x
        [..., L].
    u
        Points per step.
    """
    last = x.shape[-1] - 1
    position: Array = np.arange(1 - u, last * u + 1) / u
    position = position.clip(0, None)
    left = np.floor(position).astype(np.int64)
    right = np.minimum(left + 1, last)
    share = position - left
    blended: Array = np.where(
        share == 0, x[..., left], (1 - share) * x[..., left] + share * x[..., right]
    )
    return blended
