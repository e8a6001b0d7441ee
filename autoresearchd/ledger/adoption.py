"""Other programs' experiments, written into a lab as records: each a commit of its own that `best` never holds.

Reads a repository that is not the lab's, and takes over files alone: no commit, no ref, no configuration of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pygit2

from autoresearchd.errors import UserError
from autoresearchd.experiment import CommitOid, Concluded, RefName, TreeOid
from autoresearchd.ledger import marks, refs, trees
from autoresearchd.ledger.history import History
from autoresearchd.ledger.inbox import new_idea
from autoresearchd.ledger.repository import GitFailed, git, git_in, new_commit, raw_commits, signature, written
from autoresearchd.trailers import Record, render, slug

_COMMIT = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author [^\n]* (\d{1,12}) [-+]\d{4}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A commit of somebody else's repository."""

    tree: TreeOid
    parent: CommitOid | None
    """The first."""
    made: float
    """Unix time, as its author says."""


class Stranger:
    """Somebody else's repository, read by plumbing alone."""

    def __init__(self, place: Path) -> None:
        """Raises: UserError where there is none."""
        try:
            found = git_in(place, "rev-parse", "--absolute-git-dir")
        except (GitFailed, NotADirectoryError) as error:
            raise UserError(f"{place} is no git repository; name a clone that has the branch") from error
        self.place, self._path = place, Path(found.decode("utf-8", "surrogateescape").removesuffix("\n"))

    def text(self, branch: str, name: str) -> bytes:
        """A file of a branch. Raises: UserError where it is not there."""
        try:
            return git(self._path, "cat-file", "blob", self._oid(f"{branch}:{name}"))
        except GitFailed as error:
            raise UserError(f"{branch!r} of {self.place} has no {name} ({error.why}); name the file") from error

    def line(self, branch: str) -> frozenset[CommitOid]:
        """The commits that a branch holds. Raises: UserError where there is no such branch."""
        try:
            said = git(self._path, "rev-list", self._oid(f"{branch}^{{commit}}"))
        except GitFailed as error:
            raise UserError(f"{self.place} has no branch {branch!r} ({error.why})") from error
        return frozenset(CommitOid(oid) for oid in said.decode("ascii").split())

    def commits(self, words: Sequence[str]) -> Mapping[str, CommitOid]:
        """By the abbreviated hash: those that are there, and of one commit only."""
        asked = "".join(f"{word}^{{commit}}\n" for word in words).encode()
        said = git(self._path, "cat-file", "--batch-check=%(objectname) %(objecttype)", given=asked).decode("utf-8")
        answers = zip(words, said.splitlines(), strict=True)
        return {word: CommitOid(line[:40]) for word, line in answers if re.fullmatch(r"[0-9a-f]{40} commit", line)}

    def read(self, commits: Sequence[CommitOid]) -> Mapping[CommitOid, Found]:
        """Tree, first parent and time of each. Raises: UserError where one is no commit that can be read."""
        try:
            return dict(self._found(commits))
        except GitFailed as error:
            raise UserError(f"{self.place} is damaged: {error.why}") from error

    def send(self, lab: Path, wanted: Sequence[TreeOid]) -> None:
        """Copy trees into a lab. Raises: UserError where git finds something in them that a lab must not hold."""
        upload = "git -c safe.directory='*' upload-pack"
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--stdin")
        given = "".join(f"{tree}\n" for tree in wanted).encode()
        try:
            strict = ("-c", "fetch.fsckObjects=true", "fetch", *quiet, "--upload-pack", upload)
            git(lab, *strict, str(self._path), given=given)
        except GitFailed as error:
            raise UserError(f"the commits of {self.place} cannot be copied: {error.why}") from error

    def _oid(self, revision: str) -> str:
        return git(self._path, "rev-parse", "--verify", "--end-of-options", revision).decode("ascii").strip()

    def _found(self, commits: Sequence[CommitOid]) -> Iterator[tuple[CommitOid, Found]]:
        for oid, raw in zip(commits, raw_commits(self._path, commits), strict=True):
            head = _COMMIT.match(raw)
            if head is None:
                raise GitFailed("cat-file", f"{oid} is a commit that git would not write")
            parents = head[2].decode("ascii").split()[1::2]
            yield (
                oid,
                Found(
                    tree=TreeOid(head[1].decode("ascii")),
                    parent=CommitOid(parents[0]) if parents else None,
                    made=float(head[3]),
                ),
            )


class Adoption:
    """Writes into one lab, whose lock the caller holds."""

    def __init__(self, repo: pygit2.Repository, history: History) -> None:
        self._repo, self._history = repo, history

    @written
    def add(self, record: Record, *, tree: TreeOid | None, on: CommitOid, opened: float, now: float) -> Concluded:
        """Write down one experiment on the commit `on`, with the next number; without a `tree` it has its parent's.

        Crash-safe as opening is: the commit first, then the branch; the next start sees all of it or nothing.
        """
        before = self._history.tree_of(on)
        tree = tree or before
        record = replace(record, number=self._history.next_number, lines=trees.lines(self._repo, before, tree))
        who, ref = signature(opened), refs.experiment_ref(record.number, slug(record.title))
        made = new_commit(self._repo, render(record), tree, [on], author=who, committer=signature(now))
        refs.create(self._repo, ref, made, why="import")
        noted = self._history.note(record.number, ref, made)
        marks.note_newest(self._repo, made)
        assert isinstance(noted, Concluded)
        return noted

    @written
    def queue(self, message: str, *, base: TreeOid, tip: TreeOid, best: CommitOid, now: float) -> RefName | None:
        """Queue what lies between two trees as an idea on best; None where it conflicts there."""
        tree = trees.merged_tree(self._repo, base, self._history.tree_of(best), tip)
        if tree is None:
            return None
        who, ref = signature(now), new_idea(message)
        made = new_commit(self._repo, message, tree, [best], author=who, committer=who)
        refs.create(self._repo, ref, made, why="import")
        return ref
