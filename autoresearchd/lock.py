"""One daemon a lab: a lock that the kernel frees when its holder dies, with the holder's pid to read."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoresearchd.errors import AlreadyRunning

DYING_SECONDS = 5.0
"""A child that a killed daemon was about to start has its lock until it has become what it was started for."""


@contextmanager
def held(lab: Path) -> Iterator[None]:
    """Be the only daemon of the lab at `lab`.

    Raises: AlreadyRunning with the pid of the process that has it.
    """
    path = file_of(lab)
    path.parent.mkdir(exist_ok=True)
    # Not inherited by children: a training that outlives a killed daemon must not hold its lock.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(descriptor, lab)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, lab: Path) -> None:
    until = time.monotonic() + DYING_SECONDS
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request())
        except (BlockingIOError, PermissionError) as error:  # POSIX leaves it open which of them a held lock is
            pid = _pid(descriptor)
            if pid is None or _is_alive(pid) or time.monotonic() > until:
                raise AlreadyRunning(str(lab), pid) from error
            time.sleep(0.01)
        else:
            return


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def holder(lab: Path) -> int | None:
    """The pid of the daemon that holds the lab; None where none does, 0 in the moment before it has said its pid.

    Only asks, and never has the lock itself: nobody who looks can keep a daemon out.
    """
    try:
        descriptor = os.open(file_of(lab), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request())
        if struct.unpack_from("h", answer)[0] == fcntl.F_UNLCK:
            return None
        return _pid(descriptor) or 0
    finally:
        os.close(descriptor)


def _request() -> bytes:
    """The kernel's `struct flock`: a write lock of the whole file, of this open file and not of the process."""
    kind, whence, start, length, pid = fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0
    return struct.pack("hhlli", kind, whence, start, length, pid)


def file_of(lab: Path) -> Path:
    """The lock's file, which its holder keeps open."""
    return lab / "autoresearchd" / "lock"


def _pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None
