"""What somebody wants tried, before it has a number: a change to the tree of best, or a wish in words. Does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from autoresearchd.experiment import CommitOid

LONGEST_NAME, LONGEST_PATH = 255, 1024
"""Bytes that file systems take for one part of a path, and for all of it with room for what a checkout lies in."""


class FileMode(StrEnum):
    """What git can file at a path, by git's own octal word."""

    REGULAR = "100644"
    EXECUTABLE = "100755"
    SYMLINK = "120000"
    SUBMODULE = "160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One path of a proposal's tree that differs from its parent's; `content` is None where the path is removed."""

    path: str
    content: bytes | None
    mode: FileMode | None = None
    """None leaves a file that is there as executable as it is, and makes a regular file of a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path in which an experiment's tree differs from its parent's, by the modes only; None where it is absent."""

    path: str
    before: FileMode | None
    after: FileMode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change to the tree of `best`; nothing has run yet, nothing is written yet.

    `title` and `rationale` are untrusted words. `reason` says why this proposer was asked (the portfolio's own words).
    """

    parent: CommitOid
    edits: tuple[Edit, ...]
    title: str
    rationale: str
    category: str
    proposer: str
    reason: str = ""
    cost_usd: float | None = None
    wish: CommitOid | None = None
    """The wish that it was made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants tried, in words; a language model makes the change of it."""

    oid: CommitOid
    """Of the empty commit that says it: it is this wish, whatever its branch is called."""
    name: str
    """Of its branch in the inbox, `idea/slug`."""
    words: str
    """Untrusted."""

    @property
    def title(self) -> str:
        """The first line of it."""
        return self.words.partition("\n")[0]


def too_long(path: str) -> str:
    """Why no checkout could hold a path, although git files it; empty where one can."""
    name = max(map(_bytes, path.split("/")))
    if name > LONGEST_NAME:
        return f"a part of it has {name} bytes, more than the {LONGEST_NAME} that file systems take"
    if _bytes(path) > LONGEST_PATH:
        return f"it has {_bytes(path)} bytes, more than {LONGEST_PATH}"
    return ""


def _bytes(words: str) -> int:
    return len(words.encode("utf-8", "surrogateescape"))
