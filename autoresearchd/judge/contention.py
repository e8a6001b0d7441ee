"""Runs that something else on the machine slowed down: with a budget in seconds they trained less, and say nothing.

Pure. The speed is the target's own word: it can have a run repeated by lying, twice for each seed, with that same seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from autoresearchd.experiment import Ending, Measurement
from autoresearchd.incident import Disturbance
from autoresearchd.judge.metric import THROUGHPUT, value

SLOW = 0.8
"""Of the usual speed: who is slower had not the device to itself. The same code varies by a few per cent."""
MOST_REPEATS = 2
"""So many runs of one tree with one seed are set aside; the next one counts, whatever its speed."""


def contended(runs: Sequence[Measurement], *, best_runs: Sequence[Measurement] = ()) -> tuple[Measurement, ...]:
    """Which runs of one tree, all in one environment, are to be repeated, and not judged; in any order.

    Those on whose device something else was seen are among them, however fast they were. Of the others, a run is
    compared with the other runs of its own tree. The first has none: where it is far slower than best's own,
    it waits for a second, which counts alone if it is not slow; if both are, then the code is slow, and both count.
    """
    seen = _first_of_each_seed(sorted(filter(_has_company, runs), key=lambda run: (run.started, run.run)))
    runs = [run for run in runs if run not in seen]
    return (*seen, *_slow(runs, [run for run in best_runs if not _has_company(run)]))


def _slow(runs: Sequence[Measurement], best_runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
    speeds = {run.run: speed for run in runs if (speed := _speed(run)) is not None}
    if len(speeds) == 1:
        usual = [speed for run in best_runs if (speed := _speed(run)) is not None]
        slow = [run for run in runs if run.run in speeds and usual and _is_slow(speeds[run.run], usual)]
        return tuple(slow) if len(usual) > 1 else ()
    slow = [
        run
        for run in runs
        if run.run in speeds and _is_slow(speeds[run.run], [speed for name, speed in speeds.items() if name != run.run])
    ]
    return _first_of_each_seed(sorted(slow, key=lambda run: (speeds[run.run], run.run)))


def _has_company(run: Measurement) -> bool:
    """Whether something was seen on its device that takes from what it can do in its time."""
    disturbs = any(incident.kind in (Disturbance.FOREIGN, Disturbance.THROTTLED) for incident in run.incidents)
    return disturbs and run.ending in (Ending.FINISHED, Ending.TIMEOUT, Ending.PRUNED)


def _first_of_each_seed(runs: Sequence[Measurement]) -> tuple[Measurement, ...]:
    return tuple(
        run for index, run in enumerate(runs) if sum(run.seed == other.seed for other in runs[:index]) < MOST_REPEATS
    )


def _is_slow(speed: float, others: Sequence[float]) -> bool:
    return speed < SLOW * statistics.median(others)


def _speed(run: Measurement) -> float | None:
    """What it did in a second: what it says, else the steps of its curve."""
    if run.ending is not Ending.FINISHED:
        return None
    said = value(run, THROUGHPUT)
    if said is not None and said > 0.0:
        return said
    last = run.curve[-1] if run.curve else None
    return last.step / last.seconds if last is not None and last.step > 0 and last.seconds > 0.0 else None
