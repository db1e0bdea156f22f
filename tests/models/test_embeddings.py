"""Where contents stand in a flat embedding."""

from __future__ import annotations

from dataclasses import replace

import torch

from tsfm.models.config import ModelConfig
from tsfm.models.embeddings import moved_to_the_end
from tsfm.models.network import ForecastingNetwork

TINY = ModelConfig.preset("tiny")


def network(**tokenizer) -> ForecastingNetwork:
    torch.manual_seed(0)
    return ForecastingNetwork(replace(TINY, tokenizer=replace(TINY.tokenizer, **tokenizer))).eval()


def test_the_last_step_comes_to_stand_in_the_last_place():
    rng = torch.Generator().manual_seed(0)
    length = torch.randint(0, 8, (3, 5), generator=rng)
    inside = torch.arange(7) < length[..., None]
    values = torch.randn(3, 5, 7, generator=rng) * inside
    observed = inside & (torch.rand(3, 5, 7, generator=rng) < 0.7)
    moved, mask = moved_to_the_end(values, observed, length)
    for row in range(3):
        for token in range(5):
            n = int(length[row, token])
            assert torch.equal(moved[row, token, 7 - n :], values[row, token, :n])
            assert torch.equal(mask[row, token, 7 - n :], observed[row, token, :n])
            assert not moved[row, token, : 7 - n].any()
            assert not mask[row, token, : 7 - n].any()


def test_alignment_is_heard_by_tokens_of_unequal_length_alone():
    z = torch.randn(4, 320, generator=torch.Generator().manual_seed(1)).cumsum(-1) / 18
    observed = torch.ones_like(z) > 0
    for name, same in (("fixed", True), ("entropy", False)):
        start, end = (network(name=name, align=align) for align in ("start", "end"))
        end.load_state_dict(start.state_dict())
        batch = start.tokenizer.tokenize(z, observed, 32)
        assert torch.equal(start.embed(batch), end.embed(batch)) == same
        assert torch.isfinite(end(z, observed, 32)).all()
