"""When a session will probably be over. Pure; a guess is given only where somebody set an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoresearchd.experiment import BASELINE_NUMBER
from autoresearchd.program import Budget
from autoresearchd.status import Status

GOING = frozenset({"training", "idle", "starting"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Where the experiments of a session were at one moment, to measure their speed from."""

    at: float
    """Unix time."""
    done: float


def done(status: Status) -> float:
    """Experiments of this session that have their verdict, and the parts of those that train now."""
    waiting = sum(1 for number in status.open if number != BASELINE_NUMBER)
    return max(0.0, status.session_opened - waiting + _under_way(status))


def seconds_left(status: Status, *, budget: Budget | None = None, since: Pace | None = None) -> float | None:
    """Seconds to the end of the session at its pace since `since` (default: since it began).

    None where no end was set, where the daemon is held or stopped, or before anything is done.
    """
    if status.state not in GOING:
        return None
    return min(_guesses(status, budget, since or Pace(at=status.session_started, done=0.0)), default=None)


def _guesses(status: Status, budget: Budget | None, since: Pace) -> Sequence[float]:
    found: list[float] = []
    if status.session_deadline is not None:
        found.append(max(0.0, status.session_deadline - status.now))
    now = done(status)
    left = [] if status.session_limit is None else [status.session_limit - now]
    if budget is not None and budget.experiments is not None:
        left.append(budget.experiments - status.tried - _under_way(status))
    moved, elapsed = now - since.done, status.now - since.at
    if left and moved >= 1 and elapsed > 0:
        found.append(max(0.0, min(left)) * elapsed / moved)
    return found


def _under_way(status: Status) -> float:
    fractions = {device.experiment: device.fraction or 0.0 for device in status.devices if device.experiment}
    return sum(fractions.get(number, 0.0) for number in status.open)
