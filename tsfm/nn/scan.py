"""Selective state-space recurrences: the scans of Mamba-1 and Mamba-2 (SSD).

Each recurrence exists three times and gives the same numbers three times: as a `_step` for one
token, as a `_sequential` loop over steps (the reference), and as a `_chunked` form, the fast one.
`selective_scan` and `ssd` choose among them, and on a GPU the fused kernels of `tsfm.nn.kernels`;
nothing else needs to be called.

Rules that hold for all of them. A token with `dt = 0` neither decays nor feeds the state: it is
left as it was, bit for bit, while the token still reads it. All inputs must be finite and `A` must
not be positive. Arithmetic is fp32, or fp64 where `x` is, whatever autocast says (the fused SSD
multiplies in the dtype of `x`); outputs have the dtype of `x`, states that of the arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tsfm.nn import kernels

Scanned = tuple[Tensor, Tensor]
"""Outputs, and the state after the last token."""

_KEEP_UP_TO = 2**24
"""Numbers B L E N up to which training keeps all states of `selective_scan`, which is faster."""
_ONE_CHUNK = 128
"""Tokens that are a single chunk in compiled graphs."""
_PIECE = 512
"""Tokens that `ssd_chunked` takes at once on a CPU."""


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state: Tensor | None = None,
    chunk: int | None = None,
) -> Scanned:
    """Selective scan of Mamba-1: every channel has N states with decays of their own.

    `h_t[e, n] = exp(dt_t[e] A[e, n]) h_{t-1}[e, n] + dt_t[e] B_t[n] x_t[e]` and
    `y_t[e] = sum_n C_t[n] h_t[e, n] + D[e] x_t[e]`.

    Source: Gu and Dao, "Mamba" (arXiv 2312.00752), equation 2 and algorithm 2; see also the
    rules at the top of this module.

    Parameters
    ----------
    x
        [B, L, E], L >= 1.
    dt
        [B, L, E], non-negative step sizes.
    A
        [E, N], not positive.
    B, C
        [B, L, N].
    D
        [E], the skip; None for none.
    state
        [B, E, N] before the first token; None for zeros.
    chunk
        Tokens whose states are computed at a time, and held in memory at a time where no gradient
        is wanted or there are many states; None for the default of the device.

    Returns
    -------
    tuple of Tensor
        Outputs [B, L, E] and the final state [B, E, N].

    Examples
    --------
    >>> x = torch.tensor([[[1.0], [0.0], [0.0]]])
    >>> ones = torch.ones(1, 3, 1)
    >>> y, state = selective_scan(x, ones, torch.tensor([[-0.6931472]]), ones, ones)
    >>> y.flatten().tolist()
    [1.0, 0.5, 0.25]
    """
    dtype = x.dtype
    with torch.autocast(x.device.type, enabled=False):
        fused = kernels.fused("selective_scan", x, A.shape[1])
        x, dt, A, B, C = (widened(tensor) for tensor in (x, dt, A, B, C))
        if fused:
            initial = None if state is None else widened(state)
            y, state = kernels.fused_selective_scan(x, dt, A, B, C, initial)
            return (y if D is None else y + x * widened(D)).to(dtype), state
        state = x.new_zeros(x.shape[0], *A.shape) if state is None else widened(state)
        if x.shape[1] == 1:
            y, state = selective_scan_step(x[:, 0], dt[:, 0], A, B[:, 0], C[:, 0], state)
            y = y[:, None]
        else:
            recompute = torch.is_grad_enabled() and state.numel() * x.shape[1] > _KEEP_UP_TO
            y, state = selective_scan_chunked(
                x, dt, A, B, C, state, chunk or _default_chunk(x), recompute
            )
        if D is not None:
            y = y + x * widened(D)
    return y.to(dtype), state


def selective_scan_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor
) -> Scanned:
    """Advance `selective_scan` by one token, without the skip.

    Parameters
    ----------
    x, dt
        [B, E].
    A
        [E, N].
    B, C
        [B, N].
    state
        [B, E, N].

    Returns
    -------
    tuple of Tensor
        Output [B, E] and the next state [B, E, N].
    """
    state = torch.exp(dt[..., None] * A) * state + (dt * x)[..., None] * B[:, None]
    return (state @ C[..., None])[..., 0], state


def selective_scan_sequential(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor
) -> Scanned:
    """Loop over `selective_scan_step`: the reference. Arguments as in `selective_scan`."""
    outputs = []
    for t in range(x.shape[1]):
        y, state = selective_scan_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def selective_scan_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor,
    chunk: int,
    recompute: bool = False,
) -> Scanned:
    """`selective_scan` without the skip, `chunk` tokens at a time.

    Memory is that of the states of one chunk, [B, chunk, E, N]: with `recompute` the backward
    pass, too, keeps only the states between chunks and computes each chunk a second time.

    Parameters
    ----------
    x, dt, A, B, C, state
        As in `selective_scan`, and so are the results.
    chunk
        Tokens per chunk.
    recompute
        Whether to trade a second forward pass for memory in the backward pass.
    """
    outputs = []
    for at in range(0, x.shape[1], chunk):
        now = slice(at, at + chunk)
        inputs = (x[:, now], dt[:, now], A, B[:, now], C[:, now], state)
        if recompute:
            y, state = checkpoint(
                _scan_chunk, *inputs, use_reentrant=False, preserve_rng_state=False
            )
        else:
            y, state = _scan_chunk(*inputs)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _scan_chunk(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Scanned:
    """Scan one chunk: on the CPU one fused operation per token, elsewhere by doubling."""
    decay = torch.exp(dt[..., None] * A)  # [B, Q, E, N]
    inputs = (dt * x)[..., None] * B[:, :, None]
    states = _prefix_loop(decay, inputs, state) if x.is_cpu else _doubling(decay, inputs, state)
    return (states @ C[..., None])[..., 0], states[:, -1]


def _prefix_loop(decay: Tensor, inputs: Tensor, state: Tensor) -> Tensor:
    """States `h_t = decay_t h_{t-1} + inputs_t` [B, Q, E, N], token by token."""
    states = []
    for a, b in zip(decay.unbind(1), inputs.unbind(1), strict=True):
        state = torch.addcmul(b, a, state)
        states.append(state)
    return torch.stack(states, 1)


def _doubling(decay: Tensor, inputs: Tensor, state: Tensor) -> Tensor:
    """The states of `_prefix_loop` in log2(Q + 1) rounds (Hillis and Steele, 1986).

    Before a round, entry t holds the sum over a window of `width` tokens that ends at t, and the
    decay across that window; the round appends the window before it. Decays are products of
    numbers in [0, 1], so nothing can overflow.
    """
    states = torch.cat([state[:, None], inputs], 1)  # [B, Q + 1, E, N]
    decay = torch.cat([torch.ones_like(state)[:, None], decay], 1)
    width = 1
    while width < states.shape[1]:
        late = torch.addcmul(states[:, width:], decay[:, width:], states[:, :-width])
        states = torch.cat([states[:, :width], late], 1)
        decay = torch.cat([decay[:, :width], decay[:, width:] * decay[:, :-width]], 1)
        width *= 2
    return states[:, 1:]


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state: Tensor | None = None,
    chunk: int | None = None,
) -> Scanned:
    """Scan of Mamba-2: one decay per head and token, hence matrix products over chunks.

    `S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T` (a P x N matrix per head) and
    `y_t = S_t C_t + D x_t`.

    Source: Dao and Gu, "Transformers are SSMs" (arXiv 2405.21060), section 6; see also the rules
    at the top of this module.

    Parameters
    ----------
    x
        [B, L, H, P], L >= 1.
    dt
        [B, L, H], non-negative step sizes.
    A
        [H], not positive.
    B, C
        [B, L, G, N]; each of the G groups serves H / G neighbouring heads.
    D
        [H], the skip; None for none.
    state
        [B, H, P, N] before the first token; None for zeros.
    chunk
        Tokens per matrix product; None for the default of the device.

    Returns
    -------
    tuple of Tensor
        Outputs [B, L, H, P] and the final state [B, H, P, N].

    Raises
    ------
    ValueError
        If G does not divide H.
    """
    n_heads, n_groups = x.shape[2], B.shape[2]
    if n_heads % n_groups:
        raise ValueError(f"{n_heads} heads cannot share {n_groups} groups of B and C evenly.")
    dtype = x.dtype
    with torch.autocast(x.device.type, enabled=False):
        if kernels.fused("ssd", x, B.shape[-1]):
            skip, initial = (None if each is None else widened(each) for each in (D, state))
            return kernels.fused_ssd(x, widened(dt), widened(A), B, C, skip, initial)
        x, dt, A, B, C = (widened(tensor) for tensor in (x, dt, A, B, C))
        if state is None:
            state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])
        state = widened(state)
        if x.shape[1] == 1:
            y, state = ssd_step(x[:, 0], dt[:, 0], A, B[:, 0], C[:, 0], state)
            y = y[:, None]
        else:
            y, state = ssd_chunked(x, dt, A, B, C, state, chunk or _default_chunk(x))
        if D is not None:
            y = y + x * widened(D)[:, None]
    return y.to(dtype), state


def ssd_step(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Scanned:
    """Advance `ssd` by one token, without the skip.

    Parameters
    ----------
    x
        [B, H, P].
    dt
        [B, H].
    A
        [H].
    B, C
        [B, G, N].
    state
        [B, H, P, N].

    Returns
    -------
    tuple of Tensor
        Output [B, H, P] and the next state [B, H, P, N].
    """
    per_group = x.shape[1] // B.shape[1]
    B, C = (tensor.repeat_interleave(per_group, 1) for tensor in (B, C))  # [B, H, N]
    update = (dt[..., None] * x)[..., None] * B[:, :, None]
    state = torch.exp(dt * A)[..., None, None] * state + update
    return (state @ C[..., None])[..., 0], state


def ssd_sequential(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor
) -> Scanned:
    """Loop over `ssd_step`: the reference. Arguments as in `ssd`."""
    outputs = []
    for t in range(x.shape[1]):
        y, state = ssd_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def ssd_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk: int
) -> Scanned:
    """`ssd` without the skip as matrix products over chunks of Q = `chunk` tokens.

    The tokens are padded with `dt = 0` to a multiple of Q. Decays between two tokens of a chunk
    are exponentials of differences of cumulative logarithms, which are never positive. On a CPU
    long sequences go piece by piece: smaller intermediate results are faster to come by.

    Parameters
    ----------
    x, dt, A, B, C, state
        As in `ssd`, and so are the results.
    chunk
        Tokens per chunk.
    """
    if not x.is_cpu or x.shape[1] <= _PIECE:
        return _ssd_chunks(x, dt, A, B, C, state, chunk)
    outputs, piece = [], max(chunk, _PIECE // chunk * chunk)
    for at in range(0, x.shape[1], piece):
        now = slice(at, at + piece)
        y, state = _ssd_chunks(x[:, now], dt[:, now], A, B[:, now], C[:, now], state, chunk)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _ssd_chunks(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk: int
) -> Scanned:
    """`ssd_chunked` of all tokens at once."""
    length, n_heads, n_groups = x.shape[1], x.shape[2], B.shape[2]
    pair = (n_groups, n_heads // n_groups)  # heads are numbered group by group
    u = _in_chunks(dt[..., None] * x, chunk).unflatten(2, pair)  # [B, c, G, R, Q, P]
    log_decay = _in_chunks((dt * A)[..., None], chunk)[..., 0].unflatten(2, pair).cumsum(-1)
    B, C = (_in_chunks(tensor, chunk)[:, :, :, None] for tensor in (B, C))  # [B, c, G, 1, Q, N]

    difference = log_decay[..., :, None] - log_decay[..., None, :]  # [B, c, G, R, Q, Q]
    future = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    weights = difference.masked_fill(future, -torch.inf).exp() * (C @ B.mT)
    y = weights @ u  # what the tokens of a chunk send each other

    until_end = (log_decay[..., -1:] - log_decay).exp()[..., None]
    gains = (until_end * u).mT @ B  # [B, c, G, R, P, N], what each chunk adds to the state
    carries = log_decay[..., -1].exp()[..., None, None]
    state = state.unflatten(1, pair)
    before = []
    for carry, gain in zip(carries.unbind(1), gains.unbind(1), strict=True):
        before.append(state)
        state = carry * state + gain
    y = y + log_decay.exp()[..., None] * (C @ torch.stack(before, 1).mT)
    return y.flatten(2, 3).transpose(2, 3).flatten(1, 2)[:, :length], state.flatten(1, 2)


def _in_chunks(tensor: Tensor, chunk: int) -> Tensor:
    """[B, L, H, P] to [B, chunks, H, chunk, P], padded with zeros."""
    missing = -tensor.shape[1] % chunk
    padded = F.pad(tensor, (0, 0, 0, 0, 0, missing))
    return padded.unflatten(1, (-1, chunk)).transpose(2, 3)


def widened(tensor: Tensor) -> Tensor:
    """fp64 stays what it is, everything else becomes fp32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _default_chunk(tensor: Tensor) -> int:
    """Tokens per chunk of [B, L, ...]: measured on a CPU, a rule of thumb elsewhere.

    A compiled graph holds a fixed number of chunks. Short sequences are one chunk there, which is
    as fast and saves compiling again, for minutes, at every other length.
    """
    if torch.compiler.is_compiling() and tensor.shape[1] <= _ONE_CHUNK:
        return tensor.shape[1]
    return 32 if tensor.is_cpu else 64
