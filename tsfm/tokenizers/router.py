"""Which token sizes suit a block of a series: a learnt router over sizes, and what it reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

_LAGS = (1, 2, 4, 8, 16, 32)
_FLOOR = 0.01
"""Changes far below it, in units of the series' spread, are taken for none."""
_BALANCE_RATE = 1e-3
_BINS = 8
_UNCERTAINTY = 0.5


class Routing(NamedTuple):
    """What a router says about blocks.

    Parameters
    ----------
    logits, scores
        [..., E] of all experts, the real ones first, from coarse to fine; scores sum to 1.
    chosen
        [..., E] bool, the experts with the highest scores.
    weights
        [..., G] scores of the chosen real experts, summing to 1; all 0 where none is chosen.
    level
        [...] int64, the finest chosen real expert; 0 where none is chosen.
    """

    logits: Tensor
    scores: Tensor
    chosen: Tensor
    weights: Tensor
    level: Tensor


def block_features(x: Tensor, observed: Tensor) -> Tensor:
    """How restless blocks are, at several time scales.

    Sizes of deviations and differences only, so that a block and its mirror image look the same,
    in units of the series' own spread. Missing steps count for nothing.

    Parameters
    ----------
    x, observed
        [..., W] blocks (0 where missing) and mask.

    Returns
    -------
    Tensor
        [..., F] float32 of order one; the last feature is always 1.

    Examples
    --------
    >>> calm, busy = torch.zeros(64), torch.randn(64)
    >>> features = block_features(torch.stack([calm, busy]), torch.ones(2, 64) > 0)
    >>> bool((features[1, :9] > features[0, :9]).all())
    True
    """
    x = x.float()
    seen = observed.float()
    count = seen.sum(-1)
    mean = (x * seen).sum(-1) / count.clamp_min(1)
    deviation = (x - mean[..., None]).abs() * seen
    sizes = [deviation.sum(-1) / count.clamp_min(1), deviation.amax(-1)]
    for lag in _LAGS:
        both = seen[..., lag:] * seen[..., :-lag]
        change = (x[..., lag:] - x[..., :-lag]).abs() * both
        sizes.append(change.sum(-1) / both.sum(-1).clamp_min(1))
    three = seen[..., 2:] * seen[..., 1:-1] * seen[..., :-2]
    bend = (x[..., 2:] - 2 * x[..., 1:-1] + x[..., :-2]).abs() * three
    sizes.append(bend.sum(-1) / three.sum(-1).clamp_min(1))
    logs = (torch.stack(sizes, dim=-1) + _FLOOR).log() / 2 + 1
    share = count / x.shape[-1]
    return torch.cat([logs, share[..., None], torch.ones_like(share[..., None])], dim=-1)


N_BLOCK_FEATURES = len(_LAGS) + 5


