"""Free memory goes back to the system: who lives for weeks must not hold the most that it ever needed for a moment."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def trim() -> None:
    """Give back what glibc holds of freed memory, some milliseconds; where there is no glibc, nothing happens."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
