"""What the newest finished training of best and of each open experiment has left, kept when the run's own folder goes.

It is what untrusted code wrote: it is moved as it is, weighed without following a link, and never read. `best` in the
folder leads to that of best.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from autoresearchd.experiment import RunSpec, TreeOid
from autoresearchd.run.folders import Disposal, weigh

logger = structlog.get_logger()
BEST = "best"
GONE = ".gone-"
TEMPORARY = "tmp"
"""Where a training keeps its sockets and scratch files."""
MOST_FILES = 100_000
"""More of them are no checkpoint."""
CLOSE_SECONDS = 1.0
Weighed = tuple[TreeOid, Path, float]


class Checkpoints:
    """`<tree>/<run>/` below one folder. One thread owns it; files are deleted in another one."""

    def __init__(self, folder: Path, *, most_bytes: int, reserve_bytes: int) -> None:
        """Together they take `most_bytes` at the most (0: none is kept), and leave `reserve_bytes` of the disk free.

        Raises: OSError when the folder cannot be made.
        """
        self._folder, self._most, self._reserve = folder, most_bytes, reserve_bytes
        self._tidied: tuple[int, TreeOid, frozenset[TreeOid]] | None = None
        self._taken = 0
        self._untidy: int | None = None
        """The error that kept it from being tidied the last time."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._disposal = Disposal()
        self._disposal.put(*folder.glob(f"{GONE}*"))

    def take(self, out: Path, spec: RunSpec) -> None:
        """Keep what a finished run has left there; what cannot be kept is said, and no reason to stop."""
        try:
            if self._most and stat.S_ISDIR(os.lstat(out).st_mode):
                self._take(out, self._folder / spec.tree / spec.run)
        except OSError as error:
            logger.warning("checkpoint_not_kept", run=spec.run, tree=spec.tree, why=str(error))

    def tidy(self, best: TreeOid, opened: Sequence[TreeOid]) -> None:
        """Delete what is of neither, older than the newest of its tree, or more than there is room for: best's last."""
        state = self._taken, best, frozenset(opened)
        if state == self._tidied:
            return
        try:
            is_settled = self._tidy(best, state[2])
        except OSError as error:
            if error.errno != self._untidy:  # said once, however long it lasts
                logger.warning("checkpoints_not_tidied", why=str(error), then="tried again later")
            self._untidy = error.errno
        else:
            self._untidy = None
            self._tidied = state if is_settled else None

    def close(self) -> None:
        """Wait until all is deleted, but not for long; the next start does the rest."""
        self._disposal.close(CLOSE_SECONDS)

    def _take(self, out: Path, place: Path) -> None:
        out.chmod(stat.S_IRWXU)  # a folder that its owner may not write to is not moved
        if all(path.name == TEMPORARY for path in out.iterdir()):
            return
        place.parent.mkdir(exist_ok=True)
        out.rename(place)
        self._taken += 1
        self._remove(place / TEMPORARY)

    def _tidy(self, best: TreeOid, opened: frozenset[TreeOid]) -> bool:
        """False where the disk is to be weighed again: room is being made on it, so nothing goes for want of room."""
        held = sorted(self._held(best, opened), key=lambda each: (each[0] != best, -each[1].lstat().st_ctime))
        total, is_settled = sum(size for _, _, size in held), self._disposal.is_through
        free = shutil.disk_usage(self._folder).free
        room = min(self._most, total + free - self._reserve) if is_settled else self._most
        kept = None
        for tree, place, size in held:
            if size > room:
                logger.warning("checkpoint_not_kept", tree=tree, why=f"no room for its {size / 2**20:.0f} MiB")
                self._remove(place.parent)
                continue
            room -= size
            kept = place if tree == best else kept
        self._point(kept)
        return is_settled

    def _held(self, best: TreeOid, opened: frozenset[TreeOid]) -> Iterator[Weighed]:
        """The newest of each tree that is wanted; all else is deleted."""
        for folder in tuple(self._folder.iterdir()):
            tree = TreeOid(folder.name)
            if folder.name == BEST or folder.name.startswith(GONE):
                continue
            runs = sorted(folder.iterdir(), key=lambda run: run.lstat().st_ctime) if folder.is_dir() else []
            if not runs or (tree != best and tree not in opened):
                self._remove(folder)
                continue
            for run in runs[:-1]:
                self._remove(run)
            yield tree, runs[-1], _size(runs[-1])

    def _remove(self, path: Path) -> None:
        gone = self._folder / f"{GONE}{secrets.token_hex(6)}"
        if os.path.lexists(path):
            path.rename(gone)
            self._disposal.put(gone)

    def _point(self, place: Path | None) -> None:
        link = self._folder / BEST
        if place is None:
            link.unlink(missing_ok=True)
            return
        fresh = self._folder / f"{GONE}{secrets.token_hex(6)}"
        fresh.symlink_to(place.relative_to(self._folder))
        fresh.replace(link)


def _size(folder: Path) -> float:
    """Bytes on the disk; infinite where there are more files than anybody would leave, deeper ones, or locked ones."""
    try:
        size, files = weigh(folder, most_files=MOST_FILES)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EACCES):
            raise
        return math.inf
    return math.inf if files > MOST_FILES else size
