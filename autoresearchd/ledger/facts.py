"""Reads what `invariants` looks at; writes nothing, and works while a daemon does.

Nothing here is believed or left out because the rest of the ledger would: refs are git's own list, every run is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pygit2

from autoresearchd import lock
from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.experiment import BASELINE_NUMBER, CommitOid, Measurement, Outcome, TreeOid
from autoresearchd.ledger import complaint, marks, refs, runs, storage
from autoresearchd.ledger.invariants import findings
from autoresearchd.ledger.observed import Branch, Commit, Facts, Filed, Finding, Line
from autoresearchd.ledger.promoted import measured
from autoresearchd.ledger.repository import GIT_SECONDS, GitFailed, git, git_says, reading
from autoresearchd.trailers import Record, parse

_REFLOG = ": invalid reflog entry "
_OF_OBJECT = re.compile(r"(?:error|warning) in \w+ ([0-9a-f]{40}): ")


def examine(repo: pygit2.Repository, path: Path) -> tuple[Finding, ...]:
    """Everything that is wrong. Beside a daemon that moves the lab meanwhile: what two looks one after another saw.

    Raises: UserError where git does not answer.
    """
    try:
        found = findings(read(repo, path, fsck=True))
        if not found or lock.holder(path) is None:
            return found
        still = frozenset(findings(read(repo, path, fsck=True)))
    except GitFailed as error:
        raise UserError(f"{path} cannot be checked ({error}): `git fsck` there may say more") from error
    return tuple(finding for finding in found if finding in still)


def read(repo: pygit2.Repository, path: Path, *, fsck: bool) -> Facts:
    """The facts as they are now; `fsck` asks git itself as well, which reads every object.

    Raises: OSError where git cannot be asked.
    """
    said = _complaints(path) if fsck else []
    if damaged := tuple(storage.damage(path, said)):
        return Facts(storage=damaged)
    names = dict(_refs(path))
    branches = sorted(_branches(repo, names), key=lambda branch: (branch.number, branch.ref))
    imported = next((parent for b in branches if b.number == BASELINE_NUMBER for parent in b.commit.parents), None)
    filed, unreadable = _runs(repo, names.get(refs.RUNS))
    newest, newest_why = _newest(repo)
    complaints = list(_ours(path, said, frozenset(_projects(branches))))
    lost = complaint.lost(complaints)
    return Facts(
        names=tuple(names),
        damaged=refs.damaged(path),
        best=_line(repo, names.get(refs.BEST), imported),
        imported=imported,
        promoted=_line(repo, names.get(refs.PROMOTED), imported),
        before=dict(_before(repo, names, imported)),
        carried=dict(_carried(repo, branches)),
        branches=branches,
        runs=filed,
        measured=measured_by(repo),
        unreadable=unreadable,
        altered=dict(_altered(repo, path)) if fsck or unreadable else {},
        newest=newest,
        newest_why=newest_why,
        stale_locks=tuple(_stale_locks(path)),
        lost=lost,
        git=complaint.others(complaints, lost),
    )


def _refs(path: Path) -> Iterator[tuple[str, CommitOid]]:
    said = git(path, "for-each-ref", "--format=%(objectname) %(refname)").decode("utf-8", "surrogateescape")
    for line in said.rstrip("\n").split("\n"):
        oid, _, name = line.partition(" ")
        yield name, CommitOid(oid)


def _branches(repo: pygit2.Repository, names: dict[str, CommitOid]) -> Iterator[Branch]:
    for ref, oid in names.items():
        if (number := refs.number_of(ref)) is not None:
            yield Branch(ref, number, commit_at(repo, oid))


def _line(repo: pygit2.Repository, tip: CommitOid | None, imported: CommitOid | None) -> Line | None:
    """Without a baseline nothing is on the line yet, whatever the imported project's own commits say."""
    if tip is None:
        return None
    commits: list[Commit] = []
    at: CommitOid | None = tip
    while at is not None and at != imported and imported is not None:
        commits.append(found := commit_at(repo, at))
        if found.record is not None and found.record.rebased is not None:
            break
        at = found.parents[0] if found.parents else None
    return Line(commits=tuple(commits), is_rooted=at is not None)


