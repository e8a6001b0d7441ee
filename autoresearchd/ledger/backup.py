"""A second copy of a lab: `git clone --mirror`, and later only what is new. Restored by cloning it back, its runs alone
by filing them again.

What somebody deleted in the lab stays in its backup, ideas aside: those were taken up. The folder `autoresearchd/` of a
lab is no history and is not copied.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from autoresearchd import lock
from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.ledger import facts, refs
from autoresearchd.ledger.housekeeping import pack
from autoresearchd.ledger.observed import Finding
from autoresearchd.ledger.repository import GitFailed, git, git_in, new_commit, open_repository, signature, writing

ROUNDS = 3
"""Git lists refs one after the other; a daemon that moves them meanwhile is listed again."""
_READING = ("--upload-pack", "git -c safe.directory='*' upload-pack")
_EVERYTHING = "+refs/*:refs/*"
_IDEAS = f"+{refs.IDEAS}*:{refs.IDEAS}*"


def back_up(path: Path, copy: Path) -> tuple[Finding, ...]:
    """Bring `copy` up to date with the lab at `path`, also beside a daemon; what is wrong with the copy then.

    Raises: UserError where `copy` is something else, or git cannot write it.
    """
    path, copy = path.resolve(), copy.absolute()
    try:
        if copy.exists() and any(copy.iterdir()):
            _refuse_others(path, copy)
        else:
            # Not by hard links: one damaged file would be damage to both.
            command = ("clone", "--quiet", "--mirror", "--no-local", "--config", "core.logAllRefUpdates=always")
            git_in(path, *command, *_READING, str(path), str(copy))
        for _ in range(ROUNDS):
            git(copy, "fetch", "--quiet", "--prune", *_READING, str(path), _IDEAS)
            git(copy, "fetch", "--quiet", "--no-prune", *_READING, str(path), _EVERYTHING)
            found = facts.examine(open_repository(copy), copy)
            if not found or lock.holder(path) is None:
                break
        pack(copy)
    except (GitFailed, OSError) as error:
        raise UserError(f"{path} cannot be copied to {copy}: {error}") from error
    return found


def runs_back(path: Path, copy: Path) -> int:
    """File again the runs that a backup has and the lab has lost or has otherwise; how many. All else there stays.

    Raises: UserError where `copy` is no backup of the lab; AlreadyRunning beside a daemon.
    """
    path, copy = path.resolve(), copy.absolute()
    _refuse_others(path, copy)
    with lock.held(path), writing():
        repo = open_repository(path)
        head, theirs = refs.read(repo, refs.RUNS), refs.read(open_repository(copy), refs.RUNS)
        if theirs is None:
            return 0
        git(path, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *_READING, str(copy), refs.RUNS)
        lost = _files_of(path, theirs) - (_files_of(path, head) if head else frozenset())
        if lost:
            tree, who = _with(path, head, lost), signature(time.time())
            words = f"Bring {len(lost)} runs back from a backup\n"
            made = new_commit(repo, words, tree, [head] if head else [], author=who, committer=who)
            if head is None:
                refs.create(repo, refs.RUNS, made, why="runs back")
            else:
                refs.move(repo, refs.RUNS, made, expected=head, why="runs back")
    return len(lost)


def _files_of(path: Path, commit: str) -> frozenset[bytes]:
    """The files of a commit of runs, each with what it holds. Raises: CorruptRecord where that cannot be read."""
    try:
        return frozenset(git(path, "ls-tree", "-r", "-z", commit).split(b"\0")) - {b""}
    except GitFailed as error:
        raise CorruptRecord(refs.RUNS, error.why) from error


def _with(path: Path, commit: str | None, files: frozenset[bytes]) -> str:
    """The tree of a commit with these files as well, or in place of those that it has there."""
    with TemporaryDirectory(dir=path) as place:
        index = {"GIT_INDEX_FILE": str(Path(place, "index"))}
        git(path, "read-tree", commit or "--empty", environment=index)
        git(
            path,
            "update-index",
            "-z",
            "--index-info",
            given=b"".join(b"%b\0" % file for file in files),
            environment=index,
        )
        return git(path, "write-tree", environment=index).decode("ascii").strip()


def _refuse_others(path: Path, copy: Path) -> None:
    """Raises: UserError unless `copy` is a backup of this very lab."""
    try:
        source = git(copy, "config", "--get", "remote.origin.url").decode("utf-8", "surrogateescape").strip()
    except GitFailed:
        source = ""
    if source != str(path):
        raise UserError(f"{copy} is there and no backup of {path}; name a new folder, or the one of the last backup")
