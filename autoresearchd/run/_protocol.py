"""What an executor is: it starts runs, tells how they go, and gives Measurements. It knows nothing of git refs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from autoresearchd.experiment import Device, Measurement, Progress, RunSpec, TreeOid

Checkout = Callable[[TreeOid, Path], None]
"""Writes the files of a tree into an empty folder (no .git there)."""


class Executor(Protocol):
    """Starts runs and steps them; never blocks. One run a device at a time is the caller's duty."""

    def start(self, spec: RunSpec) -> None:
        """Begin a run; it counts as live until `poll` has returned its Measurement.

        Raises: OSError when it cannot be begun now, or a run was lost since the last start: its owner waits a while.
        """
        ...

    def poll(self, now: float) -> Sequence[Measurement]:
        """The runs that ended since the last call, reaped and cleaned up; enforces deadlines by `now` (Unix time)."""
        ...

    def progress(self) -> Sequence[Progress]:
        """How far each live run is."""
        ...

    def tail(self, run: str) -> str:
        """The end of what a live run has said so far, fit to be shown; empty for any other run."""
        ...

    def residents(self, device: Device) -> Sequence[str]:
        """Who that is none of ours computes on a device, as it was seen last; nobody where that cannot be seen."""
        ...

    def kill(self, run: str) -> None:
        """End a live run; it yields no Measurement. Bounded in time."""
        ...

    def fileno(self) -> int:
        """A descriptor that becomes readable when `poll` has something to do (an epoll of pidfds and pipes)."""
        ...

    def close(self) -> None:
        """Kill what is live and free everything."""
        ...
