"""The adaptive embedding: what a token's vector depends on, and forecasts made with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.models.config import TokenizerConfig
from tsfm.models.patch_encoder import AdaptivePatchEmbedding, StepDecoder
from tsfm.tokenizers import FixedPatchTokenizer
from tsfm.tokenizers.batch import Kind, TokenBatch
from tsfm.tokenizers.dynamic import DynamicTokenizer, limited

ADAPTIVE = TokenizerConfig(embedding="adaptive", d_step=16, n_step_heads=2)
PREFIX = replace(ADAPTIVE, prefix_attention=True, prefix_window=2)


class AtJumps(DynamicTokenizer):
    """Starts a token after every large step."""

    def starts(self, z: Tensor, observed: Tensor, forced: Tensor | None = None) -> Tensor:
        jump = F.pad(z.diff(dim=-1).abs(), (1, 0)) > 1.2
        return limited(jump, observed, 2, self.max_length, forced)


def series(rows: int = 3, length: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    observed = torch.rand(rows, length, generator=rng) < 0.9
    observed[:, 40:56] = False
    return torch.randn(rows, length, generator=rng), observed


def tokens(seed: int = 0, tokenizer: DynamicTokenizer | None = None) -> TokenBatch:
    tokenizer = tokenizer or AtJumps(16, max_length=12)
    return tokenizer.tokenize(*series(seed=seed), 32)


def embedding(window: int = 1, tokenizer=None) -> AdaptivePatchEmbedding:
    torch.manual_seed(0)
    tokenizer = tokenizer or AtJumps(16, max_length=12)
    return AdaptivePatchEmbedding(tokenizer, 24, 20, 16, 2, window)


def padded(batch: TokenBatch, count: int) -> TokenBatch:
    """With further tokens of no length in front."""
    names = ("values", "observed", "start", "length", "kind", "position", "variate")
    names += ("features", "references")
    parts = {n: F.pad(getattr(batch, n), (0, 0) * (getattr(batch, n).ndim - 2) + (count, 0))
             for n in names}  # fmt: skip
    return replace(batch, **parts, step_token=batch.step_token + count)


@pytest.mark.parametrize("tokenizer", [AtJumps(16, max_length=12), FixedPatchTokenizer(16)])
def test_tokenizers_say_which_token_covers_a_step(tokenizer):
    for length in (1, 15, 16, 120):
        z, observed = series(length=length)
        batch = tokenizer.tokenize(z, observed, 32)
        assert batch.step_token.shape == z.shape
        assert torch.equal(batch.step_token, replace(batch, step_token=None).token_of_step())
        for rows, part in batch.groups(0.0):
            assert torch.equal(part.step_token, replace(part, step_token=None).token_of_step())
            assert part.step_token.shape == (len(rows), length)


def test_newest_fixed_patches_know_their_steps():
    tokenizer = FixedPatchTokenizer(16)
    z, observed = series()
    row = tokenizer.describe(z, observed)
    everything = tokenizer.tokenize(z, observed, 16, row=row)
    newest = tokenizer.tokenize(z, observed, 16, row=row, newest=2)
    module = embedding(tokenizer=tokenizer)
    found = module.embed_steps(newest)
    wanted = module.embed_steps(everything).embedded[:, -32:]
    torch.testing.assert_close(found.embedded, wanted)
    torch.testing.assert_close(module(newest), module(everything)[:, -3:])


def test_steps_are_those_of_the_series():
    batch, (z, observed) = tokens(), series()
    steps = embedding().embed_steps(batch)
    assert torch.equal(steps.observed, observed)
    module = embedding()
    seen = []
    module.steps.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments))
    module(batch)
    values, offset, remaining = seen
    assert torch.equal(values[..., 0], torch.where(observed, z, 0))
    assert torch.equal(offset + remaining + 1, batch.length.gather(1, steps.token))
    assert torch.equal(
        batch.start.gather(1, steps.token) + offset, torch.arange(120).expand(3, -1)
    )


@pytest.mark.parametrize("window", [1, 2])
def test_tokens_of_no_length_change_nothing(window):
    batch, module = tokens(), embedding(window)
    assert (batch.length == 0).any()
    plain = module(batch)
    for count in (1, 7):
        more = padded(batch, count)
        torch.testing.assert_close(module(more)[:, count:], plain, atol=1e-6, rtol=1e-6)


def test_a_token_depends_on_its_own_steps_only():
    batch, module = tokens(), embedding()
    plain = module(batch)
    filled = torch.where(batch.observed, batch.values + 3, 0)
    held = batch.observed.any(-1)
    for token in held[0].nonzero().flatten().tolist():
        values = batch.values.clone()
        values[:, token] = filled[:, token]
        differs = (module(replace(batch, values=values)) != plain).any(-1)
        assert torch.equal(differs.nonzero()[:, 1].unique(), torch.tensor([token]))
        assert torch.equal(differs[:, token], held[:, token])  # the others bit for bit the same


def test_prefix_attention_looks_back_and_never_ahead():
    batch, module = tokens(), embedding(window=3)
    plain = module(batch)
    token = int(batch.observed.any(-1)[0].nonzero().flatten()[2])
    values = torch.where(batch.observed, batch.values + 3, 0)
    values = torch.where((torch.arange(values.shape[1]) == token)[:, None], values, batch.values)
    differs = (module(replace(batch, values=values)) != plain).any(-1)
    assert not differs[:, :token].any()
    assert not differs[:, token + 3 :].any()
    assert differs[0, token + 1]


def test_tokens_without_data_know_only_what_they_are_told():
    batch, module = tokens(), embedding()
    empty = ~batch.observed.any(-1)
    assert {int(kind) for kind in batch.kind[empty].unique()} == {Kind.CONTEXT, Kind.FORECAST}
    facts = torch.cat([batch.features, batch.references.flatten(2)], -1)
    assert torch.equal(module(batch)[empty], module.facts(facts)[empty])


def test_masked_values_are_not_read():
    batch, module = tokens(), embedding()
    other = replace(batch, values=torch.where(batch.observed, batch.values, 1e6))
    assert torch.equal(module(batch), module(other))


def test_nothing_to_tell():
    tokenizer = FixedPatchTokenizer(16, n_cycles=0, references=False)
    module = embedding(tokenizer=tokenizer)
    vectors = module(tokenizer.tokenize(*series(), 32))
    assert (vectors[:, -2:] == 0).all()
    assert (vectors[:, -3] != 0).any(-1).all()


@pytest.mark.parametrize("window", [1, 2])
def test_gradients_reach_every_parameter(window):
    batch, module = tokens(), embedding(window)
    decoder = StepDecoder(20, 16, 6)
    decoder(module(batch), module.embed_steps(batch)).square().sum().backward()
    for name, parameter in [*module.named_parameters(), *decoder.named_parameters()]:
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("window", [1, 2])
def test_batch_mates_change_nothing(window):
    tokenizer, module = AtJumps(16, max_length=12), embedding(window)
    z, observed = series(4)
    together = module(tokenizer.tokenize(z, observed, 32))
    mixed = module(tokenizer.tokenize(z.flip(0), observed.flip(0), 32)).flip(0)
    torch.testing.assert_close(mixed, together)
    for row in range(4):
        alone = module(tokenizer.tokenize(z[row : row + 1], observed[row : row + 1], 32))
        torch.testing.assert_close(
            together[row, -alone.shape[1] :], alone[0], atol=1e-6, rtol=1e-5
        )


def test_step_decoder_stays_inside_tokens():
    batch, module, decoder = tokens(), embedding(), StepDecoder(20, 16, 6)
    states, steps = module(batch), module.embed_steps(batch)
    plain = decoder(states, steps)
    assert plain.shape == (3, 120, 6)
    token = int(steps.token[0, 20])
    states = states + (torch.arange(states.shape[1]) == token)[:, None]
    differs = (decoder(states, steps) != plain).any(-1)
    assert torch.equal(differs, steps.token == token)
    inside = plain[0, steps.token[0] == token]
    assert len(inside) > 1
    assert (inside[1:] != inside[:1]).any(-1).all()


def test_compiled_without_breaks():
    batch, module = tokens(), embedding()
    compiled = torch.compile(module, backend="aot_eager", dynamic=True, fullgraph=True)
    for seed in range(3):
        batch = tokens(seed)
        torch.testing.assert_close(compiled(batch), module(batch))


@pytest.mark.slow
def test_compiled_code_gives_the_same():
    module = embedding()
    compiled = torch.compile(module, dynamic=True, fullgraph=True)
    for seed in range(2):
        batch = tokens(seed)
        one, two = compiled(batch), module(batch)
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
        found = torch.autograd.grad(one.square().sum(), list(module.parameters()))
        wanted = torch.autograd.grad(two.square().sum(), list(module.parameters()))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tokenizer", [ADAPTIVE, PREFIX])
@pytest.mark.parametrize("backbone", ["transformer", "companion", "mamba2"])
def test_forecasts_with_fixed_patches(random_model, backbone, tokenizer):
    network = random_model(backbone, amount=0.1, tokenizer=tokenizer).network
    z, observed = series(3, 160)
    forecast = network(z, observed, 70)
    assert torch.isfinite(forecast).all()
    assert (forecast.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(network(z, observed, 20), forecast[:, :20])
    more = network(F.pad(z, (96, 0)), F.pad(observed, (96, 0)), 70)
    torch.testing.assert_close(more, forecast, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(z[1:2], observed[1:2], 70), forecast[1:2])
    hidden = torch.zeros(3, 5, dtype=torch.bool)
    hidden[:, 1] = True
    network.loss(z, observed, 32, hidden).sum().backward()
    assert all((p.grad != 0).any() for p in network.embedding.parameters())


def test_streams_of_adaptive_embeddings_equal_forecasts(random_model):
    network = random_model("mamba2", amount=0.1, tokenizer=ADAPTIVE).network
    z, observed = series(2, 128)
    row = network.tokenizer.describe(torch.where(observed, z, 0), observed)
    memory, none = network.blank_memory(4), torch.zeros(2, dtype=torch.int64)
    before = z[:, :96], observed[:, :96]
    _, memory = network.resume(*before, 40, row, none - 32, 3, memory)
    resumed, _ = network.resume(z, observed, 40, row, none, 1, memory)
    wanted = network.resume(z, observed, 40, row, none, 4, network.blank_memory(4))[0]
    torch.testing.assert_close(resumed, wanted, atol=1e-5, rtol=1e-5)


def test_prefix_attention_needs_the_adaptive_embedding(random_model):
    with pytest.raises(ValueError, match="adaptive"):
        random_model("transformer", tokenizer=TokenizerConfig(prefix_attention=True))
