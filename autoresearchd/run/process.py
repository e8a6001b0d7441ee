"""One command of a run: a child in its own session, its output read with a cap, its end enforced with a bound.

Never waits; `step` is called when the epoll says so, and at every tick. Knows nothing of what the command is for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from autoresearchd.run import proc
from autoresearchd.run.bounds import Bounds
from autoresearchd.run.log import Log
from autoresearchd.run.sandbox import Command
from autoresearchd.run.spawn import PIPE_BYTES, open_gate, start
from autoresearchd.run.target import RUN_VARIABLE, Exit

logger = structlog.get_logger()
DRAIN_BYTES = 2**20
"""Read in one step: a flood is held back by its own pipe, so that the loop stays awake."""
GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""
REAP_SECONDS = 30.0
"""After SIGKILL a process that is still there is stuck in the kernel (a driver, a dead disk): it is left behind."""
MOST_FILES = 200_000
LOOK_SECONDS = 1.0
"""Between two looks at what was written."""


@dataclass(slots=True, kw_only=True)
class Ward:
    """What the processes of one executor share."""

    epoll: select.epoll
    file_bytes: int
    """What one run may write; less where the disk has less than twice that free."""
    grace: float = GRACE_SECONDS
    live: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Leaders' process ids, which are their sessions', and the names that mark whom they work for."""


