"""Trees are filed, compared, merged and checked out exactly as the git command would do it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

import pygit2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoresearchd.experiment import TreeOid
from autoresearchd.ledger import trees
from autoresearchd.ledger.repository import open_repository
from autoresearchd.proposal import Edit, FileMode
from tests.ledger.conftest import MEMORY
from tests.ledger.lab import git, git_bytes

Files = Mapping[str, tuple[FileMode, bytes]]
PATHS = st.sampled_from(["a.py", "b.py", "c", "d/a.py", "d/e/f.py", "ü ñ.txt", "d.py", "tab\tnew\nline"])
LINES = st.lists(st.sampled_from([b"one", b"two", b"three", b"", b"  four", b"\r"]), max_size=8).map(b"\n".join)
CONTENTS = st.one_of(LINES, LINES.map(lambda text: text + b"\n"), st.binary(max_size=20))
MODES = st.sampled_from([FileMode.REGULAR, FileMode.REGULAR, FileMode.EXECUTABLE, FileMode.SYMLINK])
LINKABLE = st.tuples(MODES, CONTENTS).map(
    lambda entry: entry if entry[0] is not FileMode.SYMLINK else (entry[0], b"a.py")
)
FILESETS = st.dictionaries(PATHS, LINKABLE, max_size=6)
TEXTS = st.dictionaries(PATHS, st.tuples(MODES, LINES.map(lambda text: text or b"x")), max_size=6)
REGULAR = st.dictionaries(PATHS, st.tuples(st.just(FileMode.REGULAR), CONTENTS), max_size=6)
_FOLDER = Path()


@pytest.fixture(scope="module", autouse=True)
def _repository() -> Iterator[None]:
    """A repository for the whole module: hypothesis and function fixtures do not mix."""
    global _FOLDER
    _FOLDER = Path(mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    git(_FOLDER, "init", "-q", "--bare")
    yield
    shutil.rmtree(_FOLDER)


def _repo() -> pygit2.Repository:
    return open_repository(_FOLDER)


def _edits(files: Files) -> tuple[Edit, ...]:
    return tuple(Edit(path=path, content=content, mode=mode) for path, (mode, content) in files.items())


def _tree(files: Files) -> TreeOid:
    repo = _repo()
    return trees.file_edits(repo, TreeOid(str(repo.TreeBuilder().write())), _edits(files))


def _listing(tree: str) -> dict[str, tuple[str, bytes]]:
    found = {}
    for line in git(_FOLDER, "ls-tree", "-r", "-z", tree).split("\0")[:-1]:
        head, path = line.split("\t", 1)
        mode, _, oid = head.split(" ")
        found[path] = (mode, git_bytes(_FOLDER, "cat-file", "blob", oid))
    return found


@given(FILESETS, FILESETS)
@settings(max_examples=40, deadline=None)
def test_edits_make_the_tree_that_they_describe(before: Files, more: Files) -> None:
    base = _tree(before)
    removed = list(before)[::2]
    edits = (*(Edit(path=path, content=None) for path in removed), *_edits(more))
    tree = trees.file_edits(_repo(), base, edits)
    expected = {path: entry for path, entry in before.items() if path not in removed} | dict(more)
    assert _listing(tree) == expected
    assert "error" not in git(_FOLDER, "fsck", "--strict")


@given(FILESETS, FILESETS)
@settings(max_examples=40, deadline=None)
def test_lines_are_counted_as_git_counts_them(before: Files, after: Files) -> None:
    swapped = {path for path in before.keys() & after.keys() if FileMode.SYMLINK in (before[path][0], after[path][0])}
    assume(not any(b"\0" in files[path][1] for files in (before, after) for path in swapped))
    one, two = _tree(before), _tree(after)
    said = git(_FOLDER, "diff", "--numstat", "--no-renames", "-z", one, two).split("\0")[:-1]
    counts = [row.split("\t")[:2] for row in said]
    added, removed = (sum(int(row[at]) for row in counts if row[at] != "-") for at in (0, 1))
    lines = trees.lines(_repo(), one, two)
    assert (lines.added, lines.removed) == (added, removed)


@given(FILESETS, FILESETS)
@settings(max_examples=40, deadline=None)
def test_changes_are_those_that_git_sees(before: Files, after: Files) -> None:
    one, two = _tree(before), _tree(after)
    raw = git(_FOLDER, "diff-tree", "-r", "-z", one, two).split("\0")[:-1]
    said = {
        path: tuple(None if mode == "000000" else FileMode(mode) for mode in head.lstrip(":").split(" ")[:2])
        for head, path in zip(raw[::2], raw[1::2], strict=True)
    }
    assert {change.path: (change.before, change.after) for change in trees.changes(_repo(), one, two)} == said


@given(TEXTS, TEXTS)
@settings(max_examples=30, deadline=None)
def test_the_diff_applies_to_the_one_and_gives_the_other(before: Files, after: Files) -> None:
    one, two = _tree(before), _tree(after)
    patch = trees.diff(_repo(), one, two)
    index = {"GIT_INDEX_FILE": str(_FOLDER / "diff.index")}
    git(_FOLDER, "read-tree", one, **index)
    if patch:
        git(_FOLDER, "apply", "--cached", "-", given=patch.encode("utf-8", "surrogateescape"), **index)
    assert git(_FOLDER, "write-tree", **index).strip() == two


@given(REGULAR, REGULAR, REGULAR)
@settings(max_examples=40, deadline=None)
def test_a_merge_that_succeeds_is_gits_merge(base: Files, ours: Files, theirs: Files) -> None:
    one, two, three = _tree(base), _tree(dict(base) | dict(ours)), _tree(dict(base) | dict(theirs))
    edits = trees.merge(_repo(), one, two, three)
    expected = _merged_by_git(one, two, three)
    if edits is None:
        assert expected is None
    else:
        assert trees.file_edits(_repo(), two, edits) == expected


@given(FILESETS, FILESETS)
@settings(max_examples=30, deadline=None)
def test_a_change_merged_onto_its_own_base_is_that_change(base: Files, change: Files) -> None:
    one, two = _tree(base), _tree(dict(base) | dict(change))
    edits = trees.merge(_repo(), one, one, two)
    assert edits is not None
    assert trees.file_edits(_repo(), one, edits) == two
    assert trees.merge(_repo(), one, two, two) == ()


def _merged_by_git(base: str, ours: str, theirs: str) -> TreeOid | None:
    """By `git merge-recursive`'s successor, on commits made for it."""
    root = git(_FOLDER, "commit-tree", "-m", "base", base).strip()
    left, right = (git(_FOLDER, "commit-tree", "-p", root, "-m", "side", tree).strip() for tree in (ours, theirs))
    try:
        said = git(_FOLDER, "-c", "merge.renames=false", "merge-tree", "--write-tree", left, right)
    except AssertionError:
        return None
    return TreeOid(said.split("\n")[0])


