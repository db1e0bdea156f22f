"""Mixture-of-size patches: a learnt router cuts every block into tokens of one of a few sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.dynamic import DynamicTokenizer, cut
from tsfm.tokenizers.router import (
    Routing,
    SizeRouter,
    block_features,
    density_loss,
    lost_detail,
)

_DENSITY_WEIGHT = 0.1


class MixtureTokenizer(DynamicTokenizer):
    """Cut blocks of the coarsest size into halves, quarters, ... as a router says.

    Blocks end where the context ends, so that the last one meets the forecast. A block is cut
    evenly into tokens of the finest size chosen for it; where only null experts are chosen, or
    nothing is observed, it stays whole. A token also starts at the first observed step.

    Every token sees one view per size, for an embedding that fuses them with the router's
    weights. By default a view is the stretch of that many steps that ends with the token, and its
    weights are those of the coarsest of these stretches: nothing after the token plays a part, but
    for the size of the token itself, which the whole block decided. With `aligned_views`, as
    published, a view is the piece of the evenly cut block that holds the token, and the weights
    are the block's; tokens then know of steps after them.

    That detailed stretches get more tokens does not follow from the weights of the fusion alone.
    With a budget `steps_per_token`, training therefore adds `density_loss`, through
    `TokenBatch.aux["loss"]`.

    Source: "Kairos" (arXiv 2509.25826), mixture-of-size patches. Its bias also moves in
    evaluation; here it is part of training alone.

    Parameters
    ----------
    patch_length, n_cycles, references
        As in `Tokenizer`.
    sizes
        Steps per token, from coarse to fine, each a multiple of the next.
    n_null_experts
        Experts that stand for no view at all.
    top_experts
        Experts, of both kinds, chosen per block.
    expert_shares
        Shares of the routed weight that training balances towards, for every size and then every
        null expert; empty for equal shares.
    aligned_views
        Whether views are pieces of the block, and look ahead.
    steps_per_token
        Mean steps per token that training aims at; 0 for no such aim.

    Raises
    ------
    ValueError
        If the sizes do not divide each other, or the experts do not fit.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> tokenizer = MixtureTokenizer(
    ...     sizes=(8, 4), n_null_experts=0, top_experts=2, steps_per_token=0
    ... )
    >>> batch = tokenizer.tokenize(torch.ones(1, 20), torch.ones(1, 20) > 0, 0)
    >>> batch.length.tolist()  # both sizes are chosen, and the finest counts
    [[4, 4, 4, 4, 4]]
    """

    def __init__(
        self,
        patch_length: int = 32,
        n_cycles: int = 4,
        references: bool = True,
        sizes: Sequence[int] = (128, 64, 32),
        n_null_experts: int = 2,
        top_experts: int = 3,
        expert_shares: tuple[float, ...] = (),
        aligned_views: bool = False,
        steps_per_token: float = 64.0,
    ) -> None:
        sizes = tuple(sizes)
        if not sizes or min(sizes) < 1 or any(a <= b or a % b for a, b in pairwise(sizes)):
            raise ValueError(
                f"sizes must fall from coarse to fine, each a multiple of the next; got {sizes}."
            )
        if steps_per_token and not sizes[-1] <= steps_per_token <= sizes[0]:
            raise ValueError(
                f"steps_per_token={steps_per_token} is out of reach of tokens of {sizes[-1]} to "
                f"{sizes[0]} steps; use a number between these, or 0."
            )
        super().__init__(patch_length, n_cycles, references, max_length=sizes[0])
        self.sizes = sizes
        self.looks_ahead = aligned_views
        self.aligned_views = aligned_views
        self.steps_per_token = steps_per_token
        self.router = SizeRouter(len(sizes), n_null_experts, top_experts, expert_shares)

    def n_tokens(self, length: int) -> int:
        """At most how many tokens a context of `length` steps becomes, for sizing batches."""
        return -(-length // self.sizes[-1])

    def starts(self, z: Tensor, observed: Tensor, forced: Tensor | None = None) -> Tensor:
        """Where tokens start; arguments and result as in `DynamicTokenizer.starts`."""
        n_steps = z.shape[1]
        blocks, seen = self._blocks(z, observed)
        sizes = torch.tensor(self.sizes, device=z.device)
        size = torch.where(seen.any(-1), sizes[self._route(blocks, seen).level], self.sizes[0])
        place = torch.arange(-n_steps % self.sizes[0], seen[0].numel(), device=z.device)
        size = size.repeat_interleave(self.sizes[0], dim=1)[:, -n_steps:]  # [B, L]
        here = torch.arange(n_steps, device=z.device)
        first = observed.to(torch.int8).argmax(-1, keepdim=True)
        # steps before the first observed one stay in few tokens, wherever the padding began
        start = torch.where(here < first, place % self.sizes[0] == 0, place % size == 0)
        start |= (here == first) | (here == 0)
        return start if forced is None else start | forced

    def with_mirror_image(self, batch: TokenBatch) -> TokenBatch:
        """Add the rows of the negated series; see `Tokenizer.with_mirror_image`."""
        both = super().with_mirror_image(batch)
        if both.views is None or batch.views is None:
            return both
        return replace(both, views=torch.cat([batch.views, -batch.views]))

    def _described(self, batch: TokenBatch, z: Tensor, observed: Tensor) -> TokenBatch:
        """The batch with views and weights per token, and the router's account of itself."""
        n_context = batch.n_context
        views, seen = self._views(batch.select(slice(n_context)), z, observed)
        coarse = slice(self.sizes[0])
        weights = self._route(views[..., coarse], seen[..., coarse]).weights
        weights = torch.where(batch.observed[:, :n_context].any(-1, keepdim=True), weights, 0)
        ahead = (0, 0, 0, batch.kind.shape[1] - n_context)
        return replace(
            batch,
            views=F.pad(views, ahead),
            views_observed=F.pad(seen, ahead),
            view_weights=F.pad(weights, ahead),
            aux={**batch.aux, **self._account(z, observed)},
        )

    def _views(self, batch: TokenBatch, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Views [B, T, V] of all sizes of context tokens, one after another, and their mask."""
        coarsest = self.sizes[0]
        # steps in front of the context, for views that reach beyond it, and for a whole block
        before = coarsest + -z.shape[1] % coarsest
        z, observed = (F.pad(x, (before, 0)) for x in (z, observed))
        start = batch.start + before
        end = start + batch.length
        filled = batch.observed.any(-1)
        parts = []
        for size in self.sizes:
            begin = start // size * size if self.aligned_views else end - size
            begin = torch.where(filled, begin, 0)
            parts.append(cut(z, observed, begin, size * filled, size))
        views, seen = zip(*parts, strict=True)
        return torch.cat(views, -1), torch.cat(seen, -1)

    def _account(self, z: Tensor, observed: Tensor) -> dict[str, Tensor]:
        """Load of the experts to log; in training also the objective, and the bias moves."""
        blocks, seen = self._blocks(z, observed)
        routing, counted = self._route(blocks, seen), seen.any(-1)
        load = self.router.load(routing, counted)
        aux = {f"router_load_{size}": load[i] for i, size in enumerate(self.sizes)}
        aux["router_load_null"] = load[len(self.sizes) :].sum()
        if self.training:
            if self.steps_per_token:
                lost = lost_detail(blocks, seen, self.sizes).detach()
                shares, budget = self.router.level_shares(routing), self.steps_per_token
                loss = density_loss(shares, routing.level, lost, counted, self.sizes, budget)
                aux["loss"] = _DENSITY_WEIGHT * loss
            self.router.balance(load)
        return aux

    def _blocks(self, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Contents and mask [B, N, S0] of the blocks, counted from the end of the context."""
        gap = -z.shape[1] % self.sizes[0]
        blocks, seen = (
            F.pad(x, (gap, 0)).unflatten(1, (-1, self.sizes[0])) for x in (z, observed)
        )
        return blocks, seen

    def _route(self, blocks: Tensor, seen: Tensor) -> Routing:
        routing: Routing = self.router(block_features(blocks, seen).detach())
        return routing
