"""Where tokens start, given how surprising each step is.

A score at step t speaks of what follows, so what it demands is a start at t + 1, or at the next
observed step where that one is missing: a missing step never starts a token of its own accord,
and has no score.

Strictly causal, whether a token starts at t + 1 depends on the steps up to t alone: "threshold",
"increase" and "equal_surprise". The others compare a step with the whole row and so know, beside
the steps up to t, one number of the context: "quantile", "top_k" and "equal_share".
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.dynamic import chained, latest_end, limited

Rule = Literal["threshold", "increase", "quantile", "top_k", "equal_surprise", "equal_share"]
RULES: tuple[str, ...] = get_args(Rule)

_GRID = 4096
"""Scores are compared in steps of 1 / 4096: equal ones that were rounded differently stay equal,
and their sums are exact."""


def check_rule(rule: str, value: float) -> None:
    """Refuse what is no rule, or a value it cannot have.

    Raises
    ------
    ValueError
        The message says what is possible.
    """
    if rule not in RULES:
        raise ValueError(f"Unknown boundary rule {rule!r}; choose one of {', '.join(RULES)}.")
    if not math.isfinite(value):
        raise ValueError(f"The value of the rule {rule!r} must be a finite number, got {value}.")
    if rule in ("quantile", "top_k") and not 0 < value < 1:
        raise ValueError(f"The value of the rule {rule!r} must lie between 0 and 1, got {value}.")
    if rule == "equal_surprise" and value <= 0:
        raise ValueError(f"A budget of surprise must be positive, got {value}.")
    if rule == "equal_share" and value < 1:
        raise ValueError(f"A mean length must be at least one step, got {value}.")


def wanted_starts(scores: Tensor, observed: Tensor, rule: Rule, value: float) -> Tensor:
    """Steps at which a rule wants tokens to start, before any limit on their length.

    Parameters
    ----------
    scores
        [B, L] not negative, at step t from the steps up to t; ignored where nothing is observed.
    observed
        [B, L] mask.
    rule
        "threshold": a start after every score above `value`.
        "increase": after every score that exceeds the one before by more than `value`.
        "quantile": after every score above the row's quantile of level `value` (the smallest
        score that at least this share of the observed steps does not exceed).
        "top_k": after the `round(value * n)` highest scores of a row of n observed steps, of equal
        ones the earliest.
        "equal_surprise": a token ends as soon as its scores add up to `value`.
        "equal_share": tokens end where the scores of the row reach the next multiple of
        `value / n` of their total, n observed steps; so rows become about `n / value` tokens,
        whatever their scores, except rows without any surprise.
    value
        The rule's number.

    Returns
    -------
    Tensor
        [B, L] bool. Missing steps in front change nothing.

    Raises
    ------
    ValueError
        If the rule is unknown or cannot have this value.

    Examples
    --------
    >>> scores = torch.tensor([[1.0, 1.0, 3.0, 1.0, 2.0, 1.0]])
    >>> observed = torch.ones(1, 6) > 0
    >>> wanted_starts(scores, observed, "threshold", 1.5).int().tolist()
    [[0, 0, 0, 1, 0, 1]]
    >>> wanted_starts(scores, observed, "equal_share", 2).int().tolist()
    [[0, 0, 0, 1, 1, 0]]
    """
    check_rule(rule, value)
    scores = _on_grid(scores, observed)
    if rule == "equal_surprise":
        return chained(_budget_ends(scores, observed, value)) & _beginning(observed)
    if rule == "threshold":
        after = scores > value
    elif rule == "increase":
        after = _increase(scores, observed) > value
    elif rule == "quantile":
        after = scores > _quantile(scores, observed, value)
    elif rule == "top_k":
        after = _highest(scores, observed, value)
    else:
        after = _crosses(scores, observed, value)
    return _next_step(after & observed, observed)


def token_starts(
    scores: Tensor,
    observed: Tensor,
    rule: Rule,
    value: float,
    min_length: int,
    max_length: int,
    forced: Tensor | None = None,
) -> Tensor:
    """Where tokens start: what a rule wants, within limits.

    Parameters
    ----------
    scores, observed, rule, value
        As in `wanted_starts`. A budget of "equal_surprise" is counted from where a token really
        starts.
    min_length, max_length, forced
        As in `limited`.

    Returns
    -------
    Tensor
        [B, L] bool, True at step 0.

    Examples
    --------
    >>> scores, observed = torch.ones(1, 8), torch.ones(1, 8) > 0
    >>> token_starts(scores, observed, "equal_surprise", 3.0, 1, 8).int().tolist()
    [[1, 0, 0, 1, 0, 0, 1, 0]]
    """
    if rule != "equal_surprise":
        wanted = wanted_starts(scores, observed, rule, value)
        return limited(wanted, observed, min_length, max_length, forced)
    check_rule(rule, value)
    ends = _budget_ends(_on_grid(scores, observed), observed, value, min_length)
    return chained(torch.minimum(ends, latest_end(observed, max_length, forced)))


def _on_grid(scores: Tensor, observed: Tensor) -> Tensor:
    """Scores as float64 multiples of 1 / 4096, 0 where nothing is observed."""
    return torch.where(observed, (scores.double() * _GRID).round() / _GRID, 0)


def _next_step(after: Tensor, observed: Tensor) -> Tensor:
    """The first observed step after each of the marked ones, [B, L] bool."""
    earlier = F.pad(after, (1, 0))[:, :-1]
    seen = F.pad(observed, (1, 0))[:, :-1]
    # the newest observed step before each is the marked one
    steps = torch.arange(after.shape[1], device=after.device)
    marked = torch.where(earlier, steps, -1).cummax(-1).values
    newest = torch.where(seen, steps, -1).cummax(-1).values
    return observed & (marked >= 0) & (marked == newest)


def _beginning(observed: Tensor) -> Tensor:
    """[B, L] bool, steps after the first observed one."""
    return F.pad(observed.cummax(-1).values, (1, 0))[:, :-1]


def _increase(scores: Tensor, observed: Tensor) -> Tensor:
    """[B, L] by how much each score exceeds that of the last observed step; 0 for the first."""
    steps = torch.arange(scores.shape[1], device=scores.device)
    newest = torch.where(observed, steps, -1).cummax(-1).values
    before = F.pad(newest, (1, 0), value=-1)[:, :-1]
    return torch.where(before >= 0, scores - scores.gather(1, before.clamp_min(0)), 0)


def _quantile(scores: Tensor, observed: Tensor, level: float) -> Tensor:
    """[B, 1] smallest score that at least a share of the observed ones does not exceed."""
    ordered = torch.where(observed, scores, torch.inf).sort(-1).values
    rank = (level * observed.sum(-1, keepdim=True).double()).ceil().long() - 1
    return ordered.gather(1, rank.clamp_min(0))


def _highest(scores: Tensor, observed: Tensor, rate: float) -> Tensor:
    """[B, L] bool, the highest scores of each row."""
    wanted = (rate * observed.sum(-1, keepdim=True).double()).round()
    order = torch.where(observed, -scores, torch.inf).sort(dim=-1, stable=True).indices
    return order.argsort(-1) < wanted


def _crosses(scores: Tensor, observed: Tensor, mean_length: float) -> Tensor:
    """[B, L] bool, where the sum of scores reaches the next multiple of a share of its total."""
    total = scores.cumsum(-1)
    share = total[:, -1:] * mean_length / observed.sum(-1, keepdim=True).clamp_min(1)
    level = torch.floor(total / torch.where(share > 0, share, torch.inf) + 1e-9)
    return level > F.pad(level, (1, 0))[:, :-1]


def _budget_ends(scores: Tensor, observed: Tensor, budget: float, min_length: int = 1) -> Tensor:
    """[B, L] first observed step after the scores since each step have added up to the budget.

    It is at least `min_length` steps away.
    """
    n_steps = scores.shape[1]
    total = scores.cumsum(-1)
    reached = torch.searchsorted(total, total - scores + budget)  # L where never
    steps = torch.arange(n_steps, device=scores.device)
    coming = torch.where(observed, steps, n_steps).flip(-1).cummin(-1).values.flip(-1)
    since = torch.maximum(reached + 1, steps + min_length).clamp(max=n_steps)
    return F.pad(coming, (0, 1), value=n_steps).gather(1, since)
