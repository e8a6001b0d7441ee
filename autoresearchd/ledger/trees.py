"""Trees of files in git: edits filed, read back, compared, merged and checked out. Knows nothing of experiments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pygit2
from pygit2.enums import CheckoutStrategy, DiffOption
from pygit2.enums import FileMode as GitMode

from autoresearchd.errors import UnfilablePath
from autoresearchd.experiment import Lines, TreeOid
from autoresearchd.ledger.repository import reading
from autoresearchd.proposal import Change, Edit, FileMode, too_long

_IGNORED_ON_HFS = re.compile(r"[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_SHORT_NAME = re.compile(r"gi[0-9a-z]*~[0-9]+")


def file_edits(repo: pygit2.Repository, parent: TreeOid, edits: Sequence[Edit]) -> TreeOid:
    """The tree that `edits` make of `parent`.

    Raises: UnfilablePath for a path that git cannot hold; edits are untrusted.
    """
    index = pygit2.Index()
    index.read_tree(_tree(repo, parent))
    for edit in edits:
        _check(edit.path)
        if edit.mode is FileMode.SUBMODULE and edit.content is not None:
            raise UnfilablePath(edit.path, "a submodule's commit is in another repository")
        if edit.content is None:
            if edit.path in index:
                index.remove(edit.path)
            continue
        blob = repo.create_blob(edit.content)
        try:
            index.add(pygit2.IndexEntry(edit.path, blob, _mode_of(edit, index)))
        except (pygit2.GitError, OSError, ValueError) as error:
            raise UnfilablePath(edit.path, str(error)) from error
    return TreeOid(str(index.write_tree(repo)))


def _mode_of(edit: Edit, index: pygit2.Index) -> GitMode:
    """As the edit says; else an executable file stays one."""
    if edit.mode is not None:
        return GitMode(int(edit.mode, 8))
    was_executable = edit.path in index and index[edit.path].mode == GitMode.BLOB_EXECUTABLE
    return GitMode.BLOB_EXECUTABLE if was_executable else GitMode.BLOB


def files(repo: pygit2.Repository, tree: TreeOid, wanted: Callable[[str], bool]) -> Mapping[str, bytes]:
    """The regular files of a tree whose path is wanted, in path order.

    Raises: CorruptRecord where an object of it is damaged or gone.
    """
    with reading(f"tree {tree}"):
        return {path: blob.data for path, blob in _blobs(_tree(repo, tree), "") if wanted(path)}


def changes(repo: pygit2.Repository, before: TreeOid, after: TreeOid) -> tuple[Change, ...]:
    """The paths in which two trees differ, with their modes."""
    return tuple(
        Change(path=delta.new_file.path, before=_mode(delta.old_file.mode), after=_mode(delta.new_file.mode))
        for delta in _diff(repo, before, after, DiffOption.INCLUDE_TYPECHANGE).deltas
    )


def lines(repo: pygit2.Repository, before: TreeOid, after: TreeOid) -> Lines:
    """Size of the difference, as `git diff --numstat --no-renames` counts it.

    But where a link takes the place of a binary file, or the other way round, the link's line counts.
    """
    stats = _diff(repo, before, after).stats
    return Lines(added=stats.insertions, removed=stats.deletions)


def diff(repo: pygit2.Repository, before: TreeOid, after: TreeOid) -> str:
    """The difference as a patch."""
    patch = _diff(repo, before, after, DiffOption.SHOW_BINARY).patch
    return patch or ""


def merge(repo: pygit2.Repository, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> tuple[Edit, ...] | None:
    """Edits that bring `theirs`' change since `base` onto `ours`; None where they conflict.

    Raises: CorruptRecord where an object of them is damaged or gone.
    """
    try:
        merged = merged_tree(repo, base, ours, theirs)
        return None if merged is None else tuple(_edit(repo, merged, change) for change in changes(repo, ours, merged))
    except (KeyError, pygit2.GitError):
        for tree in (base, ours, theirs):
            files(repo, tree, lambda _: True)
        raise  # all of them can be read: it is the disk that cannot be written


def merged_tree(repo: pygit2.Repository, base: TreeOid, ours: TreeOid, theirs: TreeOid) -> TreeOid | None:
    """The tree with the changes of both since `base`; None where they conflict."""
    index = repo.merge_trees(base, ours, theirs)
    if index.conflicts is not None and next(iter(index.conflicts), None) is not None:
        return None
    return TreeOid(str(index.write_tree(repo)))


def checkout(repo: pygit2.Repository, tree: TreeOid, folder: Path) -> None:
    """Write the files of a tree into an empty folder; it gets no .git, and the repository's index is not used.

    Raises: CorruptRecord where an object of it is damaged or gone.
    """
    strategy = CheckoutStrategy.FORCE | CheckoutStrategy.DISABLE_PATHSPEC_MATCH | CheckoutStrategy.DONT_UPDATE_INDEX
    try:
        repo.checkout_tree(_tree(repo, tree), directory=str(folder), strategy=strategy)  # type: ignore[no-untyped-call]
    except pygit2.GitError:
        files(repo, tree, lambda _: True)
        raise  # all of it can be read: it is the folder that cannot be written


def _tree(repo: pygit2.Repository, oid: str) -> pygit2.Tree:
    return repo[oid].peel(pygit2.Tree)


def _diff(
    repo: pygit2.Repository, before: TreeOid, after: TreeOid, flags: DiffOption = DiffOption.NORMAL
) -> pygit2.Diff:
    return _tree(repo, before).diff_to_tree(_tree(repo, after), flags)


def _blobs(tree: pygit2.Tree, folder: str) -> Iterator[tuple[str, pygit2.Blob]]:
    for entry in tree:
        path = folder + (entry.name or "")
        if isinstance(entry, pygit2.Tree):
            yield from _blobs(entry, path + "/")
        elif isinstance(entry, pygit2.Blob) and entry.filemode in (GitMode.BLOB, GitMode.BLOB_EXECUTABLE):
            yield path, entry


def _edit(repo: pygit2.Repository, tree: TreeOid, change: Change) -> Edit:
    if change.after is None:
        return Edit(path=change.path, content=None)
    entry = _tree(repo, tree)[change.path]
    content = entry.data if isinstance(entry, pygit2.Blob) else b""
    return Edit(path=change.path, content=content, mode=change.after)


def _mode(mode: int) -> FileMode | None:
    return FileMode(f"{int(mode):06o}") if mode else None


def _is_gits_own(name: str) -> bool:
    """Whether macOS (ignores some characters) or Windows (short names, streams, ends of names) read it as `.git…`."""
    plain = _IGNORED_ON_HFS.sub("", name).lower().partition(":")[0].rstrip(". ")
    return plain in (".git", ".gitmodules", ".gitattributes") or _SHORT_NAME.fullmatch(plain) is not None


def _check(path: str) -> None:
    """Git would file some of these, and then refuse to check them out or to pass `git fsck --strict`."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise UnfilablePath(path, "it is not a plain relative path")
    if any(_is_gits_own(part) for part in re.split(r"[/\\]", path)):
        raise UnfilablePath(path, "some file system takes it for a file that git itself obeys")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnfilablePath(path, "it is not valid Unicode") from error
    if why := too_long(path):
        raise UnfilablePath(path, why)
