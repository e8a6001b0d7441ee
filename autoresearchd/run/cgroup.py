"""Bounds on memory and on the number of processes by cgroups, where this user may make some: version 2 or version 1.

Elsewhere rlimits have to do; `Bounds` says which it is.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import structlog

logger = structlog.get_logger()
ROOT = Path("/sys/fs/cgroup")
NAME = "autoresearch-"
_STUCK: set[Path] = set()
"""Groups of this process that could not be removed when their command was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where cgroups may be made; None where not. In version 2 both are the same folder."""

    memory: Path | None
    processes: Path | None
    version: int


class Cgroup:
    """The groups of one command; they have to be `close`d when nothing of it is left."""

    def __init__(self, places: Places, *, memory_bytes: int, processes: int) -> None:
        """Raises: OSError when the kernel refuses; nothing is left of them then."""
        name = f"{NAME}{os.getpid()}-{secrets.token_hex(6)}"
        self._memory = None if places.memory is None else places.memory / name
        self._version = places.version
        counting = None if places.processes is None else places.processes / name
        self._folders = tuple({folder: None for folder in (self._memory, counting) if folder})
        try:
            for folder in self._folders:
                folder.mkdir()
            if self._memory is not None:
                bound = "memory.max" if places.version == 2 else "memory.limit_in_bytes"
                (self._memory / bound).write_text(str(memory_bytes), "ascii")
            if counting is not None:
                (counting / "pids.max").write_text(str(processes), "ascii")
        except OSError:
            self.close()
            raise

    def adopt(self, pid: int) -> None:
        """Put a process in, before it has children."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid), "ascii")

    def oom_kills(self) -> int | None:
        """How many processes of the group the kernel has killed for memory; None where nobody counts."""
        if self._memory is None:
            return None
        try:
            text = (self._memory / ("memory.events" if self._version == 2 else "memory.oom_control")).read_text("ascii")
        except OSError:
            return None
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)  # in version 1 since Linux 4.13
        return None if found is None else int(found[1])

    def close(self) -> None:
        """Remove the groups; one with something stuck in it stays until the next command is over, or the next start."""
        for folder in (*self._folders, *_STUCK):
            try:
                folder.rmdir()
            except FileNotFoundError:
                _STUCK.discard(folder)  # or it was never made
            except OSError as error:
                if folder not in _STUCK:
                    logger.info("cgroup_stays", folder=str(folder), why=str(error))
                _STUCK.add(folder)
            else:
                _STUCK.discard(folder)


@functools.cache
def places() -> Places:
    """Look once where this process may make cgroups; removes those that an earlier daemon left."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        lines = []  # a kernel without cgroups
    parts = [line.split(":", 2) for line in lines]
    found: dict[str, Path] = {}
    for _, controllers, path in parts:
        for controller in {"memory", "pids"} & set(controllers.split(",")):
            found[controller] = ROOT / controller / path.lstrip("/")
    version = 1
    unified = next((path for _, controllers, path in parts if not controllers), None)
    if not found and unified is not None and (folder := _delegated(ROOT / unified.lstrip("/"))) is not None:
        found, version = {"memory": folder, "pids": folder}, 2
    usable = {name: folder for name, folder in found.items() if _may_make(folder)}
    for folder in set(usable.values()):
        _remove_old(folder)
    return Places(memory=usable.get("memory"), processes=usable.get("pids"), version=version)


def _delegated(folder: Path) -> Path | None:
    """Our own group of version 2, ready to have children; None where it is not ours to change.

    Only leaves may hold processes, so this process moves into one of its own (systemd: Delegate=yes allows that).
    """
    try:
        if (folder / "cgroup.procs").read_text("ascii").split() != [str(os.getpid())]:
            return None
        leaf = folder / "daemon"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()), "ascii")
        (folder / "cgroup.subtree_control").write_text("+memory +pids", "ascii")
    except OSError as error:
        logger.info("cgroup_not_delegated", folder=str(folder), why=str(error))
        return None
    return folder


def _may_make(folder: Path) -> bool:
    try:
        probe = folder / f"{NAME}{os.getpid()}-probe"
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False  # the caller falls back, and doctor tells
    return True


def _remove_old(folder: Path) -> None:
    for old in folder.glob(f"{NAME}*"):
        owner = old.name.removeprefix(NAME).partition("-")[0]
        if owner.isdigit() and Path("/proc", owner).exists():
            continue  # another daemon's, live
        try:
            old.rmdir()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT):
                logger.info("cgroup_stays", folder=str(old), why=str(error))
