"""Rules that turn scores into starts, against what they say in words."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tokenizers.boundaries import RULES, token_starts, wanted_starts

VALUES = {
    "threshold": 1.0,
    "increase": 0.5,
    "quantile": 0.8,
    "top_k": 0.15,
    "equal_surprise": 6.0,
    "equal_share": 8.0,
}
CAUSAL = ("threshold", "increase", "equal_surprise")


def example(seed: int = 0, rows: int = 3, length: int = 120, missing: float = 0.2):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, length, generator=rng) ** 3 * 4
    observed = torch.rand(rows, length, generator=rng) >= missing
    return torch.where(observed, scores, 0), observed


def test_every_rule_has_a_value_here():
    assert tuple(VALUES) == RULES


cases = given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 200),
    missing=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    rule=st.sampled_from(RULES),
)


@cases
@settings(max_examples=80, deadline=None)
def test_limits_hold_and_missing_steps_start_nothing(seed, length, missing, rule):
    scores, observed = example(seed, 3, length, missing)
    wanted = wanted_starts(scores, observed, rule, VALUES[rule])
    assert not (wanted & ~observed).any()
    starts = token_starts(scores, observed, rule, VALUES[rule], 3, 20)
    for row in range(3):
        at = starts[row].nonzero().flatten()
        assert at[0] == 0
        sizes = torch.cat([at, torch.tensor([length])]).diff()
        assert sizes.max() <= 20
        first = int(observed[row].int().argmax())
        assert (sizes[:-1][at[:-1] >= first] >= 3).all()
        free = torch.cat([torch.tensor([False]), sizes[:-1] < 20]) & (at > first)
        assert observed[row][at[free]].all()  # only the longest span ends at a missing step


@cases
@settings(max_examples=60, deadline=None)
def test_missing_steps_in_front_and_other_rows_change_nothing(seed, length, missing, rule):
    scores, observed = example(seed, 3, length, missing)
    observed[:, 0] = True
    args = (rule, VALUES[rule], 3, 20)
    starts = token_starts(scores, observed, *args)
    padded = [torch.cat([torch.zeros(3, 33, dtype=x.dtype), x], 1) for x in (scores, observed)]
    assert torch.equal(token_starts(*padded, *args)[:, 33:], starts)
    assert torch.equal(token_starts(scores[1:2], observed[1:2], *args), starts[1:2])
    assert torch.equal(token_starts(scores.flip(0), observed.flip(0), *args), starts.flip(0))


@pytest.mark.parametrize("rule", CAUSAL)
def test_causal_rules_know_nothing_of_later_scores(rule):
    scores, observed = example()
    starts = token_starts(scores, observed, rule, VALUES[rule], 2, 30)
    for end in (20, 77):
        other, seen = scores.clone(), observed.clone()
        other[:, end:], seen[:, end:] = 3.9, True
        seen[:, end] = observed[:, end]
        changed = token_starts(other, seen, rule, VALUES[rule], 2, 30)
        assert torch.equal(changed[:, : end + 1], starts[:, : end + 1])


def by_hand(scores, observed, rule, value):
    """The rules in words, for one row, as sets of the steps after which a token starts."""
    seen = [t for t in range(len(scores)) if observed[t]]
    n = len(seen)
    if rule == "threshold":
        return {t for t in seen if scores[t] > value}
    if rule == "increase":
        return {t for before, t in pairwise(seen) if scores[t] - scores[before] > value}
    if rule == "quantile":
        ordered = sorted(scores[t] for t in seen)
        level = next(x for x in ordered if sum(y <= x for y in ordered) >= value * n)
        return {t for t in seen if scores[t] > level}
    if rule == "top_k":
        return set(sorted(seen, key=lambda t: (-scores[t], t))[: round(value * n)])
    total, answer = 0.0, set()
    share = sum(scores[t] for t in seen) * value / n
    for t in seen:
        total += scores[t]
        if rule == "equal_surprise" and total >= value:
            answer, total = answer | {t}, 0.0
        if rule == "equal_share" and total // share > (total - scores[t]) // share:
            answer.add(t)
    return answer


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rules_do_what_they_say(rule, seed):
    scores, observed = example(seed, 2, 150, 0.25)
    scores = (scores * 64).round() / 64  # ties, and sums without rounding
    starts = wanted_starts(scores, observed, rule, VALUES[rule])
    for row in range(2):
        seen = observed[row].nonzero().flatten().tolist()
        after = by_hand(scores[row].tolist(), observed[row].tolist(), rule, VALUES[rule])
        wanted = {following for t, following in pairwise(seen) if t in after}
        assert after
        assert set(starts[row].nonzero().flatten().tolist()) == wanted


def test_a_budget_counts_from_where_the_token_really_starts():
    scores, observed = torch.ones(1, 20), torch.ones(1, 20) > 0
    forced = torch.zeros(1, 20, dtype=torch.bool)
    forced[0, 7] = True
    starts = token_starts(scores, observed, "equal_surprise", 5.0, 1, 20, forced)
    assert starts[0].nonzero().flatten().tolist() == [0, 5, 7, 12, 17]
    starts = token_starts(scores, observed, "equal_surprise", 5.0, 1, 3)
    assert starts[0].nonzero().flatten().tolist() == list(range(0, 20, 3))
    starts = token_starts(scores, observed, "equal_surprise", 2.0, 6, 20)
    assert starts[0].nonzero().flatten().tolist() == [0, 6, 12, 18]


def test_equal_share_gives_rows_about_equally_many_tokens():
    rng = torch.Generator().manual_seed(0)
    scale = torch.logspace(-2, 1, 16)[:, None]
    scores = scale * (0.2 + torch.rand(16, 1024, generator=rng))
    observed = torch.ones(16, 1024) > 0
    counts = token_starts(scores, observed, "equal_share", 16.0, 4, 64).sum(-1)
    assert counts.min() >= 60
    assert counts.max() <= 68
    budget = token_starts(scores, observed, "equal_surprise", 16.0, 4, 64).sum(-1)
    assert budget.max() > 5 * budget.min()


def test_rows_without_surprise_get_the_longest_tokens():
    nothing, observed = torch.zeros(1, 100), torch.ones(1, 100) > 0
    for rule in RULES:
        if rule != "top_k":  # which takes its share in any case
            starts = token_starts(nothing, observed, rule, VALUES[rule], 1, 40)
            assert starts[0].nonzero().flatten().tolist() == [0, 40, 80]


def test_rounding_does_not_decide():
    scores, observed = example(missing=0.0)
    scores = (scores * 16).round() / 16
    noisy = scores + 1e-6 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(1))
    for rule in ("quantile", "top_k", "increase"):
        value = VALUES[rule] + (0.01 if rule == "increase" else 0)
        assert torch.equal(
            wanted_starts(scores, observed, rule, value),
            wanted_starts(noisy, observed, rule, value),
        )


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("median", 1),
        ("quantile", 1.0),
        ("quantile", 0),
        ("top_k", 0),
        ("equal_surprise", 0),
        ("equal_share", 0.5),
        ("threshold", float("nan")),
        ("equal_surprise", float("inf")),
    ],
)
def test_impossible_rules(rule, value):
    with pytest.raises(ValueError):
        wanted_starts(*example(), rule, value)
