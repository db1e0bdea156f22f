"""Segment operations against loops over groups; empty groups; gradients; no T x L."""

from __future__ import annotations

import pytest
import torch

from tsfm.nn.segments import segment_max, segment_softmax, segment_sum, spread

B, L, T = 3, 40, 9


@pytest.fixture
def case():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(B, L, 2, 3, generator=rng, dtype=torch.float64)
    index = torch.randint(0, T, (B, L), generator=rng)
    index[index == 4] = 5  # a group without steps
    mask = torch.rand(B, L, generator=rng) < 0.7
    mask[0, index[0] == 2] = False  # and one of which nothing counts
    return values, index, mask


def by_loop(values, index, mask, reduce):
    answer = torch.zeros(B, T, *values.shape[2:], dtype=values.dtype)
    for row in range(B):
        for group in range(T):
            mine = values[row][(index[row] == group) & mask[row]]
            if len(mine):
                answer[row, group] = reduce(mine)
    return answer


def test_sum_and_max(case):
    values, index, mask = case
    total = segment_sum(values * mask[..., None, None], index, T)
    torch.testing.assert_close(total, by_loop(values, index, mask, lambda x: x.sum(0)))
    largest = by_loop(values, index, mask, lambda x: x.amax(0))
    assert torch.equal(segment_max(values, index, T, mask), largest)
    everything = torch.ones_like(mask)
    largest = by_loop(values, index, everything, lambda x: x.amax(0))
    assert torch.equal(segment_max(values, index, T), largest)
    assert (segment_max(values, index, T)[:, 4] == 0).all()
    assert (segment_max(values.requires_grad_(), index, T) == largest).all()


def test_softmax(case):
    values, index, mask = case
    weights = segment_softmax(values, index, T, mask)
    for row in range(B):
        for group in range(T):
            mine = (index[row] == group) & mask[row]
            wanted = values[row][mine].softmax(0)
            torch.testing.assert_close(weights[row][mine], wanted)
    assert (weights[~mask] == 0).all()
    assert torch.equal(segment_softmax(values, index, T), segment_softmax(values, index, T, None))


def test_softmax_of_large_scores_is_finite():
    scores = torch.tensor([[1e4, 1e4, -1e4, 3e4]])
    weights = segment_softmax(scores, torch.tensor([[0, 0, 0, 1]]), 3)
    assert weights.tolist() == [[0.5, 0.5, 0.0, 1.0]]


def test_spread(case):
    _, index, _ = case
    groups = torch.arange(B * T).view(B, T)
    assert torch.equal(spread(groups, index), groups.gather(1, index))
    assert spread(torch.zeros(B, T, 2, 5), index).shape == (B, L, 2, 5)


def test_gradients(case):
    values, index, mask = case
    values.requires_grad_()

    def every(x):
        softmax = segment_softmax(x, index, T, mask)
        return segment_sum(x, index, T), segment_max(x, index, T, mask), softmax

    assert torch.autograd.gradcheck(every, values)


def test_equal_maxima_share_the_gradient():
    values = torch.tensor([[2.0, 1.0, 2.0, 5.0]], requires_grad=True)
    segment_max(values, torch.tensor([[0, 0, 0, 1]]), 2).sum().backward()
    assert values.grad.tolist() == [[0.5, 0.0, 0.5, 1.0]]


def test_rows_and_groups_do_not_touch_each_other(case):
    values, index, mask = case
    other = values.clone()
    other[1] += 100
    other[0, index[0] == 3] -= 7
    for function in (segment_sum, segment_max):
        one, two = function(values, index, T), function(other, index, T)
        same = torch.ones(B, T, dtype=torch.bool)
        same[1], same[0, 3] = False, False
        assert torch.equal(one[same], two[same])
    one, two = (segment_softmax(x, index, T, mask) for x in (values, other))
    same = index != 3
    assert torch.equal(one[0][same[0]], two[0][same[0]])
    assert torch.equal(one[2], two[2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees(case):
    values, index, mask = (x.cuda() for x in case)
    for function in (segment_max, segment_softmax):
        here = function(*(x.cpu() for x in (values, index)), T, mask.cpu())
        torch.testing.assert_close(function(values, index, T, mask).cpu(), here)
    here = segment_sum(values.cpu(), index.cpu(), T)
    torch.testing.assert_close(segment_sum(values, index, T).cpu(), here)
