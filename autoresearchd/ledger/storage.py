"""The files that git reads all else through: packed refs, packs, the commit graph. Says what is damaged; mends nothing.

While one of them is, what git says of single objects and refs is no more than what follows from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoresearchd.errors import UserError
from autoresearchd.ledger import refs
from autoresearchd.ledger.observed import Finding

_PACK = re.compile(r"\bobjects/pack/(pack-[0-9a-f]+)\.\w+")
_GRAPH = re.compile(r"commit-graph|ended with -")
"""Git says it of the graph, or dies of reading it."""
_GRAPHS = ("objects/info/commit-graph", "objects/info/commit-graphs")
_CHUNK, _SHA1 = 2**20, 20


def damage(path: Path, said: Sequence[str]) -> Iterator[Finding]:
    """What is damaged of the lab at `path`, by what git complains of and by the files that are there."""
    names = {found[1] for line in said if (found := _PACK.search(line)) is not None}
    if names := names | _names(path, "pack") ^ _names(path, "idx"):
        yield from (_of_pack(path, name) for name in sorted(names))
    elif any(map(_GRAPH.search, said)) and any((path / graph).exists() for graph in _GRAPHS):
        mend = f"`rm -rf {' '.join(_GRAPHS)}` in experiments.git: git is only slower without"
        yield Finding(what="the commit graph is damaged", mend=mend)


def refuse_torn_refs(path: Path) -> None:
    """Raises: UserError where packed-refs is damaged: git then reads no ref at all, or only some."""
    try:
        text = (path / refs.PACKED).read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return
    if why := refs.torn(text):
        raise UserError(f"{path}: {why}")


def refuse_packs(path: Path) -> None:
    """Raises: UserError where a pack is damaged; it reads all of them, for who cannot read what every lab has."""
    for name in sorted(_names(path, "pack") | _names(path, "idx")):
        if not all(_is_whole(path / "objects" / "pack" / f"{name}.{kind}") for kind in ("pack", "idx")):
            found = _of_pack(path, name)
            raise UserError(f"{path}: {found.what}; {found.mend}, and `autoresearchd fsck` looks again")


def _names(path: Path, kind: str) -> set[str]:
    return {file.stem for file in (path / "objects" / "pack").glob(f"pack-*.{kind}")}


def _of_pack(path: Path, name: str) -> Finding:
    pack = f"objects/pack/{name}.pack"
    if _is_whole(path / pack):
        index = pack.removesuffix(".pack") + ".idx"
        mend = f"`rm -f {index}; git index-pack {pack}` in experiments.git makes it anew"
        return Finding(what=f"the index of {pack} is damaged or missing, and with it the pack is unreadable", mend=mend)
    keep = f"mkdir -p damaged && mv objects/pack/{name}.* damaged/; git unpack-objects -rq < damaged/{name}.pack"
    rest = "git -C BACKUP pack-objects -q --all --stdout </dev/null | git index-pack --stdin"
    mend = f"`{keep}` in experiments.git keeps what can be read of it, and `{rest}` brings the rest from a backup"
    return Finding(what=f"{pack} is damaged or missing", mend=mend)


def _is_whole(file_of_git: Path) -> bool:
    """Whether a pack, or its index, ends with the checksum of what it holds."""
    try:
        with file_of_git.open("rb") as file:
            found, last = hashlib.sha1(usedforsecurity=False), b""
            while chunk := file.read(_CHUNK):
                last += chunk
                found.update(last[:-_SHA1])
                last = last[-_SHA1:]
    except FileNotFoundError:
        return False
    return found.digest() == last
