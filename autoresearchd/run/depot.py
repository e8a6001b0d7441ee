"""Data on a machine that runs are sent to: copied there once, under the hash of all that it holds.

Nothing is ever there half, and nothing that was not asked for by its hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.run.folders import remove

CHUNK_BYTES = 2**24


def default_cache() -> Path:
    """Of this user on any machine, for what stays there."""
    return Path(f"/var/tmp/autoresearchd-{os.getuid()}")  # noqa: S108 - `owned` looks whose it is


def owned(cache: Path) -> Path:
    """The folder for what stays here, made for us alone. Raises: UserError where it is somebody else's."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    if cache.is_symlink() or cache.stat().st_uid != os.geteuid():
        raise UserError(f"{cache} belongs to somebody else; name another folder for what stays on a node")
    return cache


def digest(path: Path, waits: Callable[[], None] = lambda: None) -> str:
    """The hash of a file or folder: of every name in it, every link's target and every byte.

    `waits` is called every CHUNK_BYTES, and for every file that holds something.
    Raises: UserError for a link that leads out of the folder, OSError.
    """
    total = hashlib.sha256()
    for name, file in _files(path):
        said = f"link {_inner(file, path)}" if file.is_symlink() else _hash(file, waits)
        total.update(f"{name}\0{said}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder. Raises: OSError."""
    return sum(file.lstat().st_size for _, file in _files(path))


def bring(depot: Path, wanted: str, source: Path) -> Path:
    """Where data with this hash is on this machine; copied from `source` if it is not there yet.

    Of several that ask at the same time one copies, the others wait.

    Raises: UserError when the source is not there or holds something else, OSError when this machine cannot.
    """
    place = depot / wanted / source.name
    depot.mkdir(parents=True, exist_ok=True)
    with (depot / f"{wanted}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _fetch(depot, wanted, source, place)
    return place


def _fetch(depot: Path, wanted: str, source: Path, place: Path) -> None:
    beside = depot / f".new-{wanted}"
    remove(beside)  # what one that was killed left
    beside.mkdir()
    try:
        copy = _copied(source, beside)
        if (found := digest(copy)) != wanted:
            raise UserError(f"{source} holds other data ({found[:8]}) than the daemon saw ({wanted[:8]}); restart it")
        place.parent.mkdir(exist_ok=True)
        copy.rename(place)
    except FileNotFoundError as error:
        raise UserError(f"the data {source} cannot be seen from here; put it where every node sees it") from error
    finally:
        remove(beside)


def _inner(link: Path, folder: Path) -> Path:
    """Where a link leads within its folder; elsewhere it would lead nowhere, or to what nobody has hashed.

    Raises: UserError.
    """
    target = link.readlink()
    if target.is_absolute() or not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"the data {folder} has a link that leads out of it, {link} to {target}: put a copy in its place"
        )
    return target


def _hash(file: Path, waits: Callable[[], None]) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            total.update(chunk)
            waits()
    return total.hexdigest()


def _copied(source: Path, folder: Path) -> Path:
    if source.is_dir():
        return Path(shutil.copytree(source, folder / source.name, symlinks=True))
    return Path(shutil.copy2(source, folder / source.name))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """What is below, with the name that it has there, in the same order everywhere."""
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        links = (name for name in folders if Path(folder, name).is_symlink())
        for name in sorted((*names, *links)):
            file = Path(folder, name)
            yield str(file.relative_to(path)), file
