"""One command of a run: started within its bounds, its output read with a cap, its end enforced with a bound.

Never waits; `step` is called when the epoll says so, and at every tick. `now` is of the monotonic clock. Knows nothing
of what the command is for.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from autoresearchd.run.bounds import Bounds, Limits
from autoresearchd.run.folders import weigh
from autoresearchd.run.kin import Kin
from autoresearchd.run.log import Log
from autoresearchd.run.sandbox import Command
from autoresearchd.run.spawn import PIPE_BYTES, Child
from autoresearchd.run.target import Exit
from autoresearchd.run.ward import Ward

logger = structlog.get_logger()
DRAIN_BYTES = 2**20
"""Read in one step: a flood is held back by its own pipe, so that the loop stays awake."""
REAP_SECONDS = 30.0
"""After SIGKILL a process that is still there is stuck in the kernel (a driver, a dead disk): it is left behind."""
MOST_FILES = 200_000
LOOK_SECONDS = 1.0
"""Between two looks at what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command, and for whom it is run."""

    run: str
    command: Command
    """Where a word of it is ORDER, it waits for `Process.go`."""
    environment: Mapping[str, str]
    limits: Limits
    folder: Path
    """The run's own, where all that it writes should be."""
    cwd: Path
    log: Log


class Process:
    """A child and all that descends from it."""

    def __init__(self, ward: Ward, job: Job) -> None:
        """Start it. Raises: OSError when it cannot be started, bounded or watched; nothing is left of it then."""
        self._ward, self._run, self._folder, self.log = ward, job.run, job.folder, job.log
        self._most_bytes = min(ward.file_bytes, shutil.disk_usage(job.folder).free // 2)
        self._sandboxed = job.command.mode == "bubblewrap"
        self._terminated: float | None = None
        self._killed: float | None = None
        self._timed_out, self._flooded = False, ""
        self._next_look = time.monotonic() + LOOK_SECONDS
        with contextlib.ExitStack() as undo:
            self._bounds = undo.enter_context(contextlib.closing(Bounds(job.limits)))
            self._child = Child(job.command, job.environment, job.cwd)
            undo.callback(self._child.destroy)
            self.pid = self._child.pid
            self._kin = undo.enter_context(contextlib.closing(Kin(ward, self.pid)))
            self._bounds.put_on(self.pid, self._most_bytes)
            self._kin.watch(self.pid)
            self._child.open_gate()
            undo.pop_all()
        ward.live[self.pid] = (job.run,)

    def step(self, now: float) -> Exit | None:
        """Read, reap and enforce; how it ended once nothing of it is left."""
        self._drain(DRAIN_BYTES)
        if not self._leader_ended():
            self._press(now)
            if not self._overdue(now):
                return None
        remaining = self._kin.sweep()
        if self._killed is None:
            self._killed = now
        if remaining and not self._overdue(now):
            return None
        return self._end(remaining)

    def go(self, run: str, order: bytes) -> bool:
        """Let it begin what it waits for, in the name of `run` from now on; False where nobody reads the order."""
        self._bounds.begin()
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._ward.live[self.pid] = (*self._ward.live[self.pid], run)
        self._run = run
        return self._child.tell(order)

    def time_out(self, now: float) -> None:
        """Its time is over: SIGTERM, and after a grace SIGKILL. One that has ended already was in time."""
        if self._terminated is None and self._child.code is None:
            self._timed_out, self._terminated = True, now
            self._child.signal(signal.SIGTERM)

    def kill(self, now: float) -> None:
        """SIGKILL, at once."""
        if self._killed is None:
            self._killed = now
            self._child.signal(signal.SIGKILL)

    def close(self) -> None:
        """Free what is held for it; what is still alive is no longer looked after."""
        self._kin.close()
        self._child.close()
        self._bounds.close()
        self._ward.live.pop(self.pid, None)

    def _press(self, now: float) -> None:
        if self._terminated is not None and now >= self._terminated + self._ward.grace:
            self.kill(now)
        if now < self._next_look or self._killed is not None:
            return
        began = time.monotonic()
        try:
            size, files = weigh(self._folder, most_bytes=self._most_bytes, most_files=MOST_FILES)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return  # our want of descriptors is no reason to end it; it is looked at next time
            raise
        if size > self._most_bytes or files > MOST_FILES:
            self._flooded = self._too_much() if size > self._most_bytes else f"wrote more than {MOST_FILES} files"
            self.kill(now)
        # Looking at very many files takes its time: never more than a twentieth of it.
        self._next_look = now + max(LOOK_SECONDS, 20 * (time.monotonic() - began))

    def _is_too_much(self) -> bool:
        """Whether a command that failed had come to its bound, which not everybody calls `File too large`."""
        if "[Errno 27] File too large" in self.log.last_error():
            return True
        try:
            return weigh(self._folder, most_bytes=self._most_bytes)[0] > self._most_bytes
        except OSError:  # whoever looks at its files next is told
            return False

    def _too_much(self) -> str:
        """The sentence for what floods the disk: where the bound was the disk's, the same one however much was free."""
        if self._most_bytes < self._ward.file_bytes:
            return "wrote more than half of what was free on the disk"
        return f"wrote more than {self._most_bytes / 2**20:.0f} MiB"

    def _overdue(self, now: float) -> bool:
        return self._killed is not None and now >= self._killed + REAP_SECONDS

    def _leader_ended(self) -> bool:
        """Whether it has ended, and is reaped."""
        if self._child.code is None:
            used = self._child.reap()
            if used is None:
                return False
            self._kin.reaped(self.pid, used)
        return True

    def _end(self, remaining: set[int]) -> Exit:
        code = self._child.code
        if remaining or code is None:
            logger.error("process_stuck", run=self._run, pids=sorted({self.pid, *remaining}), seconds=REAP_SECONDS)
        self._drain(4 * PIPE_BYTES)
        self.log.end()
        if self._sandboxed and code is not None and 128 < code < 128 + signal.NSIG:
            code = 128 - code  # bubblewrap speaks like a shell
        said = self.log.last_error() if code else ""
        if code == -signal.SIGXFSZ or (code and code > 0 and self._is_too_much()):
            self._flooded = self._too_much()
        ended = Exit(
            code=-signal.SIGKILL if code is None else code,
            timed_out=self._timed_out,
            flooded=self._flooded,
            oom_killed=self._bounds.ran_out_of_memory(looks_killed=code == -signal.SIGKILL or "Killed" in said),
            cpu_seconds=self._kin.cpu_seconds,
        )
        self.close()
        return ended

    def _drain(self, most: int) -> None:
        for chunk in self._child.read(most):
            self.log.feed(chunk)
