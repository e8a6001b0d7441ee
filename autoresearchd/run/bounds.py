"""What one command may use up: memory, processes, files, cores. Put on before it runs, inherited by all it starts."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.limits import Sandbox
from autoresearchd.run import proc
from autoresearchd.run.cgroup import Cgroup, places

MEMORY_SHARE = 0.9
"""Of the machine's memory, where program.toml says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one command may use up."""

    sandbox: Sandbox
    cuda: bool
    """Whether it runs on a GPU: no rlimit can bound the memory of such a process."""
    cores: tuple[int, ...] = ()
    """Those that it may use, where it is kept to some."""


class Bounds:
    """By cgroups where this user may make some, else by rlimits."""

    def __init__(self, limits: Limits) -> None:
        """Raises: OSError when the kernel refuses a cgroup after having promised it."""
        self._limits, self._places = limits.sandbox, places()
        self._cores = limits.cores or tuple(sorted(os.sched_getaffinity(0)))
        self._memory = memory_bytes(limits.sandbox)
        self._by_rlimit = self._places.memory is None and not limits.cuda
        self._group = Cgroup(self._places, memory_bytes=self._memory, processes=limits.sandbox.processes)
        self._kills_before = proc.oom_kills()

    def put_on(self, pid: int, file_bytes: int) -> None:
        """Bound a process that has no children yet."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            proc.confine(pid, file_bytes)
            _lower(pid, resource.RLIMIT_NOFILE, self._limits.open_files)
            if self._by_rlimit:
                _lower(pid, resource.RLIMIT_DATA, self._memory)  # not RLIMIT_AS: mapped data files are no memory
            if self._places.processes is None:
                # The kernel counts all of this user's.
                _lower(pid, resource.RLIMIT_NPROC, self._limits.processes + threads_of_user())
            os.sched_setaffinity(pid, self._cores[: self._limits.cpus])
            self._group.adopt(pid)

    def begin(self) -> None:
        """What waited begins now: what the kernel killed elsewhere before that is no matter of its own."""
        self._kills_before = proc.oom_kills()

    def ran_out_of_memory(self, *, looks_killed: bool) -> bool:
        """Whether the kernel killed something of it for memory.

        Only a cgroup knows that. Without one it is taken to be so where the kernel killed somebody meanwhile, and the
        command's end `looks_killed`.
        """
        own = self._group.oom_kills()
        return own > 0 if own is not None else looks_killed and proc.oom_kills() > self._kills_before

    def close(self) -> None:
        """When nothing of it is left."""
        self._group.close()


def memory_bytes(limits: Sandbox) -> int:
    """What one run may use."""
    if limits.memory_mib is not None:
        return limits.memory_mib * 2**20
    return int(MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def threads_of_user() -> int:
    """Threads that this user has now."""
    count, me = 0, os.getuid()
    for pid in proc.everybody():
        with contextlib.suppress(OSError):  # ended meanwhile
            if (tasks := Path(f"/proc/{pid}/task").stat()).st_uid == me:
                count += tasks.st_nlink - 2
    return count


def _lower(pid: int, which: int, wanted: int) -> None:
    _, hard = resource.prlimit(pid, which)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.prlimit(pid, which, (bound, bound))
