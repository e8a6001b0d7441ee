"""What somebody does to a lab with stock git, or a disk to its files."""

from __future__ import annotations

from pathlib import Path

from tests.support.projects import git

RUNS = "refs/autoresearch/runs"


def harm(lab: Path, oid: str, content: bytes | None) -> None:
    """Damage one loose object on the disk; None removes it."""
    file = lab / "objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def tear(lab: Path, ref: str, content: bytes) -> None:
    """Leave something else in a ref's own file than the name of an object, packed though it may be."""
    (lab / ref).parent.mkdir(parents=True, exist_ok=True)
    (lab / ref).write_bytes(content)


def forge(lab: Path, place: str, content: str | None) -> None:
    """Put a file of one's own making among the runs, or take one away."""
    index = {"GIT_INDEX_FILE": str(lab / "forged.index")}
    git(lab, "read-tree", RUNS, **index)
    if content is None:
        git(lab, "update-index", "--index-info", given=f"0 {40 * '0'}\t{place}\n", **index)
    else:
        blob = git(lab, "hash-object", "-w", "--stdin", given=content).strip()
        git(lab, "update-index", "--add", "--cacheinfo", f"100644,{blob},{place}", **index)
    tree = git(lab, "write-tree", **index).strip()
    git(lab, "update-ref", RUNS, git(lab, "commit-tree", "-p", RUNS, "-m", "forged", tree).strip())
    (lab / "forged.index").unlink()