@given(FILESETS)
@settings(max_examples=40, deadline=None)
def test_a_checkout_is_what_git_archive_gives_and_has_no_git_folder(files: Files) -> None:
    tree = _tree(files)
    folder = Path(mkdtemp(dir=_FOLDER))
    trees.checkout(_repo(), tree, folder)
    with tarfile.open(fileobj=io.BytesIO(git_bytes(_FOLDER, "archive", "--format=tar", tree))) as archive:
        said = {member.name: _member(archive, member) for member in archive if not member.isdir()}
    found = {
        path.relative_to(folder).as_posix(): _file(path)
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    assert found == said
    assert not (folder / ".git").exists()
    assert not (_FOLDER / "index").exists()
    shutil.rmtree(folder)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, bytes | str]:
    if member.issym():
        return "symlink", member.linkname
    content = archive.extractfile(member)
    assert content is not None
    return ("executable" if member.mode & 0o100 else "regular"), content.read()


def _file(path: Path) -> tuple[str, bytes | str]:
    if path.is_symlink():
        return "symlink", str(path.readlink())
    return ("executable" if path.stat().st_mode & 0o100 else "regular"), path.read_bytes()


def test_attributes_of_the_project_change_no_byte_of_a_checkout(tmp_path: Path) -> None:
    files = {"a.py": b"one\n$Id$\n", "b.py": b"one\r\n", "c.bin": b"\x00\r\n"}
    entries = {path: (FileMode.REGULAR, content) for path, content in files.items()}
    index = pygit2.Index()
    repo = _repo()
    attributes = b"* text eol=crlf ident\n*.bin export-ignore filter=lfs\n"
    for path, content in (files | {".gitattributes": attributes}).items():
        index.add(pygit2.IndexEntry(path, repo.create_blob(content), pygit2.enums.FileMode.BLOB))
    trees.checkout(repo, TreeOid(str(index.write_tree(repo))), tmp_path)
    assert {path: (tmp_path / path).read_bytes() for path in files} == files
    assert len(entries) == 3


def test_an_edited_program_stays_a_program() -> None:
    before = _tree({"run.sh": (FileMode.EXECUTABLE, b"1"), "a.py": (FileMode.REGULAR, b"1")})
    edits = [Edit(path=path, content=b"2") for path in ("run.sh", "a.py", "new.py")]
    modes = {path: mode for path, (mode, _) in _listing(trees.file_edits(_repo(), before, edits)).items()}
    assert modes == {"run.sh": "100755", "a.py": "100644", "new.py": "100644"}


def test_only_the_wanted_regular_files_are_read() -> None:
    tree = _tree(
        {
            "train.py": (FileMode.REGULAR, b"1"),
            "run.sh": (FileMode.EXECUTABLE, b"2"),
            "d/x.py": (FileMode.REGULAR, b"3"),
            "link.py": (FileMode.SYMLINK, b"train.py"),
        }
    )
    assert trees.files(_repo(), tree, lambda path: path.endswith(".py")) == {"d/x.py": b"3", "train.py": b"1"}
    assert list(trees.files(_repo(), tree, lambda path: True)) == ["d/x.py", "run.sh", "train.py"]


def test_a_name_that_is_not_unicode_can_be_read_and_passed_by() -> None:
    repo = _repo()
    blob = git(_FOLDER, "hash-object", "-w", "--stdin", given="1").strip()
    listing = f"100644 blob {blob}\t".encode() + b"\xff.py\0"
    tree = TreeOid(git(_FOLDER, "mktree", "-z", given=listing).strip())
    assert list(trees.files(repo, tree, lambda path: True).values()) == [b"1"]
    assert _listing(trees.file_edits(repo, tree, [Edit(path="a", content=b"2")])).keys() == {"a", "\udcff.py"}
