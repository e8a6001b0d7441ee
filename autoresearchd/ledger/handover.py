"""Kept commits for the user's own repository: replayed on a commit of theirs, then as patches or as one new branch.

The only place that writes to a repository which is not the lab's, and there nothing but one new branch. The replay
happens in a bare repository that is thrown away and sees the objects of both without copying them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pygit2

from autoresearchd.errors import UserError
from autoresearchd.experiment import CommitOid, TreeOid
from autoresearchd.ledger.repository import GitFailed, git, git_in, new_commit, open_repository, written
from autoresearchd.ledger.trees import merged_tree
from autoresearchd.trailers import defused


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who is named in the commits that are handed over, and whether they are signed off."""

    name: str
    email: str
    sign_off: bool = False


class Handover:
    """A line of commits that grows on a commit of somebody else's repository, and where it goes at the end."""

    def __init__(self, repo: pygit2.Repository, *, onto: CommitOid, author: Author | None) -> None:
        self._repo, self._author = repo, author
        self._onto, self._tip = onto, onto

    @property
    def is_empty(self) -> bool:
        """Whether nothing was replayed, or all of it is there already."""
        return self._tip == self._onto

    @written
    def add(self, oid: CommitOid) -> bool:
        """Replay one commit by three-way merge, its message as it is; False where its change is there already.

        Raises: UserError when its lines conflict.
        """
        commit, tip = self._commit(oid), self._commit(self._tip)
        parent = commit.parents[0]
        tree = merged_tree(self._repo, _tree(parent), _tree(tip), _tree(commit))
        if tree is None:
            subject = commit.message.partition("\n")[0]
            raise UserError(
                f"{oid[:10]} ({subject}) conflicts with {self._onto[:10]} and what was replayed before it: "
                "name the experiments to export without it, or cherry-pick it by hand"
            )
        if tree == _tree(tip):
            return False
        self._grow(tree, defused(commit.message), self._tip, commit.author)
        return True

    @written
    def squash(self, message: str) -> None:
        """Make one commit of all that was replayed."""
        tip = self._commit(self._tip)
        self._grow(_tree(tip), message, self._onto, tip.author)

    def write_patches(self, folder: Path, cover: str, text: str) -> tuple[Path, ...]:
        """Write what was replayed as `git format-patch` does, and beside it the text of its cover.

        Raises: UserError when the folder has patches, or cannot be written; there are none of ours then.
        """
        folder = folder.absolute()
        if any(folder.glob("*.patch")):
            raise UserError(f"{folder} has patches already; name a folder without")
        quiet = ("--quiet", "--no-signature", "--output-directory", str(folder))
        try:
            git(Path(self._repo.path), "format-patch", *quiet, f"{self._onto}..{self._tip}")
            (folder / cover).write_text(text, encoding="utf-8")
        except (GitFailed, OSError) as error:
            for half in folder.glob("*.patch"):  # which `git am` would take, cut or not
                half.unlink()
            why = error.why if isinstance(error, GitFailed) else f"{cover}: {error.strerror}"
            raise UserError(f"{folder} cannot be written ({why}); name another folder") from error
        return tuple(sorted(folder.glob("*.patch")))

    def write_branch(self, clone: Path, name: str) -> None:
        """Make one new branch in a clone; nothing that is there is moved or checked out.

        Raises: UserError when the name is taken, or none for a branch.
        """
        try:
            git_in(clone, "check-ref-format", "--branch", name)
        except GitFailed as error:
            raise UserError(f"{name!r} is no name for a branch") from error
        ref = f"refs/heads/{name}"
        if git_in(clone, "for-each-ref", "--count=1", "--format=%(refname)", ref, f"{ref}/"):
            raise UserError(f"{clone} has a branch {name!r} already; name another")
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        try:
            git_in(clone, "fetch", *quiet, str(Path(self._repo.path).absolute()), f"{self._tip}:{ref}")
        except GitFailed as error:
            raise UserError(f"{name!r} cannot be made in {clone}: {error.why}") from error

    def _grow(self, tree: TreeOid, message: str, parent: CommitOid, author: pygit2.Signature) -> None:
        committer = author
        if self._author is not None:
            author = committer = pygit2.Signature(self._author.name, self._author.email)
            if self._author.sign_off:
                message = f"{message.rstrip()}\nSigned-off-by: {self._author.name} <{self._author.email}>\n"
        self._tip = new_commit(self._repo, message, tree, [parent], author=author, committer=committer)

    def _commit(self, oid: CommitOid) -> pygit2.Commit:
        return self._repo[oid].peel(pygit2.Commit)


@contextmanager
def line_onto(lab: Path, clone: Path, *, onto: str, author: Author | None) -> Iterator[Handover]:
    """A line that begins at the commit `onto` of a clone.

    Raises: UserError when that is no repository or has no such commit.
    """
    try:
        base = git_in(clone, "rev-parse", "--verify", "--end-of-options", f"{onto}^{{commit}}").decode().strip()
    except (GitFailed, NotADirectoryError) as error:
        raise UserError(f"{onto!r} is no commit of a git repository at {clone}") from error
    with TemporaryDirectory(prefix="autoresearchd-export-") as folder:
        scratch = Path(folder)
        git_in(scratch, "init", "--quiet", "--bare", "--template=")
        where = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
        objects = b"".join(git_in(source, *where) for source in (lab, clone))
        (scratch / "objects" / "info").mkdir(exist_ok=True)
        (scratch / "objects" / "info" / "alternates").write_bytes(objects)
        yield Handover(open_repository(scratch), onto=CommitOid(base), author=author)


def _tree(commit: pygit2.Commit) -> TreeOid:
    return TreeOid(str(commit.tree_id))