def _before(
    repo: pygit2.Repository, names: dict[str, CommitOid], imported: CommitOid | None
) -> Iterator[tuple[str, Line]]:
    for ref, tip in names.items():
        if re.fullmatch(re.escape(refs.LINES) + "[0-9]+", ref) and (line := _line(repo, tip, imported)) is not None:
            yield ref, line


def _carried(repo: pygit2.Repository, branches: Sequence[Branch]) -> Iterator[tuple[int, Line]]:
    for branch in branches:
        record, parents = branch.commit.record, branch.commit.parents
        if record is None or record.rebased is None or not parents:
            continue
        commits, at = list[Commit](), parents[0]
        while at != record.rebased.onto and len(commits) < len(record.rebased.carried):
            commits.append(commit_at(repo, at))
            at = commits[-1].parents[0] if commits[-1].parents else record.rebased.onto
        yield branch.number, Line(commits=tuple(commits), is_rooted=at == record.rebased.onto)


def _projects(branches: Sequence[Branch]) -> Iterator[CommitOid]:
    """The user's own commits that lines of best grow on."""
    for branch in branches:
        record = branch.commit.record
        if branch.number == BASELINE_NUMBER:
            yield from branch.commit.parents
        elif record is not None and record.rebased is not None:
            yield record.rebased.onto


def commit_at(repo: pygit2.Repository, oid: CommitOid) -> Commit:
    """A commit as it is there."""
    try:
        with reading(oid[:10]):
            commit = repo[oid].peel(pygit2.Commit)
            tree, parents = TreeOid(str(commit.tree_id)), tuple(CommitOid(str(parent)) for parent in commit.parent_ids)
            message = commit.message
    except CorruptRecord as error:
        return Commit(oid, why=error.why)
    try:
        record = parse(message)
        return Commit(
            oid, tree, parents, record, scales=tuple(measured(message)), on=_compared_with(repo, record, parents)
        )
    except CorruptRecord as error:
        return Commit(oid, tree, parents, why=error.why)


def _compared_with(repo: pygit2.Repository, record: Record, parents: Sequence[CommitOid]) -> TreeOid | None:
    if record.verdict is None or record.verdict.outcome is not Outcome.KEEP or not parents:
        return None
    try:
        with reading(parents[0]):
            return TreeOid(str(repo[parents[0]].peel(pygit2.Commit).tree_id))
    except CorruptRecord:
        return None  # said of the parent


def measured_by(repo: pygit2.Repository) -> Mapping[str, Any]:
    """What is known of the settings that all is measured by: that they cannot be read is said at a start."""
    try:
        return marks.measured(repo)
    except CorruptRecord:
        return {}


def _newest(repo: pygit2.Repository) -> tuple[int, str]:
    try:
        return marks.newest(repo), ""
    except CorruptRecord as error:
        return -1, str(error)


def _runs(repo: pygit2.Repository, head: CommitOid | None) -> tuple[dict[TreeOid, tuple[Filed, ...]], dict[str, str]]:
    """Every run by its tree, and what is in their place."""
    filed: dict[TreeOid, tuple[Filed, ...]] = {}
    unreadable: dict[str, str] = {}
    for path, tree, blob in _files(repo, head, unreadable):
        try:
            run = runs.load(tree, blob)
        except CorruptRecord as error:
            unreadable[error.where] = error.why
        else:
            filed[tree] = (*filed.get(tree, ()), filed_of(path, run))
    return filed, unreadable


def filed_of(path: str, run: Measurement) -> Filed:
    """A run without what takes room."""
    return Filed(path, run.run, run.seed, run.environment, run.ending, run.metrics)


