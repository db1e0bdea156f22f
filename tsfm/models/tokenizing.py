"""From the configuration of a tokenizer to the tokenizer."""

from __future__ import annotations

from tsfm.models.config import TokenizerConfig
from tsfm.models.hub import load_scorer
from tsfm.models.settings import refuse_unread
from tsfm.tokenizers.base import Tokenizer
from tsfm.tokenizers.decomposed import DecomposedTokenizer
from tsfm.tokenizers.entropy import EntropyTokenizer
from tsfm.tokenizers.fixed import FixedPatchTokenizer
from tsfm.tokenizers.mixture import MixtureTokenizer
from tsfm.tokenizers.scorer import EntropyScorer


def build_tokenizer(config: TokenizerConfig, weights_follow: bool = False) -> Tokenizer:
    """Tokenizer of the configured kind.

    Parameters
    ----------
    config
        What kind, and how.
    weights_follow
        Whether the weights of a saved model are about to be loaded: trained parts that the
        configuration names are then not looked for.

    Raises
    ------
    ValueError
        If the kind is unknown, or a setting counts with another kind only.
    """
    if not weights_follow:
        refuse_unread(config)
    if config.name == "fixed":
        return FixedPatchTokenizer(config.patch_length, config.n_cycles, config.references)
    if config.name == "mixture":
        return MixtureTokenizer(
            config.patch_length,
            config.n_cycles,
            config.references,
            config.patch_sizes,
            config.n_null_experts,
            config.top_experts,
            config.expert_shares,
            config.aligned_views,
            config.steps_per_token,
        )
    if config.name == "entropy":
        return EntropyTokenizer(
            config.patch_length,
            config.n_cycles,
            config.references,
            config.min_length,
            config.max_length,
            config.rule,
            config.rule_value,
            build_scorer(config.scorer, weights_follow),
        )
    if config.name == "decomposed":
        return DecomposedTokenizer(
            config.patch_length,
            config.n_cycles,
            config.references,
            config.causal_decomposition,
            config.trend_width,
        )
    if config.name == "variate":
        raise ValueError(
            "Variate tokens hold a whole window of trained length each, so a network that reads "
            "them is trained on one system of series: use the preset 'smamba' "
            "(tsfm.models.presets), or the tokenizer 'fixed' here."
        )
    raise ValueError(
        f"Unknown tokenizer {config.name!r}; choose 'fixed', 'entropy', 'mixture' or 'decomposed'."
    )


def build_scorer(name: str, weights_follow: bool = False) -> EntropyScorer | None:
    """What scores the steps of a series; None for the score that is computed without weights.

    Parameters
    ----------
    name
        Of a shipped scorer or its folder, or "surprise".
    weights_follow
        As in `build_tokenizer`.

    Raises
    ------
    FileNotFoundError
        If there is no such scorer.
    ValueError
        If its shape is another than that of all saved models.
    """
    if name == "surprise":
        return None
    if weights_follow:
        return EntropyScorer()
    scorer = load_scorer(name)
    if scorer.sizes != EntropyScorer().sizes:
        raise ValueError(
            f"The scorer {name!r} has the shape {scorer.sizes}; models need one of the shape "
            f"{EntropyScorer().sizes}."
        )
    return scorer
