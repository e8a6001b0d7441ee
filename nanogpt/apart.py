"""Processes of their own for the experiment's code, which see neither the held-out data nor the result.

Forked before torch has started a thread; where the kernel has Landlock, it keeps them from the paths that are hidden
from them and from signals to us. They are asked by arrays and answer by arrays, never by anything that could be code.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from nanogpt.contract import Dishonest

Array = np.ndarray[Any, Any]
Request = dict[str, Any]
Serve = Callable[[Request, list[Array]], tuple[Request, list[Array]]]
HEADER_BYTES = 4096
PARENT_DEATH_SIGNAL, DUMPABLE, SUBREAPER, NO_NEW_PRIVS = 1, 4, 36, 38
CREATE, ADD, RESTRICT = 444, 445, 446
READING, WRITING = 0b1101, (1 << 1) | (1 << 14) | (1 << 15)
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/opt", "/nix", "/proc", "/sys", "/run/opengl-driver")
TYPES = ("float32", "float64", "int64")


class Failed(Exception):
    """The experiment's code broke; what it said is on stderr."""


class Peer:
    """The other process, as the evaluator sees it."""

    def __init__(self, name: str, pid: int, reader: int, writer: int) -> None:
        self.name, self.pid = name, pid
        self._reader, self._writer = os.fdopen(reader, "rb"), os.fdopen(writer, "wb")

    def ask(self, request: Request, arrays: Sequence[Array] = (), *, shape: tuple[int, ...] | None = None) -> Array:
        """The one array that it answers with, of the shape that it must have; without a shape, of whole numbers.

        Raises: Dishonest for an answer that breaks the rules, Failed when there is none.
        """
        try:
            _write(self._writer, request, arrays)
            said, found = _read(self._reader, most=1, shape=shape)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failed(f"the model's process gave no answer: {error}") from error
        if "dishonest" in said:
            raise Dishonest(" ".join(str(said["dishonest"])[:300].split()))
        if "failed" in said or len(found) != 1:
            raise Failed(" ".join(str(said.get("failed", "an answer without numbers"))[:300].split()))
        return found[0]

    def close(self) -> None:
        """End it, whatever it is doing; once is enough."""
        if self.pid:
            _end(self.pid)
            self.pid = 0


def start(serve: Serve, *, name: str) -> Peer:
    """Fork a process that answers requests by `serve`. To be called before torch has done any work.

    It has no descriptors but its own: with those of another it could read what that one left.
    """
    sys.stdout.flush()
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        _close_all_but(theirs_in, theirs_out)
        os.dup2(2, 1)  # what the experiment's code prints is no answer
        os.set_inheritable(theirs_in, False)
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        _loop(serve, os.fdopen(theirs_in, "rb"), theirs_out)
        os._exit(0)
    os.close(theirs_in)
    os.close(theirs_out)
    return Peer(name, pid, ours_in, ours_out)


def _close_all_but(*kept: int) -> None:
    lowest = 3
    for descriptor in (*sorted(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1


def end_all_but(peer: Peer) -> None:
    """End whatever else descends from us: also what a process left behind that has ended, so that none tells another.

    Where the kernel does not list children, what has been left behind stays.
    """
    while others := _children() - {peer.pid}:
        for pid in others:
            _end(pid)


def _children() -> set[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in lists for pid in path.read_text().split()}


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def keep_to_ourselves() -> None:
    """No process of this user reads our memory, and what they leave behind is ours; when the others are started."""
    ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def confine(readable: Sequence[Path], hidden: Sequence[Path], writable: Sequence[Path]) -> None:
    """For the rest of this process's life: only the system, the working folder, `readable` and `writable` are there.

    Nothing below `hidden` is, even so, and nothing but `writable` can be written.

    Without Landlock (Linux 5.13) no file can be made longer, which at least keeps results from being written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(CREATE, struct.pack("=QQQ", rights, 0, 0b10)[:size], ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    seen = tuple(path.resolve() for path in hidden)
    roots = {Path.cwd(), Path(sys.prefix), Path(sys.base_prefix), *map(Path, SYSTEM), *readable}
    rules = [(path, READING) for root in roots for path in _without(root, seen)]
    rules += [(Path("/dev"), READING | WRITING), *((path, rights) for path in writable)]
    for path, allowed in rules:
        _allow(libc, ruleset, path, allowed & rights)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(RESTRICT, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not for us: it need not be allowed
    if not path.is_dir():
        rights &= 0b101 | WRITING
    # Not every node can be governed (sockets, other kernels' file systems); what has no rule stays forbidden.
    libc.syscall(ADD, ruleset, 1, struct.pack("=Qi", rights, opened), 0)
    os.close(opened)


def _without(root: Path, hidden: tuple[Path, ...]) -> Iterator[Path]:
    if not any(path.is_relative_to(root) for path in hidden):
        yield root
    elif root not in hidden and root.is_dir() and not root.is_symlink():
        for child in root.iterdir():
            yield from _without(child, hidden)


def _loop(serve: Serve, reader: BufferedReader, writer: int) -> None:
    with os.fdopen(writer, "wb") as stream:
        while True:
            try:
                request, arrays = _read(reader, most=4)
            except (OSError, ValueError):
                return  # the evaluator has ended
            answer: tuple[Request, list[Array]]
            try:
                answer = serve(request, arrays)
            except Dishonest as error:
                answer = {"dishonest": str(error)}, []
            except BaseException as error:  # noqa: BLE001 - whatever the experiment's code raises, it is said
                traceback.print_exc()
                answer = {"failed": f"{type(error).__name__}: {error}"}, []
            _write(stream, *answer)


def _write(stream: Any, said: Request, arrays: Sequence[Array]) -> None:
    layout = [{"type": array.dtype.name, "shape": array.shape} for array in arrays]
    stream.write(json.dumps({**said, "arrays": layout}).encode()[: HEADER_BYTES - 1] + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def _read(stream: BufferedReader, *, most: int, shape: tuple[int, ...] | None = None) -> tuple[Request, list[Array]]:
    """One message; no more is read than its arrays may have. Raises: ValueError for one that is not of this kind."""
    line = stream.readline(HEADER_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError("it ended" if not line else "a header without an end")
    said: Request = json.loads(line)
    arrays = []
    for layout in said["arrays"][:most]:
        found, kind = tuple(int(size) for size in layout["shape"]), str(layout["type"])
        if kind not in TYPES or min(found, default=0) < 0 or (shape is not None and found != shape):
            raise Dishonest(f"the answer is {kind} of shape {found}, not {shape}")
        count = int(np.prod(found, dtype=object)) if found else 1
        content = stream.read(count * np.dtype(kind).itemsize)
        if len(content) != count * np.dtype(kind).itemsize:
            raise ValueError("it ended")
        arrays.append(np.frombuffer(content, dtype=kind).reshape(found))
    return said, arrays
