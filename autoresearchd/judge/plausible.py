"""Whether a run's own figures can be true: the time it trained, the time it took besides, the tokens it claims. Pure.

It proves no lie; it refuses what nobody could tell from one.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoresearchd.experiment import Measurement
from autoresearchd.judge.metric import THROUGHPUT, value

OVERTIME, OVERTIME_SECONDS = 1.1, 10.0
"""A step in progress, and the saving of weights, may end after the budget."""
SLOWER_START, SLOWER_START_SECONDS = 3.0, 60.0
"""Compiling a changed model takes longer than a cached one; training hidden in it takes as long as training."""
FASTER = 30.0
"""No single change makes training so many times as fast as the baseline's."""


def implausible(run: Measurement, *, baseline_runs: Sequence[Measurement], train_seconds: float | None) -> str:
    """Why a finished run's figures cannot be believed, in one sentence; '' where they can."""
    if train_seconds is not None and run.train_seconds > OVERTIME * train_seconds + OVERTIME_SECONDS:
        return f"it trained for {run.train_seconds:.0f} s, {train_seconds:g} s were given"
    usual = [other.wall_seconds - other.train_seconds for other in baseline_runs]
    besides = run.wall_seconds - run.train_seconds
    if usual and besides > SLOWER_START * max(usual) + SLOWER_START_SECONDS:
        return f"it took {besides:.0f} s besides training, the baseline {max(usual):.0f} s: training may hide in it"
    speeds = [speed for other in baseline_runs if (speed := value(other, THROUGHPUT)) is not None]
    speed = value(run, THROUGHPUT)
    if speeds and speed is not None and max(speeds) > 0 and speed > FASTER * max(speeds):
        return f"it claims {speed:.4g} tokens/s, the baseline had {max(speeds):.4g}"
    return ""
