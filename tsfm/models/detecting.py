"""The detecting network: patches, embedding, backbone, and a head for every single step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.models.detector_config import DetectorConfig
from tsfm.models.scaler import Scale
from tsfm.models.settings import refuse_unread
from tsfm.models.two_way import TwoWayBackbone
from tsfm.nn.mlp import ResidualMLP

_N_FACTS = 3
"""Of a step: value, whether it is observed, difference from the step before."""
_N_SURPRISES = 2
"""Of a step: distance from the expected value, with and without sign."""
_REACH = 7
"""Width of the depthwise convolutions over steps."""
_RARE = -3.0
"""First anomaly logit: few steps are anomalous."""


@dataclass(frozen=True)
class Judgement:
    """What the network says of every step.

    Parameters
    ----------
    logit
        [B, C, L] log odds that the step is out of line with its context.
    expected
        [B, C, L] what the scaled series would be without anomaly.
    state
        [B, C, L, d_step] what the heads read, also that of the types of anomaly.
    """

    logit: Tensor
    expected: Tensor
    state: Tensor


class DetectingNetwork(nn.Module):
    """Scaled windows in, a judgement of every step of every channel out.

    Each step's state first says what would be expected; the anomaly head then sees the state and
    how far the value is from that, so that it need not learn to compare the two.

    Channels are embedded and mixed over time one by one with the same weights; several of them
    also look at each other at the same time (`ChannelAttention`). Rotary positions count time, not
    tokens of other channels, so that channels in another order get the same answers.

    Parameters
    ----------
    config
        The model's configuration.
    weights_follow
        Whether saved weights will replace the initial ones.

    Examples
    --------
    >>> import torch
    >>> network = DetectingNetwork(DetectorConfig.preset("tiny"))
    >>> network(torch.randn(2, 3, 100), torch.ones(2, 3, 100) > 0).logit.shape
    torch.Size([2, 3, 100])
    """

    def __init__(self, config: DetectorConfig, weights_follow: bool = False) -> None:
        super().__init__()
        if not weights_follow:
            refuse_unread(config.backbone)
        self.config = config
        d_model, patch = config.backbone.d_model, config.patch_length
        self.embedding = ResidualMLP(_N_FACTS * patch, config.d_embed, d_model)
        self.backbone = TwoWayBackbone(config.backbone, config.channels_every)
        self.steps = StepStates(d_model, patch, config.d_step)
        self.expected = ResidualMLP(config.d_step, config.d_head, 1)
        self.logit = ResidualMLP(config.d_step + _N_SURPRISES, config.d_head, 1)
        self.kinds = None
        if config.kinds:
            self.kinds = ResidualMLP(config.d_step, config.d_head, config.n_kinds)
        nn.init.constant_(self.logit.out.bias, _RARE)

    def forward(self, z: Tensor, observed: Tensor) -> Judgement:
        """Judge every step.

        Parameters
        ----------
        z, observed
            [B, C, L] scaled windows and mask, any L >= 1; masked values are ignored, and steps
            masked at the end of a window change nothing of the others.

        Returns
        -------
        Judgement
            Of all L steps; logits of masked steps mean nothing, but `expected` fills the gap.
        """
        length = z.shape[-1]
        spare = -length % self.config.patch_length
        logit, expected, state = self.answer(
            F.pad(torch.where(observed, z, 0), (0, spare)), F.pad(observed, (0, spare))
        )
        return Judgement(logit[..., :length], expected[..., :length], state[..., :length, :])

    def answer(self, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fields of the `Judgement` of windows of whole patches; 0 where nothing is observed."""
        facts = step_facts(z, observed)  # [B, C, L, 3]
        patches = facts.unflatten(2, (-1, self.config.patch_length))
        x = self.embedding(patches.flatten(3)).float()  # residual stream: full precision
        holds_data = observed.unflatten(2, (-1, self.config.patch_length)).any(-1)
        state = self.steps(self.backbone(x, holds_data), facts)
        expected = self.expected(state)[..., 0].float()
        logit = self.logit(torch.cat([state, surprises(z, observed, expected)], dim=-1))
        return logit[..., 0].float(), expected, state

    def kind_logits(self, state: Tensor) -> Tensor:
        """[..., n_kinds] logits of the types of anomaly, from states [..., d_step] of steps.

        Raises
        ------
        ValueError
            If the model tells no types apart.
        """
        if self.kinds is None:
            raise ValueError(f"The detector {self.config.name!r} tells no types of anomaly apart.")
        logits: Tensor = self.kinds(state).float()
        return logits


