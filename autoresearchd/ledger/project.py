"""The user's own repository: looked at, copied from, never written to."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.experiment import CommitOid
from autoresearchd.ledger import marks, refs
from autoresearchd.ledger.repository import GitFailed, git, git_in, open_repository, sync

_LINE = "%C(auto)%h  " + "".join(
    f"%<({width},trunc)%(trailers:key={key},valueonly,separator=%x2C) "
    for key, width in (("Experiment", 5), ("Verdict", 13), ("Metric", 20), ("Proposer", 10))
)
CONFIG = (
    # For people: `git --git-dir=experiments.git lab` lists every experiment, `kept` the line of best, in any lab.
    ("pretty.experiment", f"tformat:{_LINE}%s"),
    ("alias.lab", "log --no-walk=sorted --glob=refs/heads/exp/* --pretty=experiment"),
    ("alias.kept", "log --first-parent --author=autoresearchd@localhost --pretty=experiment best"),
    ("core.logAllRefUpdates", "true"),  # of branches; the line of runs is its own log
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("gc.auto", "0"),  # a gc in the middle of a night, and by whoever pushes, is the daemon's to decide
    ("receive.autogc", "false"),
    ("receive.fsckObjects", "true"),
    # People push ideas; every other ref is the daemon's own.
    ("receive.hideRefs", "refs"),
    ("receive.hideRefs", "!refs/heads/idea"),
)

MIRRORED = "+refs/*:refs/*"
"""What a clone made by `git clone --mirror` fetches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectState:
    """What the project's repository holds now."""

    head: CommitOid
    branch: str
    dirty: tuple[str, ...]
    """Paths with changes that are not committed, untracked files not counted."""
    tracked: tuple[str, ...]
    """Paths of HEAD's tree."""


def project_state(project: Path) -> ProjectState:
    """Look at a project.

    Raises: UserError when it is no git repository or has no commit.
    """
    try:
        top = _top(project)
        head = git_in(top, "rev-parse", "--verify", "HEAD^{commit}").decode().strip()
        branch = git_in(top, "rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        # The stat cache of the user's index is left as it is: looking must not write.
        look = ("--no-optional-locks", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no",
                "--ignore-submodules=dirty")  # fmt: skip
        changed = git_in(top, *look, environment=_unfiltered(top)).decode("utf-8", "replace")
        tracked = git_in(top, "ls-tree", "-r", "--name-only", "-z", "HEAD").decode("utf-8", "surrogateescape")
    except GitFailed as error:
        way = "`git init`, `git add` and `git commit` make it one"
        raise UserError(f"{project} is no checkout of a git repository with a commit ({error.why}); {way}") from error
    return ProjectState(
        head=CommitOid(head),
        branch="a detached HEAD" if branch == "HEAD" else branch,
        dirty=tuple(entry[3:] for entry in changed.split("\0") if entry),
        tracked=tuple(filter(None, tracked.split("\0"))),
    )


def _unfiltered(project: Path) -> dict[str, str]:
    """The environment in which none of a project's filters is there: they are programs, and looking runs none.

    By variables, because the name of a filter may hold whatever would end the name in an option.
    """
    try:
        names = git_in(project, "config", "--name-only", "-z", "--get-regexp", r"^filter\.").split(b"\0")
    except GitFailed:
        return {}  # it has none
    found = {"GIT_CONFIG_COUNT": str(len(names) - 1)}
    for number, name in enumerate(names[:-1]):
        found[f"GIT_CONFIG_KEY_{number}"] = os.fsdecode(name)
        found[f"GIT_CONFIG_VALUE_{number}"] = "false" if name.endswith(b".required") else ""
    return found


def found(path: Path, project: Path) -> None:
    """Make a lab at `path` from what is committed in the project: `best` starts at its HEAD, histories are shared.

    Built beside and renamed: a lab is there whole or not at all.

    Raises: UserError when something is in the way or the project cannot be read.
    """
    if path.exists():
        raise UserError(f"{path} exists already; `autoresearchd run` goes on with it, or move it away to begin anew")
    state = project_state(project)
    beside = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        git_in(path.parent, "init", "--quiet", "--bare", "--template=", "--initial-branch=best", str(beside))
        configure(beside)
        source = f"{state.head}:{refs.BEST}"  # with protocol version 2 any commit may be asked for by name
        _fetch(beside, project, source)
        marks.stamp(open_repository(beside))
        (beside / "autoresearchd").mkdir()
        sync(beside)
        beside.rename(path)
    except (GitFailed, OSError) as error:
        raise UserError(f"{path} cannot be made from {project}: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def configure(path: Path) -> None:
    """Give a lab its own settings, as `init` does; a clone of one, a restored backup, has none of them.

    Raises: GitFailed, OSError.
    """
    ignored = path / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")  # a lab may lie in the project, whose `git add -A` must not take it along
    config, wanted = open_repository(path).config, dict[str, list[str]]()
    for key, value in CONFIG:
        wanted.setdefault(key, []).append(value)
    for key, values in wanted.items():
        held = list(config.get_multivar(key))
        if held == values:
            continue
        if held:
            git(path, "config", "--unset-all", key)
        for value in values:
            git(path, "config", "--add", key, value)
    if MIRRORED in config.get_multivar("remote.origin.fetch"):
        # One `git fetch`, and everything since the backup would be gone.
        git(path, "config", "--remove-section", "remote.origin")


def fetch_branch(path: Path, project: Path, branch: str) -> CommitOid:
    """Copy a branch of the project into the lab; no ref knows of it.

    Raises: UserError when there is no such branch.
    """
    try:
        oid = git_in(project, "rev-parse", "--verify", "--end-of-options", f"{branch}^{{commit}}").decode().strip()
        _fetch(path, project, oid)
    except GitFailed as error:
        raise UserError(f"{branch!r} is neither a file nor a branch of {project} ({error.why})") from error
    return CommitOid(oid)


def fetch_commit(path: Path, project: Path, revision: str) -> CommitOid:
    """Copy a commit of the project, and what it grew from, into the lab; no ref knows of it.

    Raises: UserError when there is no such commit.
    """
    try:
        oid = git_in(project, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        _fetch(path, project, oid)
    except (GitFailed, NotADirectoryError, FileNotFoundError) as error:
        raise UserError(f"{revision!r} is no commit of a git repository at {project}") from error
    return CommitOid(oid)


def _fetch(path: Path, project: Path, what: str) -> None:
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow")
    git(path, "fetch", *quiet, "--upload-pack", "git -c safe.directory='*' upload-pack", str(_top(project)), what)


def _top(project: Path) -> Path:
    """The root of the checkout that a folder is in; absolute, so that it cannot be taken for an option or a remote."""
    return Path(git_in(project, "rev-parse", "--show-toplevel").decode("utf-8", "surrogateescape").removesuffix("\n"))
