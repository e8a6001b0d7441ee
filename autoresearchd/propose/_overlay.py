"""Two changes of one file at once, line by line; a conflict where they touch. Pure."""

from __future__ import annotations

import difflib
import itertools

_Change = tuple[int, int, list[bytes]]
"""Lines [start, end) of the base become these."""


def overlay(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """The three-way merge of two changes of `base`; None where they overlap or leave no line between them.

    Neighbours count as a conflict, as they do for git: two edits of adjoining lines were seldom meant to meet.
    """
    lines = base.splitlines(keepends=True)
    changes = sorted([*_changes(lines, ours), *_changes(lines, theirs)], key=lambda change: change[:2])
    if any(after[0] <= before[1] for before, after in itertools.pairwise(changes)):
        return None
    for start, end, fresh in reversed(changes):
        lines[start:end] = fresh
    return b"".join(lines)


def _changes(lines: list[bytes], after: bytes) -> list[_Change]:
    fresh = after.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(None, lines, fresh, autojunk=False)
    return [(i, j, fresh[k:m]) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]
