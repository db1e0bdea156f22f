"""Tokens of unequal length: from marked steps to spans, and from spans to a `TokenBatch`."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch


class DynamicTokenizer(Tokenizer):
    """Cut a series where `starts` says, into tokens of at most `max_length` steps.

    Tokens tell their backbone how long they are: the last feature is the logarithm of the length.

    Parameters
    ----------
    patch_length, n_cycles, references
        As in `Tokenizer`.
    max_length
        Steps of the longest token.
    """

    def __init__(
        self,
        patch_length: int = 32,
        n_cycles: int = 4,
        references: bool = True,
        max_length: int = 64,
    ) -> None:
        super().__init__(patch_length, n_cycles, references)
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}.")
        self._max_length = max_length

    @property
    def max_length(self) -> int:
        """Width of `TokenBatch.values`: steps of the longest token."""
        return self._max_length

    @property
    def n_features(self) -> int:
        """Width of `TokenBatch.features`."""
        return self.ahead.n_features + 1

    @abstractmethod
    def starts(self, z: Tensor, observed: Tensor, forced: Tensor | None = None) -> Tensor:
        """Where tokens start.

        Parameters
        ----------
        z, observed
            [B, L] scaled values (0 where missing) and mask.
        forced
            [B, L] bool, steps at which a token must start; None for none.

        Returns
        -------
        Tensor
            [B, L] bool, True at the first step of every token; always at step 0. A row's answer
            depends on this row alone, and beginning the row with missing steps changes nothing
            from its first observed step on.
        """

    def tokenize(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        season: Tensor | None = None,
    ) -> TokenBatch:
        """Turn scaled series into tokens; arguments and result as in `Tokenizer.tokenize`.

        Hidden patches become tokens of their own, like the patches of a forecast.
        """
        z, observed, forced = self._blanked(z, observed, hidden)
        marks = self.starts(z, observed, forced)
        batch = self._cut_at(marks, z, observed, prediction_length, season)
        return self._described(batch, z, observed)

    def cuts(self, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Where the context tokens lie; arguments and result as in `Tokenizer.cuts`."""
        z = torch.where(observed, z, 0)
        return *spans(self.starts(z, observed)), self.scores(z, observed)

    def _blanked(
        self, z: Tensor, observed: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Series and mask without what is hidden, and where tokens must start therefore."""
        forced = None
        if hidden is not None:
            n_steps = z.shape[1]
            steps = hidden.repeat_interleave(self.patch_length, dim=1)[:, :n_steps]
            observed = observed & ~steps
            forced = self._edges(hidden[:, : n_steps // self.patch_length], n_steps)
        return torch.where(observed, z, 0), observed, forced

    def _cut_at(
        self,
        marks: Tensor,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        season: Tensor | None,
    ) -> TokenBatch:
        """Tokens that start at the marked steps [B, L], and those of the forecast."""
        n_rows, n_steps = z.shape
        start, length = spans(marks)
        values, mask = cut(z, observed, start, length, self.max_length)
        n_context = start.shape[1]

        begin, size = self._forecast_spans(n_steps, prediction_length, z.device)
        n_ahead = len(begin)
        start = torch.cat([start, begin.expand(n_rows, -1)], 1)
        length = torch.cat([length, size.expand(n_rows, -1)], 1)
        values, mask = (F.pad(x, (0, 0, 0, n_ahead)) for x in (values, mask))
        end = start + length
        # [B, T]: the step up to which a token's forecast of the next steps may use the series
        known = torch.where(mask.any(-1), end, 0).cummax(-1).values
        row = self.describe(z, observed, season) if self.ahead.n_features else None
        features, references, error_scale = self.ahead.of(z, observed, end, known, row)
        log_length = torch.log2(length.clamp_min(1).to(z.dtype))[..., None] / 5
        kind = torch.full_like(start, Kind.CONTEXT, dtype=torch.int8)
        kind[:, n_context:] = Kind.FORECAST
        return TokenBatch(
            values=values,
            observed=mask,
            start=start,
            length=length,
            kind=kind,
            position=start + (length.clamp_min(1) - 1) / 2,
            row=torch.arange(n_rows, device=z.device),
            variate=torch.zeros_like(start),
            features=log_length if features is None else torch.cat([features, log_length], -1),
            references=references,
            error_scale=error_scale,
            step_token=marks.cumsum(-1) - 1 + n_context - marks.sum(-1, keepdim=True),
            spectrum=self.spectrum(z, observed),
            n_forecast=n_ahead,
        )

    def _described(self, batch: TokenBatch, z: Tensor, observed: Tensor) -> TokenBatch:
        """The batch with what a kind of tokenizer adds to it."""
        return batch

    def _edges(self, hidden: Tensor, n_steps: int) -> Tensor:
        """[B, L] bool: first step of every hidden patch, and of the patch after it."""
        edge = hidden | F.pad(hidden, (1, 0))[:, :-1]
        steps = torch.zeros(len(hidden), n_steps, dtype=torch.bool, device=hidden.device)
        steps[:, :: self.patch_length][:, : edge.shape[1]] = edge
        return steps

    def _forecast_spans(
        self, begin: int, horizon: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Start and length of the forecast tokens of one row."""
        start = torch.arange(begin, begin + horizon, self.patch_length, device=device)
        return start, (begin + horizon - start).clamp(max=self.patch_length)


def spans(starts: Tensor) -> tuple[Tensor, Tensor]:
    """Spans between marked steps.

    Parameters
    ----------
    starts
        [B, L] bool, True at step 0.

    Returns
    -------
    tuple of Tensor
        Start and length [B, T] int64 of every span, padded in front with spans of no length.

    Examples
    --------
    >>> spans(torch.tensor([[True, False, True], [True, True, True]]))
    (tensor([[0, 0, 2],
            [0, 1, 2]]), tensor([[0, 2, 1],
            [1, 1, 1]]))
    """
    n_rows, n_steps = starts.shape
    count = starts.sum(-1, keepdim=True)
    n_tokens = int(count.max())
    # where each step's token goes; steps that start none go to a place that is thrown away
    index = starts.cumsum(-1) - 1 + n_tokens - count
    index = torch.where(starts, index, n_tokens)
    steps = torch.arange(n_steps, device=starts.device).expand(n_rows, -1)
    start = torch.zeros(n_rows, n_tokens + 1, dtype=torch.int64, device=starts.device)
    start.scatter_(1, index, steps)
    start[:, -1] = n_steps
    return start[:, :-1], start.diff(dim=1)


def cut(
    z: Tensor, observed: Tensor, start: Tensor, length: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Contents of spans, left-justified.

    Parameters
    ----------
    z, observed
        [B, L] series (0 where missing) and mask.
    start, length
        [B, T] spans of at most `width` steps.
    width
        P.

    Returns
    -------
    tuple of Tensor
        Values (0 where nothing is observed) and mask, both [B, T, P].
    """
    offset = torch.arange(width, device=z.device)
    inside = offset < length[..., None]  # [B, T, P]
    index = (start[..., None] + offset).clamp(max=z.shape[1] - 1).flatten(1)
    mask = inside & observed.gather(1, index).view(inside.shape)
    return torch.where(mask, z.gather(1, index).view(inside.shape), 0), mask


def limited(
    starts: Tensor,
    observed: Tensor,
    min_length: int,
    max_length: int,
    forced: Tensor | None = None,
) -> Tensor:
    """Enforce shortest and longest spans, from left to right.

    A span ends at the first wanted start that is at least `min_length` steps away, at a forced one
    in any case, and after `max_length` steps at the latest. Counting begins at the first observed
    step, so that missing steps in front change nothing; they are spans of their own.

    Parameters
    ----------
    starts
        [B, L] bool, where spans should start.
    observed
        [B, L] bool.
    min_length, max_length
        Limits in steps; what is left at the end of a row may be shorter.
    forced
        [B, L] bool, where spans must start; None for nowhere.

    Returns
    -------
    Tensor
        [B, L] bool.

    Examples
    --------
    >>> wanted = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 0, 0, 0]]) > 0
    >>> limited(wanted, torch.ones(1, 10) > 0, 2, 4).int().tolist()
    [[1, 0, 0, 1, 0, 0, 0, 1, 0, 0]]
    """
    here = torch.arange(starts.shape[1], device=starts.device)
    wanted = _next_marked(starts, here + min_length)
    return chained(torch.minimum(wanted, latest_end(observed, max_length, forced)))


def latest_end(observed: Tensor, max_length: int, forced: Tensor | None = None) -> Tensor:
    """[B, L] step at which a span that starts at each step must have ended, as in `limited`."""
    here = torch.arange(observed.shape[1], device=observed.device)
    must = here == observed.to(torch.int8).argmax(-1, keepdim=True)
    if forced is not None:
        must = must | forced
    return torch.minimum(_next_marked(must, here + 1), here + max_length)


def chained(after: Tensor) -> Tensor:
    """Starts of the spans that one reaches from step 0.

    Parameters
    ----------
    after
        [B, L] where a span that starts at each step ends, at least one step later.

    Returns
    -------
    Tensor
        [B, L] bool.

    Examples
    --------
    >>> chained(torch.tensor([[2, 4, 3, 6, 5]])).int().tolist()
    [[1, 0, 1, 1, 0]]
    """
    n_rows, n_steps = after.shape
    # follow the chain from step 0, doubling what is known of it in every round
    jump = F.pad(after.clamp(max=n_steps), (0, 1), value=n_steps)  # [B, L + 1]
    reached = torch.zeros(n_rows, n_steps + 1, dtype=torch.int8, device=after.device)
    reached[:, 0] = 1
    for _ in range(max(1, n_steps.bit_length())):
        reached = torch.maximum(
            reached, reached.new_zeros(reached.shape).scatter_reduce(1, jump, reached, "amax")
        )
        jump = jump.gather(1, jump)
    return reached[:, :-1] > 0


def _next_marked(marks: Tensor, since: Tensor) -> Tensor:
    """First marked step of [B, L] at or after each step of `since` [L]; L where there is none."""
    n_steps = marks.shape[1]
    steps = torch.arange(n_steps, device=marks.device)
    coming = torch.where(marks, steps, n_steps).flip(-1).cummin(-1).values.flip(-1)
    coming = F.pad(coming, (0, 1), value=n_steps)
    return coming[:, since.clamp(max=n_steps)]
