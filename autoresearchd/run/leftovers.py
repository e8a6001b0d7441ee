"""After a daemon was killed: end the processes of its runs, remove their files. Touches nothing that is not marked."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from autoresearchd.run import proc
from autoresearchd.run.folders import remove
from autoresearchd.run.site import TEMPORARY_PREFIX
from autoresearchd.run.target import WORK_VARIABLE

logger = structlog.get_logger()
ROUNDS = 5
"""A process may fork while we look; who still comes after so many rounds is stuck or hostile, and is said."""
ROUND_SECONDS = 1.0


def reap_leftovers(work: Path) -> None:
    """Kill what is left over of earlier runs in `work` and remove their folders. Takes a few seconds at the most.

    The caller holds the lab's lock, so nothing in `work` is anybody's.
    """
    work = work.absolute()
    for _ in range(ROUNDS):
        victims = list(_marked(work))
        if not victims:
            break
        logger.warning("leftover_processes", pids=[pid for pid, _ in victims])
        _end(victims)
    else:
        logger.error("leftover_processes_stay", pids=[pid for pid, _ in _closed(_marked(work))])
    if work.is_dir():
        for folder in work.iterdir():
            remove(folder)
    for link in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        if link.is_symlink() and link.readlink().is_relative_to(work):
            link.unlink(missing_ok=True)


def _marked(work: Path) -> Iterator[tuple[int, int]]:
    """Processes of runs in `work` with descriptors that stay theirs, even if a number is used again."""
    noted = dict(_noted(work))
    for pid in proc.everybody():
        if pid == os.getpid():
            continue
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue  # gone meanwhile
        found = proc.stat(pid)
        if found and not found.zombie and (noted.get(pid) == found.started or _works_in(pid, work)):
            yield pid, descriptor
        else:
            os.close(descriptor)


def _works_in(pid: int, work: Path) -> bool:
    """By its mark; an errand has a folder of its own below."""
    marked = proc.variable(pid, WORK_VARIABLE)
    return marked is not None and Path(marked).is_relative_to(work)


def _noted(work: Path) -> Iterator[tuple[int, int]]:
    """What runs noted of their processes in this boot: number and start."""
    for note in work.glob("*/pid-*"):
        words = note.read_text("utf-8", "replace").split() if note.is_file() and not note.is_symlink() else []
        if len(words) == 3 and words[2] == proc.boot() and words[0].isdigit() and words[1].isdigit():
            yield int(words[0]), int(words[1])


def _end(victims: list[tuple[int, int]]) -> None:
    waiting = select.poll()
    for _, descriptor in victims:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        waiting.register(descriptor, select.POLLIN)
    until = time.monotonic() + ROUND_SECONDS
    left = {descriptor for _, descriptor in victims}
    while left and (rest := until - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(rest * 1000):
            waiting.unregister(descriptor)
            left.discard(descriptor)
    _closed(victims)


def _closed(victims: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> list[tuple[int, int]]:
    found = list(victims)
    for _, descriptor in found:
        os.close(descriptor)
    return found
