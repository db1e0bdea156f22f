"""What all tokenizers are: something that turns scaled series into a `TokenBatch`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from tsfm.tokenizers.ahead import LookAhead, RowDescription
from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.spectrum import band_power


class Tokenizer(nn.Module, ABC):
    """Cut series into tokens, and tell each token of the `patch_length` steps after it.

    A module, because some tokenizers learn where to cut; most have no weights.

    Parameters
    ----------
    patch_length
        Steps after each token that it is told of and that a forecast reads from it; also the
        length of forecast tokens, P.
    n_cycles
        Periodogram cycles described to each token; 0 switches the phase features off.
    references
        Whether tokens carry the simple forecasts of `simple_forecasts`.
    """

    looks_ahead = False
    """Whether a context token may know of steps after it; only the last one then learns to
    forecast, and those behind it."""
    even_spans = False
    """Whether all tokens but the first and the last last equally long."""
    with_spectrum = False
    """Whether tokens carry the spectrum of their series; the network sets it where it needs it."""

    def __init__(self, patch_length: int = 32, n_cycles: int = 4, references: bool = True) -> None:
        super().__init__()
        if patch_length < 1:
            raise ValueError(f"patch_length must be at least 1, got {patch_length}.")
        self.patch_length = patch_length
        self.ahead = LookAhead(patch_length, n_cycles, references)

    @property
    def max_length(self) -> int:
        """Width of `TokenBatch.values`: steps of the longest token."""
        return self.patch_length

    @property
    def n_features(self) -> int:
        """Width of `TokenBatch.features`."""
        return self.ahead.n_features

    @property
    def n_references(self) -> int:
        """Number of simple forecasts per step."""
        return self.ahead.n_references

    @abstractmethod
    def tokenize(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        season: Tensor | None = None,
    ) -> TokenBatch:
        """Turn scaled series into tokens.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask; masked values are ignored.
        prediction_length
            Steps to forecast, H.
        hidden
            [B, T] bool, patches of `patch_length` context steps to be treated as unknown
            (training only; L a multiple of P): their values are blanked and nothing inside or
            after a hidden run up to its end is used for them.
        season
            [B] season lengths known from the calendar, 0 for none; see `find_repeat_lags`.

        Returns
        -------
        TokenBatch
            Context tokens, then `ceil(H / P)` forecast tokens.
        """

    def scores(self, z: Tensor, observed: Tensor) -> Tensor | None:
        """What the cuts were decided by, [B, L]: how hard the step after each step is to foresee.

        None for tokenizers that do not look at the values.
        """
        return None

    def cuts(self, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Where the context tokens lie, for those who want to know no more.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask; masked values are ignored.

        Returns
        -------
        tuple
            Start and length [B, T] of the tokens that `tokenize` makes, length 0 where a row has
            no more, and what `scores` says.
        """
        batch = self.tokenize(z, observed, 0)
        return batch.start, batch.length, self.scores(z, observed)

    def spectrum(self, z: Tensor, observed: Tensor) -> Tensor | None:
        """[B, S] how the power of a context is spread over frequencies, if that is wanted."""
        return band_power(z, observed) if self.with_spectrum else None

    def n_tokens(self, length: int) -> int:
        """About how many tokens a context of `length` steps becomes, for sizing batches."""
        return -(-length // self.patch_length)

    def describe(
        self, z: Tensor, observed: Tensor, season: Tensor | None = None
    ) -> RowDescription:
        """What a context says about its series as a whole.

        Parameters
        ----------
        z, observed
            [B, L] scaled values (0 where missing) and mask.
        season
            As in `tokenize`.

        Returns
        -------
        RowDescription
            B rows.

        Examples
        --------
        >>> import torch
        >>> from tsfm.tokenizers import FixedPatchTokenizer
        >>> z = torch.sin(torch.arange(240.0) * 2 * torch.pi / 24)[None]
        >>> FixedPatchTokenizer().describe(z, torch.ones(1, 240) > 0).lags.short
        tensor([24])
        """
        return self.ahead.describe(z, observed, season)

    def with_mirror_image(self, batch: TokenBatch) -> TokenBatch:
        """Add the rows of the negated series.

        The same as tokenizing `cat([z, -z])`, but a series and its mirror image share their
        cuts and cycles, so that these are looked for only once.

        Parameters
        ----------
        batch
            Tokens of `tokenize(z, ...)`, B rows.

        Returns
        -------
        TokenBatch
            2B rows, first those of z, then those of -z.

        Examples
        --------
        >>> import torch
        >>> from tsfm.tokenizers import FixedPatchTokenizer
        >>> tokenizer = FixedPatchTokenizer(2)
        >>> batch = tokenizer.tokenize(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2) > 0, 2)
        >>> tokenizer.with_mirror_image(batch).values[:, 0].tolist()
        [[1.0, 2.0], [-1.0, -2.0]]
        """
        both = batch.repeat(2)
        sign = torch.ones_like(both.values[:, :1, :1])
        sign[len(batch.row) :] = -1
        features, references, components = both.features, both.references, both.components
        if features is not None:
            odd = self.ahead.n_odd
            features = torch.cat([sign * features[..., :odd], features[..., odd:]], dim=-1)
        if references is not None:
            references = sign[..., None] * references
        if components is not None:
            components = sign[..., None] * components
        return replace(
            both,
            values=sign * both.values,
            features=features,
            references=references,
            components=components,
        )

    def to_steps(self, states: Tensor, batch: TokenBatch) -> Tensor:
        """Spread token states [B, T, D] over the steps of their CONTEXT spans: [B, L, D]."""
        index = batch.token_of_step()[..., None]
        return states.gather(1, index.expand(-1, -1, states.shape[-1]))
