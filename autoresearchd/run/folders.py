"""The folders of a run: made, read with care, deleted."""

from __future__ import annotations

import errno
import math
import os
import queue
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import structlog

logger = structlog.get_logger()
LONGEST_WHY = 500
"""Characters of why a folder could not be copied, which names every file."""


def fresh(folder: Path) -> Path:
    """Make an empty folder.

    Raises: OSError, also when it is there already.
    """
    folder.mkdir(parents=True)
    return folder


def open_untrusted(path: Path | str, *, folder: int | None = None) -> int:
    """A descriptor to read a regular file that somebody else wrote; follows no link, is stopped by no FIFO.

    Raises: OSError when it is not there or something else.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def warm_cache(caches: Path, tree: str, kind: str, home: Path) -> Path:
    """The folder for compiled kernels: kept for the first tree of a lab, its baseline; a copy in `home` for all others.

    A shared one would let one experiment put kernels of its own into the runs of another, or of best.
    """
    caches.mkdir(parents=True, exist_ok=True)
    note, kept = caches / "baseline-tree", caches / kind
    if not note.exists():
        fresh = note.with_suffix(".new")  # half a name, on a full disk, would be of no tree ever
        fresh.write_text(tree, "ascii")
        fresh.replace(note)
    if note.read_text("ascii") == tree:
        kept.mkdir(exist_ok=True)
        return kept
    return own_cache(caches, kind, home)


def own_cache(caches: Path, kind: str, home: Path) -> Path:
    """A copy of the kept kernels in `home`; an empty folder where it fails, as when a training baseline moves them."""
    kept, own = caches / kind, home / "cache"
    if kept.is_dir() and not own.exists():
        try:
            shutil.copytree(kept, own, symlinks=True)
        except shutil.Error as error:
            logger.warning("cache_not_copied", kept=str(kept), why=str(error)[:LONGEST_WHY], then="it starts cold")
            shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    return own


class Disposal:
    """Deletes in a thread of its own: some file systems take milliseconds a folder, and outputs may be large.

    If we are killed before it is through, `reap_leftovers` does the rest at the next start.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._put = self._done = 0
        self._thread = threading.Thread(target=self._work, name="disposal", daemon=True)
        self._thread.start()

    def put(self, *paths: Path) -> None:
        """Have these deleted, soon and in this order."""
        for path in paths:
            self._put += 1
            self._waiting.put(path)

    @property
    def is_through(self) -> bool:
        """Nothing waits to be deleted."""
        return self._done == self._put

    def close(self, seconds: float) -> None:
        """Wait until all is deleted, but not longer."""
        self._waiting.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            logger.warning("disposal_unfinished", seconds=seconds)

    def _work(self) -> None:
        while (path := self._waiting.get()) is not None:
            remove(path)
            self._done += 1


def remove(folder: Path) -> None:
    """Delete what a run left, whatever it did to its permissions; what stays is said, and tried again at next start."""
    try:
        if folder.is_dir() and not folder.is_symlink():
            _delete(folder)
        else:
            folder.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("leftover", folder=str(folder), why=str(error))


def _delete(folder: Path) -> None:
    """Raises: OSError for what stays."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):  # a training may lock its folders, and nest them deeper than we can open or call
        for words in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            done = subprocess.run((*words, "--", folder), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if folder.exists():
            raise OSError(done.stderr.decode("utf-8", "replace")[:LONGEST_WHY]) from None


def weigh(folder: Path, *, most_bytes: float = math.inf, most_files: float = math.inf) -> tuple[int, int]:
    """Bytes on the disk and number of all that is below a folder, until it is more than one of the two bounds.

    Follows no link, and goes however deep. What its owner moves meanwhile is left out.
    Raises: OSError, also where a path is too long to be looked at, or its owner has locked it: more may be there.
    """
    size, count, waiting = 0, 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    size += 512 * entry.stat(follow_symlinks=False).st_blocks
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if size > most_bytes or count > most_files:
                        return size, count
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP):
                raise
    return size, count
