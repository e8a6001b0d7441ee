"""What the processes of one executor share: the walls around them, who of them lives, and what their ends wake."""

from __future__ import annotations

import select
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoresearchd.limits import Mode
from autoresearchd.program import Program
from autoresearchd.run import proc
from autoresearchd.run.pins import shares
from autoresearchd.run.sandbox import choose

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""


@dataclass(slots=True, kw_only=True)
class Ward:
    """Made once at the start of an executor, by `ward`."""

    epoll: select.epoll
    sandbox: Mode
    """As `sandbox.choose` found it."""
    file_bytes: int
    """What one run may write; less where the disk has less than twice that free."""
    grace: float
    """Seconds between SIGTERM and SIGKILL."""
    pins: Mapping[str, tuple[int, ...]]
    """The cores of each slot that has some to itself, as they were shared out at the start."""
    live: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Leaders' process ids, which are their sessions', and the names that mark whom they work for."""


def ward(program: Program, *, most_bytes: int | None = None, grace: float = GRACE_SECONDS) -> Ward:
    """For a program; `most_bytes` in place of its `sandbox.output_mib`. This process adopts orphans from now on.

    Raises: UserError when the sandbox that is asked for does not work, or a slot would have no core; OSError.
    """
    sandbox, pins = choose(program.sandbox.mode), shares(program.devices)
    proc.adopt_orphans()
    file_bytes = proc.file_bound(most_bytes or program.sandbox.output_mib * 2**20)
    return Ward(epoll=select.epoll(), sandbox=sandbox, file_bytes=file_bytes, grace=grace, pins=pins)
