"""What descends from one child of ours: watched, killed and reaped, whatever session it made. Starts nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal

from autoresearchd.run import proc
from autoresearchd.run.target import RUN_VARIABLE
from autoresearchd.run.ward import Ward


class Kin:
    """A leader, whose number is its session's, and all that it started."""

    def __init__(self, ward: Ward, leader: int) -> None:
        self._ward, self._leader = ward, leader
        self._watched: dict[int, int] = {}
        self.cpu_seconds = 0.0
        """Of processors, by all that is reaped."""

    def watch(self, pid: int) -> None:
        """Have the owner woken by its end. Raises: OSError where there are no descriptors left."""
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

    def reaped(self, pid: int, cpu_seconds: float) -> None:
        """One of them is no more."""
        self.cpu_seconds += cpu_seconds
        self._unwatch(pid)

    def sweep(self) -> set[int]:
        """Kill and reap what descends from the leader and is now a child of ours; who is left, watched."""
        remaining = set()
        for pid in proc.children():
            if not self._is_mine(pid):
                continue
            found = proc.stat(pid)
            used = 0.0 if found is None else _reap(pid) if found.zombie else None
            if used is not None:
                self.reaped(pid, used)
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.watch(pid)
            remaining.add(pid)
        return remaining

    def close(self) -> None:
        """Free the descriptors; what is still alive is no longer looked after."""
        for pid in tuple(self._watched):
            self._unwatch(pid)

    def _is_mine(self, pid: int) -> bool:
        """Of the leader's session, or marked by its run; or of a run, but of none that is live: it hid its marks."""
        if not proc.is_confined(pid, self._ward.file_bytes):
            return False
        found, live = proc.stat(pid), self._ward.live
        if found is None or found.session == self._leader:
            return True
        if found.session in live:
            return False
        marked = proc.variable(pid, RUN_VARIABLE)
        return marked in live[self._leader] or not any(marked in marks for marks in live.values())

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
