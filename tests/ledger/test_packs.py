"""A tree sent to another machine as a pack: the same files come out, and nothing but that tree goes in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.ledger.packs import pack, unpack
from tests.support.disk import full_disk
from tests.support.projects import git, git_bytes, project

EXECUTED = "touch ran"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A lab whose tree has everything that git treats in a way of its own."""
    home = project(tmp_path / "home", {"train.py": "print(1)\n", "deep/er/file.txt": "text\r\n"})
    (home / ".gitattributes").write_text("*.txt eol=crlf filter=mine ident\n")
    (home / "run.sh").write_text("#!/bin/sh\n")
    (home / "run.sh").chmod(0o755)
    (home / "link").symlink_to("deep/er/file.txt")
    git(home, "add", "-A")
    git(home, "commit", "-q", "-m", "Everything")
    return Ledger.init(tmp_path / "experiments.git", project_path=home)


def files(folder: Path) -> dict[str, tuple[bytes, bool] | Path]:
    """Every file below: its content and whether it is executable, or where it links to."""
    return {
        str(path.relative_to(folder)): (
            path.readlink() if path.is_symlink() else (path.read_bytes(), os.access(path, os.X_OK))
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_the_files_on_another_machine_are_those_of_the_lab(ledger: Ledger, tmp_path: Path) -> None:
    tree = ledger.best().tree
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    unpacked = unpack(pack(ledger.path, tree), tree, tmp_path / "node" / "tree.git")
    unpacked.checkout(tree, there)
    ledger.checkout(tree, here)
    assert files(there) == files(here)
    assert files(there)["link"] == Path("deep/er/file.txt")
    assert unpacked.files(lambda path: path.endswith(".py")) == {"train.py": b"print(1)\n"}


def test_a_machine_without_room_says_so_as_any_other_that_cannot_write(ledger: Ledger, tmp_path: Path) -> None:
    tree = ledger.best().tree
    packed = pack(ledger.path, tree)
    with full_disk(8), pytest.raises(OSError, match="git cannot write"):
        unpack(packed, tree, tmp_path / "tree.git")


def test_the_same_tree_gives_the_same_bytes_before_and_after_the_lab_is_packed(ledger: Ledger) -> None:
    tree = ledger.best().tree
    loose = pack(ledger.path, tree)
    ledger.pack()
    assert pack(ledger.path, tree) == loose


def test_nobodys_git_configuration_changes_what_is_unpacked(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    (home / "hooks").mkdir(parents=True)
    settings = f'[filter "mine"]\nsmudge = {EXECUTED}\nrequired = true\n[core]\nautocrlf = true\nhooksPath = {home}\n'
    (home / ".gitconfig").write_text(settings)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(ledger.path))
    tree, there = ledger.best().tree, tmp_path / "there"
    there.mkdir()
    unpack(pack(ledger.path, tree), tree, tmp_path / "tree.git").checkout(tree, there)
    assert (there / "train.py").read_bytes() == b"print(1)\n"
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("spoil", ["empty", "cut", "changed", "another tree", "a blob", "one object less"])
def test_a_pack_that_is_not_the_tree_is_one_error_and_leaves_nothing(
    ledger: Ledger, tmp_path: Path, spoil: str
) -> None:
    tree = ledger.best().tree
    whole = pack(ledger.path, tree)
    blob = TreeOid(git(ledger.path, "rev-parse", f"{tree}:train.py").strip())
    subtree = TreeOid(git(ledger.path, "rev-parse", f"{tree}:deep").strip())
    spoilt = {
        "empty": lambda: b"",
        "cut": lambda: whole[:-25],
        "changed": lambda: whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        "another tree": lambda: pack(ledger.path, subtree),
        "a blob": lambda: pack(ledger.path, blob),
        "one object less": lambda: _without(ledger.path, tree, blob),
    }[spoil]()
    wanted = blob if spoil == "a blob" else tree
    with pytest.raises(CorruptRecord, match=f"the pack of tree {wanted}"):
        unpack(spoilt, wanted, tmp_path / "tree.git")
    assert not (tmp_path / "tree.git").exists()


def test_a_tree_that_the_lab_has_lost_is_said_when_it_is_packed(ledger: Ledger) -> None:
    with pytest.raises(CorruptRecord, match="tree 0123"):
        pack(ledger.path, TreeOid("0123" * 10))


def _without(repository: Path, tree: TreeOid, left_out: TreeOid) -> bytes:
    objects = git(repository, "rev-list", "--objects", tree).splitlines()
    kept = "".join(f"{line}\n" for line in objects if not line.startswith(left_out))
    return git_bytes(repository, "pack-objects", "--stdout", "-q", given=kept)
