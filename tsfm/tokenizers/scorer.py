"""How hard the next step of a series is to foresee: a tiny shared network, and a plain score.

Both give every step a score from this step and those before it. Both are even: a series and its
mirror image have the same scores, exactly.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEPS_PER_PASS = 32_768
"""Steps scored at a time: few enough for the cache, enough for several threads."""
_DILATIONS = (1, 2, 4, 8, 16, 32)
"""Distances at which the layers look back; together they see 64 steps."""
_BUMPS = 2
"""Sizes of the bumps around the last value that the predicted distribution is made of."""


class EntropyScorer(nn.Module):
    """Entropy of the next step's bin, given the steps so far.

    A stack of dilated causal convolutions over quantised values (bins equally wide in asinh z)
    predicts the bin of the next step. Its states come in two parts, an even one that stays and an
    odd one that changes sign when the series is negated, and so do the logits. The predicted
    distribution of -z is therefore exactly the mirror image of that of z, and its entropy the
    same.

    Before the first observed step of a row all states are held at zero, so that missing steps in
    front change nothing. The network always computes in float32.

    Source: conditional entropy as a guide to patches follows EntroPE (arXiv 2509.26157).

    Parameters
    ----------
    n_bins
        Bins, V; odd, since one is around 0.
    width
        Size of either part of the states.
    largest
        `|z|` of the outermost bins.

    Raises
    ------
    ValueError
        If `n_bins` is even or less than 3.

    Examples
    --------
    >>> import torch
    >>> z = torch.randn(2, 100)
    >>> scores = EntropyScorer().scores(z, torch.ones(2, 100) > 0)
    >>> scores.shape, bool((scores <= math.log(65) + 1e-5).all())
    (torch.Size([2, 100]), True)
    """

    def __init__(self, n_bins: int = 65, width: int = 14, largest: float = 5.0) -> None:
        super().__init__()
        if n_bins < 3 or n_bins % 2 == 0:
            raise ValueError(f"n_bins must be odd and at least 3, got {n_bins}.")
        self.n_bins, self.width, self.largest = n_bins, width, largest
        self._half = n_bins // 2
        self._edges: Tensor
        edges = (torch.arange(self._half).double() + 0.5) * (math.asinh(largest) / self._half)
        self.register_buffer("_edges", edges.sinh().float(), persistent=False)
        # rows: middle bin, bins above it, missing; those below are mirror images
        self.even_bins = nn.Parameter(0.3 * torch.randn(self._half + 2, width))
        self.odd_bins = nn.Parameter(0.3 * torch.randn(self._half, width))
        self.layers = nn.ModuleList(ParityLayer(width, dilation) for dilation in _DILATIONS)
        self.sharpness = nn.Linear(width, _BUMPS)
        self.even_logits = nn.Parameter(0.1 * torch.randn(width + _BUMPS + 1, self._half + 1))
        self.odd_logits = nn.Parameter(0.1 * torch.randn(width + _BUMPS, self._half))
        self._start_with_bumps()

    def _start_with_bumps(self) -> None:
        """Let the untrained distribution fall off with the distance from the last value."""
        place = torch.linspace(0, 1, self._half + 1)
        with torch.no_grad():
            self.even_logits[-1] = 0  # constant
            for i in range(_BUMPS):
                self.even_logits[self.width + i] = -(place**2) * 8**i
                self.odd_logits[self.width + i] = 2 * place[1:] * 8**i

    @property
    def sizes(self) -> dict[str, float]:
        """Arguments that build a scorer of the same shape."""
        return {"n_bins": self.n_bins, "width": self.width, "largest": self.largest}

    def encode(self, z: Tensor, observed: Tensor) -> Tensor:
        """Number of each value's bin, counted from the middle one.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask.

        Returns
        -------
        Tensor
            [B, L] int64 from `-(V // 2)` to `V // 2`; 0 where missing.
        """
        z = torch.where(observed, z, 0).float()
        magnitude = torch.bucketize(z.abs(), self._edges)
        return torch.where(z < 0, -magnitude, magnitude)

    @torch.no_grad()
    def scores(self, z: Tensor, observed: Tensor) -> Tensor:
        """Entropy of the next step, at every step.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask.

        Returns
        -------
        Tensor
            [B, L] float32 in nats: at step t the entropy of the distribution of step t + 1 given
            the steps up to and including t. 0 where step t is missing.
        """
        n_rows = max(1, _STEPS_PER_PASS // max(1, z.shape[1]))
        parts = []
        for some, seen in zip(z.split(n_rows), observed.split(n_rows), strict=True):
            logits = self._logits(self.encode(some, seen), seen)  # [B, L, V]
            logits -= logits.amax(-1, keepdim=True)
            weights = logits.exp()
            total = self._folded_sum(weights)
            entropy = total.log() - self._folded_sum(weights.mul_(logits)) / total
            parts.append(torch.where(seen, entropy.clamp_min_(0), 0))
        return torch.cat(parts)

    def loss(self, z: Tensor, observed: Tensor) -> Tensor:
        """Mean cross-entropy of the next step's bin, in nats.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask.

        Returns
        -------
        Tensor
            Scalar, over all pairs of an observed step and an observed next one; 0 without any.
        """
        codes = self.encode(z, observed)
        logits = self._logits(codes, observed)[:, :-1]
        target = torch.where(codes > 0, codes - 1, self._half - 1 - codes)
        target = torch.where(codes == 0, self.n_bins - 1, target)[:, 1:]
        losses = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        both = (observed[:, 1:] & observed[:, :-1]).flatten()
        return (losses * both).sum() / both.sum().clamp_min(1)

    def _folded_sum(self, x: Tensor) -> Tensor:
        """[B, L] sum over bins [B, L, V], the same to the last bit for their mirror images."""
        up, down, middle = x.split((self._half, self._half, 1), -1)
        return (up + down).sum(-1) + middle[..., 0]

    def _logits(self, codes: Tensor, observed: Tensor) -> Tensor:
        """[B, L, V] logits of the bins above the middle, of those below it, and of the middle."""
        last = self._last(codes, observed)
        with torch.autocast(codes.device.type, enabled=False):
            even, odd = self._states(codes, observed)
            sharpness = F.softplus(self.sharpness(even))
            states = [even, sharpness, torch.ones_like(even[..., :1]), odd, sharpness * last]
            middle, above = self.even_logits[:, :1], self.even_logits[:, 1:]
            rows = [
                torch.cat([above, above, middle], 1),
                torch.cat(
                    [self.odd_logits, -self.odd_logits, torch.zeros_like(self.odd_logits[:, :1])],
                    dim=1,
                ),
            ]
            return torch.cat(states, -1) @ torch.cat(rows)

    def _states(self, codes: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Even and odd states, [B, L, width] each; 0 before the first observed step."""
        unsigned, missing = self.even_bins[1:-1], self.even_bins[-1:]
        even = torch.cat([unsigned.flip(0), self.even_bins[:-1], missing])
        odd = torch.cat([-self.odd_bins.flip(0), 0 * missing, self.odd_bins, 0 * missing])
        index = torch.where(observed, codes + self._half, self.n_bins)
        even, odd = F.embedding(index, torch.cat([even, odd], 1)).chunk(2, -1)
        started = observed.cummax(-1).values[..., None]
        late = not bool(started.all())
        if late:
            even = even * started
        for layer in self.layers:
            even, odd = layer(even, odd)
            if late:
                even = even * started
        return even, odd

    def _last(self, codes: Tensor, observed: Tensor) -> Tensor:
        """[B, L, 1] place of the last observed value between the outermost bins, -1 to 1."""
        steps = torch.arange(codes.shape[1], device=codes.device)
        latest = torch.where(observed, steps, 0).cummax(-1).values
        return (codes.gather(1, latest).float() / self._half)[..., None]


