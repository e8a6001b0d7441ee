"""A child of ours: how it is started - its session, pipes and gate, and that it dies with the daemon - and reaped."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from autoresearchd.run.sandbox import Command

logger = structlog.get_logger()
PIPE_BYTES, READ_BYTES = 2**20, 2**16
ORDER = "@order"
"""Stands in a command for the number of the descriptor that it waits at."""


class Child:
    """A process in a session of its own that waits at its gate, and our ends of its pipes."""

    def __init__(self, command: Command, environment: Mapping[str, str], cwd: Path) -> None:
        """Raises: OSError when it cannot be started; nothing is left of it then."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self._said, writer = _pipe(ours, theirs)
            os.set_blocking(self._said, False)
            with contextlib.suppress(PermissionError):  # a user with many pipes gets small ones: slower, not wrong
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            waits, self._order = _pipe(theirs, ours) if ORDER in command.words else (-1, -1)
            words, descriptors = theirs.enter_context(command.opened())
            self._popen = subprocess.Popen(
                (*dies_with_us(), *(str(waits) if word == ORDER else word for word in words)),
                cwd=cwd,
                env=dict(environment),
                bufsize=0,
                stdin=subprocess.DEVNULL if command.mode == "none" else subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
                pass_fds=(*descriptors, *((waits,) if waits >= 0 else ())),
            )
            ours.pop_all()
        self.pid = self._popen.pid

    @property
    def code(self) -> int | None:
        """How it ended, a signal as a negative number; None until it is reaped."""
        return self._popen.returncode

    def open_gate(self) -> None:
        """Let it go on; it waits until it is bounded."""
        if self._popen.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it ended before; its exit says why
            self._popen.stdin.write(b"\n")
        self._popen.stdin.close()

    def tell(self, order: bytes) -> bool:
        """Give it what it waits for, once; False where nobody reads that any more."""
        try:
            os.write(self._order, order)
        except BrokenPipeError:
            return False
        finally:
            self._close_order()
        return True

    def read(self, most: int) -> Iterator[bytes]:
        """What it has said since, as far as it is there: about `most` bytes at once."""
        while most > 0 and self._said >= 0:
            try:
                chunk = os.read(self._said, min(most, READ_BYTES))
            except BlockingIOError:
                return
            if not chunk:
                return
            yield chunk
            most -= len(chunk)

    def signal(self, number: signal.Signals) -> None:
        """To all of its group. Not once it is reaped: the number may be somebody else's then."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def reap(self) -> float | None:
        """Processor seconds of one that has just ended, None while it lives; what is left of its group is killed."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.signal(signal.SIGKILL)
        _, status, used = os.wait4(self.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_utime + used.ru_stime

    def destroy(self) -> None:
        """End one that has done nothing yet."""
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self.close()

    def close(self) -> None:
        """Free our ends of its pipes; once is enough."""
        self._close_order()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1

    def _close_order(self) -> None:
        if self._order >= 0:
            os.close(self._order)
            self._order = -1


def _pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, each end closed by the stack that it belongs to."""
    reader, writer = os.pipe()
    reads.callback(os.close, reader)
    writes.callback(os.close, writer)
    return reader, writer


@functools.cache
def dies_with_us() -> tuple[str, ...]:
    """The words before a command that let the kernel end it when the daemon is killed; none where util-linux is old.

    What they do not reach - children of the command - `reap_leftovers` finds at the next start.
    """
    words = (shutil.which("setpriv") or "", "--pdeathsig", "KILL", "--")
    if not words[0]:
        return ()
    try:
        subprocess.run((*words, "true"), check=True, capture_output=True, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("setpriv_unusable", why=str(error))
        return ()
    return words
