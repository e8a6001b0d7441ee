"""Which devices are set aside: those that fail where others do not. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoresearchd.blame import ENVIRONMENTAL, is_the_devices
from autoresearchd.experiment import Ending, Measurement
from autoresearchd.world import Aside

FAILURES = 3
"""So many failures in a row, word for word alike and not of one tree only."""
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 3600.0


def aside(runs: Sequence[Measurement]) -> Mapping[str, Aside]:
    """By name: the devices whose last runs all failed alike while another device finished some, and those that were
    seen to be gone, or to lack memory that others hold: one such run is enough.

    `runs` are those of this session in the order in which they ended. After a rest the device gets one run of best;
    each that fails as before doubles the rest, any other ends it.
    """
    found = {}
    for device in {run.device for run in runs}:
        own = [run for run in reversed(runs) if run.device == device]
        seen = tuple(itertools.takewhile(is_the_devices, own))
        if seen:
            found[device] = replace(_resting(seen, 1), runs=frozenset())  # their own records excuse them
        elif _is_the_devices(streak := _streak(own), runs):
            found[device] = _resting(streak, FAILURES)
    return found


def _streak(own: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Of the runs of one device, newest first: those that failed alike."""
    streak: list[Measurement] = []
    for run in own:
        if run.ending not in ENVIRONMENTAL or (streak and _how(run) != _how(streak[0])):
            break
        streak.append(run)
    return tuple(streak)


def _how(run: Measurement) -> tuple[Ending, str]:
    return run.ending, run.why


def _is_the_devices(streak: Sequence[Measurement], runs: Sequence[Measurement]) -> bool:
    if len(streak) < FAILURES or len({run.tree for run in streak}) < 2:
        return False
    since, device = streak[-1].started, streak[0].device
    return any(run.device != device and run.ending is Ending.FINISHED and run.started >= since for run in runs)


def _resting(streak: Sequence[Measurement], enough: int) -> Aside:
    newest = streak[0]
    rest = min(FIRST_REST_SECONDS * 2.0 ** (len(streak) - enough), LONGEST_REST_SECONDS)
    seen = "; ".join(incident.what for incident in newest.incidents)
    return Aside(
        why=f"{newest.why or newest.ending.value}{f' ({seen})' if seen else ''}",
        until=newest.started + newest.wall_seconds + rest,
        runs=frozenset(run.run for run in streak),
    )
