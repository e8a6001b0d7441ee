"""What this start of the daemon came to so far: sums only, so that weeks take no more room than an hour."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from autoresearchd.experiment import Concluded, Measurement
from autoresearchd.judge import fate
from autoresearchd.status import Idle


@dataclass(slots=True)
class Figures:
    """The sums of one session; seconds are of devices, all of them together."""

    busy_seconds: float = 0.0
    """In runs that ended."""
    scale_seconds: float = 0.0
    """Of these, on the rungs above the first."""
    idle_seconds: dict[str, float] = field(default_factory=dict)
    """In which nothing trained, by reason."""
    concluded: int = 0
    side_by_side: Counter[str] = field(default_factory=Counter)
    """Wins that another was faster than, by what became of them."""
    disturbed: int = 0
    """Runs that something else on the machine slowed down."""
    disturbed_why: str = ""
    """What it was with the newest of them."""
    _idle: tuple[float, int, Idle] | None = None

    def conclude(self, concluded: Concluded) -> None:
        """An experiment has its verdict."""
        self.concluded += 1
        if (end := fate(concluded)) is not None:
            self.side_by_side[end] += 1

    def train(self, run: Measurement, *, on_rung: bool) -> None:
        """A run has ended; `on_rung`: on one above the first."""
        self.busy_seconds += run.wall_seconds
        self.scale_seconds += run.wall_seconds if on_rung else 0.0

    def disturb(self, why: str) -> None:
        """One more run was slowed down."""
        self.disturbed, self.disturbed_why = self.disturbed + 1, why

    def idle(self, now: float, devices: int, reason: Idle) -> None:
        """From `now` on so many devices train nothing; what was noted before has lasted until now."""
        if self._idle is not None:
            since, idle, why = self._idle
            if idle:
                self.idle_seconds[why] = self.idle_seconds.get(why, 0.0) + idle * (now - since)
        self._idle = now, devices, reason
