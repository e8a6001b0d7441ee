"""One tree as a git pack, to be sent to another machine, and the private repository that it is unpacked into there.

Knows nothing of experiments. What comes out is the files that `trees.checkout` writes in the lab itself.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from autoresearchd.errors import CorruptRecord
from autoresearchd.experiment import TreeOid
from autoresearchd.ledger import trees
from autoresearchd.ledger.repository import GitFailed, git, git_in, open_repository, reading, writing

PLAIN = ("--threads=1", "--window=0", "--no-reuse-delta", "--quiet")
"""Nothing compressed against anything else: the same tree gives the same bytes, whatever was packed in the lab."""
MOST_BYTES = 2**32


def pack(path: Path, tree: TreeOid) -> bytes:
    """All objects of one tree of the repository at `path`, as a git pack.

    Raises: CorruptRecord where an object of it is damaged or gone.
    """
    try:
        return git(path, "pack-objects", "--revs", "--stdout", *PLAIN, given=f"{tree}\n".encode())
    except GitFailed as error:
        raise CorruptRecord(f"tree {tree}", error.why) from error


class Unpacked:
    """The private repository of one tree."""

    def __init__(self, path: Path, tree: TreeOid) -> None:
        self._repo, self._tree = open_repository(path), tree
        for key in ("core.protectHFS", "core.protectNTFS"):  # as in the lab
            self._repo.config[key] = True

    def checkout(self, tree: TreeOid, folder: Path) -> None:
        """Write the files of the tree into an empty folder. Raises: OSError, CorruptRecord for any other tree."""
        with writing():
            trees.checkout(self._repo, tree, folder)

    def files(self, wanted: Callable[[str], bool]) -> Mapping[str, bytes]:
        """The regular files of the tree whose path is wanted."""
        return trees.files(self._repo, self._tree, wanted)


@writing()
def unpack(packed: bytes, tree: TreeOid, path: Path) -> Unpacked:
    """Make a bare repository at `path` of a pack, which holds that tree and nothing that a name leads out of.

    Raises: CorruptRecord where the pack is damaged, or not of this tree, whole; there is nothing at `path` then.
    OSError where nothing can be written there.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", tree):
        raise CorruptRecord("the pack", f"{tree!r} is no name of a tree")
    path.parent.mkdir(parents=True, exist_ok=True)
    git_in(path.parent, "init", "--quiet", "--bare", "--template=", "--initial-branch=best", str(path))
    try:
        # Strict: no object is missing, and no name in a tree is one that git itself obeys.
        git(path, "index-pack", "--strict", f"--max-input-size={MOST_BYTES}", "--stdin", given=packed)
        _refuse_another(path, tree)
    except (GitFailed, CorruptRecord) as error:
        shutil.rmtree(path)
        raise CorruptRecord(f"the pack of tree {tree}", error.why) from error
    return Unpacked(path, tree)


def _refuse_another(path: Path, tree: TreeOid) -> None:
    with reading(f"tree {tree}"):
        kind = open_repository(path)[tree].type_str
    if kind != "tree":
        raise CorruptRecord(f"tree {tree}", f"it holds a {kind} of that name")