class SizeRouter(nn.Module):
    """Chooses the token sizes of a block among real experts, one per size, and null experts.

    A bias of every expert, which is not trained, is moved so that each gets its share of the
    routed weight; only `balance` moves it, and only the training of a tokenizer calls that.

    Source: mixture-of-size patches of "Kairos" (arXiv 2509.25826). There the router reads the
    values themselves; here it reads `block_features`.

    Parameters
    ----------
    n_sizes, n_null
        Real and null experts, G and E - G.
    top
        Experts chosen per block.
    shares
        [E] wanted shares of the routed weight, summing to 1; empty for equal shares.

    Raises
    ------
    ValueError
        If `top` or `shares` does not fit the number of experts.
    """

    bias: Tensor
    shares: Tensor

    def __init__(
        self, n_sizes: int, n_null: int = 2, top: int = 3, shares: tuple[float, ...] = ()
    ) -> None:
        super().__init__()
        n_experts = n_sizes + n_null
        if n_null < 0 or not 1 <= top <= n_experts:
            raise ValueError(
                f"top_experts={top} of {n_sizes} sizes and n_null_experts={n_null} cannot be "
                "chosen; it must be at least 1 and at most their number."
            )
        wanted = shares or (1 / n_experts,) * n_experts
        if len(wanted) != n_experts or min(wanted) < 0 or abs(sum(wanted) - 1) > 1e-6:
            raise ValueError(
                f"expert_shares must be {n_experts} numbers that sum to 1, one per size and null "
                f"expert; got {shares}."
            )
        self.n_sizes = n_sizes
        self.top = top
        self.weight = nn.Parameter(0.1 * torch.randn(n_experts, N_BLOCK_FEATURES))
        self.register_buffer("bias", torch.zeros(n_experts))
        self.register_buffer("shares", torch.tensor(wanted), persistent=False)

    def forward(self, features: Tensor) -> Routing:
        """Route blocks with features [..., F] of `block_features`."""
        # a sum and not a matrix product: full precision under autocast, and the same in any batch
        logits = (features.float()[..., None, :] * self.weight).sum(-1) + self.bias
        scores = logits.softmax(-1)
        best = logits.topk(self.top, dim=-1).indices
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
        real = chosen[..., : self.n_sizes]
        among = logits[..., : self.n_sizes].masked_fill(~real & real.any(-1, True), -torch.inf)
        weights = among.softmax(-1) * real  # scores, divided by their sum
        rank = torch.arange(self.n_sizes, device=scores.device)
        level = torch.where(real, rank, 0).amax(-1)
        return Routing(logits, scores, chosen, weights, level)

    def level_shares(self, routing: Routing) -> Tensor:
        """How likely each size is the finest chosen one, were the logits a little uncertain.

        An expert is chosen if its logit exceeds that of its rival, the k-th best of the others;
        here with the probability of a logistic function of the difference, each on its own.

        Parameters
        ----------
        routing
            Of blocks [...].

        Returns
        -------
        Tensor
            [..., G], summing to 1; blocks without any chosen size count as the coarsest.
        """
        logits, chosen = routing.logits, routing.chosen
        if self.top == logits.shape[-1]:
            return F.one_hot(routing.level, self.n_sizes).to(logits.dtype)
        best = logits.topk(self.top + 1, dim=-1).values
        # the chosen have to beat the best of the others, and these the last of the chosen
        rival = torch.where(chosen, best[..., -1:], best[..., -2:-1])
        likely = torch.sigmoid((logits - rival)[..., : self.n_sizes] / _UNCERTAINTY)
        left, shares = torch.ones_like(likely[..., 0]), []
        for level in range(self.n_sizes - 1, 0, -1):
            shares.append(left * likely[..., level])
            left = left * (1 - likely[..., level])
        return torch.stack([left, *reversed(shares)], dim=-1)

    def load(self, routing: Routing, counted: Tensor) -> Tensor:
        """[E] share of the routed weight that each expert gets in the counted blocks [...].

        Of the blocks of all processes in training; elsewhere these need not work in step, and
        each counts its own.
        """
        mass = torch.where(routing.chosen, routing.scores, 0)
        mass = mass / mass.sum(-1, keepdim=True)
        total = (mass * counted[..., None]).flatten(0, -2).sum(0).detach()
        together = self.training and torch.distributed.is_available()
        if together and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        return total / total.sum().clamp_min(1e-12)

    @torch.no_grad()
    def balance(self, load: Tensor, rate: float = _BALANCE_RATE) -> None:
        """Move the bias towards the wanted shares, given the load of a batch."""
        if bool(load.sum() > 0):
            self.bias += rate * (self.shares - load)


def lost_detail(x: Tensor, observed: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """What is left of blocks when tokens of each size keep the means of eight equal pieces.

    Parameters
    ----------
    x, observed
        [..., W] blocks (0 where missing) and mask; W a multiple of every size.
    sizes
        Steps per token.

    Returns
    -------
    Tensor
        [..., G] mean absolute deviation from the means of the pieces, over observed steps.

    Examples
    --------
    >>> wave = torch.sin(torch.arange(128) * 2 * torch.pi / 16)[None]
    >>> [round(float(v), 1) for v in lost_detail(wave, wave.isfinite(), (128, 32))[0]]
    [0.6, 0.2]
    """
    lost = []
    for size in sizes:
        width = max(d for d in range(1, max(size // _BINS, 1) + 1) if size % d == 0)
        pieces, seen = x.unflatten(-1, (-1, width)), observed.unflatten(-1, (-1, width))
        mean = pieces.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp_min(1)
        lost.append(((pieces - mean).abs() * seen).flatten(-2).sum(-1))
    return torch.stack(lost, dim=-1) / observed.sum(-1, keepdim=True).clamp_min(1)


def density_loss(
    shares: Tensor,
    level: Tensor,
    lost: Tensor,
    counted: Tensor,
    sizes: tuple[int, ...],
    steps_per_token: float,
) -> Tensor:
    """Training objective that spends a budget of tokens where they keep the most detail.

    The expected `lost_detail` of the blocks, plus the squared relative distance of the number of
    tokens from the budget. The number is that of the real cuts; its gradient is that of the
    expected number (a straight-through estimate).

    Parameters
    ----------
    shares
        [..., G] of `SizeRouter.level_shares`.
    level
        [...] index of the size of each block.
    lost
        [..., G] of `lost_detail`.
    counted
        [...] bool, blocks with data.
    sizes
        Steps per token, from coarse to fine.
    steps_per_token
        The budget: mean steps per token.

    Returns
    -------
    Tensor
        Scalar.
    """
    rate = torch.tensor([1 / size for size in sizes], device=shares.device)
    expected = (shares * rate).sum(-1)
    count = counted.sum().clamp_min(1)
    detail = ((shares * lost).sum(-1) * counted).sum() / count
    tokens = (rate[level] + expected - expected.detach()) * counted
    excess = torch.where(counted.any(), tokens.sum() / count * steps_per_token - 1, 0)
    return detail + excess.square()
