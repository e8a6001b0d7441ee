"""Waiting for what another process or thread does: until it is so, as long as the slowest machine needs for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 300.0
"""Seconds; nobody waits that long for what happens."""


def until(ask: Callable[[], T], *, said: Callable[[], object] = lambda: "it never happened") -> T:
    """What `ask` says, once that is true; a test that waits in vain fails with what is `said` by then."""
    deadline = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
    return found
