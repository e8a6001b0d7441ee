"""Free memory goes back to the system: who lives for weeks must not hold the most that it ever needed for a moment."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""The numbers of malloc.h for mallopt(3)."""
LARGE_BYTES = 128 * 1024
"""glibc's own first thresholds."""


def be_frugal() -> None:
    """Call before any thread is started; where there is no glibc, nothing happens.

    glibc raises its thresholds to the largest piece that was ever freed, and `trim` takes nothing from the end of the
    arenas that it gives to threads: what one proposal needed stayed with the process.
    """
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Give back what glibc holds of freed memory, some milliseconds; where there is no glibc, nothing happens."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
