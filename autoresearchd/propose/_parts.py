"""A change in its parts, as a person sees them in a diff: what the files are without one of them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

CONTEXT = 3
"""Lines that two parts have to lie apart, twice; git's own."""
MOST_LINES = 5_000
"""Of a file: comparing takes their square."""


def without_each(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    """For each part of what changed in files that both have: its path, and `after`'s content of it without the part."""
    shared = sorted(path for path in before.keys() & after.keys() if before[path] != after[path])
    return tuple((path, content) for path in shared for content in _without_each(before[path], after[path]))


def _without_each(before: bytes, after: bytes) -> Iterator[bytes]:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if max(len(old), len(new)) > MOST_LINES:
        return
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        (_, i, _, k, _), (_, _, j, _, m) = group[0], group[-1]
        yield b"".join((*new[:k], *old[i:j], *new[m:]))
