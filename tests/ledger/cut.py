"""A power cut: a process is killed at one write of a ref. Nothing after it is done, and nothing is cleaned up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from autoresearchd.ledger import Ledger, refs
from tests.support.forks import PROCESSES


class Instant(StrEnum):
    """When, of one write."""

    INSIDE = "inside"
    """The objects are there, the ref has not moved, and its lock file is left behind."""
    AFTER = "after"


def cut_off(path: Path, labour: Callable[[Ledger], object], write: int, instant: Instant) -> bool:
    """Have a process hold the lab and labour in it; whether it came to that write of a ref, and was killed there."""
    worker = PROCESSES.Process(target=_work, args=(path, labour, write, instant))
    worker.start()
    worker.join()
    assert worker.exitcode in (0, -signal.SIGKILL)
    return worker.exitcode != 0


def _work(path: Path, labour: Callable[[Ledger], object], write: int, instant: Instant) -> None:
    left = write

    class Cut(refs._locked):
        def __exit__(self, *exception: object) -> None:
            nonlocal left
            left -= 1
            if left == 0 and instant is Instant.INSIDE:
                os.kill(os.getpid(), signal.SIGKILL)
            super().__exit__(*exception)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    refs._locked = Cut  # type: ignore[misc]
    ledger = Ledger(path)
    with ledger.hold():
        labour(ledger)
