"""Settings that only some choices read: where nobody reads them, they may not be set.

Sizes of a backbone are not among them, so that one backbone takes the place of another by its name
alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class ReadBy(NamedTuple):
    """Which values of another field of the same part make a setting count."""

    field: str
    values: tuple[Any, ...]


_READERS: dict[str, ReadBy] = {
    # of TokenizerConfig
    **dict.fromkeys(("causal_decomposition", "trend_width"), ReadBy("name", ("decomposed",))),
    **dict.fromkeys(
        (
            "patch_sizes",
            "n_null_experts",
            "top_experts",
            "expert_shares",
            "aligned_views",
            "steps_per_token",
        ),
        ReadBy("name", ("mixture",)),
    ),
    **dict.fromkeys(
        ("min_length", "max_length", "rule", "rule_value", "scorer"),
        ReadBy("name", ("entropy",)),
    ),
    "align": ReadBy("embedding", ("flat",)),
    **dict.fromkeys(("d_step", "n_step_heads"), ReadBy("embedding", ("adaptive",))),
    "prefix_window": ReadBy("prefix_attention", (True,)),
    # of BackboneConfig
    "n_decoder_layers": ReadBy("forecast_tokens", ("decoded",)),
}
"""By the name of the setting."""

_OF_PROMPTS = ("n_anchors", "d_anchors", "prompt_weight")


def refuse_unread(config: Any) -> None:
    """Let nobody believe that a setting counts where it is not looked at.

    Parameters
    ----------
    config
        A `TokenizerConfig` or `BackboneConfig`.

    Raises
    ------
    ValueError
        If a setting differs from its default and the other settings leave it unread.
    """
    plain = type(config)()
    for name in vars(plain):
        value = getattr(config, name)
        if value == getattr(plain, name):
            continue
        reader = _READERS.get(name)
        if reader is not None and getattr(config, reader.field) not in reader.values:
            wanted = " or ".join(f"{reader.field}={v!r}" for v in reader.values)
            raise ValueError(
                f"{name}={value!r} counts with {wanted} only, and "
                f"{reader.field}={getattr(config, reader.field)!r}; leave it out, or change that."
            )
        if name in _OF_PROMPTS and not config.n_prompts:
            raise ValueError(
                f"{name}={value!r} counts with prompts only, and n_prompts=0; leave it out, or "
                "set n_prompts."
            )
