"""Opening git repositories so that nobody's configuration can change what happens, and running git the same way.

User and machine configuration, hooks, signing and templates are out of play; every write is synced to the disk.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import ParamSpec, TypeVar

import pygit2
import structlog

from autoresearchd.errors import CorruptRecord, NoLab, UserError
from autoresearchd.experiment import CommitOid

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
NAME, EMAIL = "autoresearchd", "autoresearchd@localhost"
GIT_SECONDS = 600.0
ATTEMPTS = 4
GONE = "No such file or directory"
UNREADABLE = "git cannot read it"
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.fsync=all",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.version=2",
    "safe.directory=*",  # whoever owns the project: its owner's configuration that says so is out of play
)


class GitFailed(Exception):
    """A git command ended with an error; `why` is what it said, on one line."""

    def __init__(self, command: str, why: str) -> None:
        super().__init__(f"git {command}: {why}")
        self.command, self.why = command, why


def open_repository(path: Path) -> pygit2.Repository:
    """Open the lab's repository, isolated from every configuration but its own, with fsync on.

    libgit2 finds the other configurations by HOME when it is loaded and ignores later changes: hence the search paths.

    Raises: NoLab when there is none, UserError when it is somebody else's.
    """
    levels = pygit2.enums.ConfigLevel
    for level in (levels.SYSTEM, levels.XDG, levels.GLOBAL):
        pygit2.settings.search_path[level] = ""
    # Without it a power cut leaves refs of zero bytes.
    pygit2.settings.enable_fsync_gitdir(True)
    # A cache that grows to 256 MiB over the weeks, of what is kept as our own nouns anyway.
    pygit2.settings.enable_caching(False)
    try:
        repo = pygit2.Repository(str(path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        if "not owned by" in str(error):
            user = owner(path)
            raise UserError(f"{path} belongs to {user}: do it as that user, `sudo -u {user} …`") from error
        raise NoLab(str(path), str(error)) from error
    repo.set_ident(NAME, EMAIL)
    return repo


def owner(path: Path) -> str:
    """The name of the user to whom a file belongs; the number as sudo takes it where it has no name."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


@contextmanager
def writing() -> Iterator[None]:
    """What git cannot write (a full disk, no permission) is an OSError, whichever library says it.

    What it does not find, of the objects that it builds on, is a CorruptRecord: no room on the disk would help.
    """
    try:
        yield
    except KeyError as error:
        raise CorruptRecord("experiments.git", f"an object is missing: {error}") from error
    except (pygit2.GitError, GitFailed) as error:
        raise OSError(f"git cannot write: {error}") from error


def written(method: Callable[P, T]) -> Callable[P, T]:
    """A method that writes: its errors are those of `writing`, and what packing took away under it is written again.

    Packing removes the folders that it has emptied, also between the moment that libgit2 makes one and the moment that
    it renames a file into it.
    """

    @wraps(method)
    def persistent(*args: P.args, **named: P.kwargs) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                with writing():
                    return method(*args, **named)
            except OSError as error:
                if GONE not in str(error):
                    raise
                log.info("packed_under_a_write", what=method.__name__, why=str(error))
        with writing():
            return method(*args, **named)

    return persistent


@contextmanager
def reading(where: str) -> Iterator[None]:
    """What git cannot read (an object that is gone or damaged) is a CorruptRecord of `where`."""
    try:
        yield
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise CorruptRecord(where, f"{UNREADABLE}: {error!r}") from error


def new_commit(
    repo: pygit2.Repository,
    message: str,
    tree: str,
    parents: Sequence[str],
    *,
    author: pygit2.Signature,
    committer: pygit2.Signature,
) -> CommitOid:
    """File a commit that no ref names yet. Raises: GitError where it cannot be written, as on a full disk."""
    # libgit2's own (1.9.7, git_commit_create) names a commit also where the disk had no room for it: refs then moved
    # to what is not there. The object as a whole is written by its other way, which says so.
    raw = str(repo.create_commit_string(author, committer, message, tree, list(parents)))
    return CommitOid(str(repo.write(pygit2.enums.ObjectType.COMMIT, raw)))


def sync(folder: Path) -> None:
    """Bring everything below a folder to the disk, names included; git's own plumbing leaves the names to luck.

    Not `os.sync`: that would wait for every checkpoint that a training is writing just now.
    """
    for place, _, names in os.walk(folder):
        for path in (*(Path(place, name) for name in names), Path(place)):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def signature(at: float) -> pygit2.Signature:
    """Who the daemon is in commits, at a Unix time."""
    return pygit2.Signature(NAME, EMAIL, int(at), 0)


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of every git child: no GIT_* of the caller's, no configuration but the repository's own."""
    kept = {"GIT_REFLOG_ACTION": "autoresearchd"} | {
        key: value for key, value in os.environ.items() if key in ("PATH", "TMPDIR")
    }
    fixed = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",  # a partial clone fetches what it lacks by programs that its configuration names
        "LC_ALL": "C.UTF-8",
    }
    return kept | fixed | more


def git(path: Path, *arguments: str, given: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    """The output of a git command in the bare repository at `path`, and in no repository around it.

    Raises: GitFailed with the line that names the trouble; UserError where git is not installed.
    """
    return git_in(path, *arguments, given=given, environment={"GIT_DIR": ".", **(environment or {})})


def git_in(folder: Path, *arguments: str, given: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    """The output of a git command run in a folder, wherever its repository begins.

    Raises: GitFailed with the line that names the trouble; UserError where git is not installed.
    """
    done = _run(folder, arguments, given, environment or {})
    if done.returncode:
        raise GitFailed(" ".join(arguments[:2]), _said(done.stderr))
    return done.stdout


def git_says(path: Path, *arguments: str) -> list[str]:
    """What a git command in the bare repository at `path` complains of, line by line; however it ends.

    Raises: UserError where git is not installed.
    """
    done = _run(path, arguments, b"", {"GIT_DIR": "."})
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return lines or ([f"git {arguments[0]} ended with {done.returncode}"] if done.returncode else [])


def _run(
    folder: Path, arguments: Sequence[str], given: bytes, environment: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            _command(folder, *arguments),
            input=given,
            capture_output=True,
            env=clean_environment(**environment),
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError("git is not on PATH; install it, for example with `apt-get install git`") from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(" ".join(arguments[:2]), f"it has not ended in {GIT_SECONDS:g} s") from error


def raw_commits(path: Path, oids: Sequence[str]) -> Iterator[bytes]:
    """The commit objects as git stores them, in the order asked; for thousands this is faster than one at a time.

    Raises: GitFailed at the first that cannot be read.
    """
    with TemporaryFile() as wanted:
        wanted.write("\n".join(oids).encode())
        wanted.seek(0)
        with subprocess.Popen(
            _command(path, "cat-file", "--batch=%(objecttype) %(objectsize)", "--buffer"),
            bufsize=2**20,
            stdin=wanted,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(GIT_DIR="."),
        ) as process:
            assert process.stdout is not None
            for oid in oids:
                kind, _, size = process.stdout.readline().partition(b" ")
                if kind != b"commit":
                    raise GitFailed("cat-file", f"{oid} cannot be read")
                yield process.stdout.read(int(size) + 1)


def _command(folder: Path, *arguments: str) -> list[str]:
    return ["git", *(part for setting in SETTINGS for part in ("-c", setting)), "-C", str(folder), *arguments]


def _said(text: bytes) -> str:
    """The line that names the trouble: git's first `error:` or `fatal:`, else the last line."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("error:", "fatal:"))]
    return (named or lines[-1:] or ["no message"])[0][:300]