def _files(
    repo: pygit2.Repository, head: CommitOid | None, unreadable: dict[str, str]
) -> Iterator[tuple[str, TreeOid, pygit2.Blob]]:
    """The files two folders deep whose folders are the oid of a tree; all else goes to `unreadable`."""

    def inside(oid: object, path: str) -> list[pygit2.Object]:
        try:
            with reading(f"{refs.RUNS}:{path}"):
                found = repo[str(oid)]
                # Asked for by its own name: that is what is lost, should it be.
                return list(repo[str(found.tree_id if isinstance(found, pygit2.Commit) else oid)].peel(pygit2.Tree))
        except CorruptRecord as error:
            unreadable[error.where] = error.why
            return []

    def fits(entry: pygit2.Object, path: str, kind: type[pygit2.Object], pattern: str) -> bool:
        found = isinstance(entry, kind) and re.fullmatch(pattern, entry.name or "") is not None
        if not found:
            unreadable[f"{refs.RUNS}:{path}"] = "nothing is filed there"
        return found

    for shelf in inside(head, "") if head is not None else ():
        if not fits(shelf, f"{shelf.name}", pygit2.Tree, "[0-9a-f]{2}"):
            continue
        for folder in inside(shelf.id, f"{shelf.name}"):
            place = f"{shelf.name}/{folder.name}"
            if not fits(folder, place, pygit2.Tree, "[0-9a-f]{38}"):
                continue
            for entry in inside(folder.id, place):
                if fits(entry, f"{place}/{entry.name}", pygit2.Blob, r".+\.json"):
                    assert isinstance(entry, pygit2.Blob)
                    yield f"{place}/{entry.name}", TreeOid(f"{shelf.name}{folder.name}"), entry


def _altered(repo: pygit2.Repository, path: Path) -> Iterator[tuple[str, str]]:
    """The runs that are not as they were filed, by path, with what they were: their line only ever adds files."""
    listed = ("log", "-z", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=DMT", "-m", "--first-parent")
    try:
        said = git(path, *listed, "--format=", refs.RUNS, "--").decode("utf-8", "surrogateescape")
    except GitFailed:
        return  # no runs yet; or some of it cannot be read, which is said of that
    first: dict[str, str] = {}
    for about, name in zip(*[iter(said.split("\0"))] * 2, strict=False):
        first[name] = about.split()[2]  # the oldest comes last
    if not first:
        return
    present = git(path, "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", refs.RUNS)
    held = set(present.decode("utf-8", "surrogateescape").split("\0"))
    for name, oid in sorted(first.items()):
        if f"{oid} {name}" not in held and _was_a_run(repo, name, oid):
            yield name, oid


def _was_a_run(repo: pygit2.Repository, name: str, oid: str) -> bool:
    folder = re.fullmatch("([0-9a-f]{2})/([0-9a-f]{38})/.+", name)
    try:
        with reading(name):
            blob = repo[oid]
        if folder is None or not isinstance(blob, pygit2.Blob):
            return False
        runs.load(TreeOid(folder[1] + folder[2]), blob)
    except CorruptRecord:
        return False
    return True


def _stale_locks(path: Path) -> Iterator[str]:
    """Beside a daemon a lock may be git's own at work; no git command of ours takes longer than its bound."""
    grace = refs.LOCK_GRACE_SECONDS if lock.holder(path) is None else GIT_SECONDS
    for file in refs.lock_files(path):
        age = refs.age_of(file)
        if age is not None and age > grace:
            yield file.relative_to(path).as_posix()


def _complaints(path: Path) -> list[str]:
    """What `git fsck --strict` says, but for what only a reflog remembers: commits that no ref has held for long."""
    lines = git_says(path, "fsck", "--strict", "--no-dangling", "--no-progress")
    return [line for line in lines if not line.startswith(("notice:", "dangling ")) and _REFLOG not in line]


def _ours(path: Path, lines: Sequence[str], projects: frozenset[CommitOid]) -> Iterator[str]:
    """Without the imported project's own old sins."""
    if not projects or not any(_OF_OBJECT.match(line) for line in lines):
        yield from lines
        return
    inherited = frozenset(git(path, "rev-list", "--objects", "--no-object-names", *projects).decode().split())
    for line in lines:
        named = _OF_OBJECT.match(line)
        if named is None or named[1] not in inherited:
            yield line
