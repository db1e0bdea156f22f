"""Prompts: learnt vectors that a context retrieves from a codebook by what it resembles."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prompts(NamedTuple):
    """What queries retrieved.

    Parameters
    ----------
    vectors
        [B, K, d_model] the projected anchors, from the most to the least similar.
    chosen
        [B, K] int64, which anchors they are.
    similarity
        [B] mean cosine between the query and its prompts.
    """

    vectors: Tensor
    chosen: Tensor
    similarity: Tensor


class PromptPool(nn.Module):
    """Frozen anchors behind a learnt projection; queries retrieve the most similar ones.

    Which anchors are chosen has no gradient. What they say to the backbone has, through the
    projection, and their similarity to the queries has, through both.

    Source: the semantic prompts of S2IP-LLM (Pan et al., arXiv 2403.05798), there with the word
    embeddings of GPT-2 as anchors.

    Parameters
    ----------
    d_model
        Width of queries and prompts.
    n_prompts
        Prompts per query, K.
    n_anchors
        Anchors to choose from, V.
    d_anchors
        Width of an anchor; None for `d_model`.
    anchors
        [V, d_anchors] to start from, for instance of `read_anchors`; None for unit vectors of
        random directions, of which any `d_anchors` consecutive ones from a multiple of it are
        orthogonal. They follow torch's random state.

    Raises
    ------
    ValueError
        If there are fewer anchors than prompts.

    Examples
    --------
    >>> pool = PromptPool(d_model=8, n_prompts=2, n_anchors=5)
    >>> pool(torch.randn(3, 8)).vectors.shape
    torch.Size([3, 2, 8])
    """

    anchors: Tensor

    def __init__(
        self,
        d_model: int,
        n_prompts: int,
        n_anchors: int = 128,
        d_anchors: int | None = None,
        anchors: Tensor | None = None,
    ) -> None:
        super().__init__()
        if anchors is None:
            anchors = _orthogonal(n_anchors, d_anchors or d_model)
        if not 1 <= n_prompts <= len(anchors):
            raise ValueError(
                f"n_prompts={n_prompts} must lie between 1 and the number of anchors, "
                f"{len(anchors)}."
            )
        self.n_prompts = n_prompts
        self.register_buffer("anchors", anchors.float())
        self.projection = nn.Linear(anchors.shape[1], d_model, bias=False)
        if anchors.shape[1] == d_model:
            nn.init.eye_(self.projection.weight)

    def forward(self, query: Tensor) -> Prompts:
        """Retrieve.

        Parameters
        ----------
        query
            [B, d_model]; one of zeros retrieves the first anchors.

        Returns
        -------
        Prompts
            K per query.
        """
        with torch.autocast(query.device.type, enabled=False):  # a rounding must not choose
            anchors: Tensor = self.projection(self.anchors)  # [V, d_model]
            cosine = F.normalize(query.float(), dim=-1) @ F.normalize(anchors, dim=-1).T
        index = cosine.topk(self.n_prompts, dim=-1).indices
        first = torch.arange(self.n_prompts, device=query.device)
        index = torch.where((query != 0).any(-1, keepdim=True), index, first)
        return Prompts(anchors[index], index, cosine.gather(1, index).mean(-1))


def read_anchors(path: str | Path) -> Tensor:
    """Matrix of anchors from a file.

    Parameters
    ----------
    path
        A `.npy` file, or a `.safetensors` file with one tensor or one of the name "anchors".

    Returns
    -------
    Tensor
        [V, D] float32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no matrix of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of anchors {path}; check the path.")
    if path.suffix == ".npy":
        found = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors = load_file(path)
        name = "anchors" if "anchors" in tensors or len(tensors) != 1 else next(iter(tensors))
        if name not in tensors:
            raise ValueError(
                f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}; name the matrix to use "
                "'anchors'."
            )
        found = tensors[name].float()
    else:
        raise ValueError(f"Anchors are read from .npy and .safetensors files, not from {path}.")
    if found.ndim != 2 or 0 in found.shape or not bool(torch.isfinite(found).all()):
        raise ValueError(
            f"Anchors must be a matrix [V, D] of finite numbers; {path} holds an array of shape "
            f"{tuple(found.shape)}."
        )
    return found


def _orthogonal(count: int, width: int) -> Tensor:
    """[count, width] rows of random rotations."""
    if count < 1 or width < 1:
        raise ValueError(f"n_anchors={count} and d_anchors={width} must be at least 1.")
    rotations = [nn.init.orthogonal_(torch.empty(width, width)) for _ in range(-(-count // width))]
    return torch.cat(rotations)[:count]
