"""The forecasting network: tokens, embedding, backbone, head, and its training loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsfm.models.backbone import RecurrentBackbone, State, build_backbone
from tsfm.models.config import ModelConfig
from tsfm.models.embeddings import build_embedding
from tsfm.models.heads import build_head
from tsfm.models.losses import log_decay, shared_out
from tsfm.models.prompting import build_prompts, context_query
from tsfm.models.quantiles import pinball
from tsfm.models.settings import refuse_unread
from tsfm.models.tokenizing import build_tokenizer
from tsfm.tokenizers.ahead import RowDescription
from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.dynamic import DynamicTokenizer
from tsfm.tokenizers.fixed import FixedPatchTokenizer


@dataclass(frozen=True)
class Memory:
    """What a network with a recurrent backbone remembers of the contexts it has read.

    Parameters
    ----------
    state
        Of the backbone after the last context token.
    last
        [B, 1, d_model] the backbone's answer at that token.
    """

    state: State
    last: Tensor


class ForecastingNetwork(nn.Module):
    """Scaled series in, quantiles of the following steps out.

    Parameters
    ----------
    config
        The model's configuration.
    weights_follow
        As in `build_tokenizer`.
    """

    def __init__(self, config: ModelConfig, weights_follow: bool = False) -> None:
        super().__init__()
        self.config = config
        if not weights_follow:
            refuse_unread(config.backbone)
        self.tokenizer = build_tokenizer(config.tokenizer, weights_follow)
        self.tokenizer.with_spectrum = config.backbone.rotary == "adaptive"
        self.embedding = build_embedding(config, self.tokenizer)
        self.backbone = build_backbone(config.backbone)
        if config.backbone.name == "companion" and not self.tokenizer.even_spans:
            raise ValueError(
                f"A companion backbone filters evenly spaced tokens, and those of the tokenizer "
                f"{config.tokenizer.name!r} are not; use a Mamba or transformer backbone."
            )
        patch, n_references = config.tokenizer.patch_length, self.tokenizer.n_references
        self.head = build_head(config.head, config.backbone.d_model, patch, n_references)
        self.config, self.prompts = build_prompts(config)

    def embed(self, batch: TokenBatch) -> Tensor:
        """[B, T, d_model] embedding of contents, features and references."""
        embedded: Tensor = self.embedding(batch)
        return embedded.float()  # residual stream: full precision

    def answer(
        self, batch: TokenBatch, tokens: slice = slice(None)
    ) -> tuple[Tensor, Tensor | None]:
        """Quantiles of `predict_tokens`, and how similar each row is to its prompts.

        Parameters
        ----------
        batch, tokens
            As in `predict_tokens`; prompts are not among the tokens.

        Returns
        -------
        tuple
            [B, T, P, Q] for the wanted tokens, and [B] the mean cosine; None without prompts.
        """
        x, mixed, wanted, similarity = self.embed(batch), batch, tokens, None
        if self.prompts is not None:
            found = self.prompts(context_query(x, batch))
            similarity, count = found.similarity, self.prompts.n_prompts
            x, mixed = torch.cat([found.vectors, x], dim=1), batch.with_prompts(count)
            here = range(batch.kind.shape[1])[tokens]
            wanted = slice(here.start + count, here.stop + count)
        states, _ = self.backbone(x, mixed, wanted=wanted)
        quantiles: Tensor = self.head(states, batch.select(tokens))
        return quantiles, similarity

    def predict_tokens(self, batch: TokenBatch, tokens: slice = slice(None)) -> Tensor:
        """Quantiles of the spans after tokens, in scaled units.

        Parameters
        ----------
        batch
            All tokens of the rows.
        tokens
            Those whose following span is wanted; the last layers are spared the others.

        Returns
        -------
        Tensor
            [B, T, P, Q] for the wanted tokens.
        """
        return self.answer(batch, tokens)[0]

    def forward(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        season: Tensor | None = None,
        symmetric: bool = False,
    ) -> Tensor:
        """Quantiles of the steps after the context.

        Parameters
        ----------
        z, observed
            [B, L] scaled context and mask; L a multiple of the patch length.
        prediction_length
            Steps to forecast, at most `config.max_horizon`.
        season
            [B] season lengths known from the calendar, 0 for none.
        symmetric
            Average with the negated forecast of the mirror image -z, at twice the cost: the
            answer for -z is then exactly the mirror image of that for z.

        Returns
        -------
        Tensor
            [B, prediction_length, Q] in scaled units.
        """
        patch = self.config.tokenizer.patch_length
        n_spans = -(-prediction_length // patch)
        # The last forecast token would describe a span nobody asked for.
        batch = self.tokenizer.tokenize(z, observed, (n_spans - 1) * patch, season=season)
        if not isinstance(self.tokenizer, DynamicTokenizer):
            return self._forecast(batch, n_spans, symmetric)[:, :prediction_length]
        answer = z.new_empty(len(z), n_spans * patch, len(self.config.head.quantile_levels))
        for rows, group in batch.groups():
            answer[rows] = self._forecast(group, n_spans, symmetric).to(answer.dtype)
        return answer[:, :prediction_length]

    def _forecast(self, batch: TokenBatch, n_spans: int, symmetric: bool) -> Tensor:
        """[B, n_spans P, Q] quantiles of the steps after the last context token."""
        if symmetric:
            batch = self.tokenizer.with_mirror_image(batch)
        first = batch.kind.shape[1] - n_spans  # the last context token
        quantiles = self.predict_tokens(batch, slice(first, first + n_spans))
        if symmetric:
            quantiles = _of_both(quantiles)
        return quantiles.flatten(1, 2)

    def blank_memory(self, n_rows: int) -> Memory:
        """Memory of `n_rows` rows that nothing has been read of.

        Raises
        ------
        ValueError
            If the backbone keeps no state.
        """
        if self.config.backbone.forecast_tokens == "decoded":
            raise ValueError(
                "A decoder looks at the states of the whole context, which no memory keeps; use "
                "forecast_tokens='masked'."
            )
        if not isinstance(self.backbone, RecurrentBackbone):
            raise ValueError(
                f"A {self.config.backbone.name} backbone keeps no state to go on from; use a "
                "companion or a Mamba backbone."
            )
        if self.prompts is not None:
            raise ValueError(
                "A network with prompts cannot go on: which it retrieves depends on the whole "
                "context; use n_prompts=0."
            )
        if type(self.tokenizer) is not FixedPatchTokenizer:
            raise ValueError(
                f"Only fixed patches can be continued, not those of the tokenizer "
                f"{self.config.tokenizer.name!r}."
            )
        weight = self.backbone.norm.weight
        last = weight.new_zeros(n_rows, 1, self.config.backbone.d_model)
        return Memory(self.backbone.initial_state(n_rows), last)

    def resume(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        row: RowDescription,
        advanced: Tensor,
        newest: int,
        memory: Memory,
    ) -> tuple[Tensor, Memory]:
        """Quantiles after a context of which only the newest tokens have yet to be read.

        With a blank memory and all tokens new this is `forward(..., symmetric=True)`.

        Parameters
        ----------
        z, observed
            [B, L] scaled context and mask; L a multiple of the patch length. The network reads
            the newest tokens; these refer to the steps before them.
        prediction_length
            As in `forward`.
        row, advanced
            What was said of the series, and [B] by how many steps the context has grown since.
        newest
            Number of context tokens to read; none is fine where the memory is not blank.
        memory
            Of 2B rows, the series and then their mirror images, before the newest tokens.

        Returns
        -------
        tuple
            [B, prediction_length, Q] in scaled units, and the memory after the last context token.
        """
        assert isinstance(self.tokenizer, FixedPatchTokenizer)  # else there is no memory
        patch = self.config.tokenizer.patch_length
        n_spans = -(-prediction_length // patch)
        made = max(newest, 1)  # the last context token also carries references of what follows it
        batch = self.tokenizer.tokenize(
            z, observed, (n_spans - 1) * patch, row=row, advanced=advanced, newest=made
        )
        batch = self.tokenizer.with_mirror_image(batch)
        x = self.embed(batch)
        # forecast tokens must leave no trace in the memory: a Mamba state stands still meanwhile,
        # a companion filter runs on, and is read before them
        split = made if self.config.backbone.name == "companion" or not newest else None
        parts = [memory.last]
        if newest:
            read = slice(split)
            wanted = slice(newest - 1, None)
            states, state = self.backbone(x[:, read], batch.select(read), memory.state, wanted)
            memory, parts = Memory(state, states[:, :1]), [states]
        if split is not None and n_spans > 1:
            ahead = slice(split, None)
            parts.append(self.backbone(x[:, ahead], batch.select(ahead), memory.state)[0])
        quantiles = self.head(torch.cat(parts, dim=1), batch.select(slice(made - 1, None)))
        return _of_both(quantiles).flatten(1, 2)[:, :prediction_length], memory

    def loss(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        horizon_share: float | None = None,
    ) -> Tensor:
        """Pinball loss of every observed span that follows a token.

        Parameters
        ----------
        z, observed
            [B, L + H] scaled series and mask, context and horizon together; both lengths
            multiples of the patch length.
        prediction_length
            H, the last steps, never shown to the network.
        hidden
            [B, T] bool, context tokens whose contents are hidden and must be predicted.
        horizon_share
            Share of a row's loss that its horizon has; None: as large as its share of the observed
            steps. With 0 or 1, rows that have targets on the other side only have no loss.

        Returns
        -------
        Tensor
            [B] mean loss per row in units of the row's error scale; 0 for rows without targets.
            To it come `aux["loss"]` of the tokens and the weighted similarity to the prompts.
        """
        patch = self.config.tokenizer.patch_length
        context = z.shape[1] - prediction_length
        batch = self.tokenizer.tokenize(
            z[:, :context], observed[:, :context], prediction_length, hidden
        )
        quantiles, similarity = self.answer(batch)  # [B, T, P, Q]
        target, seen = _steps_after(batch, z, observed, patch)
        error = target[..., None] - quantiles
        levels = torch.tensor(self.config.head.quantile_levels, device=z.device)
        losses = pinball(error, levels).mean(-1)  # [B, T, P]
        started = batch.observed.any(-1).cummax(-1).values  # something to go by
        weight = seen & started[..., None]
        if self.tokenizer.looks_ahead:
            weight[:, : batch.n_context - 1] = False
        if self.config.head.loss_weights == "log_decay":
            weight = weight * log_decay(batch, patch, prediction_length)
        if horizon_share is not None:
            weight = shared_out(weight.to(losses.dtype), batch.n_context, horizon_share)
        unit = torch.ones_like(z[:, 0]) if batch.error_scale is None else batch.error_scale
        counted = weight.sum((1, 2))
        total = (losses * weight).sum((1, 2)) / torch.where(counted > 0, counted, 1)
        loss: Tensor = 2 * total / unit.clamp_min(0.1)
        if similarity is not None:
            loss = loss - self.config.tokenizer.prompt_weight * similarity
        if "loss" in batch.aux:
            loss = loss + batch.aux["loss"]
        return loss


def _steps_after(
    batch: TokenBatch, z: Tensor, observed: Tensor, patch: int
) -> tuple[Tensor, Tensor]:
    """The `patch` steps after each token and their mask, [B, T, P]; nothing beyond the series."""
    offset = torch.arange(patch, device=z.device)
    steps = (batch.start + batch.length)[..., None] + offset
    inside = steps < z.shape[1]
    index = steps.clamp(max=z.shape[1] - 1).flatten(1)
    return z.gather(1, index).view(steps.shape), inside & observed.gather(1, index).view(
        steps.shape
    )


def _of_both(quantiles: Tensor) -> Tensor:
    """Mean of the quantiles of B series and of their B mirror images, given one after another."""
    up, down = quantiles.chunk(2)
    return (up - down.flip(-1)) / 2  # level tau of -x is minus level 1 - tau of x
