"""Reading tokens in both directions, and gathering them row by row."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bidirectional(nn.Module):
    """The sum of one block that reads from the left and one that reads from the right.

    The right-hand block starts at the last valid token of each row, so that padding after it
    changes nothing; the padding itself reads the whole row in both directions. Neither block
    streams, hence no state comes back.

    Parameters
    ----------
    forwards, backwards
        Blocks such as `Mamba1`, `Mamba2` or `CompanionMixer`.
    """

    def __init__(self, forwards: nn.Module, backwards: nn.Module) -> None:
        super().__init__()
        self.forwards = forwards
        self.backwards = backwards

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        span: Tensor | None = None,
        state: None = None,
    ) -> tuple[Tensor, None]:
        """Mix tokens in both directions; arguments as in `Mamba1.forward`, without a state.

        Returns
        -------
        tuple of Tensor and None
            [B, L, d_model], and no state.
        """
        mirror = mirrored(x.shape[:2], valid, x.device)
        from_left: Tensor = self.forwards(x, valid, span)[0]
        arguments = [None if each is None else take(each, mirror) for each in (x, valid, span)]
        from_right: Tensor = self.backwards(*arguments)[0]
        return from_left + take(from_right, mirror), None


def mirrored(shape: torch.Size, valid: Tensor | None, device: torch.device) -> Tensor:
    """Index [B, L] that reverses each row up to its last valid token and leaves the rest in place.

    Examples
    --------
    >>> valid = torch.tensor([[True, False, True, False]])
    >>> mirrored(valid.shape, valid, valid.device).tolist()
    [[2, 1, 0, 3]]
    """
    index = torch.arange(shape[1], device=device).expand(shape)
    if valid is None:
        return index.flip(1)
    last = index.masked_fill(~valid, -1).amax(1, keepdim=True)
    return torch.where(index <= last, last - index, index)


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """Gather tokens: tensor [B, L, ...] at index [B, M] gives [B, M, ...]."""
    index = index.reshape(*index.shape, *[1] * (tensor.ndim - 2))
    return tensor.gather(1, index.expand(-1, -1, *tensor.shape[2:]))
