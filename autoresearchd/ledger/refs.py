"""Names in experiments.git and how they move: compare-and-swap across processes, the git command included.

Decides nothing and reads no commit. `best` is moved by `move` alone, from one place in the ledger.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pygit2
import structlog

from autoresearchd.errors import CorruptRecord, RefLocked, StaleRef
from autoresearchd.experiment import CommitOid, RefName

log = structlog.get_logger()
HEADS = "refs/heads/"
BEST = RefName("refs/heads/best")
PROMOTED = RefName("refs/heads/promoted")
RUNS = RefName("refs/autoresearch/runs")
FORMAT = RefName("refs/autoresearch/format")
NEWEST = RefName("refs/autoresearch/newest")
MEASURED = RefName("refs/autoresearch/measured")
CLIMBING = RefName("refs/autoresearch/climbing")
REFUSED = RefName("refs/autoresearch/refused")
NOTES = RefName("refs/notes/ladder")
EXPERIMENTS = "refs/heads/exp/"
IDEAS = "refs/heads/idea/"
LINES = "refs/heads/line/"
"""Where best was before a rebase, by the number of the baseline that the line begins with."""
LOCK_GRACE_SECONDS = 2.0
"""A lock file this old was left by a process that died: git holds one for milliseconds."""
_NEVER = (-1,)
_OID = re.compile(rb"([0-9a-f]{40})\s*")
PACKED = "packed-refs"
_WHOLE = re.compile(r"(?:[0-9a-f]{40} refs/.+\n|\^[0-9a-f]{40}\n|# .*\n)*+")
"""What git writes there."""
_NUMBERED = re.compile(re.escape(EXPERIMENTS) + r"([0-9]{4,9})-[a-z0-9-]+")


def experiment_ref(number: int, slug: str) -> RefName:
    """`refs/heads/exp/0042-raise-matrix-lr`."""
    return RefName(f"{EXPERIMENTS}{number:04d}-{slug}")


def number_of(ref: str) -> int | None:
    """The number in an experiment's branch name; None where it is not one of ours."""
    found = _NUMBERED.fullmatch(ref)
    return int(found[1]) if found else None


def line_ref(baseline: int) -> RefName:
    """`refs/heads/line/0000`."""
    return RefName(f"{LINES}{baseline:04d}")


def is_readable(name: str) -> bool:
    """Whether libgit2 takes a name: git lets people push any bytes, libgit2's are UTF-8."""
    return shown(name) == name


def shown(name: str) -> str:
    """A name as a terminal and a log take it; bytes that are no UTF-8 as a shell's `$'…'` reads them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read(repo: pygit2.Repository, name: str) -> CommitOid | None:
    """What a ref holds now; None where it does not exist.

    Raises: CorruptRecord where its file is damaged, as a power cut may leave it.
    """
    try:
        ref = _looked_up(repo, name)
    except (pygit2.GitError, ValueError) as error:
        raise _damaged(name) from error
    if ref is not None and not isinstance(ref.target, pygit2.Oid):
        raise _damaged(name)
    return None if ref is None else CommitOid(str(ref.target))


def _looked_up(repo: pygit2.Repository, name: str) -> pygit2.Reference | None:
    """pygit2 1.21 never frees a name that it looks up, but as that of a branch; all other refs have a name for good."""
    if name.startswith(HEADS):
        with suppress(pygit2.GitError, ValueError):  # says less: that no file may be opened reads like a damaged one
            return repo.lookup_branch(name.removeprefix(HEADS))
    return repo.references.get(name)


def _damaged(name: str) -> CorruptRecord:
    """Git itself neither moves nor deletes such a ref."""
    return CorruptRecord(shown(name), f"its file is damaged; `rm {name}` in experiments.git before anything else")


def move(repo: pygit2.Repository, name: str, new: str, *, expected: str, why: str) -> None:
    """Let a ref hold `new` if and only if it holds `expected`; `why` goes to the reflog.

    The ref is read while its lock file is held, so it is a compare-and-swap against every other process. It does not
    check fast-forward: that is the caller's.

    Raises: StaleRef when it holds something else, RefLocked when another process is writing it, CorruptRecord where it
    is damaged, OSError where the disk does not let us.
    """
    with _locked(repo, name, expected) as transaction:
        transaction.set_target(name, new, None, why)


def remove(repo: pygit2.Repository, name: str, *, expected: str) -> None:
    """Delete a ref if and only if it holds `expected`.

    Raises: StaleRef, RefLocked as `move` does.
    """
    with _locked(repo, name, expected) as transaction:
        transaction.remove(name)


def create(repo: pygit2.Repository, name: str, oid: str, *, why: str) -> None:
    """Claim a name that must not exist yet.

    Raises: StaleRef when it exists, RefLocked when another process is writing it.
    """
    # libgit2's own create looks before it locks: of two processes both may then think that the name was theirs.
    with _locked(repo, name, None) as transaction:
        transaction.set_target(name, oid, None, why)


class _locked:
    """A transaction that holds one ref's lock and has seen that it holds `expected`; errors in our own words."""

    def __init__(self, repo: pygit2.Repository, name: str, expected: str | None) -> None:
        self._repo, self._name, self._expected = repo, name, expected
        self._transaction = repo.transaction()

    def __enter__(self) -> pygit2.transaction.ReferenceTransaction:
        try:
            self._transaction.lock_ref(self._name)
        except (pygit2.GitError, ValueError, OSError) as error:
            raise self._trouble(error) from error
        try:
            held = read(self._repo, self._name)
        except CorruptRecord:
            self._release()
            raise
        if held != self._expected:
            self._release()
            raise StaleRef(self._name, self._expected, held)
        return self._transaction

    def _release(self) -> None:
        self._transaction.__exit__(StaleRef, None, None)

    def __exit__(self, *exception: object) -> None:
        try:
            self._transaction.__exit__(*exception)
        except (pygit2.GitError, OSError) as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> RefLocked | OSError:
        """Contention has three faces, the last where somebody packs refs; whatever else keeps us out is the disk's."""
        text = str(error)
        if "failed to lock" in text or (
            ".lock'" in text and text.endswith(("File exists", "No such file or directory"))
        ):
            return RefLocked(self._name)
        return OSError(f"{shown(self._name)} cannot be written: {shown(text)}")


