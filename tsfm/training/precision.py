"""Which numbers a run multiplies in."""

from __future__ import annotations

import torch


def native_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies bf16 matrices natively, and so faster than fp32 ones.

    Parameters
    ----------
    device
        A processor; False for kinds other than "cpu" and "cuda".
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it yet
    return bool(kind == "cpu" and native and native())


def use_bf16(precision: str) -> bool:
    """Whether a run multiplies in bf16.

    Parameters
    ----------
    precision
        "auto", "bf16" or "fp32"; see `RunConfig.precision`.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision must be 'auto', 'bf16' or 'fp32', got {precision!r}.")
    if precision != "auto":
        return precision == "bf16"
    return native_bf16("cuda" if torch.cuda.is_available() else "cpu")
