"""How a child is started: its session, its pipes, its gate, and that it dies with the daemon. Looks after none."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import structlog

from autoresearchd.run.sandbox import Command

logger = structlog.get_logger()
PIPE_BYTES = 2**20
ORDER = "@order"
"""Stands in a command for the number of the descriptor that it waits at."""


def start(command: Command, env: Mapping[str, str], cwd: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    """The child in a session of its own, before its gate; our ends of what it says and of what it waits for (or -1).

    Raises: OSError when it cannot be started.
    """
    reader, writer = os.pipe()
    theirs, ours = os.pipe() if ORDER in command.words else (-1, -1)
    try:
        os.set_blocking(reader, False)
        with contextlib.suppress(PermissionError):  # a user with many pipes gets small ones: slower, not wrong
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with command.opened() as (words, descriptors):
            popen = subprocess.Popen(
                (*dies_with_us(), *(str(theirs) if word == ORDER else word for word in words)),
                cwd=cwd,
                env=dict(env),
                bufsize=0,
                stdin=subprocess.DEVNULL if command.mode == "none" else subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
                pass_fds=(*descriptors, *((theirs,) if theirs >= 0 else ())),
            )
    except BaseException:
        os.close(reader)
        if ours >= 0:
            os.close(ours)
        raise
    finally:
        os.close(writer)
        if theirs >= 0:
            os.close(theirs)
    return popen, reader, ours


def open_gate(popen: subprocess.Popen[bytes]) -> None:
    """Let a child go on that waits until it is bounded."""
    if popen.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):  # it ended before; its exit says why
        popen.stdin.write(b"\n")
    popen.stdin.close()


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