def step_facts(z: Tensor, observed: Tensor) -> Tensor:
    """[B, C, L, 3] value, mask and first difference of every step, all 0 where unobserved.

    The difference is 0 where this step or the one before is missing, and at the first step.

    Examples
    --------
    >>> step_facts(torch.tensor([[[1.0, 3.0, 0.0]]]), torch.tensor([[[True, True, False]]]))
    tensor([[[[1., 1., 0.],
              [3., 1., 2.],
              [0., 0., 0.]]]])
    """
    both = observed[..., 1:] & observed[..., :-1]
    change = F.pad(torch.where(both, z.diff(dim=-1), 0), (1, 0))
    return torch.stack([z, observed.to(z.dtype), change], dim=-1)


def standardised(values: Tensor, observed: Tensor) -> tuple[Tensor, Scale]:
    """Put every channel of every window on its own scale, in training and at inference alike.

    `arcsinh((x - median) / scale)` with the robust scale of `Scale.robust`: ordinary steps are of
    size 1 however large an anomaly is, and the anomaly itself grows with the logarithm of its size
    only.

    Parameters
    ----------
    values, observed
        [B, C, L] windows in their own unit and mask; masked values are ignored.

    Returns
    -------
    tuple
        [B, C, L] float32, 0 where masked, and the `Scale` of the B C rows.
    """
    rows, seen = values.flatten(0, 1), observed.flatten(0, 1)
    scale = Scale.robust(rows, seen)
    z = torch.where(seen, scale.forward(torch.where(seen, rows, 0)), 0)
    return z.view(values.shape), scale


def surprises(z: Tensor, observed: Tensor, expected: Tensor) -> Tensor:
    """[B, C, L, 2] distance of each observed step from what was expected, with and without sign.

    Examples
    --------
    >>> z, seen = torch.tensor([[[1.0, 9.0]]]), torch.tensor([[[True, False]]])
    >>> surprises(z, seen, torch.tensor([[[3.0, 0.0]]]))
    tensor([[[[-2.,  2.],
              [ 0.,  0.]]]])
    """
    distance = torch.where(observed, z - expected, 0)
    return torch.stack([distance, distance.abs()], dim=-1)


class StepStates(nn.Module):
    """From the states of tokens to one state per step, which keeps its place.

    Each token's state is spread over its steps by one linear map. To it comes what lies around the
    step itself, seen through two depthwise convolutions, so that an event of a single step does
    not blur over its patch. Unobserved steps add nothing.

    Parameters
    ----------
    d_model
        Width of the tokens' states.
    patch_length
        Steps per token.
    d_step
        Width of the answer.
    """

    def __init__(self, d_model: int, patch_length: int, d_step: int) -> None:
        super().__init__()
        self.patch_length = patch_length
        self.spread = nn.Linear(d_model, patch_length * d_step, bias=False)
        self.local = nn.Linear(_N_FACTS, d_step, bias=False)
        self.near = _depthwise(d_step)
        self.far = _depthwise(d_step)
        self.norm = nn.RMSNorm(d_step, eps=1e-6)

    def forward(self, states: Tensor, facts: Tensor) -> Tensor:
        """States of steps [B, C, L, d_step], from [B, C, T, d_model] and [B, C, L, 3]."""
        spread = self.spread(states).unflatten(-1, (self.patch_length, -1)).flatten(2, 3)
        rows = self.local(facts).flatten(0, 1).mT  # [B C, d_step, L]
        seen = facts[..., 1].flatten(0, 1)[:, None]  # padding must not differ from nothing at all
        rows = rows + F.silu(self.near(rows)) * seen
        around = self.far(rows).mT.view(spread.shape)
        normed: Tensor = self.norm(spread + around)
        return normed


def _depthwise(width: int) -> nn.Conv1d:
    """Convolution of each channel with itself, as long before as after the step."""
    return nn.Conv1d(width, width, _REACH, padding=_REACH // 2, groups=width)
