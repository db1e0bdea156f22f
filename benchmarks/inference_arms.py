"""The arms of `inference_stack.py`: parts of inference left out or added, and how they score."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from common import ROOT, use_checkout

use_checkout()

from tsfm.models.batching import padded_length  # noqa: E402
from tsfm.models.inputs import check_contexts, floors  # noqa: E402
from tsfm.models.quantiles import pinball  # noqa: E402
from tsfm.models.resampling import Trial, resampled_quantiles  # noqa: E402
from tsfm.models.views import MENUS, Menu, Menus  # noqa: E402

Array = np.ndarray
LENGTHS = ((96, 24), (256, 48), (512, 48), (1024, 96), (2048, 96))
"""Steps of context and steps ahead of the held-out series."""
CONTEXT_EDGES, STEP_EDGES = (200, 800), (4, 16, 48)
FACTORS = np.arange(0.8, 1.41, 0.02)


class Reading:
    """Counts what a model's network reads while the context is open.

    `tokens` are those of every row and of its mirror image; `passes` are calls of the network.
    """

    def __init__(self, model: Any) -> None:
        self.network, self.patch = model.network, model.config.tokenizer.patch_length
        self.tokens = self.passes = 0

    def __enter__(self) -> Reading:
        self._hook = self.network.register_forward_pre_hook(self._count, with_kwargs=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hook.remove()

    def _count(self, _: Any, given: tuple[Any, ...], options: dict[str, Any]) -> None:
        z, _, horizon = given[:3]
        per_row = -(-z.shape[1] // self.patch) + -(-horizon // self.patch) - 1
        self.passes += 1
        self.tokens += len(z) * per_row * (2 if options.get("symmetric") else 1)


class Remembering:
    """A model that forecasts no context twice, so that many arms can be scored.

    The forecast of some steps is the beginning of that of more. `tokens` are those that would be
    read without what is remembered, and without padding to the length of others.
    """

    def __init__(self, model: Any) -> None:
        self.config, self.max_context = model.config, model.max_context
        self.n_levels = model.n_levels
        self.tokens = 0
        self._model = model
        self._known: dict[tuple[bytes, int, bool], Array] = {}

    def quantiles(
        self,
        contexts: Sequence[Array],
        horizon: int,
        batch_size: Any = "auto",
        progress: bool = False,
        seasons: Sequence[int] | None = None,
        mirrored: bool = True,
    ) -> Array:
        """As `TSFM.quantiles`."""
        seasons = seasons or [0] * len(contexts)
        keys = [
            (x[-self.max_context :].tobytes(), season, mirrored)
            for x, season in zip(contexts, seasons, strict=True)
        ]
        blank = np.empty((0, self.n_levels))
        new = [i for i, k in enumerate(keys) if len(self._known.get(k, blank)) < horizon]
        if new:
            some, theirs = [contexts[i] for i in new], [seasons[i] for i in new]
            found = self._model.quantiles(some, horizon, batch_size, progress, theirs, mirrored)
            self._known.update(zip([keys[i] for i in new], found, strict=True))
        patch = self.config.tokenizer.patch_length
        for x in contexts:
            length = padded_length(min(len(x), self.max_context), self.max_context, patch)
            per_row = -(-length // patch) + -(-horizon // patch) - 1
            self.tokens += per_row * (1 + mirrored)
        return np.stack([self._known[k][:horizon] for k in keys])

    def forget(self) -> None:
        """Free the memory."""
        self._known.clear()


@dataclass(frozen=True)
class Arm:
    """One way of forecasting.

    Parameters
    ----------
    trial
        How views are tried; None for the plain view alone.
    mirrored
        Whether forecasts are averaged with those of the mirror image (without a trial).
    clamped
        Whether a history without negative values has none in the forecast.
    widening
        Factors by which quantiles are spread.
    """

    trial: Trial | None = None
    mirrored: bool = True
    clamped: bool = True
    widening: Widening | None = None

    def forecast(
        self, model: Any, series: Sequence[Array], horizon: int, seasons: list[int]
    ) -> Array:
        """Quantiles [N, H, Q] at the trained levels."""
        contexts = check_contexts(series, None, model.max_context)
        if self.trial is None:
            found = model.quantiles(contexts, horizon, seasons=seasons, mirrored=self.mirrored)
        else:
            found = resampled_quantiles(
                model, contexts, horizon, "auto", False, seasons, self.trial
            )
        if self.widening is not None:
            found = self.widening.apply(found, [len(x) for x in contexts])
        if not self.clamped:
            return found
        return np.maximum(found, floors(series, "auto")[:, None, None])


@dataclass(frozen=True)
class Widening:
    """Distances from the median are multiplied, by level, steps ahead and length of context.

    Parameters
    ----------
    factors
        [contexts, steps, Q], by `CONTEXT_EDGES` and `STEP_EDGES`.
    """

    factors: Array

    def apply(self, quantiles: Array, lengths: Sequence[int]) -> Array:
        """Widened quantiles [N, H, Q]."""
        rows = np.digitize(lengths, CONTEXT_EDGES)
        steps = np.digitize(np.arange(quantiles.shape[1]), STEP_EDGES)
        factor = self.factors[rows[:, None], steps]
        median = quantiles[..., quantiles.shape[-1] // 2, None]
        return np.sort(median + factor * (quantiles - median), axis=-1)

    @classmethod
    def fit(cls, model: Any, arm: Arm, cases: list[Case], by_level: bool) -> Widening:
        """The factors of a grid with the least scaled pinball loss on held-out series.

        One for each level, or one for all of them.
        """
        levels = np.array(model.config.head.quantile_levels)
        shape = (len(CONTEXT_EDGES) + 1, len(STEP_EDGES) + 1)
        total, count = np.zeros((len(FACTORS), *shape, len(levels))), np.zeros((*shape, 1))
        for case in cases:
            horizon = case.future.shape[1]
            found = arm.forecast(model, list(case.past), horizon, [0] * len(case.past))
            row = np.digitize(case.past.shape[1], CONTEXT_EDGES)
            steps = np.digitize(np.arange(horizon), STEP_EDGES)
            median = found[..., len(levels) // 2, None]
            for k, factor in enumerate(FACTORS):
                error = case.future[..., None] - median - factor * (found - median)
                losses = pinball(error, levels) / case.naive[:, None, None]
                np.add.at(total[k, row], steps, losses.clip(max=50).sum(axis=0))
            np.add.at(count[row], steps, len(case.past))
        if not by_level:
            total = np.broadcast_to(total.sum(axis=-1, keepdims=True), total.shape)
        best = FACTORS[total.argmin(axis=0)]
        return cls(np.where(count > 0, best, 1.0))


def _menus(*kinds: str) -> Menus:
    """The menus with views of these kinds only."""

    def only(menu: Menu) -> Menu:
        return Menu(**{kind: getattr(menu, kind) for kind in kinds})

    return Menus(only(MENUS.long), only(MENUS.short))


def _one_menu() -> Menus:
    """All views whatever the length, but that short contexts alone are interpolated."""
    return Menus(short=dataclasses.replace(MENUS.long, interpolations=(2,)))


def _as_it_was() -> Trial:
    """Of the first `best`."""
    poolings, contexts = (2, 3, 4, 6, 8, 12), (0.75, 0.5, 0.25, 0.125)
    menus = Menus(Menu(poolings, (), contexts), Menu(poolings, (2, 4), contexts), 256)
    return Trial(menus, mirrored=True, sharpness=12)


ARMS = {
    "best": Arm(Trial()),
    "plain network": Arm(mirrored=False, clamped=False),
    "with its mirror image": Arm(clamped=False),
    "fast": Arm(),
    "fast, widened": Arm(),
    "fast, widened by level": Arm(),
    "fast with shortened views": Arm(Trial(_menus("contexts"))),
    "fast with pooled views": Arm(Trial(_menus("poolings"))),
    "fast with interpolated views": Arm(Trial(_menus("interpolations"))),
    "best without shortened views": Arm(Trial(_menus("poolings", "interpolations"))),
    "best without pooled views": Arm(Trial(_menus("interpolations", "contexts"))),
    "best without interpolated views": Arm(Trial(_menus("poolings", "contexts"))),
    "best, one menu": Arm(Trial(_one_menu())),
    "best, two back-tests": Arm(Trial(windows=2)),
    "best, three back-tests": Arm(Trial(windows=3)),
    "best, six back-tests": Arm(Trial(windows=6)),
    "best, back-tests mirrored": Arm(Trial(mirrored=True)),
    "best, widened": Arm(Trial()),
    "best, widened by level": Arm(Trial()),
    "best as it was": Arm(_as_it_was()),
}
"""By what is said of them in the table; `best` first, the others are compared with it."""


@dataclass(frozen=True)
class Case:
    """Held-out series of one length.

    Parameters
    ----------
    past, future
        [N, L] and [N, H].
    """

    past: Array
    future: Array

    @property
    def naive(self) -> Array:
        """[N] mean absolute difference of successive values, at least .05."""
        return np.abs(np.diff(self.past)).mean(axis=1).clip(min=0.05)


def held_out_cases(n: int, seed: int) -> list[Case]:
    """`n` series of every family for each of `LENGTHS`, of draws that training never sees."""
    from tsfm.datasets.corpus import seeded
    from tsfm.datasets.recipes import Recipe
    from tsfm.datasets.synthetic import all_families
    from tsfm.datasets.synthetic.base import standardise

    recipe = Recipe.load(ROOT / "datasets" / "synthetic.yaml")

    def draws(steps: int) -> Iterator[Array]:
        for index, name in enumerate(recipe.families):
            rng = seeded("cpu", "validation", seed, index)
            drawn = all_families()[name].sample(n, steps, rng).float()
            yield standardise(drawn).double().numpy()

    cases = []
    for length, horizon in LENGTHS:
        drawn = np.concatenate(list(draws(length + horizon)))
        cases.append(Case(drawn[:, :length], drawn[:, length:]))
    return cases


class Scores(NamedTuple):
    """Of one arm on held-out series: the loss of each, the share of covered steps, the work."""

    loss: Array
    covered: Array
    tokens: int

    def summary(self) -> dict[str, Any]:
        """Means, for the record."""
        return {
            "loss": float(self.loss.mean()),
            "coverage": float(self.covered.mean()),
            "series": len(self.loss),
            "tokens": self.tokens,
        }


def synthetic_scores(
    model: Remembering, arms: dict[str, Arm], cases: list[Case]
) -> dict[str, Scores]:
    """Scaled losses as in `tsfm.training.validation`, all arms on one case after another."""
    levels = np.array(model.config.head.quantile_levels)
    parts: dict[str, list[Scores]] = {name: [] for name in arms}
    for case in cases:
        horizon = case.future.shape[1]
        for name, arm in arms.items():
            before = model.tokens
            found = arm.forecast(model, list(case.past), horizon, [0] * len(case.past))
            error = case.future[..., None] - found
            loss = (2 * pinball(error, levels).mean(axis=(1, 2)) / case.naive).clip(max=50)
            inside = (case.future >= found[..., 0]) & (case.future <= found[..., -1])
            parts[name].append(Scores(loss, inside.mean(axis=1), model.tokens - before))
        model.forget()
    return {
        name: Scores(
            np.concatenate([one.loss for one in some]),
            np.concatenate([one.covered for one in some]),
            sum(one.tokens for one in some),
        )
        for name, some in parts.items()
    }


def classics_score(model: Remembering, arm: Arm, data: Path) -> dict[str, float]:
    """Scores on the panel relative to seasonal naive, as `tsfm evaluate classics` makes them."""
    from tsfm.evaluation import classics

    before = model.tokens
    report = classics.evaluate(_Forecaster(model, arm), data, progress=False)  # type: ignore[arg-type]
    scores = {"mase": report.mase, "crps": report.crps, "coverage": report.coverage}
    return {**scores, "tokens": model.tokens - before}


class _Forecaster:
    """An arm as a model of `tsfm.evaluation`."""

    def __init__(self, model: Any, arm: Arm) -> None:
        self.name, self._model, self._arm = "arm", model, arm

    def forecast(
        self,
        series: Sequence[Array],
        prediction_length: int,
        quantile_levels: Sequence[float],
        *,
        season_lengths: Sequence[int | None],
        **_: Any,
    ) -> Any:
        seasons = [season or 0 for season in season_lengths]
        self.quantiles = self._arm.forecast(self._model, series, prediction_length, seasons)
        return self
