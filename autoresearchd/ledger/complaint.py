"""What `git fsck` says, line by line → the objects that it cannot read, each once, and what is left of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from autoresearchd.ledger.observed import Lost

_FILE = re.compile(r"\./(objects/([0-9a-f]{2})/([0-9a-f]{38}))\b")
_GONE = re.compile(r"missing \w+ ([0-9a-f]{40})|error: .*: invalid sha1 pointer (?!0{40})([0-9a-f]{40})")
_TORN = re.compile(r"error: .*: invalid sha1 pointer 0{40}")
"""Of a ref whose own file is damaged, which is said as that."""
_OID = re.compile(r"[0-9a-f]{40}")
_NAMELESS = ("error: inflate:", "error: garbage at end of loose object")
"""Of an object that the lines around them name."""


def lost(lines: Sequence[str]) -> Mapping[str, Lost]:
    """The objects that cannot be read, by name; git says up to eight lines of each."""
    found: dict[str, Lost] = {}
    for line in lines:
        if (file := _FILE.search(line)) is not None:
            found[file[2] + file[3]] = Lost(file[1])
        elif (gone := _GONE.fullmatch(line)) is not None:
            found.setdefault(gone[1] or gone[2], Lost())
    return found


def others(lines: Sequence[str], lost: Collection[str]) -> tuple[str, ...]:
    """What is not about those objects; a broken link is two lines, and the second names what it leads to."""
    pairs = pairwise((*lines, ""))
    rest = [line for line, after in pairs if not (_is_about(line, after, lost) or _TORN.fullmatch(line))]
    return tuple(rest)


def _is_about(line: str, after: str, lost: Collection[str]) -> bool:
    if line.startswith("broken link from "):
        line = after
    if lost and line.startswith(_NAMELESS):
        return True
    file = _FILE.search(line)
    named = _OID.findall(line) + ([file[2] + file[3]] if file else [])
    return any(oid in lost for oid in named)