class ParityLayer(nn.Module):
    """A causal convolution over this step and one before, with gates, on states of two parities.

    The odd part passes through linear maps without bias and is multiplied by functions of the even
    part; the even part sees the magnitude of odd features. Negating the odd input therefore
    negates the odd output and leaves the even one alone, exactly.

    Parameters
    ----------
    width
        Size of either part.
    dilation
        Distance to the step before.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.odd = nn.Linear(2 * width, 2 * width, bias=False)
        self.even = nn.Linear(3 * width, 2 * width)

    def forward(self, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts of the states, [B, L, width] each."""
        magnitude, passed = self.odd(torch.cat([odd, self._past(odd)], -1)).chunk(2, -1)
        mixed = self.even(torch.cat([even, self._past(even), magnitude.abs()], -1))
        update, _ = mixed.chunk(2, -1)
        opened, gate = mixed.sigmoid().chunk(2, -1)
        return even.addcmul(update, opened), odd.addcmul(passed, gate)

    def _past(self, x: Tensor) -> Tensor:
        """The states `dilation` steps earlier, 0 before the row begins."""
        return F.pad(x, (0, 0, self.dilation, 0))[:, : x.shape[1]]


def surprise(z: Tensor, observed: Tensor) -> Tensor:
    """How far each step lies from what the few steps before it suggest; nothing is learnt.

    The innovation of a step is its distance from the last value or from the line through the
    last two, whichever is nearer. The score is `log(1 + i_t / m_t)` with the innovation i_t and
    m_t the mean of the innovations so far: 0 for a step just as suggested, 0.7 for an ordinary
    one; a burst of ten times the usual size begins with 2.4.

    Parameters
    ----------
    z, observed
        [B, L] values of any scale and mask.

    Returns
    -------
    Tensor
        [B, L] float32, never negative; at step t from the steps up to and including t. 0 where
        step t is missing or the first one. Multiplying z by any number but 0 changes nothing
        (beyond rounding), and by -1 not a bit.

    Examples
    --------
    >>> z = torch.tensor([[0.0, 1.0, 0.0, 1.0, 9.0, 9.0]])
    >>> surprise(z, torch.ones(1, 6) > 0)[0]
    tensor([0.0000, 0.6931, 0.6931, 0.6931, 1.3350, 0.0000])
    """
    z = torch.where(observed, z, 0).double()
    steps = torch.arange(z.shape[1], device=z.device)
    latest = torch.where(observed, steps, -1).cummax(-1).values
    before = F.pad(latest, (1, 0), value=-1)[:, :-1]  # the last observed step before each
    last = z.gather(1, before.clamp_min(0))
    step = (z - last) / (steps - before).clamp_min(1).double().sqrt()
    line = F.pad(z, (2, 0))[:, :-2]
    pair = observed & F.pad(observed, (1, 0))[:, :-1]
    triple = pair & F.pad(pair, (1, 0))[:, :-1]
    bend = torch.where(triple, (z - last) - (last - line), step)
    counts = observed & (before >= 0)
    innovation = torch.where(counts, torch.minimum(step.abs(), bend.abs()), 0)
    mean = innovation.cumsum(-1) / counts.cumsum(-1).clamp_min(1)
    ratio = innovation / torch.where(mean > 0, mean, 1)
    return torch.where(mean > 0, ratio, 0).log1p().float()
