"""How long who fails again and again is left alone: counted in turns, each rest twice as long. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE, LONGEST = 3, 64
"""Failures in a row after which the rests begin to grow, and the most turns that one lasts."""


@dataclass(slots=True)
class Rest:
    """Of one proposer."""

    why: str = ""
    """What was wrong the last time, for a person; empty once it goes well."""
    failures: int = 0
    _left: int = 0

    @property
    def trouble(self) -> str:
        """Why it is asked less and less; empty while it is not."""
        return self.why if self.failures >= PATIENCE else ""

    def takes_turn(self) -> bool:
        """Whether this turn of its passes in rest."""
        if self._left == 0:
            return False
        self._left -= 1
        return True

    def failed(self, why: str) -> None:
        self.why, self.failures = why, self.failures + 1
        self._left = min(2 ** max(0, self.failures - PATIENCE), LONGEST)

    def went_well(self) -> None:
        self.why, self.failures, self._left = "", 0, 0