class Process:
    """A child and all that descends from it."""

    def __init__(
        self,
        ward: Ward,
        run: str,
        command: Command,
        env: Mapping[str, str],
        *,
        bounds: Bounds,
        folder: Path,
        cwd: Path,
        log: Log,
    ) -> None:
        """Start it; `folder` is the run's own, where all that it writes should be.

        Where a word of the command is ORDER, it waits for `go`.
        Raises: OSError when it cannot be started.
        """
        self._ward, self._run, self._folder, self.log = ward, run, folder, log
        self._oom_kills = proc.oom_kills()
        self._most_bytes = min(ward.file_bytes, shutil.disk_usage(folder).free // 2)
        self._bounds, self._sandboxed = bounds, command.mode == "bubblewrap"
        self._popen, self._pipe, self._order = start(command, env, cwd)
        self.pid = self._popen.pid
        ward.live[self.pid] = (run,)
        self._watched: dict[int, int] = {}
        self._terminated: float | None = None
        self._killed: float | None = None
        self._timed_out, self._flooded = False, ""
        self._cpu_seconds = 0.0
        self._next_look = time.time() + LOOK_SECONDS
        try:
            bounds.put_on(self.pid, self._most_bytes)
            self._watch(self.pid)
            open_gate(self._popen)
        except OSError:  # what cannot be bounded or watched must not run
            self._signal(signal.SIGKILL)
            self._popen.wait()
            self.close()
            raise

    def step(self, now: float) -> Exit | None:
        """Read, reap and enforce; how it ended once nothing of it is left."""
        self._drain(DRAIN_BYTES)
        if not self._leader_ended():
            self._press(now)
            if not self._overdue(now):
                return None
        remaining = self._sweep()
        if self._killed is None:
            self._killed = now
        if remaining and not self._overdue(now):
            return None
        return self._end(remaining)

    def go(self, run: str, order: bytes) -> bool:
        """Let it begin what it waits for, in the name of `run` from now on; False where nobody reads the order."""
        self._oom_kills, self._next_look = proc.oom_kills(), time.time() + LOOK_SECONDS
        self._ward.live[self.pid] = (*self._ward.live[self.pid], run)
        self._run = run
        try:
            os.write(self._order, order)
        except BrokenPipeError:
            return False
        finally:
            self._close_order()
        return True

    def time_out(self, now: float) -> None:
        """Its time is over: SIGTERM, and after a grace SIGKILL."""
        if self._terminated is None:
            self._timed_out, self._terminated = True, now
            self._signal(signal.SIGTERM)

    def kill(self, now: float) -> None:
        """SIGKILL, at once."""
        if self._killed is None:
            self._killed = now
            self._signal(signal.SIGKILL)

    def _press(self, now: float) -> None:
        if self._terminated is not None and now >= self._terminated + self._ward.grace:
            self.kill(now)
        if now < self._next_look or self._flooded:
            return
        began = time.monotonic()
        self._flooded = proc.written(self._folder, most_bytes=self._most_bytes, most_files=MOST_FILES)
        # Looking at very many files takes its time: never more than a twentieth of it.
        self._next_look = now + max(LOOK_SECONDS, 20 * (time.monotonic() - began))
        if self._flooded:
            self.kill(now)

    def _overdue(self, now: float) -> bool:
        return self._killed is not None and now >= self._killed + REAP_SECONDS

    def _leader_ended(self) -> bool:
        """Whether it has ended, and is reaped; its group is killed before, while the number is surely its own."""
        if self._popen.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            self._signal(signal.SIGKILL)
            _, status, used = os.wait4(self.pid, 0)
            self._popen.returncode = os.waitstatus_to_exitcode(status)
            self._cpu_seconds += used.ru_utime + used.ru_stime
            self._unwatch(self.pid)
        return True

    def _sweep(self) -> set[int]:
        """Kill and reap what descends from the leader and is now a child of ours; who is left, watched."""
        remaining = set()
        for pid in proc.children():
            if not self._is_mine(pid):
                continue
            found = proc.stat(pid)
            used = 0.0 if found is None else _reap(pid) if found.zombie else None
            if used is not None:
                self._cpu_seconds += used
                self._unwatch(pid)
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._watch(pid)
            remaining.add(pid)
        return remaining

    def _is_mine(self, pid: int) -> bool:
        """Of the leader's session, or marked by its run; or of a run, but of none that is live: it hid its marks."""
        if not proc.is_confined(pid, self._ward.file_bytes):
            return False
        found, live = proc.stat(pid), self._ward.live
        if found is None or found.session == self.pid:
            return True
        if found.session in live:
            return False
        marked = proc.variable(pid, RUN_VARIABLE)
        return marked in live[self.pid] or not any(marked in marks for marks in live.values())

    def _end(self, remaining: set[int]) -> Exit:
        if remaining or self._popen.returncode is None:
            logger.error("process_stuck", run=self._run, pids=sorted({self.pid, *remaining}), seconds=REAP_SECONDS)
        self._drain(4 * PIPE_BYTES)
        self.log.end()
        self.close()
        code = self._popen.returncode
        if self._sandboxed and code is not None and 128 < code < 128 + signal.NSIG:
            code = 128 - code  # bubblewrap speaks like a shell
        if code == -signal.SIGXFSZ or (code and "[Errno 27] File too large" in self.log.last_error()):
            self._flooded = proc.too_much(self._most_bytes)
        return Exit(
            code=-signal.SIGKILL if code is None else code,
            timed_out=self._timed_out,
            flooded=self._flooded,
            oom_killed=proc.oom_kills() > self._oom_kills,
            cpu_seconds=self._cpu_seconds,
        )

    def close(self) -> None:
        """Free the descriptors; what is still alive is no longer looked after."""
        for pid in tuple(self._watched):
            self._unwatch(pid)
        self._bounds.close()
        self._close_order()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._ward.live.pop(self.pid, None)

    def _close_order(self) -> None:
        if self._order >= 0:
            os.close(self._order)
            self._order = -1

    def _drain(self, most: int) -> None:
        while most > 0 and self._pipe >= 0:
            try:
                chunk = os.read(self._pipe, min(most, 65536))
            except BlockingIOError:
                return
            if not chunk:
                return
            self.log.feed(chunk)
            most -= len(chunk)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _watch(self, pid: int) -> None:
        if pid in self._watched:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
            return  # reaped meanwhile
        self._watched[pid] = descriptor
        self._ward.epoll.register(descriptor, select.EPOLLIN)

    def _unwatch(self, pid: int) -> None:
        descriptor = self._watched.pop(pid, None)
        if descriptor is not None:
            self._ward.epoll.unregister(descriptor)
            os.close(descriptor)


def _reap(pid: int) -> float | None:
    """Reap what is dead: the processor seconds that it and its children used; None where it is not dead yet."""
    try:
        reaped, _, used = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return 0.0  # somebody else did
    return used.ru_utime + used.ru_stime if reaped == pid else None
