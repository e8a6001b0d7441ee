"""Why something is left alone for a while after it could not be done, and until when: longer each time. Pure."""

from __future__ import annotations

import re

_PASSING = re.compile(r"\b(tmp_[a-z0-9_]*_)\w+")
"""The name of a file that is made anew for each try, as libgit2 says it."""


class Backoff:
    """The rests of one thing that is tried again and again."""

    def __init__(self, *, first_seconds: float, longest_seconds: float) -> None:
        self._first, self._longest = first_seconds, longest_seconds
        self._why, self._until, self._rest = "", 0.0, 0.0

    def failed(self, error: Exception, *, now: float) -> None:
        """It could not be done: let it rest. What fails while it rests makes that no longer.

        The same cause is kept in the same words.
        """
        if now >= self._until:
            self._rest = min(2 * self._rest, self._longest) or self._first
        self._why, self._until = _PASSING.sub(r"\1*", str(error)), now + self._rest

    def succeeded(self) -> None:
        """The next rest is a first one again."""
        self._rest = 0.0

    def why(self, now: float) -> str:
        """What could not be done a moment ago; empty once it may be tried again."""
        return self._why if now < self._until else ""