class Listing:
    """The refs below a prefix, read incrementally: loose files each time, packed-refs when it has changed.

    libgit2 needs 0.6 s for 100 000 packed refs and cannot say what changed; the two formats are git's documented ones.
    What a ref held before is its reader's to know: a second list of them all would grow with the lab.
    """

    def __init__(self, repository: Path, prefix: str) -> None:
        self._root, self._prefix = repository, prefix
        self._line = re.compile(rf"^([0-9a-f]{{40}}) ({re.escape(prefix)}.+)$", re.MULTILINE)
        self._loose: set[str] = set()
        self._packed: tuple[int, ...] | None = _NEVER

    def changes(self, held: Mapping[str, str]) -> dict[RefName, CommitOid | None]:
        """What is not as the reader holds it, by name; None where a ref has gone."""
        # Loose first: a ref that is packed between the two readings is then seen in one of them.
        read = ((name, _OID.fullmatch(said)) for name, said in _loose(self._root, self._prefix))
        found = {name: oid[1].decode("ascii") for name, oid in read if oid is not None}
        packed = self._reread_packed(anyway=not self._loose <= found.keys())
        self._loose = set(found)
        gone: list[str] = []
        if packed is not None:
            found = packed | found
            gone = [name for name in held if name not in found]
        changed = {RefName(name): CommitOid(oid) for name, oid in found.items() if held.get(name) != oid}
        return {**changed, **{RefName(name): None for name in gone}}

    def note(self) -> None:
        """Have the next look be at all of them: the reader has written one, which may be gone again, or missed some."""
        self._packed = _NEVER

    def _reread_packed(self, *, anyway: bool) -> dict[str, str] | None:
        """What packed-refs holds; None where it is as it was."""
        path = self._root / PACKED
        try:
            stat = path.stat()
            signature: tuple[int, ...] | None = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if signature == self._packed and not anyway:
                return None
            text = path.read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            signature, text = None, ""
        if why := torn(text):
            raise CorruptRecord(PACKED, why)
        self._packed = signature
        return {name: oid for oid, name in self._line.findall(text)}


def torn(packed: str) -> str:
    """What is wrong with the text of packed-refs, with the way out; empty where nothing is."""
    found = _WHOLE.match(packed)
    end = found.end() if found is not None else 0
    if end == len(packed):
        return ""
    line = 1 + packed.count("\n", 0, end)
    way = f"`sed -i {line}d {PACKED}` in experiments.git takes it out, then `autoresearchd fsck` says what it held"
    return f"line {line} of {PACKED} is damaged: {way}"


def clear_stale_locks(repository: Path) -> None:
    """Remove lock files that a killed process left: each blocks its ref for good. Call under the daemon's own lock.

    A lock that is younger than two seconds may be alive (somebody pushes an idea): it is given the time to go.
    """
    for lock in lock_files(repository):
        while (age := age_of(lock)) is not None:
            if age < 0 or age >= LOCK_GRACE_SECONDS:
                lock.unlink(missing_ok=True)
                log.warning("stale_lock_removed", path=str(lock), age_seconds=round(age, 1))
                break
            time.sleep(0.05)


def lock_files(repository: Path) -> list[Path]:
    """The files by which git keeps others from a ref, the packed refs, its configuration, packs or the commit graph."""
    info, packs = repository / "objects" / "info", repository / "objects" / "pack"
    locks = [lock for folder in (repository, info, packs) for lock in folder.glob("*.lock")]
    locks += [*(repository / "refs").rglob("*.lock"), *info.glob("commit-graphs/*.lock")]
    # Not called a lock, and one all the same: `git pack-refs` never overwrites the file that it begins with.
    return [*locks, *repository.glob("packed-refs.new")]


def damaged(repository: Path) -> list[str]:
    """The refs whose own files hold no object's name, as a power cut may leave them.

    A clone has one below `refs/remotes/` that holds another ref's.
    """
    torn = (name for name, said in _loose(repository, "refs") if _OID.fullmatch(said) is None)
    return sorted(name for name in torn if not name.startswith("refs/remotes/"))


def _loose(repository: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """What the refs' own files below a prefix hold, by name; others are packed."""
    for folder, _, names in os.walk(repository / prefix):
        for name in names:
            if name.endswith(".lock"):
                continue
            path = Path(folder, name)
            try:
                yield path.relative_to(repository).as_posix(), path.read_bytes()
            except FileNotFoundError:
                continue  # packed or deleted since it was listed; packed-refs is read after this


def age_of(file: Path) -> float | None:
    """In seconds; None where the file has gone."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return None
