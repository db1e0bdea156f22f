"""Scores of steps: causal, even, undisturbed by what is missing, and calibrated once trained."""

from __future__ import annotations

import math

import pytest
import torch

from tsfm.models.hub import load_scorer
from tsfm.tokenizers.scorer import EntropyScorer, surprise


@pytest.fixture(scope="module")
def scorer() -> EntropyScorer:
    return load_scorer("tsfm-entropy")


@pytest.fixture(params=["entropy", "surprise"])
def score(request, scorer):
    return scorer.scores if request.param == "entropy" else surprise


def example(rows: int = 6, length: int = 300, missing: float = 0.2, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, length, generator=rng).cumsum(-1) / 5
    observed = torch.rand(rows, length, generator=rng) >= missing
    observed[1] = True
    observed[2, :50] = False
    observed[3] = False
    return torch.where(observed, z, torch.nan), observed


def test_scores_know_nothing_of_later_steps(score):
    z, observed = example()
    whole = score(z, observed)
    for end in (1, 60, 200):
        other, seen = z.clone(), observed.clone()
        other[:, end:] = torch.randn(len(z), z.shape[1] - end)
        seen[:, end:] = True
        torch.testing.assert_close(score(other, seen)[:, :end], whole[:, :end], atol=1e-6, rtol=0)
        torch.testing.assert_close(
            score(z[:, :end], observed[:, :end]), whole[:, :end], atol=1e-6, rtol=0
        )
    changed = z.clone()
    changed[1, 100] += 3
    assert (score(changed, observed)[1] != whole[1]).nonzero().min() == 100


def test_a_series_and_its_mirror_image_have_the_same_scores(score):
    z, observed = example()
    assert torch.equal(score(z, observed), score(-z, observed))


def test_missing_steps_have_no_score_and_no_influence(score):
    z, observed = example()
    scores = score(z, observed)
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores[~observed] == 0).all()
    assert torch.equal(score(torch.where(observed, z, 1e6), observed), scores)


@pytest.mark.parametrize("front", [1, 31, 500])
def test_missing_steps_in_front_change_nothing(score, front):
    z, observed = example()
    padded = torch.cat([torch.full((len(z), front), torch.nan), z], dim=1)
    scores = score(padded, torch.isfinite(padded))
    torch.testing.assert_close(scores[:, front:], score(z, observed), atol=2e-6, rtol=0)
    assert (scores[:, :front] == 0).all()


def test_rows_are_scored_alone(score):
    z, observed = example(rows=40, length=500)
    whole = score(z, observed)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(score(z[order], observed[order]), whole[order], atol=1e-6, rtol=0)
    torch.testing.assert_close(score(z[7:8], observed[7:8])[0], whole[7], atol=1e-6, rtol=0)


def test_surprise_has_no_unit():
    z, observed = example()
    for factor in (2.0**-40, 1024.0, -8.0):
        assert torch.equal(surprise(factor * z, observed), surprise(z, observed))
    assert (surprise(torch.full((1, 50), 3.0), torch.ones(1, 50) > 0) == 0).all()


def test_the_scorer_is_tiny_and_computes_in_float32(scorer):
    assert sum(p.numel() for p in scorer.parameters()) <= 15_000
    z, observed = example()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scorer.scores(z, observed), EntropyScorer.scores(scorer, z, observed))
        inside = scorer.scores(z, observed)
    assert torch.equal(inside, scorer.scores(z, observed))


@pytest.mark.parametrize("n_bins", [2, 64, 1])
def test_impossible_numbers_of_bins(n_bins):
    with pytest.raises(ValueError, match="odd"):
        EntropyScorer(n_bins)


def test_bins_of_a_value_and_its_negative_mirror_each_other(scorer):
    z = torch.cat([torch.zeros(1), torch.logspace(-6, 3, 200), scorer._edges])[None]
    seen = torch.ones_like(z) > 0
    up, down = scorer.encode(z, seen), scorer.encode(-z, seen)
    assert torch.equal(up, -down)
    assert up[0, 0] == 0
    assert up.max() == scorer.n_bins // 2
    assert (up[0, 1:201].diff() >= 0).all()


def test_shipped_scorer_has_learnt_that_noise_is_harder_than_a_smooth_wave(scorer):
    t = torch.arange(512.0)
    rng = torch.Generator().manual_seed(0)
    wave = torch.asinh(1.4 * torch.sin(t / 20))[None]
    noise = torch.asinh(torch.randn(1, 512, generator=rng))
    seen = torch.ones(1, 512) > 0
    calm, wild = (scorer.scores(z, seen)[:, 64:].mean() for z in (wave, noise))
    assert calm < 2
    assert wild > 3
    assert wild < math.log(scorer.n_bins)


def toy_streams(scorer: EntropyScorer, rng: torch.Generator, rows: int, length: int):
    """Uniform noise over the bins, and a cycle of eight of them, as values."""
    half = scorer.n_bins // 2
    width = math.asinh(scorer.largest) / half
    noise = torch.randint(-half, half + 1, (rows, length), generator=rng)
    pattern = torch.tensor([3, -20, 11, 30, -7, 0, 25, -31])
    phase = torch.randint(8, (rows, 1), generator=rng)
    cycle = pattern[(torch.arange(length) + phase) % 8]
    return torch.sinh(noise * width), torch.sinh(cycle * width)


def test_entropy_is_calibrated_on_noise_and_cycles():
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scorer = EntropyScorer()
    optimizer = torch.optim.AdamW(scorer.parameters(), 6e-3)
    for _ in range(150):
        z = torch.cat(toy_streams(scorer, rng, 6, 96))
        optimizer.zero_grad()
        scorer.loss(z, torch.ones_like(z) > 0).backward()
        optimizer.step()
    noise, cycle = toy_streams(scorer, rng, 8, 512)
    seen = torch.ones_like(noise) > 0
    scores = scorer.scores(noise, seen)
    assert abs(float(scores.mean()) / math.log(scorer.n_bins) - 1) < 0.02
    assert scorer.scores(cycle, seen)[:, 16:].max() < 0.3
    assert scorer.loss(cycle, seen) < 0.3


def test_loss_counts_pairs_of_observed_steps_only():
    scorer = EntropyScorer()
    z, observed = example()
    loss = scorer.loss(z, observed)
    assert torch.isfinite(loss)
    assert torch.equal(scorer.loss(torch.where(observed, z, 9.0), observed), loss)
    assert scorer.loss(z, torch.zeros_like(observed)) == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in scorer.parameters())
