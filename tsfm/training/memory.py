"""Keep freed memory inside the process while training on CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Ask glibc to reuse large blocks instead of returning them to the kernel.

    A training step frees and allocates the same tens of megabytes again and again; where page
    faults are dear (virtual machines) returning them costs more than the arithmetic.

    Returns
    -------
    bool
        Whether the C library took the settings; False anywhere but on glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    wanted = {
        _M_MMAP_THRESHOLD: 1 << 30,
        _M_TRIM_THRESHOLD: (1 << 31) - 1,
        _M_TOP_PAD: 200_000_000,
    }
    return all(mallopt(key, value) == 1 for key, value in wanted.items())
