"""Entropy-guided patches: short tokens where a series is hard to foresee, long ones elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tsfm.tokenizers.batch import TokenBatch
from tsfm.tokenizers.boundaries import Rule, check_rule, token_starts
from tsfm.tokenizers.dynamic import DynamicTokenizer, spans
from tsfm.tokenizers.scorer import EntropyScorer, surprise

__all__ = ["EntropyTokenizer", "Rule"]

_N_SCORES = 2
_SHARES: dict[str, Callable[[float], float]] = {
    "quantile": lambda level: 1 - level,
    "top_k": lambda rate: rate,
    "equal_share": lambda mean_length: 1 / mean_length,
}
"""Share of the steps that start a token, of the rules that say so."""


class EntropyTokenizer(DynamicTokenizer):
    """Cut a series where its next step is hard to foresee.

    Every token is also told the score at the step before it, which made it start there, and at its
    own last step: how hard the step after it is. Both are 0 where that step is missing or in the
    future. The scores stand before the last feature, the logarithm of the length.

    Source: EntroPE (arXiv 2509.26157); other rules, and one scorer for all series.

    Parameters
    ----------
    patch_length, n_cycles, references
        As in `Tokenizer`.
    min_length, max_length
        Limits of a token in steps. A token is shorter where the series ends, where data begin, or
        beside a hidden patch.
    rule, rule_value
        What scores make a token start; see `tsfm.tokenizers.boundaries.wanted_starts`.
    scorer
        A trained scorer; its weights stay as they are. None for the score that needs no training,
        `surprise`.

    Raises
    ------
    ValueError
        If lengths or rule are impossible.

    Examples
    --------
    >>> z = torch.sin(torch.arange(200.0) / 20)
    >>> z[100:120] += torch.randn(20, generator=torch.Generator().manual_seed(0))
    >>> tokenizer = EntropyTokenizer(rule="quantile", rule_value=0.9)
    >>> batch = tokenizer.tokenize(z[None], torch.ones(1, 200) > 0, 32)
    >>> batch.length.tolist()
    [[64, 33, 4, 4, 4, 4, 4, 64, 19, 32]]
    """

    def __init__(
        self,
        patch_length: int = 32,
        n_cycles: int = 4,
        references: bool = True,
        min_length: int = 4,
        max_length: int = 64,
        rule: Rule = "quantile",
        rule_value: float = 0.9,
        scorer: EntropyScorer | None = None,
    ) -> None:
        super().__init__(patch_length, n_cycles, references, max_length)
        if not 1 <= min_length <= max_length:
            raise ValueError(
                f"min_length must be at least 1 and at most max_length, got {min_length} and "
                f"{max_length}."
            )
        check_rule(rule, rule_value)
        self.min_length, self.rule, self.rule_value = min_length, rule, rule_value
        self.scorer = None if scorer is None else scorer.requires_grad_(False)

    @property
    def n_features(self) -> int:
        """Width of `TokenBatch.features`."""
        return super().n_features + _N_SCORES

    def n_tokens(self, length: int) -> int:
        """About how many tokens a context becomes; the most, where the rule does not say."""
        share = 1 / self.min_length
        if self.rule in _SHARES:
            share = min(share, _SHARES[self.rule](self.rule_value) + 1 / self.max_length)
        return max(1, round(length * share))

    def scores(self, z: Tensor, observed: Tensor) -> Tensor:
        """How hard the step after each one is to foresee.

        Parameters
        ----------
        z, observed
            [B, L] scaled values and mask.

        Returns
        -------
        Tensor
            [B, L] float32: nats of `EntropyScorer.scores`, or `surprise`; 0 where missing. The
            score at step t knows nothing of later steps.
        """
        return surprise(z, observed) if self.scorer is None else self.scorer.scores(z, observed)

    def starts(self, z: Tensor, observed: Tensor, forced: Tensor | None = None) -> Tensor:
        """Where tokens start; arguments and result as in `DynamicTokenizer.starts`."""
        return self._starts(self.scores(z, observed), observed, forced)

    def cuts(self, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Where the context tokens lie; arguments and result as in `Tokenizer.cuts`."""
        scores = self.scores(torch.where(observed, z, 0), observed)
        return *spans(self._starts(scores, observed, None)), scores

    def tokenize(
        self,
        z: Tensor,
        observed: Tensor,
        prediction_length: int,
        hidden: Tensor | None = None,
        season: Tensor | None = None,
    ) -> TokenBatch:
        """Turn scaled series into tokens; arguments and result as in `Tokenizer.tokenize`."""
        z, observed, forced = self._blanked(z, observed, hidden)
        scores = self.scores(z, observed)
        marks = self._starts(scores, observed, forced)
        batch = self._cut_at(marks, z, observed, prediction_length, season)
        assert batch.features is not None  # the length at least
        told = torch.stack(
            [
                _score_before(scores, batch.start),
                _score_before(scores, batch.start + batch.length),
            ],
            dim=-1,
        ).to(batch.features.dtype)
        features = torch.cat([batch.features[..., :-1], told, batch.features[..., -1:]], dim=-1)
        return self._described(replace(batch, features=features), z, observed)

    def _starts(self, scores: Tensor, observed: Tensor, forced: Tensor | None) -> Tensor:
        """[B, L] bool, where the rule and the limits make tokens start."""
        return token_starts(
            scores,
            observed,
            self.rule,
            self.rule_value,
            self.min_length,
            self.max_length,
            forced,
        )


def _score_before(scores: Tensor, step: Tensor) -> Tensor:
    """[B, T] score at the step before each of [B, T]; 0 where that is not of the context."""
    inside = (step > 0) & (step <= scores.shape[1])
    index = (step - 1).clamp(0, scores.shape[1] - 1)
    return torch.where(inside, scores.gather(1, index), 0)
