"""What the kernel tells of processes, and bounds for them: whose children they are, which run marked them."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
FIRST_TO_GO = "500"
"""Of 1000, added to the kernel's own opinion of whom to kill for memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """The part of /proc/PID/stat that tells one process from another."""

    parent: int
    session: int
    started: int
    """Clock ticks since boot: with the number, unique until the next boot."""
    zombie: bool


def stat(pid: int) -> Stat | None:
    """A process as it is now; None when there is none of that number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold anything
    return Stat(parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]), zombie=fields[0] in "ZX")


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that a process was started with; None if it has none, or may not be asked."""
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None  # gone, or of another user: in neither case ours
    prefix = f"{name}=".encode()
    found = next((entry for entry in block.split(b"\0") if entry.startswith(prefix)), None)
    return None if found is None else os.fsdecode(found[len(prefix) :])


def everybody() -> Iterator[int]:
    """The numbers of all processes."""
    with os.scandir("/proc") as entries:
        yield from (int(entry.name) for entry in entries if entry.name.isdigit())


def children() -> list[int]:
    """Our direct children, adopted orphans and zombies among them."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []  # the common case costs one call
    me = os.getpid()
    return [pid for pid in everybody() if (found := stat(pid)) is not None and found.parent == me]


class Whose(Enum):
    """To whom a process belongs."""

    OURS = "ours"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


def whose(pid: int, root: int | None = None) -> Whose:
    """Ours are `root`, by default this process, and its descendants.

    A number that nobody has here has ended, or is one of another namespace.
    """
    root, seen = root or os.getpid(), set[int]()
    parent = pid
    while parent > 0 and parent not in seen:
        if parent == root:  # number 1, where the daemon is all that a container holds
            return Whose.OURS
        seen.add(parent)
        found = stat(parent)
        parent = 0 if found is None else found.parent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Whose.UNKNOWN
    except PermissionError:
        return Whose.FOREIGN  # of another user, seen or hidden
    return Whose.FOREIGN


def name(pid: int) -> str:
    """What a process calls itself, printable and short; empty where it is gone, or hidden."""
    try:
        text = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace")
    except OSError:
        return ""
    return re.sub(r"[^\w.:+-]+", "_", text.strip(), flags=re.ASCII)[:32]


def adopt_orphans() -> None:
    """Make processes whose parents end children of ours, so that none escapes by a double fork; and hear how they end.

    Raises: OSError where the kernel refuses.
    """
    import ctypes

    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # inherited: the kernel would reap them, and tell nobody how
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def confine(pid: int, file_bytes: int) -> None:
    """Bound the size of each file that a fresh child and its children write; no core dumps.

    Where memory runs out, the kernel is to take them before it takes the daemon.
    """
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO, "ascii")
    except (ProcessLookupError, FileNotFoundError):
        return  # it has ended already


def is_confined(pid: int, file_bytes: int) -> bool:
    """Whether a process descends from one that `confine` bounded: children inherit the bound and cannot raise it."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    except (ProcessLookupError, PermissionError):
        return False
    return hard != resource.RLIM_INFINITY and hard <= file_bytes


def file_bound(wanted: int) -> int:
    """The bound to give to `confine`: below our own, so that it tells descendants of runs from our other children."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - 1)


def oom_kills() -> int:
    """How many processes the kernel killed for memory since boot; 0 if it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0  # a container without it: then a SIGKILL stays a plain crash
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def boot() -> str:
    """The name of this boot: process numbers mean something within it only."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def note(pid: int, folder: Path) -> None:
    """For the next start, should this daemon be killed: which process, of which boot."""
    found = stat(pid)
    if found is not None:
        (folder / f"pid-{pid}").write_text(f"{pid} {found.started} {boot()}", "ascii")
