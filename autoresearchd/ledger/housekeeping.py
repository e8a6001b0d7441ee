"""Packing refs and objects, beside the daemon: a process of its own, in quiet moments, never waited for.

`python -m autoresearchd.ledger.housekeeping LAB` is that process. Git's own locks keep it and the daemon apart; what a
killed one leaves of them is cleared at the next start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import structlog

from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import GIT_SECONDS, GitFailed, git

log = structlog.get_logger()
FREE_FLOOR_BYTES = 512 * 2**20
"""Below this much free space nothing is started: git must always be able to record what was measured."""
PACK_EVERY = 256
"""Conclusions between two packings: loose refs cost every later start."""
COMMANDS = (
    ("pack-refs", "--all"),
    # Git syncs a pack and only then removes what it replaces; a journal keeps that order through a power cut.
    ("repack", "-q", "-d", "--geometric=2"),
    ("commit-graph", "write", "--reachable", "--no-progress"),
)
LITTER = ("objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/??/tmp_obj_*", "objects/tmp_object_git2_*")
"""What git, and libgit2, leave of objects that they could not write to the end, as on a full disk, or when killed."""
NICENESS = 10
PR_SET_PDEATHSIG = 1
LAST_SECONDS = 3.0
"""So long a packing has to end by itself when the daemon does."""


def pack(path: Path) -> None:
    """Pack what is loose, and wait for it. Raises: GitFailed."""
    for command in COMMANDS:
        git(path, *command)


def clear_litter(path: Path) -> None:
    """Delete what is left of objects that nobody has written to for longer than a git command may take.

    A packing leaves all that the disk took of it: without this a disk that it filled once stays full.
    """
    for file in (file for pattern in LITTER for file in path.glob(pattern)):
        try:
            if (age := refs.age_of(file)) is not None and age > GIT_SECONDS:
                file.unlink(missing_ok=True)
                log.warning("litter_removed", path=str(file), age_seconds=round(age))
        except OSError as error:
            log.warning("litter_stays", path=str(file), why=str(error))


class Housekeeping:
    """The packing of one lab, started when it is due and nothing else is going on, and what packings have left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = self._clear_at = 0.0
        folder = path / refs.EXPERIMENTS
        self._loose = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0

    @property
    def is_at_work(self) -> bool:
        return self._process is not None

    def step(self, concluded: int) -> None:
        """Called again and again, with how many experiments were concluded since: none is a quiet moment."""
        self._loose += concluded
        if not concluded and time.monotonic() >= self._clear_at:
            self._clear_at = time.monotonic() + GIT_SECONDS
            clear_litter(self._path)
        if self._process is not None:
            self._look()
        elif self._loose >= PACK_EVERY and not concluded:
            self._start()

    def close(self) -> None:
        """End it where it is; packing is begun anew some other time."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.communicate()
        self._process = None

    def _start(self) -> None:
        self._loose, self._deadline = 0, time.monotonic() + GIT_SECONDS
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(self._path), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            log.warning("packing_failed", why=str(error), then="tried again later")

    def _look(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            if time.monotonic() > self._deadline:
                log.warning("packing_failed", why=f"it took more than {GIT_SECONDS:.0f} s", then="tried again later")
                self.close()
            return
        _, said = self._process.communicate()
        if self._process.returncode:
            log.warning("packing_failed", why=said.decode("utf-8", "replace")[-2000:], then="tried again later")
        else:
            log.info("packed")
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _end_with(daemon: int) -> None:
    """Take git along when told to end, and be told so by the kernel when the daemon is killed.

    A packing that outlived its daemon would have its locks taken away by the next one.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.killpg(0, signal.SIGTERM)  # git takes its locks away on this one

    signal.signal(signal.SIGTERM, end)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != daemon:
        sys.exit("the daemon is gone")


if __name__ == "__main__":
    _end_with(int(sys.argv[2]))
    os.nice(NICENESS)
    try:
        pack(Path(sys.argv[1]))
    except GitFailed as failed:
        sys.exit(str(failed))
